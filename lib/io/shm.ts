// POSIX shared memory as typed arrays: another process, in any language, maps the same bytes without a copy.
import { constants } from 'node:buffer';
import { getSystemErrorName } from 'node:util';
import { native, type OpenedShm, type ShmFault } from '../addon/native.js';
import { checkOptions } from '../args/options.js';
import { boolean, integer } from '../args/scalars.js';
import { expected, rangeError, SweetError, typeError } from '../errors.js';

const OPTIONS = new Set(['byteLength', 'create']);

/** What `openShm` takes besides the name. */
export interface OpenShmOptions {
  /** How many bytes to map; all by default, required with `create`. */
  byteLength?: number | undefined;
  /** Create the shared memory, filled with zeros; it must not exist. false by default. */
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
 * Another process sees every write, but in no guaranteed order: signal by other means (a pipe, a socket) that a buffer
 * is complete. No process may shorten the memory while it is mapped: an access past its new end terminates the process
 * (SIGBUS).
 *
 * @example
 * const logits = mapping.float32(0, N * V); // the same bytes as numpy's frombuffer(shm.buf, 'float32', N * V)
 */
export class SharedMapping {
  /** The shared memory's name, without a slash. */
  readonly name: string;
  /** All mapped bytes; detached after `close`. */
  readonly buffer: ArrayBuffer;
  readonly #opened: OpenedShm;

  /** @internal */
  constructor(name: string, opened: OpenedShm) {
    this.name = name;
    this.buffer = opened.buffer;
    this.#opened = opened;
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

  /** `length` bfloat16 or float16 numbers, as their bits, from `byteOffset` on, a multiple of 2. */
  uint16(byteOffset: number, length: number): Views['Uint16Array'] {
    return this.view('Uint16Array', byteOffset, length);
  }

  /** `length` bytes from `byteOffset` on. */
  uint8(byteOffset: number, length: number): Views['Uint8Array'] {
    return this.view('Uint8Array', byteOffset, length);
  }

  /**
   * Unmaps the memory: every view has length 0 afterwards. The name exists until `unlinkShm`.
   *
   * @returns true if the memory is unmapped. false while an async call uses it, whose end unmaps it, or another ArrayBuffer
   * to which `buffer` was transferred. A later `close()` tells whether it is unmapped then.
   */
  close(): boolean {
    return native.shmClose(this.#opened);
  }

  private view<C extends keyof Views>(name: C, byteOffset: number, length: number): Views[C] {
    if (this.byteLength === 0) throw new SweetError('ERR_SHM', `The shared memory "${this.name}" was closed`);
    const Class = CLASSES[name];
    const size = Class.BYTES_PER_ELEMENT;
    const offset = requiredInteger('byteOffset', byteOffset, this.byteLength);
    if (offset % size !== 0) throw rangeError('ERR_ARG_VALUE', expected(`a multiple of ${size}`, 'byteOffset', offset));
    const count = requiredInteger('length', length, Math.floor((this.byteLength - offset) / size));
    return new Class(this.buffer, offset, count) as Views[C];
  }
}

function requiredInteger(argument: string, value: unknown, max: number): number {
  if (value === undefined) throw typeError('ERR_ARG_TYPE', expected(`an integer from 0 to ${max}`, argument, value));
  return integer(argument, value, 0, 0, max);
}

/**
 * Maps a POSIX shared memory object, which other processes can map too.
 *
 * @param name its name, without a slash: what Python's `multiprocessing.shared_memory` calls `name`, a file of /dev/shm
 *   on Linux.
 * @param options.byteLength how many bytes to map; all by default. With `create` the size, which is allocated at once.
 * @param options.create creates it; it must not exist.
 * @returns the mapping, whose typed arrays every function of this package reads and writes without a copy.
 * @throws SweetError ERR_SHM naming the system error; TypeError and RangeError for wrong arguments.
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
 * Removes the name of a shared memory object. Mappings stay valid; the memory is freed with the last of them.
 *
 * @param name as in `openShm`.
 * @throws SweetError ERR_SHM where it does not exist.
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
  ENOENT: 'it does not exist',
  EEXIST: 'it exists already; unlinkShm removes it',
  EACCES: 'it belongs to another user',
  ENOSPC: 'not enough shared memory is available',
  ENOMEM: 'not enough memory is available',
  ENOSYS: 'this system has no POSIX shared memory',
};

function errorOf(name: string, bytes: number, fault: ShmFault): SweetError {
  if (fault.step === 'size') {
    const size = bytes === 0 ? 'at least 1 byte' : `${bytes} bytes`;
    return new SweetError('ERR_SHM', `Expected ${size} in the shared memory "${name}" but it has ${fault.bytes}`);
  }
  if (fault.step === 'buffer') {
    return new SweetError(
      'ERR_SHM',
      `This runtime cannot create an ArrayBuffer of the ${fault.bytes} bytes of the shared memory "${name}"`,
    );
  }
  return systemError(name, fault.step === 'create' ? 'be created' : 'be mapped', fault.errno);
}

function systemError(name: string, what: string, errno: number): SweetError {
  const code = getSystemErrorName(-errno);
  return new SweetError(
    'ERR_SHM',
    `The shared memory "${name}" could not ${what}: ${REASONS[code] ?? 'the system call failed'} (${code})`,
  );
}
