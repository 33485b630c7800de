/** An update by composition: head -> log-probs -> loss -> gradient of the log-probs -> gradient at the head. */
import { type LinearGradients, linearLogits, projectGradient } from './linear-logps.ts';
import type { Preference } from './preference.ts';
import { tokenLogps, tokenLogpsBackward } from './token-logps.ts';

export type Head = { logits: Float64Array } | { hidden: Float64Array; weight: Float64Array; bias?: Float64Array };
export type Reference = Head | { refLogps?: ArrayLike<number> | undefined };

export interface HeadOptions {
  head: Head;
  reference: Reference;
  labels: ArrayLike<number>;
  mask?: ArrayLike<number> | undefined;
  temperature?: number | undefined;
  softcap?: number | undefined;
  ignoreIndex?: number | undefined;
}

export type UpdateOf<Loss> = Loss & Partial<LinearGradients> & { logps: Float64Array; gradLogits: Float64Array };
export type Update = UpdateOf<Preference>;

/** sum_v p_v^2 of every row. */
function sumSquaredProbs(logits: Float64Array, rows: number, temperature = 1): Float64Array {
  const V = logits.length / rows;
  return Float64Array.from({ length: rows }, (_, i) => {
    const row = logits.subarray(i * V, (i + 1) * V).map((x) => x / temperature);
    const most = Math.max(...row);
    const exps = row.map((x) => Math.exp(x - most));
    const total = exps.reduce((a, b) => a + b, 0);
    return exps.reduce((sum, e) => sum + (e / total) ** 2, 0);
  });
}

/** `loss` gets the two sets of log-probs, the mask of the tokens that count, and statistics of the rows. */
export function update<Loss extends { gradLogps: Float64Array; gradEntropy?: Float64Array }>(
  options: HeadOptions,
  loss: (tokens: {
    logps: Float64Array;
    refLogps: ArrayLike<number> | undefined;
    mask: number[];
    entropy: Float64Array;
    sumSquaredProbs: Float64Array;
  }) => Loss,
): UpdateOf<Loss> {
  const { head, reference, labels, mask, ignoreIndex = -100 } = options;
  const rows = { ...options, logits: logitsOf(head, labels) };
  const counts = Array.from(labels, (label, i) => (mask?.[i] === 0 || label === ignoreIndex ? 0 : 1));
  const { logps, entropy } = tokenLogps(rows);
  const refLogps =
    !('logits' in reference) && !('hidden' in reference)
      ? reference.refLogps
      : tokenLogps({ ...options, logits: logitsOf(reference, labels) }).logps;
  const preference = loss({
    logps,
    refLogps,
    mask: counts,
    entropy,
    sumSquaredProbs: sumSquaredProbs(rows.logits, counts.length, options.temperature),
  });
  const { gradLogps, gradEntropy } = preference;
  const gradLogits = tokenLogpsBackward({ ...rows, gradLogps, ...(gradEntropy && { gradEntropy }) });
  const projected = 'hidden' in head ? projectGradient({ ...head, labels }, gradLogits) : {};
  return { ...preference, logps, gradLogits, ...projected };
}

function logitsOf(head: Head, labels: ArrayLike<number>): Float64Array {
  return 'logits' in head ? head.logits : linearLogits({ ...head, labels });
}
