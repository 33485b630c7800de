// The head that log-probs come from, logits or hidden states and weight, and its shape, which follows from the lengths.
import type * as native from '../addon/operations.js';
import { expected, rangeError, typeError } from '../errors.js';
import { isOnDevice, lengthOf, type NamedArray } from './arrays.js';
import { type DType, type FloatArray, floatArray, sameDtype } from './dtypes.js';
import { exclusiveGroups, selectGroup } from './exclusive.js';
import { integer, number } from './scalars.js';

export const MAX_VOCAB_SIZE = 2 ** 31 - 1;

/** A head that the model computed: the logits of all vocabulary entries, row by row. */
export interface LogitsHead<L extends FloatArray = FloatArray> {
  /** [N, V], row-major. */
  logits: L;
  /** Of a Uint16Array: 'bfloat16' or 'float16'. */
  dtype?: DType | undefined;
  /** Elements from one row to the next, if rows are padded; without vocabSize the array ends with the last row's last entry. */
  rowStride?: number | undefined;
  /** V, where it does not follow from the lengths: padding after the last row as well. */
  vocabSize?: number | undefined;
}

/** A head that is not computed yet: logits_i = hidden_i * weight^T + bias; [N, V] is never stored. */
export interface LinearHead<H extends FloatArray = FloatArray> {
  /** [N, H]. */
  hidden: H;
  /** [V, H], of the class of `hidden`. */
  weight: H;
  /** [V], of the class of `hidden`. */
  bias?: H | undefined;
  dtype?: DType | undefined;
  /**
   * On a device alone: the most bytes of working memory for the rows that are computed at once, mainly their float32 logits;
   * 2^30 by default. One row is computed even where it takes more. The workspace of cuBLASLt, up to 32 MiB, is not counted.
   */
  chunkBytes?: number | undefined;
}

export interface TemperatureOption {
  /** Divides the logits; 1 by default, from 1e-30 to 1e30. */
  temperature?: number | undefined;
}

export const LOGITS_HEAD = ['logits', 'dtype', 'rowStride', 'vocabSize', 'temperature'] as const;
export const LINEAR_HEAD = ['hidden', 'weight', 'bias', 'dtype', 'temperature', 'chunkBytes'] as const;

/** The names of a head's arguments. */
export const HEAD_NAMES = { logits: 'logits', hidden: 'hidden', weight: 'weight', bias: 'bias', dtype: 'dtype' };
export type HeadNames = typeof HEAD_NAMES;

export const REFERENCE_NAMES: HeadNames = {
  logits: 'refLogits',
  hidden: 'refHidden',
  weight: 'refWeight',
  bias: 'refBias',
  dtype: 'refDtype',
};

export interface CheckedLogits<L extends FloatArray = FloatArray> extends native.LogitsHead {
  logits: L;
}

export interface CheckedLinear<H extends FloatArray = FloatArray> extends native.LinearHead {
  hidden: H;
  weight: H;
  bias: H | undefined;
}

export function headInputs(head: native.Head, names: HeadNames = HEAD_NAMES): NamedArray[] {
  if (head.kind === 'logits') return [[names.logits, head.logits]];
  return [
    [names.hidden, head.hidden],
    [names.weight, head.weight],
    [names.bias, head.bias],
  ];
}

// Outside of this range, logits * log2(e) / temperature leaves float32.
const [MIN_TEMPERATURE, MAX_TEMPERATURE] = [1e-30, 1e30];

export function checkTemperature({ temperature }: TemperatureOption): number {
  const rule = `a number from ${MIN_TEMPERATURE} to ${MAX_TEMPERATURE}`;
  return number('temperature', temperature, 1, rule, (x) => x >= MIN_TEMPERATURE && x <= MAX_TEMPERATURE);
}

const HEAD_GROUPS = exclusiveGroups([LOGITS_HEAD, [...LINEAR_HEAD, 'accumulate']]);

/** The one head that the options have. */
export function checkHead(options: TemperatureOption, rows: number): CheckedLogits | CheckedLinear {
  const temperature = checkTemperature(options);
  return selectGroup(options as Record<string, unknown>, HEAD_GROUPS, 'the head') === 'hidden'
    ? checkLinear(options as LinearHead, rows, temperature)
    : checkLogits(options as LogitsHead, rows, temperature);
}

/** N rows of logits: V is logits.length / N; with rowStride the last row ends the array; vocabSize gives V. */
export function checkLogits<L extends FloatArray>(
  options: LogitsHead<L>,
  rows: number,
  temperature: number,
): CheckedLogits<L> {
  const { array, dtype } = floatArray('logits', options.logits, 'dtype', options.dtype);
  const length = lengthOf(array);
  const given = options.vocabSize;
  const stride = integer('rowStride', options.rowStride, 0, 1, Number.MAX_SAFE_INTEGER);
  let vocabSize = integer('vocabSize', given, 0, 1, MAX_VOCAB_SIZE);
  if (given === undefined) {
    if (rows === 0) vocabSize = 0;
    else vocabSize = stride > 0 ? length - (rows - 1) * stride : length / rows;
  }
  const rowStride = stride || vocabSize;
  checkRows('logits', array, { rows, vocabSize, rowStride, padded: given !== undefined });
  return logitsHead(array as L, { dtype, rows, vocabSize, temperature, rowStride });
}

