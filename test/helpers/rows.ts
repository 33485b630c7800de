/** Cases of rows over the vocabulary: what goes into the library, what the oracle expects, how far they may differ. */
import { tokenLogps as oracle, tokenLogpsBackward as oracleBackward } from '../reference/token-logps.ts';
import { halfUlp, specified, type Tolerance } from './compare.ts';
import { Random } from './random.ts';
import { type DType, type Stored, store } from './storage.ts';

export interface RowOptions {
  mask?: Uint8Array;
  temperature?: number;
  ignoreIndex?: number;
}

export interface RowCase {
  name: string;
  V: number;
  dtype: DType;
  logits: Stored;
  /** What the oracle sees: the stored logits in float64. */
  values: Float64Array;
  labels: Int32Array;
  gradLogps: Float32Array;
  options: RowOptions;
}

export function rowCase(
  name: string,
  labels: Int32Array,
  values: ArrayLike<number>,
  dtype: DType,
  options: RowOptions = {},
): RowCase {
  const stored = store(values, dtype);
  return {
    name: `${name}, ${dtype}`,
    V: values.length / labels.length,
    dtype,
    logits: stored.data,
    values: stored.values,
    labels,
    gradLogps: Float32Array.from(new Random(labels.length).normals(labels.length)),
    options,
  };
}

/** Random rows; the seed is the shape's, so that a case is the same wherever it is used. */
export function randomRows(N: number, V: number, dtype: DType, options: RowOptions & { scale?: number } = {}): RowCase {
  const { scale = 4, ...rowOptions } = options;
  const random = new Random(1009 * N + V);
  const values = random.normals(N * V, scale);
  return rowCase(`${N} × ${V}`, random.integers(N, 0, V), values, dtype, rowOptions);
}

/** The options of a call of tokenLogps. */
export function inputsOf({ logits, dtype, labels, options }: RowCase) {
  return { logits, dtype, labels, ...options };
}

export function expectedOf(rows: RowCase) {
  const { values, labels, gradLogps, options } = rows;
  const inputs = { logits: values, labels, gradLogps, ...options };
  const results = oracle(inputs);
  return { ...results, gradLogits: oracleBackward(inputs), ...tolerancesOf(rows, results.lse) };
}

/**
 * Differences z − max are exact in float32 or negligible when exponentiated, so the specified tolerance holds for logits
 * of any size; but dividing by a temperature rounds z itself: half an ulp for 1/T and for the product, at the label and at
 * the maximum, and no more than the specified tolerance as long as logits stay within ±100.
 * The gradient's p = exp(z − lse) takes lse as it was stored: half an ulp of lse, relative to p, comes on top.
 */
function tolerancesOf({ values, V, labels, gradLogps, options }: RowCase, lse: Float64Array) {
  const { temperature = 1 } = options;
  const scaling = lse.map((_, i) => {
    const largest = largestFinite(values.subarray(i * V, (i + 1) * V)) / temperature;
    return temperature === 1 || largest <= 100 ? 0 : 2 ** -22 * largest;
  });
  // Labels that meet no word leave the bare −g p / T of every word.
  const nowhere = new Int32Array(labels.length).fill(-1);
  const probabilities = oracleBackward({ logits: values, labels: nowhere, gradLogps, temperature });
  const rowTolerance: Tolerance = (expected, i) => specified(expected, i) + scaling[i]!;
  const gradSlack: Tolerance = (_, at) => {
    const i = Math.floor(at / V);
    return Math.abs(probabilities[at]!) * (halfUlp(lse[i]!) + scaling[i]!);
  };
  const upstream = Math.max(...gradLogps.map(Math.abs)) / temperature;
  return { rowTolerance, gradTolerance: { upstream, slack: gradSlack } };
}

function largestFinite(values: Float64Array): number {
  return values.reduce((largest, x) => (Number.isFinite(x) ? Math.max(largest, Math.abs(x)) : largest), 0);
}
