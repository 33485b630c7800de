// Losses of values and critics: clipped values, temporal differences, expectiles, ILQL's implicit Q-learning.
import { hostView, typedArray } from '../args/arrays.js';
import { checkOptions, refuseUnused } from '../args/options.js';
import { coefficient, notNegative, number } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import {
  denominatorOf,
  type Float64s,
  fraction,
  HostResults,
  Layout,
  type LayoutOptions,
  type Optional,
  type OutOf,
  optionalReals,
  type Reals,
  reals,
  type SameClass,
} from './host-call.js';

interface ValueLossOptions<V extends Reals> {
  /** [n] */
  values: ArrayOrTensor<V>;
  mask?: LayoutOptions['mask'];
  /** For micro-batches: the number of counted elements of the whole batch. */
  denominator?: number | undefined;
}

/** What `clippedValueLoss` takes. */
export interface ClippedValueLossOptions<V extends Reals = Reals> extends ValueLossOptions<V> {
  /** [n], the targets. */
  returns: ArrayOrTensor<Reals>;
  /** [n], the values at the time of the rollouts; without them nothing is clipped. */
  oldValues?: Optional<Reals>;
  /** How far a value may move from its old one; 0.2 by default. Needs `oldValues`. */
  clipRange?: number | undefined;
  /** 0.5 by default. */
  coef?: number | undefined;
  out?: { gradValues?: Reals | undefined } | undefined;
}

/** What `tdLoss` takes. */
export interface TdLossOptions<V extends Reals = Reals> extends ValueLossOptions<V> {
  /** [n] */
  rewards: ArrayOrTensor<Reals>;
  /** [n], the values of the next states, not read where `terminated` is not 0. */
  nextValues: ArrayOrTensor<Reals>;
  /** [n], not 0 where the episode ended. */
  terminated?: Optional<Uint8Array>;
  /** 0.95 by default. */
  gamma?: number | undefined;
  /** 1 by default. */
  coef?: number | undefined;
  out?: { targets?: Float64Array | undefined; gradValues?: Reals | undefined } | undefined;
}

/** What `expectileLoss` takes. */
export interface ExpectileLossOptions<V extends Reals = Reals> extends ValueLossOptions<V> {
  /** [n] */
  targets: ArrayOrTensor<Reals>;
  /** Between 0 and 1, 0.7 by default; 0.5 is half the squared error. */
  expectile?: number | undefined;
  /** 1 by default. */
  coef?: number | undefined;
  out?: { gradValues?: Reals | undefined } | undefined;
}

/** What `doubleMinAdvantages` takes: [n] each. */
export interface DoubleMinAdvantagesOptions {
  q1: ArrayOrTensor<Reals>;
  q2: ArrayOrTensor<Reals>;
  v1: ArrayOrTensor<Reals>;
  v2: ArrayOrTensor<Reals>;
  out?: OutOf<'advantages'>;
}

type Gradient<V extends Reals> = { gradValues: SameClass<V> };

const COMMON_OPTIONS = ['values', 'mask', 'coef', 'denominator', 'out'];
const CLIPPED_OPTIONS = new Set([...COMMON_OPTIONS, 'returns', 'oldValues', 'clipRange']);
const TD_OPTIONS = new Set([...COMMON_OPTIONS, 'rewards', 'nextValues', 'terminated', 'gamma']);
const EXPECTILE_OPTIONS = new Set([...COMMON_OPTIONS, 'targets', 'expectile']);
const DOUBLE_MIN_OPTIONS = new Set(['q1', 'q2', 'v1', 'v2', 'out']);
const GRAD_OUT = new Set(['gradValues']);
const TD_OUT = new Set(['targets', 'gradValues']);
const ADVANTAGES_OUT = new Set(['advantages']);

/** The values, which of them count, and coef / D. */
function checkValues(given: { readonly [name in 'values' | 'mask' | 'coef' | 'denominator']?: unknown }, coef: number) {
  const values = reals('values', given.values);
  const layout = new Layout({ mask: given.mask }, values.length);
  const counted = layout.counted();
  const factor = coefficient('coef', given.coef, coef);
  const denominator = denominatorOf(given.denominator, counted);
  return { values, layout, counted, scale: counted === 0 ? 0 : factor / denominator };
}

/** A number strictly between 0 and 1. */
export function expectileOf(value: unknown): number {
  return number('expectile', value, 0.7, 'a number between 0 and 1', (x) => x > 0 && x < 1);
}

