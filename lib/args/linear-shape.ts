// The sizes of a linear head, from its options, the shapes of tensors and the lengths of its arrays.
import { expected, rangeError, typeError } from '../errors.js';
import { lengthOf } from './arrays.js';
import type { FloatArray } from './dtypes.js';
import { integer } from './scalars.js';
import { expectedShape, lastDimension, shapeOfOption } from './tensors.js';

export const MAX_VOCAB_SIZE = 2 ** 31 - 1;

/** How the weight of a head is stored: [V, H], as PyTorch's Linear, or [H, V], as a kernel of flax or TensorFlow.js. */
export type WeightLayout = 'VH' | 'HV';

/** The names of a head's arguments. */
type LinearNames = Readonly<
  Record<'hidden' | 'hiddenSize' | 'hiddenStride' | 'weight' | 'weightLayout' | 'bias', string>
>;

/** Without the padding after the last row. */
export const rowsLength = (rows: number, columns: number, rowStride: number): number =>
  rows === 0 ? 0 : (rows - 1) * rowStride + columns;

/** Of a weight that is a tensor of another shape than its layout has. */
function shapeError(
  names: LinearNames,
  layout: WeightLayout,
  { vocabSize, hiddenSize }: { vocabSize: number; hiddenSize: number },
  shape: readonly number[],
): string {
  const V = vocabSize > 0 && shape.length === 2 && shape.includes(vocabSize) ? 'V' : vocabSize || 'V';
  const rule = layout === 'VH' ? `[${V}, ${hiddenSize}]` : `[${hiddenSize}, ${V}]`;
  const what = `the shape ${rule}, as ${names.weightLayout} is '${layout}',`;
  return `Expected ${what} for ${names.weight} but received [${shape.join(', ')}]`;
}

/** A weight of a single entry is stored the same in both layouts. */
export const weightStrides = (layout: WeightLayout, { vocabSize, hiddenSize }: Omit<LinearShape, 'hiddenStride'>) =>
  layout === 'HV' && vocabSize !== 1
    ? { rowStride: 1, columnStride: vocabSize }
    : { rowStride: hiddenSize, columnStride: 1 };

export interface LinearShape {
  vocabSize: number;
  hiddenSize: number;
  hiddenStride: number;
}

/** Where N and V are from, for messages; '' where that goes without saying. */
export interface SizeSources {
  rows: string;
  vocab?: string;
}

/** The shape that options and lengths of a linear head agree with. */
export function linearShape(
  options: { hiddenSize?: unknown; hiddenStride?: unknown; vocabSize?: unknown },
  { hidden, weight, bias }: { hidden: FloatArray; weight: FloatArray; bias: FloatArray | undefined },
  rows: number,
  layout: WeightLayout,
  names: LinearNames,
  { rows: ofRows, vocab: source = '' }: SizeSources,
): LinearShape {
  const weightShape = shapeOfOption(options, names.weight);
  const [shapeV, shapeH] = layout === 'VH' ? [0, 1] : [1, 0];
  const rowLength = lastDimension(options, names.hidden);
  const elements = lengthOf(weight);
  const givenHidden = integer(names.hiddenSize, options.hiddenSize, 0, 1, Number.MAX_SAFE_INTEGER);
  const givenVocab = integer('vocabSize', options.vocabSize, 0, 1, MAX_VOCAB_SIZE) || (weightShape?.[shapeV] ?? 0);
  const stride = integer(names.hiddenStride, options.hiddenStride, 0, 1, Number.MAX_SAFE_INTEGER);
  const knownHidden = givenHidden || (stride ? 0 : (rowLength ?? 0));
  // Without a row and without sizes H is unknown and not needed: the weight counts as V rows of one element.
  const knownVocab = givenVocab || (rows === 0 && bias ? lengthOf(bias) : 0);
  const byWeight = knownVocab > 0 ? elements / knownVocab : 1;
  const ofVocab = `${knownVocab > 0 ? knownVocab : 'V'} rows${source && ` (${source})`}`;
  if (knownHidden === 0 && !Number.isInteger(byWeight)) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${ofVocab} of one length`, names.weight, weight));
  }
  const length = lengthOf(hidden);
  const perRow = stride ? length - (rows - 1) * stride : length / rows;
  if (
    knownHidden === 0 &&
    givenVocab &&
    !weightShape &&
    stride === 0 &&
    Number.isInteger(perRow) &&
    perRow > 0 &&
    perRow !== byWeight
  ) {
    // Any of labels, hidden, weight and V may be the wrong one.
    const ofWeight = `H = ${byWeight} by ${names.weight} (${knownVocab} rows, ${source})`;
    const received = `${perRow} by ${names.hidden} (${rows} rows${ofRows && `, ${ofRows}`}) and ${ofWeight}`;
    const rule = `one H for ${names.hidden} and ${names.weight}`;
    throw rangeError('ERR_ARG_LENGTH', `Expected ${rule} but received H = ${received}`);
  }
  const byRows = rows === 0 || (givenVocab && (stride > 0 || !weightShape)) ? byWeight : perRow;
  const hiddenSize = knownHidden || byRows;
  const vocabSize = knownVocab || (hiddenSize > 0 ? elements / hiddenSize : 0);

  const isSize = (n: number) => Number.isInteger(n) && (n > 0 || rows === 0);
  const ofHidden = isSize(hiddenSize)
    ? `H = ${hiddenSize} elements${givenHidden ? ` (${names.hiddenSize})` : ''}`
    : 'one length';
  const hiddenStride = stride || hiddenSize;
  if (hiddenStride < hiddenSize && isSize(hiddenSize)) {
    throw rangeError('ERR_ARG_VALUE', expected(`at least H = ${hiddenSize}`, names.hiddenStride, stride));
  }
  if (stride > 0 && length === rows * stride && rows > 0 && knownHidden === 0 && givenVocab === 0) {
    const why = 'since all rows have hiddenStride elements, padding could be taken for hidden states';
    throw typeError('ERR_ARG_TYPE', `${expected('H', names.hiddenSize, undefined)}: ${why}`);
  }
  const holdsRows = length === rows * hiddenStride || length === rowsLength(rows, hiddenSize, hiddenStride);
  if (!isSize(hiddenSize) || !holdsRows || (rowLength ?? hiddenStride) !== hiddenStride) {
    const apart = stride > 0 ? `, ${names.hiddenStride} = ${stride} elements apart` : '';
    throw rangeError(
      'ERR_ARG_LENGTH',
      expectedShape(options, `${rows} rows${ofRows && ` (${ofRows})`} of ${ofHidden}${apart}`, names.hidden, hidden),
    );
  }
  const fits = isSize(vocabSize) && vocabSize <= MAX_VOCAB_SIZE && vocabSize * hiddenSize === elements;
  if (!fits || (weightShape && (weightShape.length !== 2 || weightShape[shapeH] !== hiddenSize))) {
    const message = weightShape
      ? shapeError(names, layout, { vocabSize: givenVocab, hiddenSize }, weightShape)
      : expected(`${ofVocab} of ${ofHidden}`, names.weight, weight);
    throw rangeError('ERR_ARG_LENGTH', message);
  }
  if (bias !== undefined && lengthOf(bias) !== vocabSize) {
    throw rangeError('ERR_ARG_LENGTH', expected(`V = ${vocabSize} elements`, names.bias, bias));
  }
  return { vocabSize, hiddenSize, hiddenStride };
}
