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
export const wrongLabel = rows(RangeError, 'ERR_LABEL');
export const wrongOffsets = rows(RangeError, 'ERR_OFFSETS');
export const emptyTurn = rows(RangeError, 'ERR_EMPTY_TURN');
export const wrongPair = rows(RangeError, 'ERR_PAIR');
export const wrongWeight = rows(RangeError, 'ERR_PAIR_WEIGHT');
export const wrongUnitWeight = rows(RangeError, 'ERR_UNIT_WEIGHT');
export const notOnHost = rows(TypeError, 'ERR_DEVICE');
