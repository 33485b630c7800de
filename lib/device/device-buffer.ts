import { type Cuda, cudaOn } from '../addon/cuda.js';
import { check, errorOf, type Fault } from '../addon/faults.js';
import { isOnDevice, lengthOf, STANDS_FOR, typedArray } from '../args/arrays.js';
import { checkOptions } from '../args/options.js';
import { integer } from '../args/scalars.js';
import { expected, rangeError, SweetError, typeError } from '../errors.js';
import {
  address,
  afterStreamOf,
  checkMemory,
  checkShared,
  type DeviceDType,
  type DeviceOption,
  deviceOf,
  dtypeOf,
  type ForeignMemory,
  type FromOptions,
  type HostArray,
  type IpcMemory,
  MAX_BYTES,
  multipleOf,
  position,
  readInto,
  requiredDtype,
  type Shape,
  STORAGE,
  shapeOf,
  type ViewOptions,
} from './device-memory.js';

/** The same options or results with every array in device memory. */
export type OnDevice<T> = T extends ArrayBufferView
  ? DeviceBuffer
  : T extends object
    ? { [K in keyof T]: OnDevice<T[K]> }
    : T;

/** Gives a new buffer its memory. */
type Attach = (cuda: Cuda, buffer: DeviceBuffer, size: Parameters<Cuda['allocate']>[1]) => Fault | undefined;

/** What only this module can pass to the constructor. */
const OWN_CALL = Symbol('a call of this module');

const DEVICE_OPTION = new Set(['device']);
const FROM_OPTIONS = new Set(['device', 'dtype']);
const FOREIGN_MEMORY = new Set(['ptr', 'byteLength', 'dtype', 'device']);
const VIEW_OPTIONS = new Set(['stream']);
const IPC_MEMORY = new Set(['handle', 'byteLength', 'dtype', 'device', 'byteOffset']);
const HANDLE_BYTES = 64;
const NO_CONTEXT = 201; // the error of CUDA for a handle of the process itself

/**
 * An array in the memory of a CUDA device. Every operation over the vocabulary and every preference loss on log-probs
 * takes device buffers instead of typed arrays, for all of its arrays and of one device; it returns device buffers and,
 * for scalars, numbers.
 *
 * The memory is freed by `dispose()`, by a `using` declaration or, as a last resort, by the garbage collector.
 * Transfers use pinned memory. A buffer belongs to the thread that created it.
 *
 * `subarray` returns a part of a buffer, `view` makes a buffer of memory that another library of this process owns,
 * `ipcHandle` and `fromIpc` share memory between processes. None of them copies, and every function takes their
 * buffers.
 *
 * @throws SweetError ERR_BACKEND where CUDA cannot be used, with the reason; CudaError ERR_CUDA where a CUDA call
 *   fails.
 * @example
 * const logits = DeviceBuffer.from(new Float32Array([1, 2, 3, 4]));
 * const labels = DeviceBuffer.from(new Int32Array([1, 0]));
 * const { logps } = tokenLogps({ logits, vocabSize, labels });
 * logps.toArray(); // Float32Array(2) [-0.3133, -1.3133]
 */
export class DeviceBuffer {
  readonly dtype: DeviceDType;
  readonly device: number;
  /** The buffer that it is a part of, with which it is disposed. */
  readonly parent: DeviceBuffer | undefined;
  /** The stream of a view. */
  readonly stream: bigint | undefined;
  /** The class of the typed array that the buffer stands for: a property of the object, not of its prototype. */
  declare readonly [STANDS_FOR]: string;
  readonly #imported: boolean;
  #length: number;
  #disposed = false;

  /** `length` elements, not initialized. */
  static allocate(dtype: DeviceDType, length: number, given: DeviceOption = {}): DeviceBuffer {
    const options = checkOptions('DeviceBuffer.allocate', given, DEVICE_OPTION);
    const type = requiredDtype('dtype', dtype);
    const count = integer('length', length, -1, 0, Number.MAX_SAFE_INTEGER / 8);
    if (count < 0) throw typeError('ERR_ARG_TYPE', expected('a length', 'length', length));
    return DeviceBuffer.#fresh(type, count, deviceOf(options));
  }

