// The errors of arguments: TypeError and RangeError with a `.code`. This file imports nothing, so that what only checks arguments
// loads where there is no CommonJS: in a browser, without a bundler.

export type ErrorCode =
  | 'ERR_ARG_TYPE'
  | 'ERR_ARG_LENGTH'
  | 'ERR_ARG_VALUE'
  | 'ERR_NOT_FINITE'
  | 'ERR_UNKNOWN_OPTION'
  | 'ERR_OVERLAP'
  | 'ERR_LABEL'
  | 'ERR_OFFSETS'
  | 'ERR_EMPTY_TURN'
  | 'ERR_PAIR'
  | 'ERR_PAIR_WEIGHT'
  | 'ERR_UNIT_WEIGHT'
  | 'ERR_PARTIALS'
  | 'ERR_DEVICE'
  | 'ERR_DISPOSED'
  | 'ERR_DETACHED';

export function typeError(code: ErrorCode, message: string): TypeError {
  return Object.assign(new TypeError(message), { code });
}

export function rangeError(code: ErrorCode, message: string): RangeError {
  return Object.assign(new RangeError(message), { code });
}

/** The message that every wrong argument gets. */
export function expected(what: string, argument: string, received: unknown): string {
  const description = describe(received);
  const [typedArray] = what.match(/^\w+Array/) ?? [];
  const hint = typedArray && description.startsWith('Array(') ? `: use ${typedArray}.from(${argument})` : '';
  return `Expected ${what} for ${argument} but received ${description}${hint}`;
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    return describeObject(value);
  } catch {
    return 'an object that throws when it is inspected';
  }
}

function describeObject(value: object): string {
  const name = typeof value.constructor?.name === 'string' ? value.constructor.name : 'Object';
  const counted = Array.isArray(value) || ArrayBuffer.isView(value) || name === 'DeviceBuffer';
  if (counted && 'length' in value) return `${name}(${value.length})`;
  // A Proxy of a typed array, or what inherits from one.
  return /\wArray$/.test(name) && !counted ? `an object that only looks like a ${name}` : name;
}
