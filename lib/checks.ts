// Checks of single arguments. Each names the argument, what was expected and what came; what stands inside the arrays is
// the native code's to check, in the pass that reads it anyway.
import type { When } from './call.js';
import { expected, rangeError, typeError } from './errors.js';

/** Throws where `given` is no options object or holds a name that is not in `known`; what runs later knows `signal` too. */
export function checkOptions(call: string, given: unknown, known: ReadonlySet<string>, when: When = 'now'): void {
  if (typeof given !== 'object' || given === null || Array.isArray(given) || ArrayBuffer.isView(given)) {
    throw typeError('ERR_ARG_TYPE', expected('an options object', call, given));
  }
  for (const name in given) {
    if (!known.has(name) && !(when === 'later' && name === 'signal')) {
      throw typeError('ERR_UNKNOWN_OPTION', `Expected a known option for ${call} but received ${JSON.stringify(name)}`);
    }
  }
}

interface ArrayClasses {
  Float32Array: Float32Array;
  Float64Array: Float64Array;
  Int32Array: Int32Array;
  BigInt64Array: BigInt64Array;
  Uint16Array: Uint16Array;
  Uint8Array: Uint8Array;
}

const typedArrayTag = Object.getOwnPropertyDescriptor(
  Object.getPrototypeOf(Uint8Array.prototype) as object,
  Symbol.toStringTag,
)?.get as (this: unknown) => string | undefined;

/** Tells a device buffer, and the class of typed array in whose place it stands. The two module systems share it. */
export const STANDS_FOR: unique symbol = Symbol.for('sweet-rl.standsFor') as never;

/** What the checks know of a DeviceBuffer. */
export interface OnSomeDevice {
  readonly [STANDS_FOR]: string;
  readonly dtype: string;
  readonly device: number;
  readonly length: number;
  readonly disposed: boolean;
}

export function isOnDevice(value: unknown): value is OnSomeDevice {
  return typeof value === 'object' && value !== null && STANDS_FOR in value;
}

/** The class of a typed array of any realm, by its internal slot, or of what stands for one; else undefined. */
export function classOf(value: unknown): string | undefined {
  return typedArrayTag.call(value) ?? (isOnDevice(value) ? value[STANDS_FOR] : undefined);
}

/**
 * A typed array of one of these classes, attached; with a length, of just that length. As everywhere in lib/, it may be a
 * device buffer that stands for one: both have a length and go to the native code as they are.
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
  checkAttached(argument, array);
  if (length !== undefined && array.length !== length) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${length} elements`, argument, array));
  }
  return array;
}

/** A detached array has length 0 as an empty one has; only making a view of its buffer tells them apart on every Node. */
export function checkAttached(argument: string, array: ArrayBufferView & { length: number }): void {
  if (array.length > 0) return;
  if (isOnDevice(array)) {
    if (!array.disposed) return;
    throw typeError('ERR_DISPOSED', `Expected a live DeviceBuffer for ${argument} but received one that was disposed`);
  }
  try {
    new Uint8Array(array.buffer);
  } catch {
    throw typeError('ERR_ARG_TYPE', `Expected an attached buffer for ${argument} but received a detached one`);
  }
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
  if (array.length === 0) throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', argument, array));
  return array;
}

export function mask(value: unknown, length: number): Uint8Array | undefined {
  return optionalArray('mask', value, ['Uint8Array'], length);
}

export function boolean(argument: string, value: unknown, fallback: boolean): boolean {
  if (value === undefined) return fallback;
  if (typeof value !== 'boolean') throw typeError('ERR_ARG_TYPE', expected('a boolean', argument, value));
  return value;
}

/** A number for which `holds`; `rule` says in words what that asks for. */
export function number(
  argument: string,
  value: unknown,
  fallback: number,
  rule: string,
  holds: (x: number) => boolean,
): number {
  if (value === undefined) return fallback;
  if (typeof value !== 'number') throw typeError('ERR_ARG_TYPE', expected(rule, argument, value));
  if (!holds(value)) throw rangeError('ERR_ARG_VALUE', expected(rule, argument, value));
  return value;
}

export function positive(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a finite number > 0', (x) => Number.isFinite(x) && x > 0);
}

export function notNegative(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a finite number ≥ 0', (x) => Number.isFinite(x) && x >= 0);
}

export function integer(argument: string, value: unknown, fallback: number, least: number, most: number): number {
  const holds = (x: number) => Number.isInteger(x) && x >= least && x <= most;
  if (typeof value === 'number' && holds(value)) return value;
  return number(argument, value, fallback, `an integer from ${least} to ${most}`, holds);
}

export function oneOf<T extends string>(argument: string, value: unknown, fallback: T, names: readonly T[]): T {
  if (value === undefined) return fallback;
  const rule = names.map((name) => `'${name}'`).join(' | ');
  if (typeof value !== 'string') throw typeError('ERR_ARG_TYPE', expected(rule, argument, value));
  if (!names.includes(value as T)) throw rangeError('ERR_ARG_VALUE', expected(rule, argument, value));
  return value as T;
}
