import { checkOptions, classOf, integer, isOnDevice, oneOf, STANDS_FOR, typedArray } from './checks.js';
import { cudaOn, deviceCount } from './cuda.js';
import type { DType, FloatArray } from './dtypes.js';
import { check, expected, typeError } from './errors.js';
import type { Labels } from './labels.js';

/** What a device buffer's elements are: numbers of a head, or labels, offsets, pairs and masks. */
export type DeviceDType = DType | 'int32' | 'int64' | 'uint8';

/** What a buffer's numbers are on the host: 16-bit floats keep their bits, in a Uint16Array. */
export type HostArray = FloatArray | Labels | Uint8Array;

export interface DeviceOption {
  /** Which CUDA device; 0 by default. */
  device?: number | undefined;
}

export interface FromOptions extends DeviceOption {
  /** Of a Uint16Array: 'bfloat16' or 'float16'. */
  dtype?: DType | undefined;
}

/** The same options or results with every array in device memory. */
export type OnDevice<T> = T extends ArrayBufferView
  ? DeviceBuffer
  : T extends object
    ? { [K in keyof T]: OnDevice<T[K]> }
    : T;

// The class on the host and the bytes of an element.
const STORAGE = {
  float32: [Float32Array, 4],
  bfloat16: [Uint16Array, 2],
  float16: [Uint16Array, 2],
  int32: [Int32Array, 4],
  int64: [BigInt64Array, 8],
  uint8: [Uint8Array, 1],
} as const;
const DTYPES = Object.keys(STORAGE) as DeviceDType[];
const DEVICE_OPTION = new Set(['device']);
const FROM_OPTIONS = new Set(['device', 'dtype']);

/**
 * Numbers in the memory of a CUDA device. Every operation over the vocabulary and every preference loss on log-probs takes
 * device buffers in place of typed arrays, all or none, all of one device; its arrays come back as device buffers and its
 * scalars as numbers.
 *
 * The memory is freed by `dispose()`, by a `using` declaration or, as a last resort, when the collector finds the object.
 * Transfers go through pinned memory. A buffer belongs to the thread that made it.
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
  #length: number;
  #disposed = false;

  /** Of length `length`, its numbers not yet set. */
  static allocate(dtype: DeviceDType, length: number, options: DeviceOption = {}): DeviceBuffer {
    checkOptions('DeviceBuffer.allocate', options, DEVICE_OPTION);
    const type = oneOf('dtype', dtype, undefined as never, DTYPES);
    if (type === undefined) throw typeError('ERR_ARG_TYPE', expected('a dtype', 'dtype', dtype));
    const count = integer('length', length, -1, 0, Number.MAX_SAFE_INTEGER / 8);
    if (count < 0) throw typeError('ERR_ARG_TYPE', expected('a length', 'length', length));
    return new DeviceBuffer(type, count, deviceOf(options));
  }

  /** A copy of a typed array. A Uint16Array needs its `dtype`. */
  static from(array: HostArray, options: FromOptions = {}): DeviceBuffer {
    const buffer = DeviceBuffer.#like('DeviceBuffer.from', array, options);
    if (array.length > 0) check(cudaOn(buffer.device).write(buffer, array));
    return buffer;
  }

  /** The same; the array is copied before this returns and goes to the device on another thread. */
  static async fromAsync(array: HostArray, options: FromOptions = {}): Promise<DeviceBuffer> {
    const buffer = DeviceBuffer.#like('DeviceBuffer.fromAsync', array, options);
    if (array.length > 0) check(await cudaOn(buffer.device).writeAsync(buffer, array));
    return buffer;
  }

  static #like(call: string, array: unknown, options: FromOptions): DeviceBuffer {
    checkOptions(call, options, FROM_OPTIONS);
    return new DeviceBuffer(dtypeOf(array, options.dtype), (array as HostArray).length, deviceOf(options));
  }

  private constructor(dtype: DeviceDType, length: number, device: number) {
    this.dtype = dtype;
    this.device = device;
    this.#length = length;
    check(cudaOn(device).allocate(this, length, STORAGE[dtype][1], device));
  }

  /** Elements; 0 once it is disposed. */
  get length(): number {
    return this.#length;
  }

  /** 0 once it is disposed. */
  get byteLength(): number {
    return this.#length * STORAGE[this.dtype][1];
  }

  /** Whether its memory was given back. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /** The class of typed array that an operation would take in this buffer's place. */
  get [STANDS_FOR](): string {
    return STORAGE[this.dtype][0].name;
  }

  /** A copy on the host: bfloat16 and float16 as their bits in a Uint16Array. */
  toArray(): HostArray {
    const array = this.#hostArray();
    if (array.length > 0) check(cudaOn(this.device).read(this, array, 0));
    return array;
  }

  /** The same, on another thread; meanwhile no operation may write the buffer. */
  async toArrayAsync(): Promise<HostArray> {
    const array = this.#hostArray();
    if (array.length > 0) check(await cudaOn(this.device).readAsync(this, array));
    return array;
  }

  #hostArray(): HostArray {
    if (this.#disposed) throw typeError('ERR_DISPOSED', 'Expected a live DeviceBuffer but this one was disposed');
    return new STORAGE[this.dtype][0](this.#length);
  }

  /** Frees the memory; a transfer that is under way ends first. Again is no error. */
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

function deviceOf(options: DeviceOption): number {
  return integer('device', options.device, 0, 0, deviceCount() - 1);
}

function dtypeOf(array: unknown, dtype: unknown): DeviceDType {
  const name = classOf(array);
  const fits = DTYPES.filter((each) => STORAGE[each][0].name === name);
  if (name === 'Float16Array') fits.push('float16');
  if (!ArrayBuffer.isView(array) || fits.length === 0) {
    const classes = [...new Set(DTYPES.map((each) => STORAGE[each][0].name))];
    throw typeError('ERR_ARG_TYPE', expected(`${classes.join(', ')} or Float16Array`, 'array', array));
  }
  if (name !== 'Float16Array') typedArray('array', array, [name as 'Uint8Array']);
  if (dtype === undefined && fits.length === 1) return fits[0] as DeviceDType;
  const rule = fits.map((fit) => `'${fit}'`).join(' or ');
  if (typeof dtype !== 'string' || !fits.includes(dtype as DeviceDType)) {
    throw typeError('ERR_ARG_TYPE', expected(`${rule}, since array is a ${name},`, 'dtype', dtype));
  }
  return dtype as DeviceDType;
}

/** The last element of offsets, wherever they are. */
export function lastOf(offsets: Int32Array): number {
  if (!isOnDevice(offsets)) return offsets[offsets.length - 1] as number;
  const last = new Int32Array(1);
  check(cudaOn(offsets.device).read(offsets, last, offsets.byteLength - last.byteLength));
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