  /** A copy of a typed array. A Uint16Array needs its `dtype`. */
  static from(array: HostArray, options: FromOptions = {}): DeviceBuffer {
    const buffer = DeviceBuffer.#like('DeviceBuffer.from', array, options);
    if (buffer.length > 0) check(cudaOn(buffer.device).write(buffer, array));
    return buffer;
  }

  /** The same; the array is copied before this returns and transferred to the device on another thread. */
  static async fromAsync(array: HostArray, options: FromOptions = {}): Promise<DeviceBuffer> {
    const buffer = DeviceBuffer.#like('DeviceBuffer.fromAsync', array, options);
    if (buffer.length > 0) check(await cudaOn(buffer.device).writeAsync(buffer, array));
    return buffer;
  }

  /**
   * A buffer of device memory that another library of this process owns; nothing is copied and `dispose` frees nothing.
   * The owner must not free it while the view is in use.
   *
   * With a `stream`, every call that reads or writes the view starts on the device after the work that the stream has
   * so far, without a wait on the host. The call is complete when it returns, so later work of the stream comes after
   * it. Without a stream, the owner must have waited for its work (cudaStreamSynchronize), that of the default stream
   * too.
   *
   * The address is checked with the driver: every byte must be memory of the device. The handle of a stream cannot be
   * checked.
   *
   * @param memory.ptr the address; memory.byteLength, a multiple of the element's bytes; memory.dtype; memory.device.
   * @param options.stream the handle of the owner's stream; 0n is the default stream. It must live as long as the view.
   * @throws RangeError ERR_DEVICE where the address is not memory of the device, ERR_ARG_VALUE where it is not a
   * multiple of the bytes of an element or the memory is too short.
   * @example
   * const view = DeviceBuffer.view({ ptr, byteLength: 4 * N * V, dtype: 'float32' }, { stream });
   * criticUpdate({ ...batch, logits: view, out: { gradLogits: view } });
   */
  static view(memory: ForeignMemory, options: ViewOptions = {}): DeviceBuffer {
    const given = checkOptions('DeviceBuffer.view', memory, FOREIGN_MEMORY);
    const { stream } = checkOptions('the options of DeviceBuffer.view', options, VIEW_OPTIONS);
    const shape = shapeOf(given);
    const ptr = address('ptr', given.ptr, 1n);
    const bytes = STORAGE[shape.dtype][1];
    if (ptr % BigInt(bytes) !== 0n) throw rangeError('ERR_ARG_VALUE', expected(multipleOf(shape), 'ptr', ptr));
    if (stream !== undefined) address('stream', stream, 0n);
    const attach: Attach = (cuda, buffer, size) => {
      checkMemory(cuda, ptr, given.byteLength, shape.device);
      return cuda.view(buffer, { ...size, ptr });
    };
    return new DeviceBuffer(OWN_CALL, shape, attach, { stream });
  }

