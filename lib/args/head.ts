// The head that log-probs come from, logits or hidden states and weight, and its shape, which follows from the lengths.
import type * as native from '../addon/operations.js';
import { expected, rangeError, typeError } from '../errors.js';
import { isOnDevice, lengthOf, type NamedArray } from './arrays.js';
import { type DType, type FloatArray, float32OrSame, floatArray, inheritedDtype } from './dtypes.js';
import { exclusiveGroups, selectGroup } from './exclusive.js';
import {
  linearShape,
  MAX_VOCAB_SIZE,
  rowsLength,
  type SizeSources,
  type WeightLayout,
  weightStrides,
} from './linear-shape.js';
import { checkPrecision, type PrecisionOption } from './precision.js';
import { integer, number, oneOf } from './scalars.js';
import { type ArrayOrTensor, checkTypeOfTensor, expectedShape, lastDimension } from './tensors.js';

export { MAX_VOCAB_SIZE, type SizeSources, type WeightLayout };

/** A head that the model computed: the logits of all vocabulary entries, row by row. */
export interface LogitsHead<L extends FloatArray = FloatArray> {
  /** [N, V], row-major, or a tensor of this shape or [..., V]. */
  logits: ArrayOrTensor<L>;
  /** Of a Uint16Array: 'bfloat16' or 'float16'. */
  dtype?: DType | undefined;
  /** V, which should be given: with it N * V elements are asked for, without it V is logits.length / N, whatever N is. */
  vocabSize?: number | undefined;
  /**
   * Elements from one row to the next, V or more: the array has N * rowStride elements or ends with the last row's entries.
   * In a gradient the padding is 0, except in rows of at least `totalVocab` elements, which other shards may share.
   */
  rowStride?: number | undefined;
}

/** A head that is not computed yet: logits_i = hidden_i * weight^T + bias; [N, V] is never stored. */
export interface LinearHead<H extends FloatArray = FloatArray> extends PrecisionOption {
  /** [N, H], or a tensor of this shape or [..., H]. */
  hidden: ArrayOrTensor<H>;
  /**
   * Elements from one hidden state to the next, H or more: the array has N * hiddenStride elements or ends with the last hidden
   * state. Its gradient is dense, [N, H], all the same.
   */
  hiddenStride?: number | undefined;
  /** [V, H] or, with `weightLayout: 'HV'`, [H, V]; of any storage type, whatever that of `hidden` is. */
  weight: ArrayOrTensor<FloatArray>;
  /** [V], in float32 or the type of `weight`. */
  bias?: ArrayOrTensor<FloatArray> | undefined;
  /** H, which should be given, or vocabSize: without both, H is hidden.length / N and V is weight.length / H, whatever N is. */
  hiddenSize?: number | undefined;
  /** V. */
  vocabSize?: number | undefined;
  /** Of a Uint16Array as `hidden`: 'bfloat16' or 'float16'. */
  dtype?: DType | undefined;
  /**
   * Of a Uint16Array as `weight`, where it is not `dtype`. Where hidden states and weight have different types, products are those
   * of float32, and so are the gradients of the logits.
   */
  weightDtype?: DType | undefined;
  /** 'VH' by default. The gradient of the weight has the weight's layout. */
  weightLayout?: WeightLayout | undefined;
  /**
   * On a device alone: the most bytes of working memory for the rows that are computed at once, mainly their float32 logits;
   * 2^30 by default. One row is computed even where it takes more. The workspace of cuBLASLt, up to 32 MiB, is not counted.
   */
  chunkBytes?: number | undefined;
}

/** What is computed of the gradients of a linear head, and where they go. */
export interface LinearGradientOptions<FrozenWeight = boolean, FrozenHidden = boolean> {
  /** Add to the buffers of `out` instead of overwriting them. */
  accumulate?: boolean | undefined;
  /** The weight and the bias are not trained: neither gradWeight nor gradBias is computed, allocated or returned. */
  frozenWeight?: FrozenWeight | undefined;
  /** Only the head is trained: gradHidden is not computed, allocated or returned. */
  frozenHidden?: FrozenHidden | undefined;
}

