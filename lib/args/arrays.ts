// Typed arrays and the DeviceBuffers that stand for them: class, length, place. The native code checks the values.

import { expected, rangeError, typeError } from '../argument-errors.js';
import {
  TypedArray,
  typedArrayBuffer,
  typedArrayBytes,
  typedArrayLength,
  typedArrayOffset,
  typedArrayTag,
} from '../typed-arrays.js';

interface ArrayClasses {
  Float32Array: Float32Array;
  Float64Array: Float64Array;
  Int32Array: Int32Array;
  BigInt64Array: BigInt64Array;
  Uint16Array: Uint16Array;
  Uint8Array: Uint8Array;
}

const arrayBufferBytes = Object.getOwnPropertyDescriptor(ArrayBuffer.prototype, 'byteLength')?.get as () => number;

/** Of any realm, and not a SharedArrayBuffer. */
export function isArrayBuffer(value: unknown): value is ArrayBuffer {
  try {
    return arrayBufferBytes.call(value) >= 0;
  } catch {
    return false;
  }
}

export function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false; // a revoked Proxy
  }
}

/** Marks a DeviceBuffer, with the class of typed array that it stands for. Shared by both module systems. */
export const STANDS_FOR: unique symbol = Symbol.for('sweet-rl.standsFor') as never;

/** The part of DeviceBuffer that the checks use. */
export interface DeviceArray {
  readonly [STANDS_FOR]: string;
  readonly dtype: string;
  readonly device: number;
  readonly length: number;
  readonly byteLength: number;
  readonly ptr: bigint;
  readonly stream: bigint | undefined;
  readonly parent: DeviceArray | undefined;
  readonly disposed: boolean;
}

export function isOnDevice(value: unknown): value is DeviceArray {
  try {
    // Of the object itself: what inherits from a DeviceBuffer or its prototype has no memory.
    return typeof value === 'object' && value !== null && Object.hasOwn(value, STANDS_FOR);
  } catch {
    return false;
  }
}

/** The class of a typed array of any realm, by its internal slot, or the class that a DeviceBuffer stands for; else undefined. */
export function classOf(value: unknown): string | undefined {
  return typedArrayTag.call(value) ?? (isOnDevice(value) ? value[STANDS_FOR] : undefined);
}

/**
 * An attached typed array of one of these classes and, if given, of exactly this length. As everywhere in lib/, it may be a
 * DeviceBuffer that stands for one: both have a length and are passed to the native code as they are.
 */
