// Losses over trajectories: implicit Q-learning of token values (ILQL), a reward model from outcomes (PRIME).

import { checkOptions, missing } from '../args/options.js';
import { coefficient, scaleFactor } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import {
  denominatorOf,
  type Float64s,
  fraction,
  HostResults,
  LAYOUT_OPTIONS,
  Layout,
  type LayoutOptions,
  type Optional,
  optionalReals,
  type Reals,
  reals,
  type SameClass,
} from './host-call.js';
import { expectileOf } from './value-losses.js';

/** What `ilqlLoss` takes; every array but the bootstrap values and the offsets is [n]. */
export interface IlqlLossOptions<
  Q1 extends Reals = Reals,
  Q2 extends Reals = Reals,
  V extends Reals = Reals,
  L1 extends Reals = Reals,
  L2 extends Reals = Reals,
> extends LayoutOptions {
  /** Q of the action taken, of both heads. */
  q1: ArrayOrTensor<Q1>;
  q2: ArrayOrTensor<Q2>;
  /** The same of the target networks. */
  targetQ1: ArrayOrTensor<Reals>;
  targetQ2: ArrayOrTensor<Reals>;
  /** V of the online network. */
  values: ArrayOrTensor<V>;
  rewards: ArrayOrTensor<Reals>;
  /** The log-softmax of the row of Q at the action, `tokenLogps` of the rows; needed unless `cqlCoef` is 0. */
  qLogps1?: Optional<L1>;
  qLogps2?: Optional<L2>;
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** [K], the value after a trajectory's last element where it was cut short; 0, by default, where it ended. */
  bootstrapValues?: Optional<Reals>;
  /** 0.99 by default. */
  gamma?: number | undefined;
  /** Between 0 and 1, 0.7 by default. */
  expectile?: number | undefined;
  /** The weight of the conservative term; 0.01 by default. */
  cqlCoef?: number | undefined;
  /** For micro-batches: the number of counted elements of the whole batch. */
  denominator?: number | undefined;
  out?: { [name in (typeof ILQL_GRADIENTS)[number]]?: Reals | undefined } | undefined;
}

/** The loss of ILQL, its terms, and the gradients of the loss. */
export interface IlqlLoss<
  Q1 extends Reals = Reals,
  Q2 extends Reals = Reals,
  V extends Reals = Reals,
  L1 extends Reals = Reals,
  L2 extends Reals = Reals,
> {
  loss: number;
  qLoss1: number;
  qLoss2: number;
  valueLoss: number;
  /** 0 without the log-probs. */
  cqlLoss1: number;
  cqlLoss2: number;
  gradQ1: SameClass<Q1>;
  gradQ2: SameClass<Q2>;
  gradValues: SameClass<V>;
  /** Where the log-probs are given: the upstream gradient of `tokenLogpsBackward` over the rows of Q. */
  gradQLogps1?: SameClass<L1>;
  gradQLogps2?: SameClass<L2>;
}

/** What `implicitRewardLoss` takes. */
export interface ImplicitRewardLossOptions<L extends Reals = Reals> extends LayoutOptions {
  /** [N] under the reward model. */
  logps: ArrayOrTensor<L>;
  /** [N] under the reference model. */
  refLogps: ArrayOrTensor<Reals>;
  /** [K] in [0, 1] */
  outcomes: ArrayOrTensor<Reals>;
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** 0.05 by default. */
  beta?: number | undefined;
  /** For micro-batches: the number of trajectories of the whole batch that have a counted token. */
  denominator?: number | undefined;
  out?: { trajectoryRewards?: Float64Array | undefined; gradLogps?: Reals | undefined } | undefined;
}

type Gradients<R extends IlqlLoss> = Pick<R, (typeof ILQL_GRADIENTS)[number]>;

