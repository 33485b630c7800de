/** Cases of divergences: rows of a student and a teacher, what the oracle expects, and how far results may differ. */
import { divergenceOf, type Kind, type RowResult, topKDivergenceOf } from '../reference/divergence.ts';
import { expectClose } from './compare.ts';
import { Random } from './random.ts';
import { type DType, decode, type Stored, store } from './storage.ts';

export const KINDS: Kind[] = [
  { divergence: 'forward_kl' },
  { divergence: 'reverse_kl' },
  { divergence: 'jsd' },
  { divergence: 'jsd', jsdBeta: 0.1 },
];

export interface TopK {
  teacherIndices: Int32Array;
  teacherLogps: Float32Array;
  topKTail?: 'bucket' | 'renormalize';
}

export interface DivergenceCase {
  name: string;
  N: number;
  V: number;
  dtype: DType;
  teacherDtype: DType;
  logits: Stored;
  teacherLogits: Stored;
  /** What the oracle sees. */
  values: Float64Array;
  teacherValues: Float64Array;
  gradDivergence: Float32Array;
  options: { temperature?: number; teacherTemperature?: number; mask?: Uint8Array };
}

type Entry = (v: number, i: number) => number;

const random = new Random(19);
const noise = (scale: number) => scale * random.normal();

export function pairCase(
  name: string,
  [N, V]: readonly [number, number],
  [student, teacher]: readonly [Entry, Entry],
  [dtype, teacherDtype]: readonly [DType, DType] = ['float32', 'float32'],
  options: DivergenceCase['options'] = {},
): DivergenceCase {
  const values = (entry: Entry) => Float64Array.from({ length: N * V }, (_, at) => entry(at % V, Math.floor(at / V)));
  const ofStudent = store(values(student), dtype);
  const ofTeacher = store(values(teacher), teacherDtype);
  return {
    name: `${name}, ${dtype} from ${teacherDtype}`,
    ...{ N, V, dtype, teacherDtype, options },
    logits: ofStudent.data,
    teacherLogits: ofTeacher.data,
    values: ofStudent.values,
    teacherValues: ofTeacher.values,
    gradDivergence: Float32Array.from(random.normals(N)),
  };
}

const TYPES: DType[] = ['float32', 'bfloat16', 'float16'];

export function hardPairs(): DivergenceCase[] {
  const normal: Entry = () => noise(4);
  const random2 = [normal, normal] as const;
  const sizes = [1, 2, 15, 16, 17, 63, 64, 65, 1000, 2047, 2048, 2049].map((V) =>
    pairCase(`${V} entries`, [3, V], random2),
  );
  const types = TYPES.flatMap((a) => TYPES.map((b) => pairCase('types', [4, 131], random2, [a, b])));
  const common = Array.from({ length: 5 * 300 }, () => noise(3));
  const near = (v: number, i: number) => common[i * 300 + v]!;
  const masked: Entry = (v) => (v % 3 === 1 ? -Infinity : noise(3));
  const f32 = ['float32', 'float32'] as const;
  return [
    ...sizes,
    ...types,
    pairCase('long rows', [2, 16385], random2),
    pairCase('longer rows', [1, 50257], random2, ['bfloat16', 'bfloat16']),
    pairCase('many rows', [333, 35], random2),
    pairCase('temperatures', [5, 130], random2, f32, { temperature: 0.7, teacherTemperature: 2 }),
    pairCase('close rows', [5, 300], [near, (v, i) => near(v, i) + noise(1e-3)]),
    pairCase('a common offset', [5, 300], [near, (v, i) => near(v, i) + 1000]),
    pairCase('outliers', [4, 257], [(v) => (v % 50 === 9 ? noise(1e3) : noise(2)), normal]),
    pairCase('outliers of the teacher', [4, 257], [normal, (v) => (v % 50 === 7 ? noise(1e3) : noise(2))]),
    pairCase(
      'peaked on other entries',
      [3, 5000],
      [(v) => (v === 4000 ? 40 : noise(1)), (v) => (v === 17 ? 40 : noise(1))],
    ),
    pairCase('entries masked in both', [4, 90], [masked, masked]),
    pairCase(
      'blocks masked in both',
      [2, 5000],
      [(v) => (v < 3000 ? -Infinity : noise(2)), (v) => (v < 3000 ? -Infinity : noise(2))],
    ),
    pairCase('masked in the student', [3, 90], [masked, normal]),
    pairCase('masked in the teacher', [3, 90], [normal, masked]),
    pairCase(
      'improbable where masked',
      [2, 90],
      [(v) => (v === 5 ? -Infinity : noise(1)), (v) => (v === 5 ? -200 : noise(1))],
    ),
    pairCase('one entry each', [2, 70], [(v) => (v === 3 ? 1 : -Infinity), (v) => (v === 3 ? 7 : -Infinity)]),
    pairCase('disjoint', [2, 70], [(v) => (v < 30 ? noise(1) : -Infinity), (v) => (v < 30 ? -Infinity : noise(1))]),
    pairCase('a NaN', [3, 40], [(v, i) => (v === 7 && i === 1 ? NaN : noise(1)), normal]),
    pairCase('a NaN of the teacher', [3, 40], [normal, (v, i) => (v === 7 && i === 1 ? NaN : noise(1))]),
    pairCase('+inf', [3, 40], [(v, i) => (v === 7 && i === 1 ? Infinity : noise(1)), normal]),
    pairCase('-inf alone', [3, 40], [(_, i) => (i === 1 ? -Infinity : noise(1)), normal]),
    pairCase(
      'NaN in masked rows',
      [6, 65],
      [(_, i) => (i % 2 ? NaN : noise(3)), (_, i) => (i % 2 ? NaN : noise(3))],
      f32,
      {
        mask: Uint8Array.of(1, 0, 1, 0, 7, 0),
      },
    ),
    pairCase('NaN in masked rows of many', [300, 33], [(_, i) => (i % 3 ? noise(3) : NaN), normal], f32, {
      mask: Uint8Array.from({ length: 300 }, (_, i) => i % 3),
    }),
  ];
}