/** What is done to the logits before the softmax. */
export interface ScaleOptions {
  /** Divides the logits, after the softcap; 1 by default, from 1e-30 to 1e30. */
  temperature?: number | undefined;
  /**
   * The logits are softcap * tanh(logits / softcap), as in Gemma 2; from 1e-3 to 1e6. null, which model configurations have, or
   * absent: none.
   */
  softcap?: number | null | undefined;
}

export const LOGITS_HEAD = ['logits', 'dtype', 'rowStride', 'vocabSize', 'temperature', 'softcap'] as const;
export const LINEAR_HEAD = [
  'hidden',
  'hiddenStride',
  'weight',
  'bias',
  'hiddenSize',
  'vocabSize',
  'dtype',
  'weightDtype',
  'weightLayout',
  'temperature',
  'softcap',
  'chunkBytes',
  'precision',
] as const;

export const LINEAR_GRADIENT_OPTIONS = ['accumulate', 'frozenWeight', 'frozenHidden'] as const;

/** The names of a head's arguments. */
export const HEAD_NAMES = {
  logits: 'logits',
  rowStride: 'rowStride',
  vocabSize: 'vocabSize',
  temperature: 'temperature',
  softcap: 'softcap',
  hidden: 'hidden',
  hiddenStride: 'hiddenStride',
  hiddenSize: 'hiddenSize',
  weight: 'weight',
  weightDtype: 'weightDtype',
  weightLayout: 'weightLayout',
  bias: 'bias',
  dtype: 'dtype',
};
export type HeadNames = typeof HEAD_NAMES;

export interface CheckedLogits<L extends FloatArray = FloatArray> extends native.LogitsHead {
  logits: L;
}

interface CheckedOperand<A extends FloatArray> extends native.Operand {
  data: A;
}

export interface CheckedLinear<H extends FloatArray = FloatArray> extends native.LinearHead {
  hidden: CheckedOperand<H>;
  weight: CheckedOperand<FloatArray>;
  bias: FloatArray | undefined;
}

/** Whether a matrix is stored as its transpose; one with a single row or column is the same either way. */
export const isTransposed = ({ columnStride }: native.Operand): boolean => columnStride !== 1;

export function headInputs(head: native.Head, names: HeadNames = HEAD_NAMES): NamedArray[] {
  if (head.kind === 'logits') return [[names.logits, head.logits]];
  return [
    [names.hidden, head.hidden.data],
    [names.weight, head.weight.data],
    [names.bias, head.bias],
  ];
}

// Outside of this range, logits * log2(e) / temperature leaves float32.
const [MIN_TEMPERATURE, MAX_TEMPERATURE] = [1e-30, 1e30];

/** 0 stands for no softcap. */
export type Scale = Pick<native.Head, 'temperature' | 'softcap'>;

export function checkScale({ temperature, softcap }: ScaleOptions): Scale {
  return { temperature: temperatureOf('temperature', temperature, 1), softcap: softcapOf('softcap', softcap, 0) };
}

/** Of a second head: those of the first one by default. */
export function checkSecondScale(options: Readonly<Record<string, unknown>>, names: HeadNames, first: Scale): Scale {
  return {
    temperature: temperatureOf(names.temperature, options[names.temperature], first.temperature),
    softcap: softcapOf(names.softcap, options[names.softcap], first.softcap),
  };
}

// Within this range the softcap and the numbers that it makes of logits are far from the ends of float32.
const [MIN_SOFTCAP, MAX_SOFTCAP] = [1e-3, 1e6];

function softcapOf(name: string, given: unknown, byDefault: number): number {
  const rule = `null or a number from ${MIN_SOFTCAP} to ${MAX_SOFTCAP}`;
  return given === null ? 0 : number(name, given, byDefault, rule, (x) => x >= MIN_SOFTCAP && x <= MAX_SOFTCAP);
}

function temperatureOf(name: string, given: unknown, byDefault: number): number {
  const rule = `a number from ${MIN_TEMPERATURE} to ${MAX_TEMPERATURE}`;
  return number(name, given, byDefault, rule, (x) => x >= MIN_TEMPERATURE && x <= MAX_TEMPERATURE);
}

