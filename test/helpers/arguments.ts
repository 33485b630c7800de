/** What every argument of a function may be, and the systematic rows that follow: wrong values, other forms of right ones. */
import { createContext, runInContext } from 'node:vm';

export type Options = Record<string, unknown>;
type ErrorClass = typeof TypeError | typeof RangeError;

/** The error that a value must get; 'any' where it depends on the other arguments: a result or an error with a code. */
export type Verdict = { class: ErrorClass; code: string } | 'any';

/** What an argument may be. */
export interface Kind {
  verdict: (value: unknown, valid: unknown) => Verdict;
  /** Values of the right type, beside those that every argument is tried with. */
  values?: unknown[];
  isArray?: boolean;
}

const wrongType: Verdict = { class: TypeError, code: 'ERR_ARG_TYPE' };
const wrongValue: Verdict = { class: RangeError, code: 'ERR_ARG_VALUE' };
const wrongLength: Verdict = { class: RangeError, code: 'ERR_ARG_LENGTH' };

const TypedArray = Object.getPrototypeOf(Uint8Array.prototype) as object;
const tag = Object.getOwnPropertyDescriptor(TypedArray, Symbol.toStringTag)!.get!;
export const tagOf = (value: unknown) => String(tag.call(value));
export const lengthOf = Object.getOwnPropertyDescriptor(TypedArray, 'length')!.get!;
const keys = (TypedArray as { keys: () => unknown }).keys;

function isAttached(view: unknown): boolean {
  try {
    keys.call(view);
    return true;
  } catch {
    return false;
  }
}

interface ArrayRule {
  /** Its length follows from the other arguments. */
  fixed?: boolean;
  optional?: boolean;
}

/** A typed array of one of these classes. */
export const array = (classes: string, { fixed = false, optional = false }: ArrayRule = {}): Kind => ({
  isArray: true,
  verdict(value, valid) {
    if (value === undefined && optional) return 'any';
    if (!classes.split(' ').includes(tag.call(value) as string) || !isAttached(value)) return wrongType;
    return fixed && lengthOf.call(value) !== lengthOf.call(valid) ? wrongLength : 'any';
  },
});

/** A number for which `holds`; undefined stands for its default unless it is required. */
export const number = (holds: (x: number) => boolean, required = false): Kind => ({
  values: [0, -0, 1, -1, 0.5, 1.5, 2, 3, 1e-31, 1e31, 2 ** 31, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 1e308, 5e-324],
  verdict(value) {
    if (value === undefined && !required) return 'any';
    if (typeof value !== 'number') return wrongType;
    return holds(value) ? 'any' : wrongValue;
  },
});

/** What the terms of a loss are multiplied by, and divided by. */
export const signedCoefficient = number((x) => Math.abs(x) <= 1e30);
export const coefficient = number((x) => x >= 0 && x <= 1e30);
/** A temperature or the inverse of one. */
export const scaleFactor = number((x) => x >= 1e-30 && x <= 1e30);
export const divisor = number((x) => x >= 1e-30 && x < Infinity);

export const integer = (least: number, most: number, required = false): Kind =>
  number((x) => Number.isInteger(x) && x >= least && x <= most, required);

export const boolean: Kind = {
  verdict: (value) => (value === undefined || typeof value === 'boolean' ? 'any' : wrongType),
};

export const choice = (...names: string[]): Kind => ({
  values: ['', 'constructor', '__proto__', names[0]!.toUpperCase(), ` ${names[0]}`, ...names],
  verdict(value) {
    if (value === undefined) return 'any';
    if (typeof value !== 'string') return wrongType;
    return names.includes(value) ? 'any' : wrongValue;
  },
});

/** What must not be given in this call, since another option says it already: too much of it, or a stranger to it. */
export const foreign: Kind = {
  verdict: (value) => (value === undefined ? 'any' : { class: TypeError, code: 'ERR_ARG_TYPE|ERR_UNKNOWN_OPTION' }),
};

/** Of this type at least; `is` says which values. */
export const ofType = (is: (value: unknown) => boolean, code = 'ERR_ARG_TYPE'): Kind => ({
  verdict: (value) => (is(value) ? 'any' : { class: code === 'ERR_ARG_VALUE' ? RangeError : TypeError, code }),
});

export function isArray(value: unknown): boolean {
  try {
    return Array.isArray(value);
  } catch {
    return false; // a revoked Proxy
  }
}

export function isObject(value: unknown): boolean {
  try {
    return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
  } catch {
    return false;
  }
}

export interface Argument {
  /** Where it stands, from the root of what the call is given. */
  path: (string | number)[];
  /** What messages call it. */
  name: string;
  kind: Kind;
}

// -- wrong values

