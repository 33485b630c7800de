// The two heads that log-probs come from, logits or hidden states x weight, with the shapes that follow from the lengths.
import { integer, isOnDevice, lengthOf, number } from './checks.js';
import { alike, type DType, type FloatArray, freshLike, stored } from './dtypes.js';
import { expected, rangeError, typeError } from './errors.js';
import type { LinearHeadArgs, LogitsHeadArgs } from './native.js';
import { type Inputs, type Out, own } from './out.js';

export const MOST_WORDS = 2 ** 31 - 1;

/** A head that the model computed: the scores of all words, row by row. */
export interface LogitsHead<L extends FloatArray = FloatArray> {
  /** [N, V], row-major. */
  logits: L;
  /** Of a Uint16Array: 'bfloat16' or 'float16'. */
  dtype?: DType | undefined;
  /** Elements from one row to the next, if rows are padded; without vocabSize the array ends with the last row's last word. */
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
   * On a device alone: the most bytes of working memory for the rows that are computed at once, their float32 logits above
   * all; 2^30 by default. One row is computed even where it takes more. The workspace of cuBLASLt, up to 32 MiB, comes on
   * top.
   */
  chunkBytes?: number | undefined;
}

export interface TemperatureOption {
  /** Divides the logits; 1 by default, from 1e-30 to 1e30. */
  temperature?: number | undefined;
}

export const LOGITS_HEAD = ['logits', 'dtype', 'rowStride', 'vocabSize', 'temperature'] as const;
export const LINEAR_HEAD = ['hidden', 'weight', 'bias', 'dtype', 'temperature', 'chunkBytes'] as const;

export interface CheckedLogits<L extends FloatArray = FloatArray> {
  logits: L;
  vocab: number;
  stride: number;
  inputs: Inputs;
  args: LogitsHeadArgs;
}

export interface CheckedLinear<H extends FloatArray = FloatArray> {
  hidden: H;
  weight: H;
  bias: H | undefined;
  vocab: number;
  width: number;
  inputs: Inputs;
  args: LinearHeadArgs;
}

/** Far beyond these, logits times their slope leave float32. */
const [COLDEST, HOTTEST] = [1e-30, 1e30];

export function checkTemperature({ temperature }: TemperatureOption): number {
  const expected = `a number from ${COLDEST} to ${HOTTEST}`;
  return number('temperature', temperature, 1, expected, (x) => x >= COLDEST && x <= HOTTEST);
}

/** N rows of logits: V is logits.length / N; with rowStride the last row ends the array; vocabSize says V outright. */
export function checkLogits<L extends FloatArray>(
  options: LogitsHead<L>,
  rows: number,
  temperature: number,
): CheckedLogits<L> {
  const { array: logits, code } = stored('logits', options.logits, 'dtype', options.dtype);
  const length = lengthOf(logits);
  const given = options.vocabSize;
  const stride = integer('rowStride', options.rowStride, 0, 1, Number.MAX_SAFE_INTEGER);
  let vocab = integer('vocabSize', given, 0, 1, MOST_WORDS);
  if (given === undefined) {
    if (rows === 0) vocab = 0;
    else vocab = stride > 0 ? length - (rows - 1) * stride : length / rows;
  }
  checkRows('logits', logits, rows, vocab, stride || vocab, given !== undefined);
  return {
    logits: logits as L,
    vocab,
    stride: stride || vocab,
    inputs: [['logits', logits]],
    args: [logits, code, rows, vocab, stride || vocab, temperature],
  };
}

function checkRows(
  name: string,
  array: FloatArray,
  rows: number,
  vocab: number,
  stride: number,
  padded: boolean,
): void {
  if (stride < vocab) throw rangeError('ERR_ARG_VALUE', expected(`at least V = ${vocab}`, 'rowStride', stride));
  const least = rows === 0 ? 0 : (rows - 1) * stride + Math.max(vocab, 1);
  const rule = padded ? `at least ${least} elements` : `${rows} rows (labels.length) of one length`;
  const length = lengthOf(array);
  const fits = padded || rows === 0 ? length >= least : length === least;
  const whole = Number.isInteger(vocab) && vocab >= (rows === 0 ? 0 : 1) && vocab <= MOST_WORDS;
  if (!fits || !whole || (rows === 0 && !padded && length > 0)) {
    throw rangeError('ERR_ARG_LENGTH', expected(rule, name, array));
  }
}