const logitsHead = <L extends FloatArray>(
  logits: L,
  shape: Pick<native.LogitsHead, 'dtype' | 'rows' | 'vocabSize' | 'temperature' | 'rowStride'>,
): CheckedLogits<L> => ({ kind: 'logits', ...shape, vocabOffset: 0, totalVocab: 0, logits });

function checkRows(
  name: string,
  array: FloatArray,
  { rows, vocabSize, rowStride, padded }: { rows: number; vocabSize: number; rowStride: number; padded: boolean },
): void {
  if (rowStride < vocabSize) {
    throw rangeError('ERR_ARG_VALUE', expected(`at least V = ${vocabSize}`, 'rowStride', rowStride));
  }
  const least = rows === 0 ? 0 : (rows - 1) * rowStride + Math.max(vocabSize, 1);
  const rule = padded ? `at least ${least} elements` : `${rows} rows (labels.length) of one length`;
  const length = lengthOf(array);
  const fits = padded || rows === 0 ? length >= least : length === least;
  const whole = Number.isInteger(vocabSize) && vocabSize >= (rows === 0 ? 0 : 1) && vocabSize <= MAX_VOCAB_SIZE;
  if (!fits || !whole || (rows === 0 && !padded && length > 0)) {
    throw rangeError('ERR_ARG_LENGTH', expected(rule, name, array));
  }
}

/** Reference logits for the rows and the vocabulary of another head, without padding or with that head's row stride. */
export function checkRefLogits(
  options: { refLogits: unknown; refDtype?: unknown },
  { rows, vocabSize, temperature, rowStride: stride }: native.Head & { rowStride: number },
): CheckedLogits {
  const { array, dtype } = floatArray('refLogits', options.refLogits, 'refDtype', options.refDtype);
  const length = lengthOf(array);
  const rowStride = length === rows * vocabSize ? vocabSize : stride;
  // Padding after the last row may be there or not, as for the logits.
  const least = rows === 0 ? 0 : (rows - 1) * rowStride + vocabSize;
  if (length !== least && length !== rowStride * rows) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${rows} rows of ${vocabSize} elements`, 'refLogits', array));
  }
  return logitsHead(array, { dtype, rows, vocabSize, temperature, rowStride });
}

/** N rows of hidden states: H is hidden.length / N, V is weight.length / H and must be vocabSize, where that is given. */
export function checkLinear<H extends FloatArray>(
  options: LinearHead<H>,
  rows: number,
  temperature: number,
  names: HeadNames = HEAD_NAMES,
  vocabSize?: number,
): CheckedLinear<H> {
  const { array, dtype } = floatArray(names.hidden, options.hidden, names.dtype, options.dtype);
  const hidden = array as H;
  const weight = sameDtype(names.weight, options.weight, hidden);
  const bias = options.bias === undefined ? undefined : sameDtype(names.bias, options.bias, hidden);
  const shape = shapeOf({ hidden, weight, bias }, rows, names);
  if (vocabSize !== undefined && rows > 0 && shape.vocabSize !== vocabSize) {
    const rule = `${vocabSize} rows of H = ${shape.hiddenSize} elements`;
    throw rangeError('ERR_ARG_LENGTH', expected(rule, names.weight, weight));
  }
  if (options.chunkBytes !== undefined && !isOnDevice(array)) {
    const reason = 'chunks are those of a device, the CPU uses tiles of a fixed size';
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no chunkBytes as ${names.hidden} is a typed array: ${reason}`);
  }
  const chunkBytes = integer('chunkBytes', options.chunkBytes, 0, 1, Number.MAX_SAFE_INTEGER);
  const whole = { vocabOffset: 0, totalVocab: 0 };
  return { kind: 'linear', dtype, rows, ...shape, temperature, ...whole, chunkBytes, hidden, weight, bias };
}

function shapeOf(
  { hidden, weight, bias }: { hidden: FloatArray; weight: FloatArray; bias: FloatArray | undefined },
  rows: number,
  names: HeadNames,
): { vocabSize: number; hiddenSize: number } {
  if (rows === 0) {
    if (lengthOf(hidden) > 0) throw rangeError('ERR_ARG_LENGTH', expected('0 elements', names.hidden, hidden));
    // Without a row H is unknown and not needed: without a bias the weight counts as V rows of one element.
    const vocabSize = lengthOf(bias ?? weight);
    const hiddenSize = vocabSize === 0 ? 1 : lengthOf(weight) / vocabSize;
    if (Number.isInteger(hiddenSize) && vocabSize * hiddenSize === lengthOf(weight)) return { vocabSize, hiddenSize };
    throw rangeError('ERR_ARG_LENGTH', expected(`${vocabSize} rows of one length`, names.weight, weight));
  }
  const hiddenSize = lengthOf(hidden) / rows;
  if (!Number.isInteger(hiddenSize) || hiddenSize === 0) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${rows} rows (labels.length) of one length`, names.hidden, hidden));
  }
  const vocabSize = lengthOf(weight) / hiddenSize;
  if (!Number.isInteger(vocabSize) || vocabSize === 0 || vocabSize > MAX_VOCAB_SIZE) {
    throw rangeError('ERR_ARG_LENGTH', expected(`V rows of H = ${hiddenSize} elements`, names.weight, weight));
  }
  if (bias !== undefined && lengthOf(bias) !== vocabSize) {
    throw rangeError('ERR_ARG_LENGTH', expected(`V = ${vocabSize} elements`, names.bias, bias));
  }
  return { vocabSize, hiddenSize };
}