/** A teacher of the K largest log-probs of the case's teacher, in a random order, or of those that `choose` gives. */
export function topKOf(
  { N, V, teacherValues, options }: DivergenceCase,
  K: number,
  topKTail?: TopK['topKTail'],
  change: (logp: number, k: number) => number = (logp) => logp,
): TopK {
  const { temperature = 1 } = options;
  const teacherIndices = new Int32Array(N * K);
  const teacherLogps = new Float32Array(N * K);
  for (let i = 0; i < N; i++) {
    const y = Array.from(teacherValues.subarray(i * V, (i + 1) * V), (x) => x / temperature);
    const max = Math.max(...y);
    const lse = max + Math.log(y.reduce((sum, x) => sum + Math.exp(x - max), 0));
    const order = Array.from(y.keys()).sort((a, b) => y[b]! - y[a]! || a - b);
    const support = order.slice(0, K).sort((a, b) => ((a * 7919) % 101) - ((b * 7919) % 101) || a - b);
    for (const [k, v] of support.entries()) {
      teacherIndices[i * K + k] = v;
      teacherLogps[i * K + k] = change(y[v]! - lse, k);
    }
  }
  return { teacherIndices, teacherLogps, ...(topKTail && { topKTail }) };
}

const normal: Entry = () => noise(3);

export function topKCases(): { name: string; pair: DivergenceCase; top: TopK }[] {
  const tails = [undefined, 'bucket', 'renormalize'] as const;
  const shapes = [
    [1, 1],
    [7, 1],
    [7, 7],
    [7, 6],
    [40, 5],
    [2049, 64],
    [16390, 9],
  ] as const;
  const plain = shapes.flatMap(([V, K]) => {
    const pair = pairCase(`K ${K}, V ${V}`, [3, V], [normal, normal]);
    return tails.map((tail) => ({ name: `${pair.name}, ${tail}`, pair, top: topKOf(pair, K, tail) }));
  });
  const named = (
    pair: DivergenceCase,
    K: number,
    tail: TopK['topKTail'],
    change?: (logp: number, k: number) => number,
  ) => ({
    ...{ name: `${pair.name}, ${tail}`, pair, top: topKOf(pair, K, tail, change) },
  });
  const peaked = pairCase(
    'a peaked student',
    [4, 300],
    [(v) => (v === 7 ? 18 : noise(0.5)), (v) => (v === 7 ? 5 : noise(1))],
  );
  const holes: Entry = (v) => (v % 3 === 1 ? -Infinity : noise(2));
  const others = tails.slice(1).flatMap((tail) => [
    ...(['bfloat16', 'float16'] as const).map((type) =>
      named(pairCase('types', [5, 131], [normal, normal], [type, 'float32'], { temperature: 0.7 }), 6, tail),
    ),
    named(peaked, 5, tail),
    named(pairCase('all in the support', [3, 50], [normal, (v) => (v < 4 ? 30 + noise(1) : noise(1))]), 4, tail),
    named(pairCase('entries of probability 0', [3, 50], [normal, normal]), 6, tail, (logp, k) =>
      k === 2 ? -Infinity : logp,
    ),
    named(pairCase('masked entries of the student', [3, 90], [holes, holes]), 8, tail),
    named(
      pairCase('masked outside', [3, 90], [(v) => (v < 8 ? noise(1) : -Infinity), (v) => (v < 8 ? 9 : noise(1))]),
      8,
      tail,
    ),
    named(
      pairCase(
        'masked in the support',
        [3, 90],
        [(v) => (v === 3 ? -Infinity : noise(1)), (v) => (v < 8 ? 9 : noise(1))],
      ),
      8,
      tail,
    ),
    named(pairCase('many rows', [333, 35], [normal, normal]), 4, tail),
    named(
      pairCase('NaN in masked rows', [6, 65], [(_, i) => (i % 2 ? NaN : noise(3)), normal], ['float32', 'float32'], {
        mask: Uint8Array.of(1, 0, 1, 0, 7, 0),
      }),
      5,
      tail,
    ),
    named(
      pairCase('a NaN', [3, 40], [(v, i) => (v === 7 && i === 1 ? NaN : noise(1)), (v) => (v === 7 ? 9 : noise(1))]),
      5,
      tail,
    ),
  ]);
  return [...plain, ...others];
}

