/** Cases of a linear head: what goes into the library, what the oracle expects, how far they may differ. */
import {
  type LinearGradients,
  linearLogits,
  linearLogps as oracle,
  linearLogpsBackward as oracleBackward,
  projectGradient,
} from '../reference/linear-logps.ts';
import { tokenLogpsBackward } from '../reference/token-logps.ts';
import { expectClose, halfUlp, specified, type Tolerance } from './compare.ts';
import { Random } from './random.ts';
import type { RowOptions } from './rows.ts';
import { DTYPES, type DType, type Stored, store } from './storage.ts';

export interface LinearCase {
  name: string;
  H: number;
  V: number;
  dtype: DType;
  hidden: Stored;
  weight: Stored;
  bias?: Stored;
  labels: Int32Array;
  gradLogps: Float32Array;
  options: LinearOptions;
  /** What the oracle sees. */
  values: { hidden: Float64Array; weight: Float64Array; bias?: Float64Array };
}

interface LinearOptions extends RowOptions {
  hiddenSize?: number;
  hiddenStride?: number;
  vocabSize?: number;
  weightDtype?: DType;
  weightLayout?: 'VH' | 'HV';
}

type Shape = { N: number; H: number; V: number; dtype: DType; withBias?: boolean };

/** to[c][r] = from[r][c] */
export function transposed<T extends Stored | Float64Array>(from: T, rows: number, columns: number): T {
  return from.map((_, i) => from[(i % rows) * columns + Math.floor(i / rows)]!) as T;
}

/** A head whose weight has another type or layout: every pair of types, every type of a bias. */
export function otherHeads(shape: Omit<Shape, 'dtype'>, options: RowOptions = {}): LinearCase[] {
  const layouts = ['VH', 'HV'] as const;
  return DTYPES.flatMap((dtype) =>
    DTYPES.flatMap((weightDtype) =>
      layouts
        .filter((weightLayout) => weightLayout === 'HV' || weightDtype !== dtype)
        .map((weightLayout) => otherHead({ ...shape, dtype }, { weightDtype, weightLayout, ...options })),
    ),
  );
}

/** The bias of a float32 weight is float32; that of others has the weight's type or, under 'HV', float32. */
export function otherHead(
  { dtype, ...shape }: Shape,
  options: RowOptions & { weightDtype: DType; weightLayout: 'VH' | 'HV' },
): LinearCase {
  const { weightDtype, weightLayout } = options;
  const { N, H, V } = shape;
  const head = randomHead({ ...shape, dtype }, options);
  const ofWeight = randomHead({ ...shape, dtype: weightDtype });
  const ofBias = weightLayout === 'HV' ? randomHead({ ...shape, dtype: 'float32' }) : ofWeight;
  const weight = weightLayout === 'HV' ? transposed(ofWeight.weight, V, H) : ofWeight.weight;
  return {
    ...head,
    name: `${N} x ${H} x ${V}${head.bias ? ' with bias' : ''}, ${dtype} and ${weightDtype} ${weightLayout}`,
    weight,
    ...(ofBias.bias && { bias: ofBias.bias }),
    values: {
      hidden: head.values.hidden,
      weight: ofWeight.values.weight,
      ...(ofBias.values.bias && { bias: ofBias.values.bias }),
    },
  };
}

export function randomHead({ N, H, V, dtype, withBias = false }: Shape, options: LinearOptions = {}): LinearCase {
  const random = new Random(1009 * N + 31 * H + V);
  const hidden = store(random.normals(N * H), dtype);
  const weight = store(random.normals(V * H, 2 / Math.sqrt(H)), dtype);
  const bias = withBias ? store(random.normals(V), dtype) : undefined;
  return {
    name: `${N} x ${H} x ${V}${withBias ? ' with bias' : ''}, ${dtype}`,
    H,
    V,
    dtype,
    hidden: hidden.data,
    weight: weight.data,
    ...(bias && { bias: bias.data }),
    labels: random.integers(N, 0, V),
    gradLogps: Float32Array.from(random.normals(N)),
    options,
    values: { hidden: hidden.values, weight: weight.values, ...(bias && { bias: bias.values }) },
  };
}

/** Rows dropped by the mask, which are never read, and by their label. */
export function headsWithDroppedRows(dtype: DType): LinearCase[] {
  const masked = randomHead({ N: 9, H: 12, V: 40, dtype }, { mask: Uint8Array.of(1, 0, 1, 1, 0, 0, 1, 0, 1) });
  // NaN in a masked hidden state and a label that is no word must not matter.
  masked.hidden.fill(dtype === 'float32' ? NaN : 0x7fff, 12, 24);
  masked.values.hidden.fill(NaN, 12, 24);
  masked.labels[4] = 999;
  const ignored = randomHead({ N: 6, H: 8, V: 33, dtype, withBias: true });
  ignored.labels.set([-100, -100], 2);
  return [
    { ...masked, name: `masked rows, ${dtype}` },
    { ...ignored, name: `ignored rows, ${dtype}` },
    {
      ...randomHead({ N: 6, H: 8, V: 33, dtype }, { ignoreIndex: 4 }),
      name: `a word as ignoreIndex, ${dtype}`,
      labels: Int32Array.of(4, 1, 4, 2, 3, 4),
    },
  ];
}