  /**
   * A buffer of memory that another process, for example with PyTorch, allocated with cudaMalloc; nothing is copied.
   * `dispose` closes it, and the other process must not free it before. A handle may be opened several times.
   *
   * Work of two processes is not ordered: the other process must wait for its work before it signals this one, whose
   * work is complete when a call returns. The whole allocation is mapped, including other arrays in it.
   *
   * @param memory the result of `ipcHandle()` in the other process. Of a PyTorch tensor `t`, handle and byteOffset are
   * the second and fourth of `t.untyped_storage()._share_cuda_()` (without the two bytes that newer versions put before
   * the handle), the offset plus `t.storage_offset() * t.element_size()`.
   * @throws SweetError ERR_IPC for a handle of this process; CudaError ERR_CUDA where it cannot be opened; RangeError
   * ERR_ARG_VALUE where its memory is too short.
   * @see cudaIpcOpenMemHandle.
   * @example
   * const weight = DeviceBuffer.fromIpc({ handle, byteLength: 2 * V * H, dtype: 'bfloat16', byteOffset: 512 });
   */
  static fromIpc(memory: IpcMemory): DeviceBuffer {
    const given = checkOptions('DeviceBuffer.fromIpc', memory, IPC_MEMORY);
    if (isOnDevice(given.handle)) throw typeError('ERR_ARG_TYPE', expected('Uint8Array', 'handle', given.handle));
    const handle = typedArray('handle', given.handle, ['Uint8Array'], HANDLE_BYTES);
    const shape = shapeOf(given);
    const bytes = STORAGE[shape.dtype][1];
    const byteOffset = integer('byteOffset', given.byteOffset, 0, 0, MAX_BYTES);
    if (byteOffset % bytes !== 0) {
      throw rangeError('ERR_ARG_VALUE', expected(multipleOf(shape), 'byteOffset', byteOffset));
    }
    const attach: Attach = (cuda, buffer, size) => {
      const fault = cuda.openShared(buffer, { ...size, handle, byteOffset });
      if (fault?.code !== 'device' || fault.value !== NO_CONTEXT) return fault;
      const rule = 'Expected a handle of another process but received one of this process: use the buffer itself';
      throw new SweetError('ERR_IPC', `${rule}, or subarray() of it`);
    };
    const buffer = new DeviceBuffer(OWN_CALL, shape, attach, { imported: true });
    try {
      checkShared(cudaOn(shape.device), buffer, byteOffset);
    } catch (error) {
      buffer.dispose();
      throw error;
    }
    return buffer;
  }

