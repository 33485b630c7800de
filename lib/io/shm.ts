// POSIX shared memory as typed arrays: another process, in any language, maps the same bytes, and nothing is copied.
import { constants } from 'node:buffer';
import { getSystemErrorName } from 'node:util';
import { native, type ShmFault } from '../addon/native.js';
import { checkOptions } from '../args/options.js';
import { boolean, integer } from '../args/scalars.js';
import { expected, rangeError, SweetError, typeError } from '../errors.js';

const OPTIONS = new Set(['byteLength', 'create']);

/** What `openShm` takes beside the name. */
export interface OpenShmOptions {
  /** How many bytes to map; all that there are by default, and needed with `create`. */
  byteLength?: number | undefined;
  /** Make the shared memory, filled with zeros; it must not exist yet. false by default. */
  create?: boolean | undefined;
}

interface Views {
  Float32Array: Float32Array<ArrayBuffer>;
  Float64Array: Float64Array<ArrayBuffer>;
  Int32Array: Int32Array<ArrayBuffer>;
  BigInt64Array: BigInt64Array<ArrayBuffer>;
  Uint16Array: Uint16Array<ArrayBuffer>;
  Uint8Array: Uint8Array<ArrayBuffer>;
}

const CLASSES = { Float32Array, Float64Array, Int32Array, BigInt64Array, Uint16Array, Uint8Array };

/**
 * Shared memory that this process has mapped: what `openShm` returns.
 *
 * Another process sees every write at once, in no promised order: tell it by other means (a pipe, a socket) that a buffer is
 * complete. While it is mapped nobody may make it shorter: touching what is gone ends the process, as everywhere.
 *
 * @example
 * const logits = mapping.float32(0, N * V); // the same bytes as numpy's frombuffer(shm.buf, 'float32', N * V)
 */
export class SharedMapping {
  /** The shared memory's name, without a slash. */
  readonly name: string;
  /** All mapped bytes; detached after `close`. */
  readonly buffer: ArrayBuffer;

  /** @internal */
  constructor(name: string, buffer: ArrayBuffer) {
    this.name = name;
    this.buffer = buffer;
  }

  /** The mapped bytes; 0 after `close`. */
  get byteLength(): number {
    return this.buffer.byteLength;
  }

  /** `length` numbers from `byteOffset` on, a multiple of 4. */
  float32(byteOffset: number, length: number): Views['Float32Array'] {
    return this.view('Float32Array', byteOffset, length);
  }

  /** `length` numbers from `byteOffset` on, a multiple of 8. */
  float64(byteOffset: number, length: number): Views['Float64Array'] {
    return this.view('Float64Array', byteOffset, length);
  }

  /** `length` integers from `byteOffset` on, a multiple of 4. */
  int32(byteOffset: number, length: number): Views['Int32Array'] {
    return this.view('Int32Array', byteOffset, length);
  }

  /** `length` integers from `byteOffset` on, a multiple of 8. */
  bigInt64(byteOffset: number, length: number): Views['BigInt64Array'] {
    return this.view('BigInt64Array', byteOffset, length);
  }

  /** `length` 16-bit words (bfloat16 or float16) from `byteOffset` on, a multiple of 2. */
  uint16(byteOffset: number, length: number): Views['Uint16Array'] {
    return this.view('Uint16Array', byteOffset, length);
  }

  /** `length` bytes from `byteOffset` on. */
  uint8(byteOffset: number, length: number): Views['Uint8Array'] {
    return this.view('Uint8Array', byteOffset, length);
  }

  /** Lets go of the memory: every view has length 0 from now on. The name stays until `unlinkShm`. */
  close(): void {
    if (this.byteLength > 0) native.shmClose(this.buffer);
  }

  private view<C extends keyof Views>(name: C, byteOffset: number, length: number): Views[C] {
    if (this.byteLength === 0) throw new SweetError('ERR_SHM', `The shared memory "${this.name}" was closed`);
    const Class = CLASSES[name];
    const size = Class.BYTES_PER_ELEMENT;
    const offset = required('byteOffset', byteOffset, this.byteLength);
    if (offset % size !== 0) throw rangeError('ERR_ARG_VALUE', expected(`a multiple of ${size}`, 'byteOffset', offset));
    const count = required('length', length, Math.floor((this.byteLength - offset) / size));
    return new Class(this.buffer, offset, count) as Views[C];
  }
}