const ILQL_GRADIENTS = ['gradQ1', 'gradQ2', 'gradValues', 'gradQLogps1', 'gradQLogps2'] as const;
const ILQL_OPTIONS = new Set([
  ...['q1', 'q2', 'targetQ1', 'targetQ2', 'values', 'rewards', 'qLogps1', 'qLogps2', ...LAYOUT_OPTIONS],
  ...['bootstrapValues', 'gamma', 'expectile', 'cqlCoef', 'denominator', 'out'],
]);
const ILQL_OUT = new Set<string>(ILQL_GRADIENTS);
const IMPLICIT_OPTIONS = new Set([
  ...['logps', 'refLogps', 'outcomes', ...LAYOUT_OPTIONS],
  ...['beta', 'denominator', 'out'],
]);
const IMPLICIT_OUT = new Set(['trajectoryRewards', 'gradLogps']);

/**
 * Implicit Q-learning of token values with two Q heads and a conservative term: ILQL.
 *
 *     y_i = sg[r_i + gamma V_i+], V the online values, the bootstrap value after the last;  D = number of counted elements
 *     qLoss = 1/(2D) sum_i m_i (q - y)^2;  cqlLoss = -1/D sum_i m_i qLogp_i, the log-softmax of the row of Q at the action
 *     valueLoss = 1/(2D) sum_i m_i w(u) u^2,  u = sg[min(targetQ1, targetQ2)] - v,  w = expectile if u >= 0, else 1 - expectile
 *     loss = qLoss1 + qLoss2 + valueLoss + cqlCoef (cqlLoss1 + cqlLoss2)
 *
 * The gradients are m (q - y) / D, -m w u / D and -cqlCoef m / D. Add `gradQ1` at the column of the action to what
 * `tokenLogpsBackward` makes of `gradQLogps1`. A reward at a dropped element is not read: put it at the action before.
 *
 * @param options.q1 [n]; `q2`, `targetQ1`, `targetQ2`, `values`, `rewards` [n]; `qLogps1`, `qLogps2` [n], needed unless `cqlCoef`
 *   is 0; not read where `mask` [n] is 0.
 * @param options.turnOffsets [T + 1] into elements, by default every element is a turn; `trajectoryOffsets` [K + 1] into turns.
 * @param options.bootstrapValues [K], the value after the last element of a trajectory that was cut short; 0 by default.
 * @param options.gamma in [0, 1], 0.99 by default; `expectile` 0.7; `cqlCoef` 0.01.
 * @param options.denominator for micro-batches: the number of counted elements of the whole batch.
 * @param options.out buffers for any gradient, by name.
 * @returns `loss` and its terms; `gradQ1`, `gradQ2`, `gradValues`, and `gradQLogps1`, `gradQLogps2` where those are given, [n] of
 *   the classes of their arrays.
 * @throws TypeError ERR_ARG_TYPE for cqlCoef without qLogps, ERR_DEVICE for device buffers; RangeError ERR_OFFSETS naming an index.
 * @see ILQL arXiv 2206.11871; LMRL-Gym arXiv 2311.18232.
 * @example
 * const { loss, gradValues } = ilqlLoss({
 *   q1: Float64Array.of(0.5, 1),
 *   q2: Float64Array.of(0.5, 0.5),
 *   targetQ1: Float64Array.of(0.5, 1),
 *   targetQ2: Float64Array.of(1, 0.5),
 *   values: Float64Array.of(0.5, 1),
 *   rewards: Float64Array.of(0, 1),
 *   trajectoryOffsets: Int32Array.of(0, 2),
 *   gamma: 0.5,
 *   cqlCoef: 0,
 * });
 * // loss = 0.0813, gradValues = [0, 0.075]
 */
export function ilqlLoss<
  Q1 extends Reals,
  Q2 extends Reals,
  V extends Reals,
  L1 extends Reals = Reals,
  L2 extends Reals = Reals,
