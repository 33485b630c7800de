import { type Cuda, cudaOn } from '../addon/cuda.js';
import { check, errorOf, type Fault } from '../addon/faults.js';
import { isOnDevice, lengthOf, STANDS_FOR, typedArray } from '../args/arrays.js';
import { checkOptions } from '../args/options.js';
import { integer } from '../args/scalars.js';
import { expected, rangeError, SweetError, typeError } from '../errors.js';
import {
  address,
  checkMemory,
  checkShared,
  type DeviceDType,
  type DeviceOption,
  deviceOf,
  dtypeOf,
  type ForeignMemory,
  type FromOptions,
  following,
  type HostArray,
  type IpcMemory,
  MOST_BYTES,
  multipleOf,
  position,
  readInto,
  required,
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

const DEVICE_OPTION = new Set(['device']);
const FROM_OPTIONS = new Set(['device', 'dtype']);
const FOREIGN_MEMORY = new Set(['ptr', 'byteLength', 'dtype', 'device']);
const VIEW_OPTIONS = new Set(['stream']);
const IPC_MEMORY = new Set(['handle', 'byteLength', 'dtype', 'device', 'byteOffset']);
const HANDLE_BYTES = 64;
const NO_CONTEXT = 201; // what CUDA answers to a handle of the process itself

/**
 * Numbers in the memory of a CUDA device. Every operation over the vocabulary and every preference loss on log-probs takes
 * device buffers in place of typed arrays, all or none, all of one device; its arrays come back as device buffers and its
 * scalars as numbers.
 *
 * The memory is freed by `dispose()`, by a `using` declaration or, as a last resort, when the collector finds the object.
 * Transfers go through pinned memory. A buffer belongs to the thread that made it.
 *
 * `subarray` gives parts of a buffer, `view` looks at memory that another library of this process owns, `ipcHandle` and
 * `fromIpc` share memory between processes. None copies, and all are taken wherever a buffer is.
 *
 * @throws SweetError ERR_BACKEND where CUDA cannot be used, with the reason; CudaError ERR_CUDA where a call of it fails.
 * @example
 * const logits = DeviceBuffer.from(new Float32Array([1, 2, 3, 4]));
 * const labels = DeviceBuffer.from(new Int32Array([1, 0]));
 * const { logps } = tokenLogps({ logits, labels });
 * logps.toArray(); // Float32Array(2) [-0.3133, -1.3133]
 */
export class DeviceBuffer {
  readonly dtype: DeviceDType;
  readonly device: number;
  /** What it is a part of; it lives as long as that. */
  readonly parent: DeviceBuffer | undefined;
  /** Of a view with a stream, that stream. */
  readonly stream: bigint | undefined;
  readonly #imported: boolean;
  #length: number;
  #disposed = false;

  /** Of length `length`, its numbers not yet set. */
  static allocate(dtype: DeviceDType, length: number, given: DeviceOption = {}): DeviceBuffer {
    const options = checkOptions('DeviceBuffer.allocate', given, DEVICE_OPTION);
    const type = required('dtype', dtype);
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

  /** The same; the array is copied before this returns and goes to the device on another thread. */
  static async fromAsync(array: HostArray, options: FromOptions = {}): Promise<DeviceBuffer> {
    const buffer = DeviceBuffer.#like('DeviceBuffer.fromAsync', array, options);
    if (buffer.length > 0) check(await cudaOn(buffer.device).writeAsync(buffer, array));
    return buffer;
  }

  /**
   * Looks at device memory that another library of this process owns; nothing is copied and `dispose` frees nothing. The
   * owner must keep it while the view is in use.
   *
   * With a `stream`, every call that gets the view starts on the device after what that stream has been given so far, and
   * nobody waits on the host for it. The call itself has ended when it returns, so whatever the stream is given later comes
   * after it. Without a stream the owner must have waited for its own work (cudaStreamSynchronize), the default stream's too.
   *
   * The address is checked with the driver: every byte must be memory of that device. A stream's handle cannot be checked.
   *
   * @param memory.ptr the address; memory.byteLength, a multiple of the element's bytes; memory.dtype; memory.device.
   * @param options.stream the handle of the owner's stream; 0n is the default stream. It must live as long as the view.
   * @throws RangeError ERR_DEVICE where the address is no memory of the device, ERR_ARG_VALUE where it does not fit the
   * dtype or the memory ends before.
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
    const attach = (cuda: Cuda, buffer: DeviceBuffer) => {
      checkMemory(cuda, ptr, given.byteLength, shape.device);
      return cuda.view(buffer, { ptr, length: shape.length, bytesPerElement: bytes, device: shape.device });
    };
    return new DeviceBuffer(shape, attach, { stream });
  }

  /**
   * Opens memory that another process allocated with cudaMalloc, PyTorch's among them; nothing is copied. `dispose` closes
   * it, and the other process must keep it until then. A handle may be opened several times.
   *
   * No order is kept between processes: let the other one wait for its own work before it tells this one, which is done
   * with its work when a call returns. The whole allocation is mapped, its neighbours in it included.
   *
   * @param memory what `ipcHandle()` gave in the other process. Of a PyTorch tensor `t`, handle and byteOffset are the second
   * and fourth of `t.untyped_storage()._share_cuda_()` (newer versions put two bytes before the handle, which are to be left
   * out), the offset plus `t.storage_offset() * t.element_size()`.
   * @throws SweetError ERR_IPC for a handle of this process; CudaError ERR_CUDA where it cannot be opened; RangeError
   * ERR_ARG_VALUE where its memory ends before.
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
    const byteOffset = integer('byteOffset', given.byteOffset, 0, 0, MOST_BYTES);
    if (byteOffset % bytes !== 0) {
      throw rangeError('ERR_ARG_VALUE', expected(multipleOf(shape), 'byteOffset', byteOffset));
    }
    const attach = (cuda: Cuda, buffer: DeviceBuffer) => {
      const fault = cuda.openShared(buffer, {
        handle,
        byteOffset,
        length: shape.length,
        bytesPerElement: bytes,
        device: shape.device,
      });
      if (fault?.code !== 'device' || fault.value !== NO_CONTEXT) return fault;
      const rule = 'Expected a handle of another process but received one of this process: use the buffer itself';
      throw new SweetError('ERR_IPC', `${rule}, or subarray() of it`);
    };
    const buffer = new DeviceBuffer(shape, attach, { imported: true });
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
    const bytes = STORAGE[dtype][1];
    return new DeviceBuffer({ dtype, length, device }, (cuda, buffer) =>
      cuda.allocate(buffer, { length, bytesPerElement: bytes, device }),
    );
  }

  /** `attach` gives the object its memory. */
  private constructor(
    { dtype, length, device }: Shape,
    attach: (cuda: Cuda, buffer: DeviceBuffer) => Fault | undefined,
    from: { parent?: DeviceBuffer; stream?: bigint | undefined; imported?: boolean } = {},
  ) {
    this.dtype = dtype;
    this.device = device;
    this.parent = from.parent;
    this.stream = from.stream;
    this.#imported = from.imported ?? false;
    this.#length = length;
    check(attach(cudaOn(device), this));
  }

  /** Elements; 0 once it is disposed. */
  get length(): number {
    return this.disposed ? 0 : this.#length;
  }

  /** 0 once it is disposed. */
  get byteLength(): number {
    return this.length * STORAGE[this.dtype][1];
  }

  /** Its address on the device, for other libraries; 0n where it has no element or is disposed. */
  get ptr(): bigint {
    return this.length === 0 ? 0n : cudaOn(this.device).address(this);
  }

  /** Whether it, or what it is a part of, was disposed. */
  get disposed(): boolean {
    return this.#disposed || (this.parent?.disposed ?? false);
  }

  /** The class of typed array that an operation would take in this buffer's place. */
  get [STANDS_FOR](): string {
    return STORAGE[this.dtype][0].name;
  }

  /**
   * A part that lies in the same memory: elements from `begin` on, before `end`; below 0 they count from the end, as for
   * typed arrays. It may be disposed before its parent or not at all, and cannot be used after it.
   *
   * @throws RangeError ERR_ARG_VALUE for what lies outside.
   */
  subarray(begin = 0, end?: number): DeviceBuffer {
    this.#checkLive();
    const { length, dtype, device, stream } = this;
    const first = position('begin', begin, 0, length);
    const last = Math.max(position('end', end, length, length), first);
    const bytes = STORAGE[dtype][1];
    const attach = (cuda: Cuda, part: DeviceBuffer) =>
      cuda.part(part, {
        parent: this,
        byteOffset: first * bytes,
        length: last - first,
        bytesPerElement: bytes,
        device,
      });
    const from = { parent: this, stream, imported: this.#imported };
    return new DeviceBuffer({ dtype, length: last - first, device }, attach, from);
  }

  /**
   * What another process needs to open this memory: `DeviceBuffer.fromIpc` there, or cudaIpcOpenMemHandle. Keep the buffer
   * until the other process has closed it. That process sees the whole allocation, of which this may be a part.
   *
   * @throws SweetError ERR_IPC for memory that another process shares already: pass its handle on; RangeError ERR_ARG_LENGTH
   * for a buffer without elements; CudaError ERR_CUDA where the memory cannot be shared, like that of cudaMallocAsync.
   * @see cudaIpcGetMemHandle.
   * @example
   * process.send({ ...buffer.ipcHandle() });
   */
  ipcHandle(): Required<IpcMemory> & { device: number; byteOffset: number } {
    this.#checkLive();
    const { byteLength, dtype, device, ptr } = this;
    if (byteLength === 0) throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', 'ipcHandle()', this));
    if (this.#imported) {
      const rule = 'Expected memory of this process for ipcHandle() but received what another one shares';
      throw new SweetError('ERR_IPC', `${rule}: pass its own handle on`);
    }
    const handle = new Uint8Array(HANDLE_BYTES);
    const begin = cudaOn(device).share(this, handle);
    if (typeof begin !== 'bigint') throw errorOf(begin);
    return { handle, byteLength, dtype, device, byteOffset: Number(ptr - begin) };
  }

  /** A copy on the host: bfloat16 and float16 as their bits in a Uint16Array. */
  toArray(): HostArray {
    const array = this.#hostArray();
    if (array.length > 0) readInto(array, this, 0);
    return array;
  }

  /** The same, on another thread; meanwhile no operation may write the buffer. */
  async toArrayAsync(): Promise<HostArray> {
    const array = this.#hostArray();
    if (array.length > 0) check(await following(this).readAsync(this, array));
    return array;
  }

  #hostArray(): HostArray {
    this.#checkLive();
    return new STORAGE[this.dtype][0](this.length);
  }

  #checkLive(): void {
    if (!this.disposed) return;
    const which = this.parent?.disposed ? 'the one that this is a part of' : 'this one';
    throw typeError('ERR_DISPOSED', `Expected a live DeviceBuffer but ${which} was disposed`);
  }

  /**
   * Frees the memory, closes it if it is another process's, and only forgets it if it is somebody else's or a part; a
   * transfer that is under way ends first. Again is no error.
   */
  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#length = 0;
    cudaOn(this.device).dispose(this);
  }

  /** dispose(), at the end of a `using` block. */
  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** The last element of offsets, wherever they are. */
export function lastOf(offsets: Int32Array): number {
  if (!isOnDevice(offsets)) return offsets[lengthOf(offsets) - 1] as number;
  const last = new Int32Array(1);
  readInto(last, offsets, offsets.byteLength - last.byteLength);
  return last[0] as number;
}

/** A fresh result beside its inputs. */
export function freshOn(device: number, dtype: DeviceDType, length: number): DeviceBuffer {
  return DeviceBuffer.allocate(dtype, length, { device });
}

/** Likewise, of zeros: where an operation does not write all of it. */
export function zerosOn(device: number, dtype: DeviceDType, length: number): DeviceBuffer {
  const buffer = freshOn(device, dtype, length);
  if (length > 0) check(cudaOn(device).setZero(buffer));
  return buffer;
}