const CLASSES = [
  Int8Array,
  Uint8Array,
  Uint8ClampedArray,
  Int16Array,
  Uint16Array,
  Int32Array,
  Uint32Array,
  Float32Array,
  Float64Array,
  BigInt64Array,
  BigUint64Array,
];

type Numbers = Float32Array<ArrayBuffer>;
type NumbersClass = Float32ArrayConstructor;
const classOf = (view: unknown) => (view as object).constructor as NumbersClass;

export function detached<T extends ArrayBufferView>(view: T): T {
  const copy = structuredClone(view);
  structuredClone(copy, { transfer: [copy.buffer as ArrayBuffer] });
  return copy;
}

type Resizable = ArrayBuffer & { resize: (bytes: number) => void };

/** Not in the types that the package is compiled with. */
const resizable = (bytes: number, maxByteLength: number): Resizable =>
  Reflect.construct(ArrayBuffer, [bytes, { maxByteLength }]) as Resizable;

/** The view that `make` makes of a resizable buffer, filled, before the buffer is resized to so many bytes. */
function resized(valid: Numbers, make: (buffer: ArrayBuffer) => Numbers, bytes: number): Numbers {
  const buffer = resizable(2 * valid.byteLength, 4 * valid.byteLength);
  const view = make(buffer);
  view.set(valid.subarray(0, view.length));
  buffer.resize(bytes);
  return view;
}

function revoked(): object {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}

/** What every argument is tried with. `valid` is what stands there in the valid call. */
export function valuesFor(kind: Kind, valid: unknown): [what: string, value: unknown][] {
  const values: [string, unknown][] = [
    ['undefined', undefined],
    ['null', null],
    ['a boolean', true],
    ['NaN', NaN],
    ['Infinity', Infinity],
    ['-Infinity', -Infinity],
    ['a fraction', -2.5],
    ['a huge integer', 2 ** 60],
    ['a bigint', 3n],
    ['a string', 'text'],
    ['a number in a string', '1'],
    ['a symbol', Symbol('s')],
    ['a function', () => 1],
    ['an object', {}],
    ['an object without a prototype', Object.create(null)],
    ['what converts to a number', { valueOf: () => 1 }],
    ['a boxed number', Object(1)],
    ['a boxed string', Object('float32')],
    ['a boxed boolean', Object(true)],
    ['an Array', [1, 2, 3]],
    ['a Map', new Map()],
    ['a date', new Date(0)],
    ['a promise', Promise.resolve(1)],
    ['a revoked Proxy', revoked()],
    ['an ArrayBuffer', new ArrayBuffer(8)],
    ['a SharedArrayBuffer', new SharedArrayBuffer(8)],
    ['a DataView', new DataView(new ArrayBuffer(8))],
    ...(kind.values ?? []).map((value): [string, unknown] => [`the value ${String(value)}`, value]),
  ];
  if (kind.isArray !== true || !ArrayBuffer.isView(valid)) return values;
  const view = valid as Numbers;
  const Class = classOf(view);
  const { length, BYTES_PER_ELEMENT: size } = view;
  return [
    ...values,
    ...CLASSES.map((Each): [string, unknown] => [`a ${Each.name}`, new Each(length)]),
    ['an Array of as many', new Array(length).fill(0)],
    ['what only looks like an array', { length, 0: 0, 1: 0, buffer: new ArrayBuffer(8 * length) }],
    ['what inherits from an array', Object.create(view)],
    ['a Proxy of an array', new Proxy(view, {})],
    ['an empty array', new Class(0)],
    ['an array too short', view.slice(1)],
    ['an array too long', new Class(length + 1)],
    ['a detached array', detached(view)],
    ['a detached empty array', detached(new Class(0))],
    ['a view beyond its buffer', resized(view, (buffer) => new Class(buffer, view.byteLength), 1)],
    ['a view partly beyond its buffer', resized(view, (buffer) => new Class(buffer, 0, length), size * length - 1)],
    ['a view that became shorter', resized(view, (buffer) => new Class(buffer), size * (length - 1))],
    ['a view that became longer', resized(view, (buffer) => new Class(buffer), size * (length + 1))],
  ];
}

// -- other forms of right values

const realm = createContext({});

