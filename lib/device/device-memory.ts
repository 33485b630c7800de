// The element types of a DeviceBuffer, and the checks of its arguments: dtypes, devices, addresses, foreign memory.

import { type Cuda, cudaOn, deviceRefusals, type Location } from '../addon/cuda.js';
import { check, errorOf } from '../addon/faults.js';
import { classOf, type DeviceArray, typedArray } from '../args/arrays.js';
import type { DType, FloatArray } from '../args/dtypes.js';
import type { Labels } from '../args/labels.js';
import { integer, oneOf } from '../args/scalars.js';
import { expected, rangeError, typeError } from '../errors.js';

/** The element type of a device buffer: numbers of a head, statistics (float64), labels, offsets, pairs, masks. */
export type DeviceDType = DType | 'float64' | 'int32' | 'int64' | 'uint8';

/** The elements of a device buffer on the host; bfloat16 and float16 as their bits in a Uint16Array. */
export type HostArray = FloatArray | Float64Array | Labels | Uint8Array;

export interface DeviceOption {
  /** The number of the CUDA device; by default the first that can be used, 0 on most machines. */
  device?: number | undefined;
}

export interface FromOptions extends DeviceOption {
  /** Of a Uint16Array: 'bfloat16' or 'float16'. */
  dtype?: DType | undefined;
}

/** Device memory of another library of this process, for `DeviceBuffer.view`. */
export interface ForeignMemory extends DeviceOption {
  /** Its address, a multiple of the bytes of an element: from cudaMalloc, or `data_ptr()` of a tensor. */
  ptr: bigint;
  byteLength: number;
  dtype: DeviceDType;
}

/** What `DeviceBuffer.view` takes besides the memory. */
export interface ViewOptions {
  /** The handle of the CUDA stream on which the owner uses the memory; 0n is the default stream. */
  stream?: bigint | undefined;
}

/** Device memory of another process: from `ipcHandle()`, for `DeviceBuffer.fromIpc`. */
export interface IpcMemory extends DeviceOption {
  /** The 64 bytes of a cudaIpcMemHandle_t. */
  handle: Uint8Array;
  byteLength: number;
  dtype: DeviceDType;
  /** Where it begins in the memory of the handle; 0 by default. */
  byteOffset?: number | undefined;
}

/** The class on the host and the bytes of an element. */
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
export const MAX_BYTES = Number.MAX_SAFE_INTEGER;

export interface Shape {
  dtype: DeviceDType;
  length: number;
  device: number;
}

/** The shape of existing memory. */
export function shapeOf(memory: ForeignMemory | IpcMemory): Shape {
  const dtype = requiredDtype('dtype', memory.dtype);
  const shape = { dtype, length: 0, device: deviceOf(memory) };
  const { byteLength } = memory;
  if (byteLength === undefined)
    throw typeError('ERR_ARG_TYPE', expected('a number of bytes', 'byteLength', byteLength));
  const length = integer('byteLength', byteLength, 0, 0, MAX_BYTES) / STORAGE[dtype][1];
  if (!Number.isInteger(length)) {
    throw rangeError('ERR_ARG_VALUE', expected(multipleOf(shape), 'byteLength', byteLength));
  }
  return { ...shape, length };
}

export const multipleOf = ({ dtype }: Shape): string =>
  `a multiple of ${STORAGE[dtype][1]}, since dtype is '${dtype}',`;

export function requiredDtype(argument: string, dtype: unknown): DeviceDType {
  const type = oneOf(argument, dtype, undefined as never, DTYPES);
  if (type === undefined) throw typeError('ERR_ARG_TYPE', expected('a dtype', argument, dtype));
  return type;
}

export function address(argument: string, value: unknown, min: bigint): bigint {
  const rule = `a bigint from ${min}n to 2n ** 64n - 1n`;
  if (typeof value !== 'bigint') throw typeError('ERR_ARG_TYPE', expected(rule, argument, value));
  if (value < min || value >= 2n ** 64n) throw rangeError('ERR_ARG_VALUE', expected(rule, argument, value));
  return value;
}

/** An index of `subarray`, which may count from the end. */
export function position(argument: string, value: unknown, fallback: number, length: number): number {
  const index = integer(argument, value, fallback, -length, length);
  return index < 0 ? index + length : index;
}

/** Throws unless `wanted` bytes from `ptr` on are device memory, which may consist of several adjacent allocations. */
function checkExtent(cuda: Cuda, ptr: bigint, wanted: number, argument: string): void {
  const end = ptr + BigInt(wanted);
  let at = ptr;
  while (at < end) {
    const { kind, begin, bytes } = located(cuda, at);
    if (kind !== 'device') break;
    at = begin + BigInt(bytes);
  }
  if (at >= end) return;
  const rule = `at most ${at - ptr}, since the memory ends there,`;
  throw rangeError('ERR_ARG_VALUE', expected(rule, argument, wanted));
}

function located(cuda: Cuda, ptr: bigint): Location {
  const found = cuda.locate(ptr);
  if ('code' in found) throw errorOf(found);
  return found;
}

/** Memory of another library must be memory of the device. */
export function checkMemory(cuda: Cuda, ptr: bigint, byteLength: number, device: number): void {
  if (byteLength === 0) return;
  const first = located(cuda, ptr);
  if (first.kind !== 'device' || first.device !== device) {
    const places = {
      none: 'not memory known to CUDA',
      host: 'host memory',
      device: `memory of device ${first.device}`,
    };
    const rule = expected(`the address of memory of device ${device}`, 'ptr', ptr);
    throw rangeError('ERR_DEVICE', `${rule}, which is ${places[first.kind]}`);
  }
  checkExtent(cuda, ptr, byteLength, 'byteLength');
}

/** Memory of another process must have the bytes that the caller asked for. */
export function checkShared(cuda: Cuda, { ptr, byteLength }: DeviceArray, byteOffset: number): void {
  if (byteLength === 0) return;
  checkExtent(cuda, ptr - BigInt(byteOffset), byteOffset + byteLength, 'byteOffset + byteLength');
}

/** The addon, whose next work waits for the work that the stream of the buffer has so far. */
export function afterStreamOf(buffer: DeviceArray): Cuda {
  const cuda = cudaOn(buffer.device);
  if (buffer.stream !== undefined) check(cuda.follow(buffer.stream));
  return cuda;
}

export function readInto(array: ArrayBufferView, buffer: DeviceArray, fromByte: number): void {
  check(afterStreamOf(buffer).read(buffer, array, fromByte));
}

export function deviceOf(options: DeviceOption): number {
  const refusals = deviceRefusals();
  const device = integer('device', options.device, refusals.indexOf(''), 0, refusals.length - 1);
  if (!refusals[device]) return device;
  const usable = [...refusals.keys()].filter((each) => !refusals[each]).join(' or ');
  throw rangeError('ERR_ARG_VALUE', `${expected(usable, 'device', device)}: ${refusals[device]}`);
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