>(options: IlqlLossOptions<Q1, Q2, V, L1, L2>): IlqlLoss<Q1, Q2, V, L1, L2> {
  const given = checkOptions('ilqlLoss', options, ILQL_OPTIONS, 'sync', ILQL_OUT);
  const q1 = reals('q1', given.q1);
  const n = q1.length;
  const layout = new Layout(given, n);
  const trajectories = layout.trajectories('ilqlLoss');
  const q2 = reals('q2', given.q2, n);
  const targetQ1 = reals('targetQ1', given.targetQ1, n);
  const targetQ2 = reals('targetQ2', given.targetQ2, n);
  const values = reals('values', given.values, n);
  const rewards = reals('rewards', given.rewards, n);
  const bootstrap = optionalReals('bootstrapValues', given.bootstrapValues, trajectories.length);
  const gamma = fraction('gamma', given.gamma, 0.99);
  const expectile = expectileOf(given.expectile);
  const cqlCoef = coefficient('cqlCoef', given.cqlCoef, 0.01);
  const qLogps = (['qLogps1', 'qLogps2'] as const).map((name) => {
    if (given[name] === undefined && cqlCoef !== 0) {
      throw missing(name, 'Float32Array or Float64Array', 'a cqlCoef other than 0');
    }
    return optionalReals(name, given[name], n);
  });
  const counted = layout.counted();
  const denominator = denominatorOf(given.denominator, counted);
  const results = new HostResults(given);
  const [gradQ1, gradQ2] = [results.sameAs('gradQ1', q1), results.sameAs('gradQ2', q2)];
  const gradValues = results.sameAs('gradValues', values);
  const gradQLogps = qLogps.map((logps, k) => logps && results.sameAs(`gradQLogps${k + 1}`, logps));
  results.open();

  // Targets go backwards through the trajectories, sums forwards.
  const targets = new Float64Array(n);
  for (const [k, [from, to]] of trajectories.entries()) {
    let next = bootstrap?.[k] ?? 0;
    for (let i = to - 1; i >= from; i--) {
      if (!layout.counts(i)) continue;
      targets[i] = (rewards[i] as number) + gamma * next;
      next = values[i] as number;
    }
  }
  const [q, cql] = [
    [0, 0],
    [0, 0],
  ] as [[number, number], [number, number]];
  let value = 0;
  for (let i = 0; i < n; i++) {
    if (!layout.counts(i)) continue;
    const y = targets[i] as number;
    const errors = [(q1[i] as number) - y, (q2[i] as number) - y] as const;
    gradQ1[i] = errors[0] / denominator;
    gradQ2[i] = errors[1] / denominator;
    for (const h of [0, 1] as const) {
      q[h] += errors[h] ** 2;
      cql[h] -= qLogps[h]?.[i] ?? 0;
      const gradient = gradQLogps[h];
      if (gradient) gradient[i] = -cqlCoef / denominator;
    }
    const u = Math.min(targetQ1[i] as number, targetQ2[i] as number) - (values[i] as number);
    const w = u >= 0 ? expectile : 1 - expectile;
    value += w * u ** 2;
    gradValues[i] = (-w * u) / denominator;
  }
  const mean = (sum: number) => (counted === 0 ? 0 : sum / denominator);
  const [qLoss1, qLoss2, valueLoss] = [mean(q[0]) / 2, mean(q[1]) / 2, mean(value) / 2];
  const [cqlLoss1, cqlLoss2] = [mean(cql[0]), mean(cql[1])];
  const loss = qLoss1 + qLoss2 + valueLoss + cqlCoef * (cqlLoss1 + cqlLoss2);
  return {
    loss,
    qLoss1,
    qLoss2,
    valueLoss,
    cqlLoss1,
    cqlLoss2,
    ...results.collect<Gradients<IlqlLoss<Q1, Q2, V, L1, L2>>>(),
  };
}

/** log(1 + e^v) without overflow or cancellation. */
function softplus(v: number): number {
  return Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
}

function sigmoid(v: number): number {
  const e = Math.exp(-Math.abs(v));
  return (v >= 0 ? 1 : e) / (1 + e);
}

