// Storage types: which typed arrays hold them.
import { DTYPE } from '../addon/operations.js';
import { expected, typeError } from '../errors.js';
import { checkAttached, classOf, isOnDevice } from './arrays.js';
import { oneOf } from './scalars.js';

/** How numbers are stored; every sum is in float32 or better. */
export type DType = keyof typeof DTYPE;

/** A `Float16Array`, described by its shape: it exists from Node 24 on. */
export interface HalfArray extends ArrayBufferView {
  readonly [Symbol.toStringTag]: 'Float16Array';
  readonly BYTES_PER_ELEMENT: number;
  readonly length: number;
}

/** Numbers in float32, or in 16 bits: a `Float16Array`, or a `Uint16Array` whose type `dtype` tells. */
export type FloatArray = Float32Array | HalfArray | Uint16Array;

const NAMES = Object.keys(DTYPE) as DType[];
const { Float16Array } = globalThis as { Float16Array?: new (length: number) => HalfArray };
const CLASSES = { Float32Array, Uint16Array, Float16Array };

/** An array of numbers with its dtype, which must be given for a Uint16Array and must not contradict another class. */
export function floatArray(
  argument: string,
  value: unknown,
  dtypeArgument: string,
  dtype: unknown,
): { array: FloatArray; dtype: DType } {
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
  return { array, dtype: actual as DType };
}

/** A Uint16Array, whose type only an option tells. */
const isOpen = (value: unknown): boolean => classOf(value) === 'Uint16Array' && !isOnDevice(value);

/**
 * The first of the dtypes of other arrays that can be that of an array without one of its own: an array whose class or buffer
 * names its type needs none, and an inherited dtype must not be named in an error.
 */
export function inheritedDtype(array: unknown, ...dtypes: unknown[]): unknown {
  return isOpen(array) ? dtypes.find((dtype) => dtype === 'bfloat16' || dtype === 'float16') : undefined;
}

/** An array of float32 or of another array's dtype. */
export function float32OrSame(
  argument: string,
  value: unknown,
  like: { name: string; dtype: DType },
): { array: FloatArray; dtype: DType } {
  const given = inheritedDtype(value, like.dtype);
  if (classOf(value) === 'Float32Array' || given !== undefined || !isOpen(value)) {
    const { array, dtype } = floatArray(argument, value, 'dtype', given);
    if (dtype === 'float32' || dtype === like.dtype) return { array, dtype };
  }
  const rule = like.dtype === 'float32' ? '' : ` or an array of ${like.dtype}`;
  const type = isOnDevice(value) ? ` of ${value.dtype}` : '';
  const message = `${expected(`Float32Array${rule}, as ${like.name} has ${like.dtype},`, argument, value)}${type}`;
  throw typeError('ERR_ARG_TYPE', message);
}

/** An array of the class, and on a device of the dtype, of another. */
export function sameDtype<T extends FloatArray>(argument: string, value: unknown, like: T): T {
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

/** A typed array of zeros; not by the constructor of an array at hand, which may be of another realm or a subclass. */
export function newArray(className: string, length: number): FloatArray {
  const Class = CLASSES[className as keyof typeof CLASSES] as new (length: number) => FloatArray;
  return new Class(length);
}
