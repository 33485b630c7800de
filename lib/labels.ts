// Labels, the mask and what drops a row.
import { classOf, integer, lengthOf, mask, typedArray } from './checks.js';
import type { LabelArgs } from './native.js';

/** A label of this value drops its row. */
export const IGNORE_INDEX = -100;

/** Token ids; BigInt64Array as ONNX Runtime and Hugging Face give them. */
export type Labels = Int32Array | BigInt64Array;

export interface LabelOptions {
  /** [N], the token that each row predicts. */
  labels: Labels;
  /** [N]; 0 drops a row: it is never read. */
  mask?: Uint8Array | undefined;
  /** The label that drops a row; -100 by default. */
  ignoreIndex?: number | undefined;
}

export const LABEL_OPTIONS = ['labels', 'mask', 'ignoreIndex'] as const;

export interface CheckedLabels {
  count: number;
  labels: Labels;
  mask: Uint8Array | undefined;
  args: LabelArgs;
}

export function checkLabels(options: LabelOptions): CheckedLabels {
  const labels = typedArray('labels', options.labels, ['Int32Array', 'BigInt64Array']);
  const count = lengthOf(labels);
  const checkedMask = mask(options.mask, count);
  const ignore = integer('ignoreIndex', options.ignoreIndex, IGNORE_INDEX, -(2 ** 31), 2 ** 31 - 1);
  const wide = classOf(labels) === 'BigInt64Array';
  return { count, labels, mask: checkedMask, args: [labels, wide, checkedMask, ignore] };
}