/**
 * The loss of a reward model that is a log-ratio of two language models, trained on outcomes: PRIME.
 *
 *     u_k = beta sum_{i in k} m_i (logp_i - refLogp_i)
 *     loss = 1/D sum_k -y_k log sigma(u_k) - (1 - y_k) log sigma(-u_k);  D = number of trajectories with a counted token
 *     dloss/dlogp_i = m_i beta (sigma(u_k) - y_k) / D
 *
 * beta (logp - refLogp) is then the reward of each token. Trajectories without a counted token are left out.
 *
 * @param options.logps [N]; `refLogps` [N]; not read where `mask` [N] is 0.
 * @param options.outcomes [K] in [0, 1].
 * @param options.turnOffsets [T + 1] into elements, by default every element is a turn; `trajectoryOffsets` [K + 1] into turns.
 * @param options.beta from 1e-30 to 1e30, 0.05 by default.
 * @param options.denominator for micro-batches: the number of trajectories of the whole batch that have a counted token.
 * @param options.out buffers for `trajectoryRewards` and `gradLogps`.
 * @returns `loss`; `accuracy`, the share of trajectories with (u > 0) = (y > 1/2); `trajectoryRewards` u [K]; `gradLogps` [N] of
 *   the class of the log-probs.
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming an outcome outside [0, 1]; TypeError ERR_DEVICE for device
 *   buffers: this runs on the host.
 * @see PRIME and implicit process rewards, arXiv 2412.01981, 2502.01456.
 * @example
 * const { loss, trajectoryRewards, gradLogps } = implicitRewardLoss({
 *   logps: Float64Array.of(-0.2, -0.9),
 *   refLogps: Float64Array.of(-1, -0.5),
 *   outcomes: Float64Array.of(1, 0),
 *   trajectoryOffsets: Int32Array.of(0, 1, 2),
 * });
 * // loss = 0.6783, trajectoryRewards = [0.04, -0.02], gradLogps = [-0.0123, 0.0124]
 */
export function implicitRewardLoss<L extends Reals>(
  options: ImplicitRewardLossOptions<L>,
): { loss: number; accuracy: number; trajectoryRewards: Float64s; gradLogps: SameClass<L> } {
  const given = checkOptions('implicitRewardLoss', options, IMPLICIT_OPTIONS, 'sync', IMPLICIT_OUT);
  const logps = reals('logps', given.logps);
  const refLogps = reals('refLogps', given.refLogps, logps.length);
  const layout = new Layout(given, logps.length);
  const trajectories = layout.trajectories('implicitRewardLoss');
  const outcomes = reals('outcomes', given.outcomes, trajectories.length);
  const at = outcomes.findIndex((y) => !(y >= 0 && y <= 1));
  if (at >= 0) throw rangeError('ERR_ARG_VALUE', expected('a number in [0, 1]', `outcomes[${at}]`, outcomes[at]));
  const beta = scaleFactor('beta', given.beta, 0.05);
  const counts = trajectories.map((range) => layout.counted(range));
  const counted = counts.filter((count) => count > 0).length;
  const denominator = denominatorOf(given.denominator, counted);
  const results = new HostResults(given);
  const trajectoryRewards = results.float64('trajectoryRewards', trajectories.length);
  const gradLogps = results.sameAs('gradLogps', logps);
  results.open();

  let [sum, right] = [0, 0];
  for (const [k, [from, to]] of trajectories.entries()) {
    if (counts[k] === 0) continue;
    let ratio = 0;
    for (let i = from; i < to; i++) if (layout.counts(i)) ratio += (logps[i] as number) - (refLogps[i] as number);
    const [u, y] = [beta * ratio, outcomes[k] as number];
    trajectoryRewards[k] = u;
    if (u > 0 === y > 0.5) right++;
    // At u = +-inf one softplus is infinite: with a weight of 0 the product would be NaN.
    sum += (y > 0 ? y * softplus(-u) : 0) + (y < 1 ? (1 - y) * softplus(u) : 0);
    // sigma(u) - y without cancellation where sigma(u) is close to y.
    const gradient = (beta * ((1 - y) * sigmoid(u) - y * sigmoid(-u))) / denominator;
    for (let i = from; i < to; i++) if (layout.counts(i)) gradLogps[i] = gradient;
  }
  const loss = counted === 0 ? 0 : sum / denominator;
  return {
    loss,
    accuracy: counted === 0 ? 0 : right / counted,
    ...results.collect<{ trajectoryRewards: Float64s; gradLogps: SameClass<L> }>(),
  };
}