/** Reference logits over the rows and words of another head: one row after the other, or as far apart as that head's. */
export function checkRefLogits(
  options: { refLogits: unknown; refDtype?: unknown },
  rows: number,
  vocab: number,
  stride: number,
  temperature: number,
): { view: FloatArray; args: LogitsHeadArgs } {
  const { array, code } = stored('refLogits', options.refLogits, 'refDtype', options.refDtype);
  const length = lengthOf(array);
  const own = length === rows * vocab ? vocab : stride;
  // Just its rows or, like the logits, with padding after each of them.
  const least = rows === 0 ? 0 : (rows - 1) * own + vocab;
  if (length !== least && length !== own * rows) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${rows} rows of ${vocab} elements`, 'refLogits', array));
  }
  return { view: array, args: [array, code, rows, vocab, own, temperature] };
}

export interface LinearNames {
  hidden: string;
  weight: string;
  bias: string;
  dtype: string;
}

const OWN_NAMES: LinearNames = { hidden: 'hidden', weight: 'weight', bias: 'bias', dtype: 'dtype' };
export const REF_NAMES: LinearNames = { hidden: 'refHidden', weight: 'refWeight', bias: 'refBias', dtype: 'refDtype' };

/** N rows of hidden states: H is hidden.length / N, V is weight.length / H and must be `words`, where that is known. */
export function checkLinear<H extends FloatArray>(
  head: LinearHead<H>,
  rows: number,
  temperature: number,
  names: LinearNames = OWN_NAMES,
  words?: number,
): CheckedLinear<H> {
  const { array, code } = stored(names.hidden, head.hidden, names.dtype, head.dtype);
  const hidden = array as H;
  const weight = alike(names.weight, head.weight, hidden);
  const bias = head.bias === undefined ? undefined : alike(names.bias, head.bias, hidden);
  const shape = shapeOf(hidden, weight, bias, rows, names);
  if (words !== undefined && rows > 0 && shape.vocab !== words) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${words} rows of H = ${shape.width} elements`, names.weight, weight));
  }
  if (head.chunkBytes !== undefined && !isOnDevice(array)) {
    const reason = 'chunks are those of a device, the processor keeps tiles of its own size';
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no chunkBytes as ${names.hidden} is a typed array: ${reason}`);
  }
  const chunkBytes = integer('chunkBytes', head.chunkBytes, 0, 1, Number.MAX_SAFE_INTEGER);
  return {
    hidden,
    weight,
    bias,
    ...shape,
    inputs: [
      [names.hidden, hidden],
      [names.weight, weight],
      [names.bias, bias],
    ],
    args: [hidden, weight, bias, code, rows, shape.vocab, shape.width, temperature, chunkBytes],
  };
}

function shapeOf(
  hidden: FloatArray,
  weight: FloatArray,
  bias: FloatArray | undefined,
  rows: number,
  names: LinearNames,
): { vocab: number; width: number } {
  if (rows === 0) {
    if (lengthOf(hidden) > 0) throw rangeError('ERR_ARG_LENGTH', expected('0 elements', names.hidden, hidden));
    // Without a row no width can be told and none is needed: the weight counts as words of one number.
    const vocab = lengthOf(bias ?? weight);
    const width = vocab === 0 ? 1 : lengthOf(weight) / vocab;
    if (Number.isInteger(width) && vocab * width === lengthOf(weight)) return { vocab, width };
    throw rangeError('ERR_ARG_LENGTH', expected(`${vocab} rows of one length`, names.weight, weight));
  }
  const width = lengthOf(hidden) / rows;
  if (!Number.isInteger(width) || width === 0) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${rows} rows (labels.length) of one length`, names.hidden, hidden));
  }
  const vocab = lengthOf(weight) / width;
  if (!Number.isInteger(vocab) || vocab === 0 || vocab > MOST_WORDS) {
    throw rangeError('ERR_ARG_LENGTH', expected(`V rows of H = ${width} elements`, names.weight, weight));
  }
  if (bias !== undefined && lengthOf(bias) !== vocab) {
    throw rangeError('ERR_ARG_LENGTH', expected(`V = ${vocab} elements`, names.bias, bias));
  }
  return { vocab, width };
}

/** The gradients of a linear head, in float32 whatever its inputs: [N, H], [V, H] and, where there is a bias, [V]. */
export interface LinearGradients {
  gradHidden: Float32Array;
  gradWeight: Float32Array;
  gradBias?: Float32Array;
}

export const LINEAR_GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;

/** The gradient of logits: of their class, their length and their row stride. */
export function gradLogitsOf<L extends FloatArray>(head: CheckedLogits<L>, out: Out): L {
  const { logits, vocab, stride } = head;
  const length = lengthOf(logits);
  const filled = stride === vocab && length === head.args[2] * vocab;
  const checked = (argument: string, value: unknown): L => {
    const array = alike(argument, value, logits);
    if (lengthOf(array) !== length) {
      throw rangeError('ERR_ARG_LENGTH', expected(`${length} elements`, argument, array));
    }
    return array;
  };
  return out.take('gradLogits', checked, () => freshLike(logits, length, filled));
}

/** The gradients of a linear head, in float32; those that are added to must be given. */
export function linearGradientsOf(head: CheckedLinear, out: Out, accumulate: boolean): LinearGradients {
  const { hidden, weight, bias } = head;
  const names = bias === undefined ? LINEAR_GRADIENTS.slice(0, 2) : LINEAR_GRADIENTS;
  for (const name of names) {
    if (accumulate && !out.has(name))
      throw typeError('ERR_ARG_TYPE', expected('a Float32Array to add to', `out.${name}`, undefined));
  }
  const gradients = {
    gradHidden: out.float32('gradHidden', lengthOf(hidden)),
    gradWeight: out.float32('gradWeight', lengthOf(weight)),
  };
  if (bias !== undefined) return { ...gradients, gradBias: out.float32('gradBias', lengthOf(bias)) };
  out.refuse('gradBias', 'there is no bias');
  return gradients;
}

/** After the native call. */
export function ownGradients({ gradHidden, gradWeight, gradBias }: LinearGradients): LinearGradients {
  const owned = { gradHidden: own(gradHidden), gradWeight: own(gradWeight) };
  return gradBias === undefined ? owned : { ...owned, gradBias: own(gradBias) };
}
