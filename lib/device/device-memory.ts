// What a DeviceBuffer is made from: kinds of elements, memory that is there already, and what the driver knows of an
// address.

import { type Cuda, cudaOn, deviceCount, type Location } from '../addon/cuda.js';
import { check, errorOf } from '../addon/faults.js';
import { classOf, type DeviceArray, typedArray } from '../args/arrays.js';
import type { DType, FloatArray } from '../args/dtypes.js';
import type { Labels } from '../args/labels.js';
import { integer, oneOf } from '../args/scalars.js';
import { expected, rangeError, typeError } from '../errors.js';

/** What a device buffer's elements are: numbers of a head, partials in float64, or labels, offsets, pairs and masks. */
export type DeviceDType = DType | 'float64' | 'int32' | 'int64' | 'uint8';

/** What a buffer's numbers are on the host: 16-bit floats keep their bits, in a Uint16Array. */
export type HostArray = FloatArray | Float64Array | Labels | Uint8Array;

export interface DeviceOption {
  /** Which CUDA device; 0 by default. */
  device?: number | undefined;
}

export interface FromOptions extends DeviceOption {
  /** Of a Uint16Array: 'bfloat16' or 'float16'. */
  dtype?: DType | undefined;
}

/** Device memory of somebody else in this process: what `DeviceBuffer.view` looks at. */
export interface ForeignMemory extends DeviceOption {
  /** Its address, a multiple of an element's bytes: what cudaMalloc gave, or `data_ptr()` of a tensor. */
  ptr: bigint;
  byteLength: number;
  dtype: DeviceDType;
}

/** What `DeviceBuffer.view` takes beside the memory. */
export interface ViewOptions {
  /** The CUDA stream (its handle; 0n: the default stream) on which its owner works with it. */
  stream?: bigint | undefined;
}

/** Device memory of another process: what `ipcHandle()` gives and `DeviceBuffer.fromIpc` takes. */
export interface IpcMemory extends DeviceOption {
  /** The 64 bytes of a cudaIpcMemHandle_t. */
  handle: Uint8Array;
  byteLength: number;
  dtype: DeviceDType;
  /** Where it begins in the handle's memory; 0 by default. */
  byteOffset?: number | undefined;
}

// The class on the host and the bytes of an element.
export const STORAGE = {
  float32: [Float32Array, 4],
  bfloat16: [Uint16Array, 2],
  float16: [Uint16Array, 2],
  float64: [Float64Array, 8],
  int32: [Int32Array, 4],
  int64: [BigInt64Array, 8],
  uint8: [Uint8Array, 1],
} as const;
const DTYPES = Object.keys(STORAGE) as DeviceDType[];
export const MOST_BYTES = Number.MAX_SAFE_INTEGER;

export interface Shape {
  dtype: DeviceDType;
  length: number;
  device: number;
}

/** Of memory that is there already. */
export function shapeOf(memory: ForeignMemory | IpcMemory): Shape {
  const dtype = required('dtype', memory.dtype);
  const shape = { dtype, length: 0, device: deviceOf(memory) };
  const { byteLength } = memory;
  if (byteLength === undefined)
    throw typeError('ERR_ARG_TYPE', expected('a number of bytes', 'byteLength', byteLength));
  const length = integer('byteLength', byteLength, 0, 0, MOST_BYTES) / STORAGE[dtype][1];
  if (!Number.isInteger(length)) {
    throw rangeError('ERR_ARG_VALUE', expected(multipleOf(shape), 'byteLength', byteLength));
  }
  return { ...shape, length };
}

export const multipleOf = ({ dtype }: Shape): string =>
  `a multiple of ${STORAGE[dtype][1]}, since dtype is '${dtype}',`;

export function required(argument: string, dtype: unknown): DeviceDType {
  const type = oneOf(argument, dtype, undefined as never, DTYPES);
  if (type === undefined) throw typeError('ERR_ARG_TYPE', expected('a dtype', argument, dtype));
  return type;
}

export function address(argument: string, value: unknown, least: bigint): bigint {
  const rule = `a bigint from ${least}n to 2n ** 64n - 1n`;
  if (typeof value !== 'bigint') throw typeError('ERR_ARG_TYPE', expected(rule, argument, value));
  if (value < least || value >= 2n ** 64n) throw rangeError('ERR_ARG_VALUE', expected(rule, argument, value));
  return value;
}

/** An index of `subarray`. */
export function position(argument: string, value: unknown, fallback: number, length: number): number {
  const index = integer(argument, value, fallback, -length, length);
  return index < 0 ? index + length : index;
}

/** How many bytes from `ptr` on, of `wanted`, are memory of devices. A large piece may be made of several small ones. */
function extent(cuda: Cuda, ptr: bigint, wanted: number): number {
  const end = ptr + BigInt(wanted);
  let at = ptr;
  while (at < end) {
    const { kind, begin, bytes } = located(cuda, at);
    if (kind !== 'device') break;
    at = begin + BigInt(bytes);
  }
  return at < end ? Number(at - ptr) : wanted;
}

function located(cuda: Cuda, ptr: bigint): Location {
  const found = cuda.locate(ptr);
  if ('code' in found) throw errorOf(found);
  return found;
}

/** Somebody else's memory must be what he says it is. */
export function checkMemory(cuda: Cuda, ptr: bigint, byteLength: number, device: number): void {
  if (byteLength === 0) return;
  const first = located(cuda, ptr);
  if (first.kind !== 'device' || first.device !== device) {
    const places = {
      none: 'no memory that CUDA knows',
      host: "the host's memory",
      device: `memory of device ${first.device}`,
    };
    const rule = expected(`the address of memory of device ${device}`, 'ptr', ptr);
    throw rangeError('ERR_DEVICE', `${rule}, which is ${places[first.kind]}`);
  }
  const there = extent(cuda, ptr, byteLength);
  if (there < byteLength) {
    const rule = `at most ${there}, since the memory ends there,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'byteLength', byteLength));
  }
}

export function checkShared(cuda: Cuda, { ptr, byteLength }: DeviceArray, byteOffset: number): void {
  if (byteLength === 0) return;
  const wanted = byteOffset + byteLength;
  const there = extent(cuda, ptr - BigInt(byteOffset), wanted);
  if (there < wanted) {
    const rule = `at most ${there}, since the memory ends there,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'byteOffset + byteLength', wanted));
  }
}

/** The addon, whose next work comes after what the buffer's own stream has been given. */
export function following(buffer: DeviceArray): Cuda {
  const cuda = cudaOn(buffer.device);
  if (buffer.stream !== undefined) check(cuda.follow(buffer.stream));
  return cuda;
}

export function readInto(array: ArrayBufferView, buffer: DeviceArray, fromByte: number): void {
  check(following(buffer).read(buffer, array, fromByte));
}

export function deviceOf(options: DeviceOption): number {
  return integer('device', options.device, 0, 0, deviceCount() - 1);
}

export function dtypeOf(array: unknown, dtype: unknown): DeviceDType {
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
