// Storage types: which typed arrays hold them and the numbers that the native code knows them by.
import { checkAttached, classOf, isOnDevice, oneOf } from './checks.js';
import { freshOn, zerosOn } from './device.js';
import { expected, typeError } from './errors.js';

/** How numbers are stored; every sum is in float32 or better. */
export type DType = 'float32' | 'float16' | 'bfloat16';

/** A `Float16Array`, described by its shape: it exists from Node 24 on. */
export interface HalfArray extends ArrayBufferView {
  readonly [Symbol.toStringTag]: 'Float16Array';
  readonly BYTES_PER_ELEMENT: number;
  readonly length: number;
}

/** Numbers in float32, or in 16 bits: a `Float16Array`, or a `Uint16Array` whose type `dtype` tells. */
export type FloatArray = Float32Array | HalfArray | Uint16Array;

const NUMBERS = { float32: 0, bfloat16: 1, float16: 2 } as const;
const NAMES = Object.keys(NUMBERS) as DType[];
const { Float16Array } = globalThis as { Float16Array?: new (length: number) => HalfArray };
const CLASSES = { Float32Array, Uint16Array, Float16Array };

export interface Stored<T extends FloatArray = FloatArray> {
  array: T;
  dtype: DType;
  /** The native code's number of the dtype. */
  code: number;
}

/** An array of numbers together with its dtype; `dtype` must be given for a Uint16Array and must not contradict the others. */
export function stored(argument: string, value: unknown, dtypeArgument: string, dtype: unknown): Stored {
  const given = dtype === undefined ? undefined : oneOf<DType>(dtypeArgument, dtype, 'float32', NAMES);
  const name = classOf(value);
  if (name !== 'Float32Array' && name !== 'Float16Array' && name !== 'Uint16Array') {
    throw typeError('ERR_ARG_TYPE', expected('Float32Array, Float16Array or Uint16Array', argument, value));
  }
  const array = value as FloatArray;
  checkAttached(argument, array);
  const ofClass = { Float32Array: ['float32'], Float16Array: ['float16'], Uint16Array: ['bfloat16', 'float16'] }[name];
  const fits = isOnDevice(value) ? [value.dtype] : ofClass;
  const actual = given ?? (fits.length === 1 ? fits[0] : undefined);
  if (actual === undefined || !fits.includes(actual)) {
    const rule = fits.map((fit) => `'${fit}'`).join(' or ');
    const kind = isOnDevice(value) ? `DeviceBuffer of ${value.dtype}` : name;
    throw typeError('ERR_ARG_TYPE', expected(`${rule}, since ${argument} is a ${kind},`, dtypeArgument, dtype));
  }
  return { array, dtype: actual as DType, code: NUMBERS[actual as DType] };
}

/** An array of the same class as another. */
export function alike<T extends FloatArray>(argument: string, value: unknown, like: T): T {
  const name = classOf(like);
  if (classOf(value) !== name) throw typeError('ERR_ARG_TYPE', expected(String(name), argument, value));
  if (isOnDevice(like) && isOnDevice(value) && value.dtype !== like.dtype) {
    throw typeError(
      'ERR_ARG_TYPE',
      `Expected a DeviceBuffer of ${like.dtype} for ${argument} but received one of ${value.dtype}`,
    );
  }
  const array = value as T;
  checkAttached(argument, array);
  return array;
}

/** Of zeros, but for device memory that the operation fills anyway. */
export function freshLike<T extends FloatArray>(like: T, length: number, filled: boolean): T {
  if (isOnDevice(like)) {
    const fresh = filled ? freshOn : zerosOn;
    return fresh(like.device, like.dtype as DType, length) as unknown as T;
  }
  // Not the array's own constructor, which may be of another realm or a subclass's.
  const Class = CLASSES[classOf(like) as keyof typeof CLASSES] as new (length: number) => unknown;
  return new Class(length) as T;
}