export interface Expected {
  divergence: Float64Array;
  gradient: Float64Array;
}

const ofRows = (N: number, V: number, mask: ArrayLike<number> | undefined, of: (i: number) => RowResult): Expected => {
  const divergence = new Float64Array(N);
  const gradient = new Float64Array(N * V);
  for (let i = 0; i < N; i++) {
    if (mask?.[i] === 0) continue;
    const row = of(i);
    divergence[i] = row.divergence;
    gradient.set(row.gradient, i * V);
  }
  return { divergence, gradient };
};

/** Of each row, before gradDivergence. */
export function expectedOf({ N, V, values, teacherValues, options }: DivergenceCase, kind: Kind): Expected {
  const row = (from: Float64Array, i: number) => from.subarray(i * V, (i + 1) * V);
  return ofRows(N, V, options.mask, (i) =>
    divergenceOf({ student: row(values, i), teacher: row(teacherValues, i), ...options }, kind),
  );
}

export function expectedOfTopK({ N, V, values, options }: DivergenceCase, top: TopK, kind: Kind): Expected {
  const K = top.teacherIndices.length / N;
  return ofRows(N, V, options.mask, (i) =>
    topKDivergenceOf(
      {
        student: values.subarray(i * V, (i + 1) * V),
        indices: top.teacherIndices.subarray(i * K, (i + 1) * K),
        logps: top.teacherLogps.subarray(i * K, (i + 1) * K),
        tail: top.topKTail,
        ...options,
      },
      kind,
    ),
  );
}

/** The largest finite |logit| / temperature beyond which float32 logits cost digits, over 32. */
export function sizeOf({ values, teacherValues, options }: DivergenceCase): number {
  const { temperature = 1, teacherTemperature = temperature } = options;
  const largest = (from: Float64Array) => from.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 0);
  return Math.max(1, largest(values) / temperature / 32, largest(teacherValues) / teacherTemperature / 32);
}

export function expectDivergences(ours: Float32Array, expected: Float64Array, size: number): void {
  expectClose('divergence', ours, expected, (x) => (Number.isFinite(x) ? size * (4e-6 + 1e-5 * Math.abs(x)) : 0));
}

const ROUNDING = { float32: 4e-6, bfloat16: 2 ** -8, float16: 2 ** -11 };

/**
 * `ours` in its storage type against gradDivergence times the rows of the oracle. Where Q is close to 1, the gradient of the reverse
 * KL is r - D, of which D is a float32 sum: the last term.
 */
export function expectGradients(
  ours: Stored,
  { N, V, dtype, gradDivergence }: DivergenceCase,
  { divergence, gradient }: Expected,
  size: number,
): void {
  const want = gradient.map((x, at) => x * gradDivergence[Math.floor(at / V)]!);
  for (let i = 0; i < N; i++) {
    const row = want.subarray(i * V, (i + 1) * V);
    const largest = row.reduce((m, x) => (Number.isFinite(x) ? Math.max(m, Math.abs(x)) : m), 0);
    const ofSum = Number.isFinite(divergence[i]) ? 2 ** -4 * divergence[i]! : 0;
    const of = largest + Math.abs(gradDivergence[i]!) * (1 / 16 + ofSum);
    const got = decode(ours.subarray(i * V, (i + 1) * V), dtype);
    expectClose(`gradLogits of row ${i}`, got, row, (x) =>
      Number.isFinite(x) ? ROUNDING[dtype] * Math.abs(x) + 8e-6 * size * of + (dtype === 'float16' ? 6e-8 : 0) : 0,
    );
  }
}