function required(argument: string, value: unknown, most: number): number {
  if (value === undefined) throw typeError('ERR_ARG_TYPE', expected(`an integer from 0 to ${most}`, argument, value));
  return integer(argument, value, 0, 0, most);
}

/**
 * Maps a POSIX shared memory, which other processes map too.
 *
 * @param name its name, without a slash: what Python's `multiprocessing.shared_memory` calls `name`, a file of /dev/shm on Linux.
 * @param options.byteLength how many bytes to map; all of it by default. With `create` its size, which is set aside at once.
 * @param options.create make it; it must not exist yet.
 * @returns the mapping, whose typed arrays go in and out of every function of this package without a copy.
 * @throws SweetError ERR_SHM naming what the system refused; TypeError and RangeError for wrong arguments.
 * @see shm_open(3); Python's multiprocessing.shared_memory.
 * @example
 * const shm = openShm('sweet-rl-batch', { create: true, byteLength: 4 * N * V });
 * criticUpdate({ ...batch, logits: shm.float32(0, N * V), out: { gradLogits: shm.float32(0, N * V) } });
 */
export function openShm(name: string, options: OpenShmOptions = {}): SharedMapping {
  checkName(name);
  const given = checkOptions('openShm', options, OPTIONS);
  const create = boolean('create', given.create, false);
  const bytes = integer('byteLength', given.byteLength, 0, 1, constants.MAX_LENGTH);
  if (create && bytes === 0) {
    throw typeError('ERR_ARG_TYPE', expected('a number of bytes, since create is true,', 'byteLength', undefined));
  }
  const opened = native.shmOpen({ name, bytes, create, maxBytes: constants.MAX_LENGTH });
  if ('step' in opened) throw errorOf(name, bytes, opened);
  return new SharedMapping(name, opened);
}

/**
 * Removes the name of a shared memory. Processes that have mapped it keep it; its memory is freed with the last of them.
 *
 * @param name as in `openShm`.
 * @throws SweetError ERR_SHM where there is none of this name.
 * @see shm_unlink(3).
 * @example
 * unlinkShm('sweet-rl-batch');
 */
export function unlinkShm(name: string): void {
  checkName(name);
  const errno = native.shmUnlink(name);
  if (errno !== 0) throw systemError(name, 'be removed', errno);
}

function checkName(name: unknown): void {
  const rule = 'a name of 1 to 250 bytes without a slash';
  if (typeof name !== 'string') throw typeError('ERR_ARG_TYPE', expected(rule, 'name', name));
  const { length } = Buffer.from(name);
  if (length === 0 || length > 250 || /[/\0]/.test(name) || name === '.' || name === '..') {
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'name', name));
  }
}

const REASONS: Record<string, string> = {
  ENOENT: 'there is none of this name',
  EEXIST: 'there is one of this name already; unlinkShm removes it',
  EACCES: 'it belongs to somebody else',
  ENOSPC: 'there is not so much memory left for it',
  ENOMEM: 'there is not so much memory left',
  ENOSYS: 'this system has no POSIX shared memory',
};

function errorOf(name: string, bytes: number, fault: ShmFault): SweetError {
  if (fault.step === 'size') {
    const wanted = bytes === 0 ? 'at least 1 byte' : `${bytes} bytes`;
    return new SweetError('ERR_SHM', `Expected ${wanted} in the shared memory "${name}" but it has ${fault.bytes}`);
  }
  if (fault.step === 'buffer') {
    return new SweetError(
      'ERR_SHM',
      `This runtime makes no ArrayBuffer of ${fault.bytes} bytes of the shared memory "${name}"`,
    );
  }
  return systemError(name, fault.step === 'create' ? 'be created' : 'be mapped', fault.errno);
}

function systemError(name: string, what: string, errno: number): SweetError {
  const code = getSystemErrorName(-errno);
  return new SweetError(
    'ERR_SHM',
    `The shared memory "${name}" could not ${what}: ${REASONS[code] ?? 'the system refused'} (${code})`,
  );
}