const OF_LABELS: SizeSources = { rows: 'labels.length' };

const HEAD_GROUPS = exclusiveGroups([LOGITS_HEAD, [...LINEAR_HEAD, ...LINEAR_GRADIENT_OPTIONS]]);

/** The one head that the options have. */
export function checkHead(options: ScaleOptions, rows: number): CheckedLogits | CheckedLinear {
  const scale = checkScale(options);
  return selectGroup(options as Record<string, unknown>, HEAD_GROUPS, 'the head') === 'hidden'
    ? checkLinear(options as LinearHead, rows, scale)
    : checkLogits(options as LogitsHead, rows, scale);
}

/** N rows of logits. V is vocabSize, the last dimension of a tensor, or follows from the length. */
export function checkLogits<L extends FloatArray>(
  options: LogitsHead<L> & { totalVocab?: number | undefined },
  rows: number,
  scale: Scale,
  { rows: source }: SizeSources = OF_LABELS,
): CheckedLogits<L> {
  const { array, dtype } = floatArray('logits', options.logits, 'dtype', options.dtype);
  const length = lengthOf(array);
  const stride = integer('rowStride', options.rowStride, 0, 1, Number.MAX_SAFE_INTEGER);
  const rowLength = lastDimension(options, 'logits');
  const given = integer('vocabSize', options.vocabSize, 0, 1, MAX_VOCAB_SIZE) || (stride ? 0 : (rowLength ?? 0));
  const inferred = rows === 0 ? 0 : stride ? length - (rows - 1) * stride : length / rows;
  const vocabSize = given || inferred;
  const rowStride = stride || vocabSize;
  if (rowStride < vocabSize) {
    throw rangeError('ERR_ARG_VALUE', expected(`at least V = ${vocabSize}`, 'rowStride', stride));
  }
  if (rowLength !== undefined && rowLength !== rowStride) {
    const rule = `[..., ${rowStride}], ${stride ? 'rowStride' : 'vocabSize'},`;
    throw rangeError('ERR_ARG_LENGTH', expected(rule, 'the shape of logits', `[..., ${rowLength}]`));
  }
  if (given === 0 && stride > 0 && length === rows * stride && rows > 0) {
    const why = 'since all rows have rowStride elements, padding could be taken for vocabulary entries';
    throw typeError('ERR_ARG_TYPE', `${expected('V', 'vocabSize', undefined)}: ${why}`);
  }
  const whole = rows === 0 || (Number.isInteger(vocabSize) && vocabSize > 0 && vocabSize <= MAX_VOCAB_SIZE);
  const least = rowsLength(rows, vocabSize, rowStride);
  // A shard inside rows of the whole vocabulary begins in the first row and may end with the array.
  const totalVocab = typeof options.totalVocab === 'number' ? options.totalVocab : 0;
  const inside = totalVocab > vocabSize && totalVocab <= rowStride && length > least && length < rows * rowStride;
  if (!whole || (length !== least && length !== rows * rowStride && !inside)) {
    const size = given ? `vocabSize = ${given}` : 'one length';
    const padded = stride > given ? `, rowStride = ${stride} elements apart` : '';
    const rule = `${rows} rows${source && ` (${source})`} of ${size}${padded},`;
    throw rangeError('ERR_ARG_LENGTH', expectedShape(options, rule, 'logits', array));
  }
  return logitsHead(array as L, { dtype, rows, vocabSize, rowStride, ...scale });
}

const logitsHead = <L extends FloatArray>(
  logits: L,
  shape: Pick<native.LogitsHead, 'dtype' | 'rows' | 'vocabSize' | 'temperature' | 'softcap' | 'rowStride'>,
): CheckedLogits<L> => ({
  kind: 'logits',
  ...shape,
  vocabOffset: 0,
  totalVocab: 0,
  logitsLength: lengthOf(logits),
  logits,
});

/**
 * Logits of a second head for the rows and the vocabulary of a first one; without a row stride, they have no padding or that
 * head's row stride.
 */
