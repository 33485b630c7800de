/** An update by composition: head -> log-probs -> loss -> gradient of the log-probs -> gradient at the head. */
import { type LinearGradients, linearLogits, projectGradient } from './linear-logps.ts';
import type { Preference } from './preference.ts';
import { tokenLogps, tokenLogpsBackward } from './token-logps.ts';

export type Head = { logits: Float64Array } | { hidden: Float64Array; weight: Float64Array; bias?: Float64Array };
export type Reference = Head | { refLogps: ArrayLike<number> };

export interface HeadOptions {
  head: Head;
  reference: Reference;
  labels: ArrayLike<number>;
  mask?: ArrayLike<number> | undefined;
  temperature?: number | undefined;
  ignoreIndex?: number | undefined;
}

export interface Update extends Preference, Partial<LinearGradients> {
  logps: Float64Array;
  gradLogits: Float64Array;
}

/** `loss` gets the two sets of log-probs and the mask of the tokens that count. */
export function update(
  options: HeadOptions,
  loss: (tokens: { logps: Float64Array; refLogps: ArrayLike<number>; mask: number[] }) => Preference,
): Update {
  const { head, reference, labels, mask, ignoreIndex = -100 } = options;
  const rows = { ...options, logits: logitsOf(head, labels) };
  const counts = Array.from(labels, (label, i) => (mask?.[i] === 0 || label === ignoreIndex ? 0 : 1));
  const { logps } = tokenLogps(rows);
  const refLogps =
    'refLogps' in reference
      ? reference.refLogps
      : tokenLogps({ ...options, logits: logitsOf(reference, labels) }).logps;
  const preference = loss({ logps, refLogps, mask: counts });
  const gradLogits = tokenLogpsBackward({ ...rows, gradLogps: preference.gradLogps });
  const projected = 'hidden' in head ? projectGradient({ ...head, labels }, gradLogits) : {};
  return { ...preference, logps, gradLogits, ...projected };
}

function logitsOf(head: Head, labels: ArrayLike<number>): Float64Array {
  return 'logits' in head ? head.logits : linearLogits({ ...head, labels });
}
