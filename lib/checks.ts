// Checks of single arguments. Each names the argument, what was expected and what came; what stands inside the arrays is
// the native code's to check, in the pass that reads it anyway.
import type { When } from './call.js';
import { expected, rangeError, typeError } from './errors.js';

/**
 * The options, each read once and before anything is checked: no getter of the caller's runs between a check and the call.
 * Throws where `given` is no options object or holds a name that is not in `known`; what runs later knows `signal` too. `out`
 * may hold the names of `knownOut`.
 */
export function checkOptions<T>(
  call: string,
  given: T,
  known: ReadonlySet<string>,
  when: When = 'now',
  knownOut?: ReadonlySet<string>,
): T {
  const called = when === 'later' ? `${call}Async` : call;
  if (!isRecord(given)) throw typeError('ERR_ARG_TYPE', expected('an options object', called, given));
  const options = copyOf(given, when === 'later' ? [...known, 'signal'] : known) as Record<string, unknown>;
  for (const name in options) {
    if (!known.has(name) && !(when === 'later' && name === 'signal')) {
      throw typeError(
        'ERR_UNKNOWN_OPTION',
        `Expected a known option for ${called} but received ${JSON.stringify(name)}`,
      );
    }
  }
  const { out } = options;
  if (knownOut !== undefined && out !== undefined) options.out = checkOptions('out', out, knownOut);
  return options as T;
}

export function isArray(value: unknown): value is readonly unknown[] {
  try {
    return Array.isArray(value);
  } catch {
    return false; // a Proxy that was revoked
  }
}

export function isRecord(value: unknown): value is object {
  try {
    return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
  } catch {
    return false;
  }
}

function copyOf(given: object, known: Iterable<string>): object {
  const copy: Record<string, unknown> = { ...given };
  if (Object.getPrototypeOf(given) === Object.prototype) return copy;
  // What a class or another object lends to it: its getters, which no loop sees, and names that must not be ignored.
  for (const name of known) if (!Object.hasOwn(copy, name)) copy[name] = (given as typeof copy)[name];
  for (const name in given) if (!Object.hasOwn(copy, name)) copy[name] = undefined;
  return copy;
}

interface ArrayClasses {
  Float32Array: Float32Array;
  Float64Array: Float64Array;
  Int32Array: Int32Array;
  BigInt64Array: BigInt64Array;
  Uint16Array: Uint16Array;
  Uint8Array: Uint8Array;
}

const TypedArray = Object.getPrototypeOf(Uint8Array.prototype) as Uint8Array;

/** What typed arrays themselves answer, whatever a subclass or a property of the same name says. */
function getter<T>(name: keyof Uint8Array): (this: unknown) => T {
  return Object.getOwnPropertyDescriptor(TypedArray, name)?.get as (this: unknown) => T;
}
const typedArrayTag = getter<string | undefined>(Symbol.toStringTag);
const typedArrayLength = getter<number>('length');
const typedArrayBuffer = getter<ArrayBufferLike>('buffer');
const typedArrayOffset = getter<number>('byteOffset');
const typedArrayBytes = getter<number>('byteLength');

/** Tells a device buffer, and the class of typed array in whose place it stands. The two module systems share it. */
export const STANDS_FOR: unique symbol = Symbol.for('sweet-rl.standsFor') as never;

/** What the checks know of a DeviceBuffer. */
export interface OnSomeDevice {
  readonly [STANDS_FOR]: string;
  readonly dtype: string;
  readonly device: number;
  readonly length: number;
  readonly byteLength: number;
  readonly ptr: bigint;
  readonly stream: bigint | undefined;
  readonly parent: OnSomeDevice | undefined;
  readonly disposed: boolean;
}

export function isOnDevice(value: unknown): value is OnSomeDevice {
  try {
    return typeof value === 'object' && value !== null && STANDS_FOR in value;
  } catch {
    return false;
  }
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
  const elements = checkAttached(argument, array);
  if (length !== undefined && elements !== length) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${length} elements`, argument, array));
  }
  return array;
}

/** The number of elements, which neither a subclass nor a property can lie about. */
export function lengthOf(array: { readonly length: number }): number {
  return isOnDevice(array) ? array.length : typedArrayLength.call(array);
}

/** The same memory as an array without a subclass and of this realm, for loops in JavaScript. */
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

// No two places of a process have one address, on whatever device.
const ALL_DEVICES = {};

/** Where the bytes of a typed array are; those of a device buffer by their addresses, however it came to be. */
export function bytesOf(array: ArrayBufferView): Bytes {
  if (isOnDevice(array)) {
    const from = Number(array.ptr);
    return { buffer: ALL_DEVICES, from, to: from + array.byteLength };
  }
  const from = typedArrayOffset.call(array);
  return { buffer: typedArrayBuffer.call(array), from, to: from + typedArrayBytes.call(array) };
}

/** A view whose memory is gone has length 0 as an empty one has; that nobody can walk along it tells them apart. */
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
  return number(argument, value, fallback, 'a finite number >= 0', (x) => Number.isFinite(x) && x >= 0);
}

export function integer(argument: string, value: unknown, fallback: number, least: number, most: number): number {
  const holds = (x: number) => Number.isInteger(x) && x >= least && x <= most;
  // The rule is put into words only for who breaks it: in a small call that would be a part of its time.
  if (value === undefined) return fallback;
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