export function checkSecondLogits(
  options: object,
  own: { logits: unknown; dtype: unknown; rowStride: unknown },
  { rows, vocabSize, rowStride: stride, ...scale }: Scale & Pick<native.LogitsHead, 'rows' | 'vocabSize' | 'rowStride'>,
  names: HeadNames,
): CheckedLogits {
  const { array, dtype } = floatArray(names.logits, own.logits, names.dtype, own.dtype);
  const length = lengthOf(array);
  const given = integer(names.rowStride, own.rowStride, 0, 1, Number.MAX_SAFE_INTEGER);
  if (given > 0 && given < vocabSize) {
    throw rangeError('ERR_ARG_VALUE', expected(`at least V = ${vocabSize}`, names.rowStride, given));
  }
  const rowStride = given || (length === rows * vocabSize ? vocabSize : stride);
  const rowLength = lastDimension(options, names.logits) ?? rowStride;
  // Padding after the last row may be there or not, as for the logits.
  const fits = length === rowsLength(rows, vocabSize, rowStride) || length === rows * rowStride;
  if (!fits || rowLength !== rowStride) {
    const apart = given ? `, ${names.rowStride} = ${given} elements apart` : '';
    const rule = `${rows} rows of V = ${vocabSize} elements${apart}`;
    throw rangeError('ERR_ARG_LENGTH', expectedShape(options, rule, names.logits, array));
  }
  return logitsHead(array, { dtype, rows, vocabSize, ...scale, rowStride });
}

/**
 * N rows of hidden states. H and V are given, dimensions of a tensor, or follow from the lengths. `sourceOfVocab` says where V is
 * from, for messages.
 */
export function checkLinear<H extends FloatArray>(
  options: LinearHead<H>,
  rows: number,
  scale: Scale,
  names: HeadNames = HEAD_NAMES,
  sources: SizeSources = OF_LABELS,
): CheckedLinear<H> {
  const { array, dtype } = floatArray(names.hidden, options.hidden, names.dtype, options.dtype);
  const data = array as H;
  const weightDtype =
    options.weightDtype === undefined ? inheritedDtype(options.weight, options.dtype) : options.weightDtype;
  const weight = floatArray(names.weight, options.weight, names.weightDtype, weightDtype);
  const bias =
    options.bias === undefined
      ? undefined
      : float32OrSame(names.bias, options.bias, { name: names.weight, dtype: weight.dtype });
  if (bias !== undefined) checkTypeOfTensor(options, names.bias, bias.dtype);
  const layout = oneOf<WeightLayout>(names.weightLayout, options.weightLayout, 'VH', ['VH', 'HV']);
  const arrays = { hidden: data, weight: weight.array, bias: bias?.array };
  const { hiddenStride, ...shape } = linearShape(options, arrays, rows, layout, names, {
    vocab: options.vocabSize === undefined ? '' : 'vocabSize',
    ...sources,
  });
  if (options.chunkBytes !== undefined && !isOnDevice(array)) {
    const reason = 'chunks are those of a device, the CPU uses tiles of a fixed size';
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no chunkBytes as ${names.hidden} is a typed array: ${reason}`);
  }
  const chunkBytes = integer('chunkBytes', options.chunkBytes, 0, 1, Number.MAX_SAFE_INTEGER);
  const ofProducts = dtype === weight.dtype ? dtype : 'float32';
  const precision = checkPrecision(options.precision, names.hidden, {
    dtype: ofProducts,
    onDevice: isOnDevice(array),
    isReference: names !== HEAD_NAMES,
  });
  const whole = { vocabOffset: 0, totalVocab: 0 };
  return {
    kind: 'linear',
    ...{ dtype: ofProducts, rows, ...shape, ...scale, ...whole, chunkBytes, precision },
    hidden: { dtype, rowStride: hiddenStride, columnStride: 1, data },
    weight: { dtype: weight.dtype, ...weightStrides(layout, shape), data: weight.array },
    biasDtype: bias?.dtype ?? 'float32',
    bias: bias?.array,
  };
}