/** The options of a call of linearLogps. */
export function inputsOf({ hidden, weight, bias, dtype, labels, options }: LinearCase) {
  return { hidden, weight, ...(bias && { bias }), dtype, labels, ...options };
}

export interface ExpectedLinear extends ReturnType<typeof oracle>, LinearGradients {
  rowTolerance: Tolerance;
  allowed: LinearGradients;
}

export function expectedOf(head: LinearCase): ExpectedLinear {
  const inputs = { ...head.values, labels: head.labels, gradLogps: head.gradLogps, ...head.options };
  const results = oracle(inputs);
  const { rowTolerance, allowed } = tolerancesOf(head, results.lse);
  return { ...results, ...inLayout(head, oracleBackward(inputs)), rowTolerance, allowed: inLayout(head, allowed) };
}

/** Gradients with that of the weight in the weight's layout. */
function inLayout({ V, H, options }: LinearCase, { gradWeight, ...others }: LinearGradients): LinearGradients {
  return { ...others, gradWeight: options.weightLayout === 'HV' ? transposed(gradWeight, V, H) : gradWeight };
}

/** Storing a gradient of a logit in 16 bits: half a unit in the last place, relative, and half of the smallest subnormal. */
const TILE_ROUNDING = {
  float32: { relative: 0, absolute: 0 },
  float16: { relative: 2 ** -11, absolute: 2 ** -25 },
  bfloat16: { relative: 2 ** -8, absolute: 0 },
};

/**
 * A float32 sum of n products is off by 2^-24 of the sum of their magnitudes, times sqrt(n) as roundings walk at random; twice
 * that is allowed. The error of the logits moves logp and lse by as much, and p = exp(z - lse) relatively, together with
 * half an ulp of the stored lse. With 16-bit storage of both hidden states and weight, the gradients of the logits may be
 * rounded once to that type.
 */
function tolerancesOf({ values, H, V, dtype, labels, gradLogps, options }: LinearCase, lse: Float64Array) {
  const { temperature = 1, weightDtype = dtype } = options;
  const magnitudes = { hidden: values.hidden.map(Math.abs), weight: values.weight.map(Math.abs), labels };
  const bias = values.bias?.map(Math.abs);
  const logits = linearLogits({ ...magnitudes, ...(bias && { bias }) }).map((x) => x / temperature);
  const logitErrors = lse.map((_, i) => sumError(H) * Math.max(...logits.subarray(i * V, (i + 1) * V)));

  const rows = { logits: linearLogits({ ...values, labels }), gradLogps, ...options };
  const gradLogits = tokenLogpsBackward({ ...rows, labels });
  const rounding = TILE_ROUNDING[dtype === weightDtype ? dtype : 'float32'];
  const gradErrors = (terms: number) =>
    gradLogits.map((g, at) => {
      if (g === 0) return 0;
      const i = Math.floor(at / V);
      const own = Math.abs(gradLogps[i]! / temperature) * Math.exp(rows.logits[at]! / temperature - lse[i]!);
      const relative = sumError(terms) + rounding.relative + 2e-6;
      return own * (2 * logitErrors[i]! + halfUlp(lse[i]!)) + Math.abs(g) * relative + rounding.absolute;
    });
  const { gradHidden } = projectGradient(magnitudes, gradErrors(V));
  const { gradWeight, gradBias } = projectGradient(magnitudes, gradErrors(labels.length));
  const rowTolerance: Tolerance = (expected, i) => specified(expected, i) + 2 * logitErrors[i]!;
  return { rowTolerance, allowed: { gradHidden, gradWeight, gradBias } };
}

function sumError(terms: number): number {
  return 2 * Math.sqrt(terms) * 2 ** -24;
}

/** Each of the gradients that came, by what the oracle allows it. */
export function expectLinearGradients(
  ours: Partial<Record<keyof LinearGradients, Float32Array>>,
  expected: ExpectedLinear,
) {
  for (const name of ['gradHidden', 'gradWeight', 'gradBias'] as const) {
    const gradient = ours[name];
    if (gradient) expectClose(name, gradient, expected[name], (_, i) => expected.allowed[name][i]! + 1e-9);
  }
}
