/**
 * A SWEET loss as sums over whole matrices, for frameworks that differentiate it themselves:
 *
 *     logp = sum_v oneHot * logSoftmax(logits),  delta = differences * (logp - refLogps),  l_p of u_p = beta delta_p
 *     loss = sum_p pairWeights_p l_p + nllCoef * sum_i nll_i logp_i
 */
import { type Pairs, randomPairs, randomStructure, type Structure } from './batches.ts';
import { Random } from './random.ts';

export const [FEATURES, WIDTH, VOCAB] = [5, 8, 23];

type Rule = 'turn-mean' | 'token-mean' | 'sum';

export interface DenseLoss {
  /** [N, V], [P, N], [P], [N]. */
  oneHot: Float32Array;
  differences: Float32Array;
  pairWeights: Float32Array;
  nll: Float32Array;
}

/** Which tokens belong to each unit: those of a turn, or of a trajectory. */
function unitsOf({ turnOffsets, trajectoryOffsets }: Structure, ofTrajectories: boolean): [number, number][][] {
  const turns = [...turnOffsets.subarray(0, -1)].map((begin, t): [number, number] => [begin, turnOffsets[t + 1]!]);
  if (!ofTrajectories) return turns.map((turn) => [turn]);
  return [...trajectoryOffsets.subarray(0, -1)].map((begin, k) => turns.slice(begin, trajectoryOffsets[k + 1]));
}

const count = (mask: Uint8Array, begin: number, end: number) => mask.subarray(begin, end).reduce((a, b) => a + b, 0);

/** What each token contributes to the score of a unit. */
function tokenWeights(mask: Uint8Array, turns: [number, number][], rule: Rule): Map<number, number> {
  const weights = new Map<number, number>();
  const total = turns.reduce((sum, [begin, end]) => sum + count(mask, begin, end), 0);
  for (const [begin, end] of turns) {
    const divisor = { 'turn-mean': count(mask, begin, end), 'token-mean': total, sum: 1 }[rule];
    for (let i = begin; i < end; i++) if (mask[i]) weights.set(i, 1 / divisor);
  }
  return weights;
}

export function denseLoss(
  batch: Structure & Pairs & { labels: Int32Array },
  ofTrajectories: boolean,
  rule: Rule,
): DenseLoss {
  const { mask, labels, chosen, rejected } = batch;
  const [N, P] = [labels.length, chosen.length];
  const units = unitsOf(batch, ofTrajectories);
  const result: DenseLoss = {
    oneHot: new Float32Array(N * VOCAB),
    differences: new Float32Array(P * N),
    pairWeights: new Float32Array(P).fill(1 / P),
    nll: new Float32Array(N),
  };
  labels.forEach((label, i) => {
    if (mask[i]) result.oneHot[i * VOCAB + label] = 1;
  });
  const nll = new Float64Array(N);
  let tokens = 0;
  for (let p = 0; p < P; p++) {
    for (const [i, weight] of tokenWeights(mask, units[chosen[p]!]!, rule)) {
      result.differences[p * N + i]! += weight;
      nll[i]! -= 1;
      tokens++;
    }
    for (const [i, weight] of tokenWeights(mask, units[rejected[p]!]!, rule)) result.differences[p * N + i]! -= weight;
  }
  result.nll.set(nll.map((x) => x / tokens));
  return result;
}

/** A model of two layers and a batch for it: logits = tanh(x * w1) * w2 + bias. */
export function smallProblem(seed: number, ofTrajectories: boolean) {
  const random = new Random(seed);
  const structure = randomStructure(random);
  const N = structure.mask.length;
  const units = ofTrajectories ? structure.trajectoryOffsets.length - 1 : structure.turnOffsets.length - 1;
  const batch = {
    ...structure,
    ...randomPairs(random, units, 7),
    labels: random.integers(N, 0, VOCAB),
    refLogps: Float32Array.from({ length: N }, () => -3 + random.normal()),
  };
  const normals = (length: number, deviation: number) =>
    Float32Array.from({ length }, () => deviation * random.normal());
  const params = {
    w1: { data: normals(FEATURES * WIDTH, 0.7), shape: [FEATURES, WIDTH] },
    w2: { data: normals(WIDTH * VOCAB, 0.9), shape: [WIDTH, VOCAB] },
    bias: { data: normals(VOCAB, 0.5), shape: [VOCAB] },
  };
  return { N, batch, params, x: normals(N * FEATURES, 1) };
}

export interface LossCase {
  name: string;
  ofTrajectories: boolean;
  rule: Rule;
  beta: number;
  labelSmoothing: number;
  nllCoef: number;
}

export const LOSS_CASES: LossCase[] = [
  { name: 'the critic', ofTrajectories: true, rule: 'turn-mean', beta: 0.1, labelSmoothing: 0, nllCoef: 0 },
  { name: 'the critic by tokens', ofTrajectories: true, rule: 'token-mean', beta: 2, labelSmoothing: 0.1, nllCoef: 0 },
  { name: 'multi-turn DPO', ofTrajectories: true, rule: 'sum', beta: 0.5, labelSmoothing: 0, nllCoef: 0.01 },
  { name: 'the policy', ofTrajectories: false, rule: 'sum', beta: 0.1, labelSmoothing: 0, nllCoef: 0.01 },
  { name: 'the policy by means', ofTrajectories: false, rule: 'turn-mean', beta: 3, labelSmoothing: 0.2, nllCoef: 0.3 },
];

/** The options of our call for a case. */
export function optionsOf({ ofTrajectories, rule, beta, labelSmoothing, nllCoef }: LossCase) {
  const common = { beta, labelSmoothing, nllCoef };
  if (ofTrajectories) return { ...common, normalization: rule };
  return { ...common, reduction: rule === 'sum' ? ('sum' as const) : ('mean' as const) };
}

/** max |a - b| / max |b| */
export function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  let [error, largest] = [0, 0];
  for (let i = 0; i < expected.length; i++) {
    error = Math.max(error, Math.abs(actual[i]! - expected[i]!));
    largest = Math.max(largest, Math.abs(expected[i]!));
  }
  return actual.length === expected.length ? error / largest : NaN;
}