export function typedArray<C extends keyof ArrayClasses>(
  argument: string,
  value: unknown,
  classes: readonly C[],
  length?: number,
): ArrayClasses[C] {
  if (!classes.includes(classOf(value) as C)) {
    throw typeError('ERR_ARG_TYPE', expected(classes.join(' or '), argument, value));
  }
  const array = value as ArrayClasses[C];
  const elements = checkAttached(argument, array);
  if (length !== undefined && elements !== length) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${length} elements`, argument, array));
  }
  return array;
}

/** The number of elements, whatever a subclass or a property says. */
export function lengthOf(array: { readonly length: number }): number {
  return isOnDevice(array) ? array.length : typedArrayLength.call(array);
}

/** The same memory as a plain typed array of this realm, for loops in JavaScript. */
export function plainView<T extends ArrayBufferView & { length: number }>(array: T): T {
  const { buffer, from } = bytesOf(array);
  const Class = globalThis[classOf(array) as 'Uint8Array'];
  return new Class(buffer as ArrayBuffer, from, lengthOf(array)) as unknown as T;
}

export interface Bytes {
  buffer: object;
  from: number;
  to: number;
}

// All devices and the host of a process share one address space.
const ALL_DEVICES = {};

/** The byte range of a typed array in its buffer; of a DeviceBuffer, its addresses. */
export function bytesOf(array: ArrayBufferView): Bytes {
  if (isOnDevice(array)) {
    const from = Number(array.ptr);
    return { buffer: ALL_DEVICES, from, to: from + array.byteLength };
  }
  const from = typedArrayOffset.call(array);
  return { buffer: typedArrayBuffer.call(array), from, to: from + typedArrayBytes.call(array) };
}

/** The bytes of an array in host memory; 0 on a device. */
export function bytesIn(array: ArrayBufferView): number {
  return ArrayBuffer.isView(array) ? typedArrayBytes.call(array) : 0;
}

/** Throws for a detached or disposed array. A detached view has length 0 like an empty one, but cannot be iterated. */
export function checkAttached(argument: string, array: { readonly length: number }): number {
  const length = lengthOf(array);
  if (length > 0) return length;
  if (isOnDevice(array)) {
    if (!array.disposed) return length;
    const which = array.parent?.disposed ? 'a part of one' : 'one';
    throw typeError(
      'ERR_DISPOSED',
      `Expected a live DeviceBuffer for ${argument} but received ${which} that was disposed`,
    );
  }
  try {
    TypedArray.keys.call(array as Uint8Array);
  } catch {
    const what = 'a detached one, or one too short for this view';
    throw typeError('ERR_ARG_TYPE', `Expected an attached buffer for ${argument} but received ${what}`);
  }
  return length;
}

export function optionalArray<C extends keyof ArrayClasses>(
  argument: string,
  value: unknown,
  classes: readonly C[],
  length?: number,
): ArrayClasses[C] | undefined {
  return value === undefined ? undefined : typedArray(argument, value, classes, length);
}

const FLOAT32 = ['Float32Array'] as const;
const INT32 = ['Int32Array'] as const;

export function float32(argument: string, value: unknown, length?: number): Float32Array {
  return typedArray(argument, value, FLOAT32, length);
}

export function int32(argument: string, value: unknown, length?: number): Int32Array {
  return typedArray(argument, value, INT32, length);
}

/** Offsets have one element more than there are groups. */
export function offsets(argument: string, value: unknown): Int32Array {
  const array = int32(argument, value);
  if (lengthOf(array) === 0) throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', argument, array));
  return array;
}

/** 0 drops, anything else keeps; Int32Array and BigInt64Array as tokenizers and ONNX Runtime give it. */
export type Mask = Uint8Array | Int32Array | BigInt64Array;

/** The mask as bytes: what the native code reads, and DeviceBuffers have. */
export function mask(value: unknown, length: number): Uint8Array | undefined {
  if (isOnDevice(value)) return typedArray('mask', value, ['Uint8Array'], length);
  const given = optionalArray('mask', value, ['Uint8Array', 'Int32Array', 'BigInt64Array'], length);
  return given && maskBytes(given);
}

const converted = new WeakMap<Uint8Array, ArrayBufferView & { length: number }>();

/** The caller's array: itself, or what it was converted from. */
export function originalOf<A extends (ArrayBufferView & { length: number }) | undefined>(array: A): A {
  return array instanceof Uint8Array ? ((converted.get(array) as A | undefined) ?? array) : array;
}

/** A mask as it is, or converted. */
export function maskBytes(given: Mask): Uint8Array {
  const name = classOf(given);
  if (name !== 'Int32Array' && name !== 'BigInt64Array') return given as Uint8Array;
  // As 32-bit halves: a BigInt is an object for each element.
  const halves = name === 'BigInt64Array' ? 2 : 1;
  const { buffer, from } = bytesOf(given);
  const view = new Int32Array(buffer as ArrayBuffer, from, halves * lengthOf(given));
  const bytes = new Uint8Array(lengthOf(given));
  for (let i = 0; i < bytes.length; i++) {
    bytes[i] = ((view[halves * i] as number) | (view[halves * i + halves - 1] as number)) === 0 ? 0 : 1;
  }
  converted.set(bytes, given);
  return bytes;
}

/** An array of a call by the name of its argument. */
export type NamedArray = readonly [name: string, array: (ArrayBufferView & { length: number }) | undefined];

/** An array of a function that runs in JavaScript on the host, as a plain view: no code of a subclass runs in its loops. */
export function hostView<A extends (ArrayBufferView & { length: number }) | undefined>(argument: string, array: A): A {
  const there = onHost(argument, array);
  return there && plainView(there);
}

/** The same array; throws for a DeviceBuffer. */
export function onHost<A extends { length: number } | undefined>(argument: string, array: A): A {
  if (isOnDevice(array)) throw typeError('ERR_DEVICE', expected('an array in host memory', argument, array));
  return array;
}
