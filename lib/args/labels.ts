// Labels, the mask, the ignored label, and the weights of tokens.
import { tokenWeightError } from '../addon/faults.js';
import type * as native from '../addon/operations.js';
import { typeError } from '../errors.js';
import { classOf, float32, hostView, lengthOf, type Mask, mask, type NamedArray, typedArray } from './arrays.js';
import { integer } from './scalars.js';
import type { ArrayOrTensor } from './tensors.js';

/** The default of `ignoreIndex`: a row with this label has no log-prob. */
export const IGNORE_INDEX = -100;

/** Token ids; BigInt64Array as ONNX Runtime and Hugging Face give them. */
export type Labels = Int32Array | BigInt64Array;

const CLASSES = ['Int32Array', 'BigInt64Array'] as const;

export interface LabelOptions {
  /** [N], the token that each row predicts. */
  labels: ArrayOrTensor<Labels>;
  /** [N]; 0 masks a row: it is never read. Any other number keeps it. */
  mask?: ArrayOrTensor<Mask> | undefined;
  /** Rows with this label are ignored; -100 by default. */
  ignoreIndex?: number | undefined;
}

/** Which tokens count, of those whose log-probs are given. */
export interface TokenOptions {
  /** [N]; 0 masks a token: it is never read. Any other number keeps it. */
  mask?: ArrayOrTensor<Mask> | undefined;
  /** [N], the labels of the log-probs: tokens whose label is ignored do not count. Needed where the mask does not mask them. */
  labels?: ArrayOrTensor<Labels> | undefined;
  /** The ignored label; -100 by default. */
  ignoreIndex?: number | undefined;
}

export const LABEL_OPTIONS = ['labels', 'mask', 'ignoreIndex'] as const; // of TokenOptions too

/** How much the tokens count that do. */
export interface WeightOption {
  /** [N], >= 0: a token counts so many times in sums and means; 1 each by default. Not read where a token does not count. */
  tokenWeights?: ArrayOrTensor<Float32Array> | undefined;
}

export const WEIGHT_OPTION = 'tokenWeights';

export interface CheckedLabels extends native.Labels {
  rows: number;
  data: Labels;
  mask: Uint8Array | undefined;
}

export function checkLabels(options: LabelOptions): CheckedLabels {
  const data = typedArray('labels', options.labels, CLASSES);
  const rows = lengthOf(data);
  const checkedMask = mask(options.mask, rows);
  const ignoreIndex = integer('ignoreIndex', options.ignoreIndex, IGNORE_INDEX, -(2 ** 31), 2 ** 31 - 1);
  return { rows, wide: classOf(data) === 'BigInt64Array', ignoreIndex, data, mask: checkedMask };
}

export interface CheckedTokens extends native.TokenLabels {
  rows: number;
  data: Labels | undefined;
  mask: Uint8Array | undefined;
  weights: Float32Array | undefined;
}

/** The labels of an update as those of its loss. */
export function withWeights(labels: CheckedLabels, { tokenWeights }: WeightOption): CheckedTokens {
  const weights = tokenWeights === undefined ? undefined : float32('tokenWeights', tokenWeights, labels.rows);
  return { ...labels, weights };
}

export function checkTokens(options: TokenOptions & WeightOption, tokens: number): CheckedTokens {
  const { labels, ignoreIndex, tokenWeights } = options;
  if (labels !== undefined) {
    typedArray('labels', labels, CLASSES, tokens);
    return withWeights(checkLabels({ ...options, labels }), options);
  }
  if (ignoreIndex !== undefined) {
    throw typeError('ERR_UNKNOWN_OPTION', 'Expected no ignoreIndex without labels but received one');
  }
  const weights = tokenWeights === undefined ? undefined : float32('tokenWeights', tokenWeights, tokens);
  const none = { wide: false, ignoreIndex: IGNORE_INDEX, data: undefined };
  return { rows: tokens, ...none, mask: mask(options.mask, tokens), weights };
}

/** [N] 1 for the tokens that count, where a function runs in JavaScript; `mask` where there are no labels. */
export function keptTokens(options: TokenOptions, tokens: number): Uint8Array | undefined {
  return keptOf(checkTokens(options, tokens));
}

function keptOf({ rows, data, mask, ignoreIndex }: CheckedTokens): Uint8Array | undefined {
  const kept = hostView('mask', mask);
  if (data === undefined) return kept;
  const labels = hostView('labels', data);
  return Uint8Array.from({ length: rows }, (_, i) => (kept?.[i] === 0 || Number(labels[i]) === ignoreIndex ? 0 : 1));
}

/** What a token counts, where a function runs in JavaScript: undefined where it does not count. */
export function weightOfToken(
  options: TokenOptions & WeightOption,
  tokens: number,
): (token: number) => number | undefined {
  const checked = checkTokens(options, tokens);
  const kept = keptOf(checked);
  const weights = hostView('tokenWeights', checked.weights);
  const isKept = (i: number) => kept?.[i] !== 0;
  const at = weights?.findIndex((w, i) => isKept(i) && !(w >= 0 && w < Infinity)) ?? -1;
  if (at >= 0) throw tokenWeightError(at, weights?.[at] as number);
  return (i) => (!isKept(i) ? undefined : weights === undefined ? 1 : weights[i]);
}

export function labelInputs(labels: CheckedLabels | CheckedTokens): NamedArray[] {
  const inputs: NamedArray[] = [
    ['labels', labels.data],
    ['mask', labels.mask],
  ];
  if ('weights' in labels) inputs.push(['tokenWeights', labels.weights]);
  return inputs;
}

/** The same arrays of options that were checked: tensors are replaced by their data. */
export function tokenInputs({ mask, labels, tokenWeights }: TokenOptions & WeightOption): NamedArray[] {
  return [
    ['mask', mask as Mask | undefined],
    ['labels', labels as Labels | undefined],
    ['tokenWeights', tokenWeights as Float32Array | undefined],
  ];
}