/**
 * The squared error of values, which may move only so far from their old ones: the value loss of PPO.
 *
 *     loss = coef / D sum_i m_i max((v - R)^2, (clip(v, old - clipRange, old + clipRange) - R)^2)
 *     dloss/dv_i = 2 coef / D m_i (v - R), 0 where the second is strictly larger;  without oldValues (v - R)^2 alone
 *
 * @param options.values [n]; `returns` [n]; `oldValues` [n]; not read where `mask` [n] is 0.
 * @param options.clipRange >= 0, 0.2 by default; needs `oldValues`. `coef` 0.5 by default.
 * @param options.denominator for micro-batches: the number of counted elements of the whole batch.
 * @param options.out a buffer for `gradValues`.
 * @returns `loss`; `clipFraction`, the share of counted values where the second is strictly larger; `gradValues` [n] of the class
 *   of the values.
 * @throws RangeError ERR_ARG_LENGTH, ERR_ARG_VALUE naming an argument; TypeError ERR_DEVICE for device buffers: this runs on the
 *   host.
 * @see arXiv 1707.06347 and its code; verl, TRL, LMRL-Gym.
 * @example
 * const { loss, gradValues } = clippedValueLoss({
 *   values: Float32Array.of(0.5, 1),
 *   oldValues: Float32Array.of(0.5, 0.5),
 *   returns: Float32Array.of(1, 1),
 * });
 * // loss = 0.085, gradValues = [-0.25, 0]
 */
export function clippedValueLoss<V extends Reals>(
  options: ClippedValueLossOptions<V>,
): { loss: number; clipFraction: number; gradValues: SameClass<V> } {
  const given = checkOptions('clippedValueLoss', options, CLIPPED_OPTIONS, 'sync', GRAD_OUT);
  const { values, layout, counted, scale } = checkValues(given, 0.5);
  const returns = reals('returns', given.returns, values.length);
  const oldValues = optionalReals('oldValues', given.oldValues, values.length);
  if (oldValues === undefined) refuseUnused(given, ['clipRange'], 'no oldValues');
  const clipRange = notNegative('clipRange', given.clipRange, 0.2);
  const results = new HostResults(given);
  const gradValues = results.sameAs('gradValues', values);
  results.open();

  let [sum, clipped] = [0, 0];
  for (let i = 0; i < values.length; i++) {
    if (!layout.counts(i)) continue;
    const [v, target] = [values[i] as number, returns[i] as number];
    const old = oldValues?.[i] ?? v;
    const error = (v - target) ** 2;
    const clippedError = (Math.min(Math.max(v, old - clipRange), old + clipRange) - target) ** 2;
    sum += Math.max(error, clippedError);
    if (clippedError > error) clipped++;
    else gradValues[i] = 2 * scale * (v - target);
  }
  return { loss: scale * sum, clipFraction: counted === 0 ? 0 : clipped / counted, ...results.collect<Gradient<V>>() };
}

/**
 * The squared error of values from one-step targets.
 *
 *     y_i = sg[r_i + gamma (1 - terminated_i) v'_i];  loss = coef / D sum_i m_i (v_i - y_i)^2
 *     dloss/dv_i = 2 coef / D m_i (v_i - y_i)
 *
 * @param options.values [n]; `rewards` [n]; `nextValues` [n], not read where `terminated` [n] is not 0; none is read where `mask`
 *   [n] is 0.
 * @param options.gamma in [0, 1], 0.95 by default; `coef` 1 by default.
 * @param options.denominator for micro-batches: the number of counted elements of the whole batch.
 * @param options.out buffers for `targets` and `gradValues`.
 * @returns `loss`; `targets` y [n], 0 where masked; `gradValues` [n] of the class of the values.
 * @throws RangeError ERR_ARG_LENGTH, ERR_ARG_VALUE naming an argument; TypeError ERR_DEVICE for device buffers: this runs on the
 *   host.
 * @see ArCHer, arXiv 2402.19446 (gamma 0.95 in its configurations).
 * @example
 * const { loss, targets, gradValues } = tdLoss({
 *   values: Float32Array.of(0, 1),
 *   rewards: Float32Array.of(0, 1),
 *   nextValues: Float32Array.of(1, NaN),
 *   terminated: Uint8Array.of(0, 1),
 *   gamma: 0.5,
 * });
 * // loss = 0.125, targets = [0.5, 1], gradValues = [-0.5, 0]
 */
