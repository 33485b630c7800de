// What the adapters to frameworks share: an update's options without the head, which the framework computes.
import { type CriticUpdateOptions, criticUpdate } from './critic-update.js';
import { type PolicyUpdateOptions, policyUpdate } from './policy-update.js';
import type { UpdateResult } from './update.js';

type HeadOption = 'logits' | 'hidden' | 'weight' | 'bias' | 'dtype' | 'rowStride' | 'vocabSize' | 'accumulate' | 'out';

/** Distributes over a union, which `Omit` alone does not. */
type Without<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;

/** Everything that `criticUpdate` takes, but the logits and `out`. */
export type CriticBatch = Without<CriticUpdateOptions, HeadOption>;

/** Everything that `policyUpdate` takes, but the logits and `out`. */
export type PolicyBatch = Without<PolicyUpdateOptions, HeadOption>;

/** An update in place: the logits become their gradient. */
export type InPlaceUpdate<Batch> = (batch: Batch, logits: Float32Array) => UpdateResult;

export const criticInPlace: InPlaceUpdate<CriticBatch> = (batch, logits) =>
  withoutGradient(criticUpdate({ ...batch, logits, out: { gradLogits: logits } } as never));

export const policyInPlace: InPlaceUpdate<PolicyBatch> = (batch, logits) =>
  withoutGradient(policyUpdate({ ...batch, logits, out: { gradLogits: logits } } as never));

function withoutGradient(result: UpdateResult & { gradLogits?: unknown }): UpdateResult {
  const { gradLogits: _, ...rest } = result;
  return rest;
}
