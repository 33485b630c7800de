// The errors that a call can throw: TypeError, RangeError and SweetError, each with a `.code`.
import { SweetError } from './sweet-error.cjs';

export { SweetError };

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
  | 'ERR_TOKEN_WEIGHT'
  | 'ERR_UNIT_WEIGHT'
  | 'ERR_PARTIALS'
  | 'ERR_DEVICE'
  | 'ERR_DISPOSED'
  | 'ERR_DETACHED';

/** A CUDA call failed; nothing was started after it. */
export class CudaError extends SweetError {
  constructor(
    /** The call, or the kernel whose launch it was. */
    readonly operation: string,
    /** CUDA's name of the error, like cudaErrorMemoryAllocation, */
    readonly cudaName: string,
    /** and its number. */
    readonly cudaCode: number,
    /** Whether every later call of this process will fail as well. */
    readonly sticky: boolean,
    message: string,
  ) {
    const end = sticky ? '; the device cannot be used in this process anymore' : '';
    super('ERR_CUDA', `${operation} failed with ${cudaName} (${cudaCode}): ${message}${end}`);
  }
}

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
