/**
 * z = s(logits) / temperature, s(x) = softcap * tanh(x / softcap) or x; s(-inf) = -inf, a masked entry; lse = max z + log sum exp(z - max z), logp = z[label] - lse,
 * H = lse - sum p z with p = exp(z - lse), and dlogp/dlogits = (1[v = label] - p) / temperature.
 */
export interface Rows {
  /** N rows of V words, without padding. */
  logits: Float64Array;
  labels: ArrayLike<number>;
  mask?: ArrayLike<number> | undefined;
  temperature?: number | undefined;
  softcap?: number | null | undefined;
  ignoreIndex?: number | undefined;
}

export interface RowResults {
  logps: Float64Array;
  lse: Float64Array;
  entropy: Float64Array;
  /** The lowest v of the largest logit; -1 where the row is masked or has no distribution. */
  argmax: Int32Array;
  /** sum_v p_v^2 */
  sumSquaredProbs: Float64Array;
}

export function tokenLogps(rows: Rows): RowResults {
  const { labels, mask, ignoreIndex = -100 } = rows;
  const N = labels.length;
  const [logps, ofLse, entropy, sumSquaredProbs] = [0, 1, 2, 3].map(() => new Float64Array(N)) as Float64Array[];
  const results = { logps, lse: ofLse, entropy, argmax: new Int32Array(N).fill(-1), sumSquaredProbs } as RowResults;
  for (let i = 0; i < N; i++) {
    if (mask?.[i] === 0) continue;
    const z = scaledRow(rows, i);
    const lse = logSumExp(z);
    results.lse[i] = lse;
    results.entropy[i] = z.reduce((sum, zv) => (zv === -Infinity ? sum : sum + Math.exp(zv - lse) * (lse - zv)), 0);
    results.sumSquaredProbs[i] = z.reduce((sum, zv) => sum + Math.exp(2 * (zv - lse)), 0);
    if (!Number.isNaN(lse)) results.argmax[i] = z.indexOf(z.reduce((a, b) => Math.max(a, b)));
    if (labels[i] !== ignoreIndex) results.logps[i] = z[labels[i]!]! - lse;
  }
  return results;
}

/** Gradients of a loss at the results of a row, [N] each; 0 where there is none. */
export interface RowGradients {
  gradLogps?: ArrayLike<number>;
  gradEntropy?: ArrayLike<number>;
  gradLse?: ArrayLike<number>;
}

/** dH/dz_v = -p_v (log p_v + H), dlse/dz_v = p_v */
export function tokenLogpsBackward(rows: Rows & RowGradients): Float64Array {
  const { logits, labels, mask, gradLogps, gradEntropy, gradLse, temperature = 1, ignoreIndex = -100 } = rows;
  const V = logits.length / labels.length;
  const gradLogits = new Float64Array(logits.length);
  for (let i = 0; i < labels.length; i++) {
    if (mask?.[i] === 0 || labels[i] === ignoreIndex) continue;
    const z = scaledRow(rows, i);
    const lse = logSumExp(z);
    const [a, e, s] = [gradLogps, gradEntropy, gradLse].map(
      (gradient) => (gradient?.[i] ?? 0) / temperature,
    ) as number[];
    const p = z.map((zv) => Math.exp(zv - lse));
    const entropy = p.reduce((sum, pv, v) => (pv === 0 ? sum : sum + pv * (lse - z[v]!)), 0);
    const otherProbs = p.reduce((sum, pv, v) => (v === labels[i] ? sum : sum + pv), 0); // 1 - p of the label, to all digits
    const x = logits.subarray(i * V, (i + 1) * V);
    gradLogits.set(
      p.map((pv, v) => {
        const ofLogp = a! * (v === labels[i] ? otherProbs : -pv);
        return slopeAt(rows, x[v]!) * (ofLogp + (pv === 0 ? 0 : pv * (s! - e! * (z[v]! - lse + entropy))));
      }),
      i * V,
    );
  }
  return gradLogits;
}

/** ds/dx = 1 - tanh^2(x / softcap) */
function slopeAt({ softcap }: Rows, x: number): number {
  return !softcap ? 1 : x === -Infinity ? 0 : 1 - Math.tanh(x / softcap) ** 2;
}

function scaledRow({ logits, labels, temperature = 1, softcap }: Rows, i: number): Float64Array {
  const V = logits.length / labels.length;
  const capped = (x: number) => (!softcap || x === -Infinity ? x : softcap * Math.tanh(x / softcap));
  return logits.subarray(i * V, (i + 1) * V).map((x) => capped(x) / temperature);
}

export function logSumExp(z: Float64Array): number {
  const max = z.reduce((a, b) => Math.max(a, b), -Infinity);
  return max + Math.log(z.reduce((sum, zv) => sum + Math.exp(zv - max), 0));
}
