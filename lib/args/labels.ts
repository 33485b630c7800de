// Labels, the mask, and the ignored label.
import type * as native from '../addon/operations.js';
import { typeError } from '../errors.js';
import { classOf, hostView, lengthOf, mask, type NamedArray, typedArray } from './arrays.js';
import { integer } from './scalars.js';
import type { Tensor } from './tensors.js';

/** The default of `ignoreIndex`: a row with this label has no log-prob. */
export const IGNORE_INDEX = -100;

/** Token ids; BigInt64Array as ONNX Runtime and Hugging Face give them. */
export type Labels = Int32Array | BigInt64Array;

const CLASSES = ['Int32Array', 'BigInt64Array'] as const;

export interface LabelOptions {
  /** [N], the token that each row predicts. */
  labels: Labels | Tensor<Labels>;
  /** [N]; 0 masks a row: it is never read. */
  mask?: Uint8Array | Tensor<Uint8Array> | undefined;
  /** Rows with this label are ignored; -100 by default. */
  ignoreIndex?: number | undefined;
}

/** Which tokens count, of those whose log-probs are given. */
export interface TokenOptions {
  /** [N]; 0 masks a token: it is never read. */
  mask?: Uint8Array | Tensor<Uint8Array> | undefined;
  /** [N], the labels of the log-probs: tokens whose label is ignored do not count. Needed where the mask does not mask them. */
  labels?: Labels | Tensor<Labels> | undefined;
  /** The ignored label; -100 by default. */
  ignoreIndex?: number | undefined;
}

export const LABEL_OPTIONS = ['labels', 'mask', 'ignoreIndex'] as const; // of TokenOptions too

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
}

export function checkTokens(options: TokenOptions, tokens: number): CheckedTokens {
  const { labels, ignoreIndex } = options;
  if (labels !== undefined) {
    typedArray('labels', labels, CLASSES, tokens);
    return checkLabels({ ...options, labels });
  }
  if (ignoreIndex !== undefined) {
    throw typeError('ERR_UNKNOWN_OPTION', 'Expected no ignoreIndex without labels but received one');
  }
  return { rows: tokens, wide: false, ignoreIndex: IGNORE_INDEX, data: undefined, mask: mask(options.mask, tokens) };
}

/** [N] 1 for the tokens that count, where a function runs in JavaScript; `mask` where there are no labels. */
export function keptTokens(options: TokenOptions, tokens: number): Uint8Array | undefined {
  const { data, mask, ignoreIndex } = checkTokens(options, tokens);
  const kept = hostView('mask', mask);
  if (data === undefined) return kept;
  const labels = hostView('labels', data);
  return Uint8Array.from({ length: tokens }, (_, i) => (kept?.[i] === 0 || Number(labels[i]) === ignoreIndex ? 0 : 1));
}

export function labelInputs({ data, mask }: CheckedLabels | CheckedTokens): NamedArray[] {
  return [
    ['labels', data],
    ['mask', mask],
  ];
}

/** The same arrays of options that were checked: tensors are replaced by their data. */
export function tokenInputs({ mask, labels }: TokenOptions): NamedArray[] {
  return [
    ['mask', mask as Uint8Array | undefined],
    ['labels', labels as Labels | undefined],
  ];
}