  static #like(call: string, array: unknown, given: FromOptions): DeviceBuffer {
    const options = checkOptions(call, given, FROM_OPTIONS);
    return DeviceBuffer.#fresh(dtypeOf(array, options.dtype), lengthOf(array as HostArray), deviceOf(options));
  }

  static #fresh(dtype: DeviceDType, length: number, device: number): DeviceBuffer {
    return new DeviceBuffer(OWN_CALL, { dtype, length, device }, (cuda, buffer, size) => cuda.allocate(buffer, size));
  }

  private constructor(
    caller: typeof OWN_CALL,
    shape: Shape,
    attach: Attach,
    from: { parent?: DeviceBuffer; stream?: bigint | undefined; imported?: boolean } = {},
  ) {
    if (caller !== OWN_CALL) {
      const makers = 'DeviceBuffer.allocate(), from(), view() or fromIpc()';
      throw typeError(
        'ERR_ARG_TYPE',
        `Expected ${makers} for a new DeviceBuffer but received a call of its constructor`,
      );
    }
    const { dtype, length, device } = shape;
    Object.defineProperty(this, STANDS_FOR, { value: STORAGE[dtype][0].name });
    this.dtype = dtype;
    this.device = device;
    this.parent = from.parent;
    this.stream = from.stream;
    this.#imported = from.imported ?? false;
    this.#length = length;
    check(attach(cudaOn(device), this, { length, bytesPerElement: STORAGE[dtype][1], device }));
  }

  /** The number of elements; 0 after `dispose`. */
  get length(): number {
    return this.disposed ? 0 : this.#length;
  }

  /** The number of bytes; 0 after `dispose`. */
  get byteLength(): number {
    return this.length * STORAGE[this.dtype][1];
  }

  /** The address on the device, for other libraries; 0n for an empty or disposed buffer. */
  get ptr(): bigint {
    return this.length === 0 ? 0n : cudaOn(this.device).address(this);
  }

  /** Whether it, or the buffer that it is a part of, was disposed. */
  get disposed(): boolean {
    checkOwn(#disposed in this);
    return this.#disposed || (this.parent?.disposed ?? false);
  }

  /**
   * A part of the same memory: the elements from `begin` to before `end`; negative numbers count from the end, as for
   * typed arrays. It need not be disposed, and cannot be used after its parent is.
   *
   * @throws RangeError ERR_ARG_VALUE for an index out of range.
   */
  subarray(begin = 0, end?: number): DeviceBuffer {
    checkLive(this);
    const { length, dtype, device, stream } = this;
    const first = position('begin', begin, 0, length);
    const last = Math.max(position('end', end, length, length), first);
    const attach: Attach = (cuda, part, size) =>
      cuda.part(part, { ...size, parent: this, byteOffset: first * size.bytesPerElement });
    const from = { parent: this, stream, imported: this.#imported };
    return new DeviceBuffer(OWN_CALL, { dtype, length: last - first, device }, attach, from);
  }

  /**
   * The arguments with which another process opens this memory by `DeviceBuffer.fromIpc` or cudaIpcOpenMemHandle. Do
   * not dispose the buffer before the other process has closed it. That process can access the whole allocation, of
   * which this may be a part.
   *
   * @throws SweetError ERR_IPC for memory of another process, whose handle can be passed on instead; RangeError
   * ERR_ARG_LENGTH for a buffer without elements; CudaError ERR_CUDA where the memory cannot be shared, for example of
   * cudaMallocAsync.
   * @see cudaIpcGetMemHandle.
   * @example
   * process.send({ ...buffer.ipcHandle() });
   */
  ipcHandle(): Required<IpcMemory> & { device: number; byteOffset: number } {
    checkLive(this);
    const { byteLength, dtype, device, ptr } = this;
    if (byteLength === 0) throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', 'ipcHandle()', this));
    if (this.#imported) {
      const rule = 'Expected memory of this process for ipcHandle() but received memory of another one';
      throw new SweetError('ERR_IPC', `${rule}: pass on its handle`);
    }
    const handle = new Uint8Array(HANDLE_BYTES);
    const begin = cudaOn(device).share(this, handle);
    if (typeof begin !== 'bigint') throw errorOf(begin);
    return { handle, byteLength, dtype, device, byteOffset: Number(ptr - begin) };
  }

  /** A copy on the host; bfloat16 and float16 as their bits in a Uint16Array. */
  toArray(): HostArray {
    const array = hostArray(this);
    if (array.length > 0) readInto(array, this, 0);
    return array;
  }

  /** The same, on another thread; no operation may write the buffer meanwhile. */
  async toArrayAsync(): Promise<HostArray> {
    const array = hostArray(this);
    if (array.length > 0) check(await afterStreamOf(this).readAsync(this, array));
    return array;
  }

  /**
   * Frees the memory of this package, closes memory of another process, and has no effect on memory of another library
   * or of a parent. The memory is freed after transfers that are running. A second call has no effect.
   */
  dispose(): void {
    checkOwn(#disposed in this);
    if (this.#disposed) return;
    this.#disposed = true;
    this.#length = 0;
    cudaOn(this.device).dispose(this);
  }

  /** Disposes the buffer at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** Methods are called on buffers alone: others have no private fields. */
function checkOwn(isBuffer: boolean): void {
  if (isBuffer) return;
  const what = 'an object that inherits from one, or a Proxy';
  throw typeError('ERR_ARG_TYPE', `Expected a DeviceBuffer but received ${what}`);
}

function checkLive(buffer: DeviceBuffer): void {
  if (!buffer.disposed) return;
  const which = buffer.parent?.disposed ? 'its parent' : 'it';
  throw typeError('ERR_DISPOSED', `Expected a live DeviceBuffer but ${which} was disposed`);
}

function hostArray(buffer: DeviceBuffer): HostArray {
  checkLive(buffer);
  return new STORAGE[buffer.dtype][0](buffer.length);
}

/** The last element of offsets on the host or a device. */
export function lastOf(offsets: Int32Array): number {
  if (!isOnDevice(offsets)) return offsets[lengthOf(offsets) - 1] as number;
  const last = new Int32Array(1);
  readInto(last, offsets, offsets.byteLength - last.byteLength);
  return last[0] as number;
}

/** A result that is not initialized. */
export function freshOn(device: number, dtype: DeviceDType, length: number): DeviceBuffer {
  return DeviceBuffer.allocate(dtype, length, { device });
}

/** A result of zeros, for an operation that does not write all elements. */
export function zerosOn(device: number, dtype: DeviceDType, length: number): DeviceBuffer {
  const buffer = freshOn(device, dtype, length);
  if (length > 0) check(cudaOn(device).setZero(buffer));
  return buffer;
}
