// Shared by the adapters to frameworks: the options of an update without the head, which the framework computes.
import { isRecord } from '../args/options.js';
import { expected, typeError } from '../errors.js';
import {
  type CriticUpdateOptions,
  criticUpdate,
  type PolicyUpdateOptions,
  policyUpdate,
  type UpdateResult,
} from '../ops/preference-update.js';

const HEAD_OPTIONS = [
  'logits',
  'hidden',
  'hiddenStride',
  'weight',
  'bias',
  'hiddenSize',
  'precision',
  'dtype',
  'weightDtype',
  'weightLayout',
  'rowStride',
  'vocabSize',
  'accumulate',
  'frozenWeight',
  'frozenHidden',
  'out',
] as const;
type HeadOption = (typeof HEAD_OPTIONS)[number];

/** `Omit` that distributes over a union. */
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** The options of `criticUpdate` without the head and `out`. */
export type CriticBatch = Without<CriticUpdateOptions, HeadOption>;

/** The options of `policyUpdate` without the head and `out`. */
export type PolicyBatch = Without<PolicyUpdateOptions, HeadOption>;

/** An update in place: the gradient overwrites the logits, whose shape [..., V] the framework has. */
export type InPlaceUpdate<Batch> = (batch: Batch, logits: Float32Array, shape: readonly number[]) => UpdateResult;

export const criticInPlace: InPlaceUpdate<CriticBatch> = (batch, logits, shape) =>
  withoutGradient(criticUpdate(inPlace(batch, logits, shape)));

export const policyInPlace: InPlaceUpdate<PolicyBatch> = (batch, logits, shape) =>
  withoutGradient(policyUpdate(inPlace(batch, logits, shape)));

/** The options of the update; the framework computes the head, so the batch must not have one. */
function inPlace(batch: object, logits: Float32Array, shape: readonly number[]): never {
  if (!isRecord(batch)) throw typeError('ERR_ARG_TYPE', expected('an object', 'batch', batch));
  for (const option of HEAD_OPTIONS) {
    if (option in batch) throw typeError('ERR_UNKNOWN_OPTION', `Expected no ${option} in batch but received one`);
  }
  // The prototype, not a copy, which would omit inherited properties.
  // As a tensor: the rows of labels and other tensors must be in the order of these.
  const head = { logits: { data: logits, dims: shape }, out: { gradLogits: logits } };
  return Object.assign(Object.create(batch), head) as never;
}

function withoutGradient(result: UpdateResult & { gradLogits?: unknown }): UpdateResult {
  const { gradLogits: _, ...rest } = result;
  return rest;
}