export function tdLoss<V extends Reals>(
  options: TdLossOptions<V>,
): { loss: number; targets: Float64s; gradValues: SameClass<V> } {
  const given = checkOptions('tdLoss', options, TD_OPTIONS, 'sync', TD_OUT);
  const { values, layout, scale } = checkValues(given, 1);
  const rewards = reals('rewards', given.rewards, values.length);
  const nextValues = reals('nextValues', given.nextValues, values.length);
  const terminated =
    given.terminated === undefined
      ? undefined
      : hostView('terminated', typedArray('terminated', given.terminated, ['Uint8Array'], values.length));
  const gamma = fraction('gamma', given.gamma, 0.95);
  const results = new HostResults(given);
  const targets = results.float64('targets', values.length);
  const gradValues = results.sameAs('gradValues', values);
  results.open();

  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    if (!layout.counts(i)) continue;
    const next = (terminated?.[i] ?? 0) === 0 ? gamma * (nextValues[i] as number) : 0;
    const target = (rewards[i] as number) + next;
    const error = (values[i] as number) - target;
    targets[i] = target;
    sum += error ** 2;
    gradValues[i] = 2 * scale * error;
  }
  return { loss: scale * sum, ...results.collect<{ targets: Float64s } & Gradient<V>>() };
}

/**
 * The asymmetric squared error of values: they approach an upper expectile of their targets.
 *
 *     u = target - v;  w = expectile if u >= 0, else 1 - expectile
 *     loss = coef / D sum_i m_i w u^2;  dloss/dv_i = -2 coef / D m_i w u
 *
 * @param options.values [n]; `targets` [n]; not read where `mask` [n] is 0.
 * @param options.expectile between 0 and 1, 0.7 by default; `coef` 1 by default.
 * @param options.denominator for micro-batches: the number of counted elements of the whole batch.
 * @param options.out a buffer for `gradValues`.
 * @returns `loss`; `gradValues` [n] of the class of the values.
 * @throws RangeError ERR_ARG_LENGTH, ERR_ARG_VALUE naming an argument; TypeError ERR_DEVICE for device buffers: this runs on the
 *   host.
 * @see IQL, arXiv 2110.06169; the offline variant of ArCHer, arXiv 2402.19446.
 * @example
 * const { loss, gradValues } = expectileLoss({ values: Float64Array.of(0, 0), targets: Float64Array.of(1, -1) });
 * // loss = 0.5, gradValues = [-0.7, 0.3]
 */
export function expectileLoss<V extends Reals>(
  options: ExpectileLossOptions<V>,
): { loss: number; gradValues: SameClass<V> } {
  const given = checkOptions('expectileLoss', options, EXPECTILE_OPTIONS, 'sync', GRAD_OUT);
  const { values, layout, scale } = checkValues(given, 1);
  const targets = reals('targets', given.targets, values.length);
  const expectile = expectileOf(given.expectile);
  const results = new HostResults(given);
  const gradValues = results.sameAs('gradValues', values);
  results.open();

  let sum = 0;
  for (let i = 0; i < values.length; i++) {
    if (!layout.counts(i)) continue;
    const u = (targets[i] as number) - (values[i] as number);
    const w = u >= 0 ? expectile : 1 - expectile;
    sum += w * u ** 2;
    gradValues[i] = -2 * scale * w * u;
  }
  return { loss: scale * sum, ...results.collect<Gradient<V>>() };
}

/**
 * The advantage of the lesser of two critics: ArCHer.
 *
 *     A_i = min(q1_i, q2_i) - min(v1_i, v2_i)
 *
 * @param options.q1 [n]; `q2`, `v1`, `v2` [n].
 * @param options.out a buffer for `advantages`.
 * @returns [n] advantages.
 * @throws RangeError ERR_ARG_LENGTH naming an argument; TypeError ERR_DEVICE for device buffers: this runs on the host.
 * @see ArCHer, arXiv 2402.19446.
 * @example
 * const advantages = doubleMinAdvantages({
 *   q1: Float64Array.of(1, 0),
 *   q2: Float64Array.of(0.5, 2),
 *   v1: Float64Array.of(0.25, 1),
 *   v2: Float64Array.of(0.5, 1),
 * });
 * // advantages = [0.25, -1]
 */
export function doubleMinAdvantages(options: DoubleMinAdvantagesOptions): Float64s {
  const given = checkOptions('doubleMinAdvantages', options, DOUBLE_MIN_OPTIONS, 'sync', ADVANTAGES_OUT);
  const q1 = reals('q1', given.q1);
  const n = q1.length;
  const [q2, v1, v2] = [reals('q2', given.q2, n), reals('v1', given.v1, n), reals('v2', given.v2, n)];
  const results = new HostResults(given);
  const advantages = results.float64('advantages', n);
  results.open();

  for (let i = 0; i < n; i++) {
    const q = Math.min(q1[i] as number, q2[i] as number);
    advantages[i] = q - Math.min(v1[i] as number, v2[i] as number);
  }
  return results.collect<{ advantages: Float64s }>().advantages;
}
