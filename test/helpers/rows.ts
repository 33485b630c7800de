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
  return rowCase(`${N} x ${V}`, random.integers(N, 0, V), values, dtype, rowOptions);
}

const SMALL_VOCABULARIES = [1, 2, 7, 15, 16, 17, 31, 33, 63, 65];
const LARGE_VOCABULARIES = [
  [3, 1023],
  [3, 1025],
  [3, 4099],
  [2, 16385],
  [1, 50257],
] as const;
const random = new Random(7);

/** Every vocabulary size around a vector's and a block's width; then what rows of a language model do at their worst. */
export function hardRows(dtype: DType): RowCase[] {
  const noise = (scale: number) => scale * random.normal();
  const spread = () => 200 * random.uniform() - 100;
  const outliers = (v: number) => (v % 50 === 9 ? noise(1e4) : noise(2));
  const mask = Uint8Array.of(1, 0, 255, 1, 0, 2);
  return [
    ...SMALL_VOCABULARIES.map((V) => randomRows(5, V, dtype)),
    ...LARGE_VOCABULARIES.map(([N, V]) => randomRows(N, V, dtype)),
    randomRows(1, 33, dtype),
    randomRows(1003, 3, dtype),
    randomRows(7, 130, dtype, { temperature: 0.7 }),
    randomRows(7, 130, dtype, { temperature: 3, scale: 20 }),
    rows('+-100', 3, 1023, spread),
    rows('+-100 at temperature 1.3', 3, 1023, spread, { temperature: 1.3 }),
    rows('outliers', 4, 257, outliers),
    rows('outliers at temperature 0.9', 4, 257, outliers, { temperature: 0.9 }),
    rows('masked words', 5, 90, (v) => (v % 3 === 2 ? -Infinity : noise(3)), {}, [3, 8, 40, 5, 6]),
    // A block of 1 024 words without any finite one, before and after the words that count.
    rows('a first block of -inf', 2, 2500, (v) => (v < 1400 ? -Infinity : noise(2)), {}, [2000, 1500]),
    rows('only the first word', 2, 2500, (v) => (v > 0 ? -Infinity : 5), {}, [0, 0]),
    rows('only the last word', 2, 2500, (v) => (v < 2499 ? -Infinity : -5), {}, [2499, 2499]),
    // Ever larger maxima: a running maximum or a pivot must move, block after block.
    rows('rising', 2, 5000, (v) => v / 25),
    rows('falling', 2, 5000, (v) => -v / 25),
    // In rows this long the pivot becomes part of a rounded shift, and words far from it leave the fast path.
    rows('masked words, long', 2, 6000, (v) => (v < 300 || v % 7 === 3 ? -Infinity : noise(2)), {}, [5999, 4000]),
    rows('a late outlier', 2, 9000, (v) => (v === 8000 ? 150 : noise(2)), {}, [8000, 7]),
    rows('far below the others', 2, 6000, (v) => (v % 2 ? -300 : noise(2))),
    rows('far above 0', 2, 5000, () => 50_000 + noise(2)),
    rows('farther than the shift reaches', 2, 5000, () => 60_000 + noise(2), { temperature: 0.5 }),
    rows('below zero', 3, 33, () => -90 + noise(1)),
    // Subnormal in float16; up to the largest that float16 holds.
    rows('tiny', 3, 33, () => noise(3e-6)),
    rows('huge', 3, 33, (v) => (v % 5) * 16000),
    rows('all equal', 3, 100, () => 2.5),
    rows('one-hot', 3, 64, (v, i) => (v === 7 ? [80, 1e4, 30][i]! : 0), {}, [7, 8, 7]),
    rows('ignored rows', 6, 33, () => noise(3), {}, [-100, 1, 13, -100, 4, -100]),
    rows('a word as ignoreIndex', 4, 5, () => noise(3), { ignoreIndex: 0 }, [0, 1, 0, 2]),
    randomRows(6, 65, dtype, { mask }),
    // Rows enough that threads take whole ones.
    rows('NaN under the mask of many rows', 300, 65, (_, i) => (i % 3 ? noise(3) : NaN), {
      mask: Uint8Array.from({ length: 300 }, (_, i) => i % 3),
    }),
    rows(
      'NaN and illegal labels under the mask',
      6,
      65,
      (_, i) => (mask[i] ? noise(3) : NaN),
      { mask },
      [1, 99, 2, 3, -7, 64],
    ),
    rows('everything masked', 2, 17, () => NaN, { mask: new Uint8Array(2) }, [1, 2]),
  ];

  function rows(
    name: string,
    N: number,
    V: number,
    word: (v: number, i: number) => number,
    options: RowOptions = {},
    labels: ArrayLike<number> = random.integers(N, 0, V),
  ): RowCase {
    const values = Float64Array.from({ length: N * V }, (_, at) => word(at % V, Math.floor(at / V)));
    return rowCase(name, Int32Array.from(labels), values, dtype, options);
  }
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
 * Differences z - max are exact in float32 or negligible when exponentiated, so the specified tolerance holds for logits
 * of any size; but dividing by a temperature rounds z itself: half an ulp for 1/T and for the product, at the label and at
 * the maximum, and no more than the specified tolerance as long as logits stay within +-100.
 * The gradient's p = exp(z - lse) takes lse as it was stored: half an ulp of lse, relative to p, comes on top.
 */
function tolerancesOf({ values, V, labels, gradLogps, options }: RowCase, lse: Float64Array) {
  const { temperature = 1 } = options;
  const scaling = lse.map((_, i) => {
    const largest = largestFinite(values.subarray(i * V, (i + 1) * V)) / temperature;
    return temperature === 1 || largest <= 100 ? 0 : 2 ** -22 * largest;
  });
  // Labels that meet no word leave the bare -g p / T of every word.
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
