/** Rows of the tables of errors: what is changed in a valid call, and what must be thrown then. */
export type Options = Record<string, unknown>;

/** What an action throws; it must throw. */
export function thrownBy(action: () => unknown): Error & { code?: unknown } {
  try {
    action();
  } catch (error) {
    return error as Error;
  }
  throw new Error('nothing was thrown');
}

export interface ErrorRow {
  what: string;
  change: Options;
  class: typeof TypeError | typeof RangeError;
  code: string;
  message: RegExp;
}

type RowMaker = (what: string, change: Options, message: RegExp) => ErrorRow;

const rows =
  (Class: ErrorRow['class'], code: string): RowMaker =>
  (what, change, message) => ({ what, change, class: Class, code, message });

export const wrongType = rows(TypeError, 'ERR_ARG_TYPE');
export const wrongLength = rows(RangeError, 'ERR_ARG_LENGTH');
export const wrongValue = rows(RangeError, 'ERR_ARG_VALUE');
export const unknownOption = rows(TypeError, 'ERR_UNKNOWN_OPTION');
export const overlap = rows(RangeError, 'ERR_OVERLAP');
export const wrongLabel = rows(RangeError, 'ERR_LABEL');
export const wrongOffsets = rows(RangeError, 'ERR_OFFSETS');
export const emptyTurn = rows(RangeError, 'ERR_EMPTY_TURN');
export const wrongPair = rows(RangeError, 'ERR_PAIR');
export const wrongWeight = rows(RangeError, 'ERR_PAIR_WEIGHT');
export const notOnHost = rows(TypeError, 'ERR_DEVICE');

/** Required arrays: missing, null, of a wrong class, detached. */
export function arrayRows(valid: Options, ...names: string[]): ErrorRow[] {
  return names.flatMap((name) => {
    const array = valid[name] as Float32Array;
    return [
      wrongType(`${name} missing`, { [name]: undefined }, named(name, 'undefined')),
      ...optionalArrayRows(name, array.length),
      wrongType(`${name} detached`, { [name]: detached(array) }, named(name, 'detached')),
    ];
  });
}

export function optionalArrayRows(name: string, length: number): ErrorRow[] {
  return [
    wrongType(`${name} null`, { [name]: null }, named(name, 'null')),
    wrongType(`${name} as an Array`, { [name]: new Array(length).fill(0) }, named(name, `Array\\(${length}\\)`)),
    wrongType(`${name} as a BigUint64Array`, { [name]: new BigUint64Array(length) }, named(name, 'BigUint64Array')),
    wrongType(`${name} as a buffer`, { [name]: new ArrayBuffer(8 * length) }, named(name, 'ArrayBuffer')),
  ];
}

/** Arrays whose length another argument fixes: one element more and one less. */
export function lengthRows(valid: Options, ...names: string[]): ErrorRow[] {
  return names.flatMap((name) => {
    const array = valid[name] as Float32Array;
    const longer = new (array.constructor as Float32ArrayConstructor)(array.length + 1);
    return [
      wrongLength(`${name} too short`, { [name]: array.subarray(1) }, named(name, `\\(${array.length - 1}\\)`)),
      wrongLength(`${name} too long`, { [name]: longer }, named(name, `\\(${array.length + 1}\\)`)),
    ];
  });
}

/** Numbers: of a wrong type, and outside their range. */
export function numberRows(name: string, ...outside: number[]): ErrorRow[] {
  return [
    wrongType(`${name} as a string`, { [name]: '1' }, named(name, '"1"')),
    wrongType(`${name} null`, { [name]: null }, named(name, 'null')),
    ...outside.map((x) => wrongValue(`${name} ${Object.is(x, -0) ? '-0' : x}`, { [name]: x }, named(name, `${x}`))),
  ];
}

export function choiceRows(name: string): ErrorRow[] {
  return [
    wrongValue(`${name} of no such name`, { [name]: 'median' }, named(name, '"median"')),
    wrongType(`${name} as a number`, { [name]: 1 }, named(name, '1')),
  ];
}

export function booleanRows(name: string): ErrorRow[] {
  return [wrongType(`${name} as a number`, { [name]: 1 }, named(name, '1'))];
}

/** Every result buffer: of a wrong class, too short, too long; two in one place; a name that is no result. */
export function outRows(valid: Options): ErrorRow[] {
  const out = valid.out as Record<string, Float32Array>;
  const [first, second] = Object.keys(out);
  const perBuffer = Object.entries(out).flatMap(([name, array]) => {
    const longer = new (array.constructor as Float32ArrayConstructor)(array.length + 1);
    const withOne = (buffer: unknown) => ({ out: { ...out, [name]: buffer } });
    return [
      wrongType(
        `out.${name} of a wrong class`,
        withOne(new Float64Array(array.length)),
        named(`out\\.${name}`, 'Float64Array'),
      ),
      wrongLength(
        `out.${name} too short`,
        withOne(array.subarray(1)),
        named(`out\\.${name}`, `\\(${array.length - 1}\\)`),
      ),
      wrongLength(`out.${name} too long`, withOne(longer), named(`out\\.${name}`, `\\(${array.length + 1}\\)`)),
    ];
  });
  const shared = second === undefined ? [] : twiceInOnePlace(out, first!, second);
  return [
    ...perBuffer,
    ...shared,
    unknownOption('an unknown name in out', { out: { ...out, colour: new Float32Array(1) } }, /"colour"/),
    wrongType('out as an array', { out: [] }, /out/),
  ];
}

/** Two results that share their last element and their first one. */
function twiceInOnePlace(out: Record<string, Float32Array>, first: string, second: string): ErrorRow[] {
  const [a, b] = [out[first]!.length, out[second]!.length];
  const memory = new Float32Array(a + b - 1).fill(7);
  const buffers = { ...out, [first]: memory.subarray(0, a), [second]: memory.subarray(a - 1) };
  return [overlap(`out.${first} over out.${second}`, { out: buffers }, new RegExp(`out\\.${first}|out\\.${second}`))];
}

/** A result buffer over an input of the same class, from the input's last element on. */
export function overlapRow(valid: Options, name: string, input: string): ErrorRow {
  const out = valid.out as Record<string, Float32Array>;
  const source = valid[input] as Float32Array;
  const memory = new (source.constructor as Float32ArrayConstructor)(source.length + out[name]!.length - 1).fill(7);
  memory.set(source);
  const change = {
    [input]: memory.subarray(0, source.length),
    out: { ...out, [name]: memory.subarray(source.length - 1) },
  };
  return overlap(`out.${name} over ${input}`, change, new RegExp(`out\\.${name}.*${input}`));
}

export function detached<T extends ArrayBufferView>(array: T): T {
  const copy = structuredClone(array);
  structuredClone(copy, { transfer: [copy.buffer as ArrayBuffer] });
  return copy;
}

/** "Expected … for <argument> but received <what came>". */
function named(argument: string, received: string): RegExp {
  return new RegExp(`^Expected .*\\b${argument}\\b but received .*${received}`);
}
