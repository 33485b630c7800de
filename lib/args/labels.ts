// Labels, the mask, and the ignored label.
import type * as native from '../addon/operations.js';
import { classOf, lengthOf, mask, type NamedArray, typedArray } from './arrays.js';
import { integer } from './scalars.js';

/** The default of `ignoreIndex`: a row with this label has no log-prob. */
export const IGNORE_INDEX = -100;

/** Token ids; BigInt64Array as ONNX Runtime and Hugging Face give them. */
export type Labels = Int32Array | BigInt64Array;

export interface LabelOptions {
  /** [N], the token that each row predicts. */
  labels: Labels;
  /** [N]; 0 masks a row: it is never read. */
  mask?: Uint8Array | undefined;
  /** Rows with this label are ignored; -100 by default. */
  ignoreIndex?: number | undefined;
}

export const LABEL_OPTIONS = ['labels', 'mask', 'ignoreIndex'] as const;

export interface CheckedLabels extends native.Labels {
  rows: number;
  data: Labels;
  mask: Uint8Array | undefined;
}

export function checkLabels(options: LabelOptions): CheckedLabels {
  const data = typedArray('labels', options.labels, ['Int32Array', 'BigInt64Array']);
  const rows = lengthOf(data);
  const checkedMask = mask(options.mask, rows);
  const ignoreIndex = integer('ignoreIndex', options.ignoreIndex, IGNORE_INDEX, -(2 ** 31), 2 ** 31 - 1);
  return { rows, wide: classOf(data) === 'BigInt64Array', ignoreIndex, data, mask: checkedMask };
}

export function labelInputs({ data, mask }: CheckedLabels): NamedArray[] {
  return [
    ['labels', data],
    ['mask', mask],
  ];
}