/** The same array in other forms, all of which a call must take. */
export function formsOf(view: Numbers): [what: string, form: Numbers][] {
  const Class = classOf(view);
  const { length, byteLength: bytes, BYTES_PER_ELEMENT: size } = view;
  const filled = (form: Numbers) => {
    form.set(view);
    return form;
  };
  const lies = { length: 10 ** 6, byteLength: 1, byteOffset: 8 * length, buffer: new ArrayBuffer(8) };
  const foreignClass = runInContext(Class.name, realm) as NumbersClass;
  class Sub extends Class {}
  class Liar extends Class {}
  for (const [name, value] of Object.entries(lies)) Object.defineProperty(Liar.prototype, name, { get: () => value });
  const liar = new Liar(length) as unknown as Numbers;
  Class.prototype.set.call(liar, view);
  class Thrower extends Class {}
  for (const name of [...Reflect.ownKeys(TypedArray), ...Reflect.ownKeys(Class.prototype)]) {
    const get = () => {
      throw new Error(`${String(name)} of a subclass was read`);
    };
    Object.defineProperty(Thrower.prototype, name, { get });
  }
  const thrower = new Thrower(length) as unknown as Numbers;
  Class.prototype.set.call(thrower, view);
  const own = Object.defineProperty(filled(new Class(length)), 'length', { value: 10 ** 6 });
  return [
    ['at an offset', filled(new Class(new ArrayBuffer(bytes + 5 * size), 3 * size, length))],
    ['in a SharedArrayBuffer', filled(new Class(new SharedArrayBuffer(bytes + size) as never, size, length))],
    ['along a growable SharedArrayBuffer', filled(growable(Class, bytes))],
    ['along a resizable ArrayBuffer', filled(new Class(resizable(bytes, 2 * bytes)))],
    ['along a buffer that became shorter', resized(view, (buffer) => new Class(buffer), bytes)],
    ['of another realm', filled(new foreignClass(length))],
    ['of a subclass', filled(new Sub(length) as unknown as Numbers)],
    ['of a subclass that lies', liar],
    ['of a subclass of which nothing may be read', thrower],
    ['with a length of its own', own],
  ];
}

function growable(Class: NumbersClass, bytes: number): Numbers {
  return new Class(Reflect.construct(SharedArrayBuffer, [bytes, { maxByteLength: 2 * bytes + 8 }]) as never);
}

/** The same options in other forms. */
export function optionsIn(options: Options): [what: string, form: Options][] {
  const names = Object.keys(options);
  const getters = Object.fromEntries(names.map((name) => [name, { get: () => options[name] }]));
  return [
    ['a Proxy', new Proxy(options, {})],
    ['without a prototype', Object.assign(Object.create(null), options)],
    ['frozen', Object.freeze({ ...options })],
    ['that inherit everything', Object.create(options)],
    ['with the getters of a class', Object.create(Object.create(Object.prototype, getters))],
    ['of another realm', Object.assign(runInContext('({})', realm), options)],
  ];
}

/** Options that count how often each name is read; what a loop does not see is read all the same. */
export function counted(options: Options): { options: Options; reads: Map<string, number> } {
  const reads = new Map<string, number>();
  const get = (target: Options, name: string | symbol) => {
    if (typeof name === 'string' && name !== 'constructor') reads.set(name, (reads.get(name) ?? 0) + 1);
    return Reflect.get(target, name);
  };
  return { options: new Proxy(Object.assign(Object.create({}), options), { get }), reads };
}

/** Two arrays in one buffer: the second begins in the last element of the first or, `beside`, right after it. */
export function twoInOne(first: Numbers, second: Numbers, beside = false): [Numbers, Numbers] {
  const size = second.BYTES_PER_ELEMENT;
  const at = beside ? Math.ceil(first.byteLength / size) * size : Math.floor((first.byteLength - 1) / size) * size;
  const buffer = new ArrayBuffer(Math.max(first.byteLength, at + second.byteLength) + 8);
  const [a, b] = [new (classOf(first))(buffer, 0, first.length), new (classOf(second))(buffer, at, second.length)];
  if (beside) b.set(second);
  a.set(first);
  return [a, b];
}

/** The bytes of every array in it, with what lies around them; undefined where they are gone. */
export function bytesIn(value: unknown): (readonly [Uint8Array, Uint8Array])[] {
  if (ArrayBuffer.isView(value)) {
    try {
      const bytes = new Uint8Array(Object.getOwnPropertyDescriptor(TypedArray, 'buffer')!.get!.call(value));
      return [[bytes, bytes.slice()]];
    } catch {
      return [];
    }
  }
  if (typeof value !== 'object' || value === null) return [];
  try {
    return Object.values(value).flatMap(bytesIn);
  } catch {
    return []; // a revoked Proxy
  }
}

export function at(root: unknown, path: Argument['path']): unknown {
  return path.reduce((value, step) => (value as Options | undefined)?.[step], root);
}

/** A copy of the root, as deep as the path goes, with this value there. */
export function changed<T>(root: T, [step, ...rest]: Argument['path'], value: unknown): T {
  if (step === undefined) return value as T;
  const copy = (Array.isArray(root) ? [...root] : { ...root }) as Options;
  copy[step] = changed(copy[step] ?? {}, rest, value);
  return copy as T;
}

/** What messages say of a value that is none of theirs. */
export function receivedOf(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  return '';
}
