// Every error that a call can throw: a TypeError, a RangeError or a SweetError, each with a `.code`.
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
  | 'ERR_PARTIALS'
  | 'ERR_DEVICE'
  | 'ERR_DISPOSED'
  | 'ERR_DETACHED';

/** A call of CUDA failed; nothing more was started after it. */
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
    meaning: string,
  ) {
    const end = sticky ? '; the device cannot be used in this process any more' : '';
    super('ERR_CUDA', `${operation} failed with ${cudaName} (${cudaCode}): ${meaning}${end}`);
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
  return `Expected ${what} for ${argument} but received ${describe(received)}`;
}

function describe(value: unknown): string {
  if (typeof value === 'string') return JSON.stringify(value);
  if (typeof value === 'bigint') return `${value}n`;
  if (typeof value === 'function') return 'a function';
  if (typeof value !== 'object' || value === null) return String(value);
  try {
    return describeObject(value);
  } catch {
    return 'an object that throws when it is looked at';
  }
}

function describeObject(value: object): string {
  const name = typeof value.constructor?.name === 'string' ? value.constructor.name : 'Object';
  const counted = Array.isArray(value) || ArrayBuffer.isView(value) || name === 'DeviceBuffer';
  if (counted && 'length' in value) return `${name}(${value.length})`;
  // A Proxy of a typed array, or what inherits from one.
  return /\wArray$/.test(name) && !counted ? `an object that only looks like a ${name}` : name;
}

/** What the native code found wrong; nothing was written. */
export interface Fault {
  code:
    | 'memory'
    | 'shape'
    | 'label'
    | 'turnOffsets'
    | 'trajectoryOffsets'
    | 'emptyTurn'
    | 'emptyTrajectory'
    | 'chosen'
    | 'rejected'
    | 'samePair'
    | 'pairWeight'
    | 'zeroWeights'
    | 'partialRows'
    | 'partialShard'
    | 'partialEntropy'
    | 'partialWords'
    | 'device'
    | 'products'
    | 'cancelled';
  index: number;
  value: number;
  /** Of 'device', with the error's number as the value; of 'products', the meaning alone. */
  operation?: string;
  name?: string;
  meaning?: string;
  sticky?: boolean;
}

/** Throws what the native code found wrong inside the arrays. */
export function check(fault: Fault | undefined): void {
  if (fault !== undefined) throw errorOf(fault);
}

export function errorOf(fault: Fault): Error {
  const { code, index, value } = fault;
  switch (code) {
    case 'label':
      return rangeError(
        'ERR_LABEL',
        `Expected a label in [0, V) or ignoreIndex for labels[${index}] but received ${value}`,
      );
    case 'turnOffsets':
    case 'trajectoryOffsets': {
      const total = code === 'turnOffsets' ? 'the number of tokens' : 'the number of turns';
      const rule = `offsets that start at 0, never fall and end at ${total}`;
      return rangeError('ERR_OFFSETS', `Expected ${rule} for ${code} but received ${value} at index ${index}`);
    }
    case 'emptyTurn':
      return rangeError(
        'ERR_EMPTY_TURN',
        `Expected a token that counts in turn ${index} but all are masked or there is none; allowEmptyTurns lets it count 0`,
      );
    case 'emptyTrajectory':
      return rangeError(
        'ERR_EMPTY_TURN',
        `Expected a token that counts in trajectory ${index} but all are masked or there is none; allowEmptyTurns lets it count 0`,
      );
    case 'chosen':
    case 'rejected':
      return rangeError(
        'ERR_PAIR',
        `Expected the index of a unit for ${code}[${index}] but received ${value}, in pair ${index}`,
      );
    case 'samePair':
      return rangeError(
        'ERR_PAIR',
        `Expected two different indices in pair ${index} but chosen and rejected are both ${value}`,
      );
    case 'pairWeight':
      return rangeError('ERR_PAIR_WEIGHT', `Expected a finite weight >= 0 for pairWeights[${index}], of pair ${index}`);
    case 'zeroWeights':
      return rangeError('ERR_PAIR_WEIGHT', 'Expected a weight above 0 for pairWeights but all are 0, from pair 0 on');
    case 'partialRows':
      return rangeError(
        'ERR_PARTIALS',
        `Expected partials of as many rows as there are labels for shard ${index} of partials but received those of others`,
      );
    case 'partialShard':
      return rangeError(
        'ERR_PARTIALS',
        `Expected shards of one vocabulary under one temperature for partials but shard ${index} is none of shard 0's`,
      );
    case 'partialEntropy':
      return rangeError(
        'ERR_PARTIALS',
        `Expected partials that were made with entropy: true for shard ${index} of partials but received some without`,
      );
    case 'partialWords':
      return rangeError(
        'ERR_PARTIALS',
        `Expected every word of the vocabulary in one shard of partials but word ${value} is in none or in several`,
      );
    case 'device': {
      const { operation = '', name = '', sticky = false, meaning = '' } = fault;
      return new CudaError(operation, name, value, sticky, meaning);
    }
    case 'shape':
      return rangeError(
        'ERR_ARG_LENGTH',
        'Expected arrays that keep their length while a call begins, but one became shorter than it was when it was checked',
      );
    case 'products':
      return new SweetError('ERR_BACKEND', fault.meaning ?? '');
    case 'cancelled':
      return new SweetError('ERR_CANCELLED', 'This call was cancelled');
    case 'memory':
      return new SweetError('ERR_MEMORY', 'The working memory of this call could not be had');
  }
}
