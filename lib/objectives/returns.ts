// Returns and advantages over time: discounted returns, generalized advantage estimation, whitening.

import { hostView, offsets } from '../args/arrays.js';
import { checkOptions, refuseUnused } from '../args/options.js';
import { boolean, notNegative, oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import {
  type Float64s,
  fraction,
  HostResults,
  LAYOUT_OPTIONS,
  Layout,
  type LayoutOptions,
  type Optional,
  type OutOf,
  optionalReals,
  type Range,
  type Reals,
  reals,
} from './host-call.js';
import { ddofOf, momentsOf } from './moments.js';

interface RewardOptions extends LayoutOptions {
  /** [N], the reward after each element; 0 (not NaN) at dropped elements. */
  rewards: ArrayOrTensor<Reals>;
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** The discount from one counted element to the next; 1 by default. */
  gamma?: number | undefined;
  /** [K], the value after a trajectory's last element where it was cut short; 0, by default, where it ended. */
  bootstrapValues?: Optional<Reals>;
}

/** What `discountedReturns` takes. */
export interface DiscountedReturnsOptions extends RewardOptions {
  out?: OutOf<'returns'>;
}

/** What `generalizedAdvantages` takes. */
export interface GeneralizedAdvantagesOptions extends RewardOptions {
  /** [N], the value before each element. */
  values: ArrayOrTensor<Reals>;
  /** The weight of the next advantage; 0.95 by default, 0 for the one-step advantage. */
  lambda?: number | undefined;
  /** NaN at the end of a trajectory are values that were not estimated; false by default. Level 'element' alone. */
  fillMissing?: boolean | undefined;
  /** 'element' by default; 'bilevel': over the turns first, then over the tokens of each turn. */
  level?: 'element' | 'bilevel' | undefined;
  /** Level 'bilevel': the discount from turn to turn; 0.95 by default. */
  turnGamma?: number | undefined;
  /** Level 'bilevel': lambda over turns; `lambda` by default. */
  turnLambda?: number | undefined;
  out?: OutOf<'advantages' | 'returns'>;
}

/** What `whiten` takes. */
export interface WhitenOptions {
  /** [N] */
  advantages: ArrayOrTensor<Reals>;
  mask?: LayoutOptions['mask'];
  /** 1, the deviation of a sample, by default; 0, that of the population. */
  ddof?: 0 | 1 | undefined;
  /** 1e-8 by default. */
  epsilon?: number | undefined;
  /** Whether epsilon is added to the variance (default) or to the standard deviation. */
  epsilonAt?: 'variance' | 'std' | undefined;
  /** false adds the mean again; true by default. */
  center?: boolean | undefined;
  out?: OutOf<'advantages'>;
}

/** What `broadcastTurns` takes. */
export interface BroadcastTurnsOptions extends LayoutOptions {
  /** [T], of turns; with `trajectoryOffsets` [K], of trajectories. */
  advantages: ArrayOrTensor<Reals>;
  out?: OutOf<'advantages'>;
}

const REWARD_OPTIONS = ['rewards', ...LAYOUT_OPTIONS, 'gamma', 'bootstrapValues', 'out'];
const RETURNS_OPTIONS = new Set(REWARD_OPTIONS);
const RETURNS_OUT = new Set(['returns']);
const BILEVEL_OPTIONS = ['turnGamma', 'turnLambda'] as const;
const GAE_OPTIONS = new Set([...REWARD_OPTIONS, 'values', 'lambda', 'fillMissing', 'level', ...BILEVEL_OPTIONS]);
const GAE_OUT = new Set(['advantages', 'returns']);
const WHITEN_OPTIONS = new Set(['advantages', 'mask', 'ddof', 'epsilon', 'epsilonAt', 'center', 'out']);
const BROADCAST_OPTIONS = new Set(['advantages', ...LAYOUT_OPTIONS, 'out']);
const ADVANTAGES_OUT = new Set(['advantages']);

/** The rewards and their layout; throws for a reward that would be lost. */
function checkRewards(given: { readonly [name in keyof RewardOptions]?: unknown }, call: string) {
  const rewards = reals('rewards', given.rewards);
  const layout = new Layout(given, rewards.length);
  const trajectories = layout.trajectories(call);
  const gamma = fraction('gamma', given.gamma, 1);
  const bootstrap = optionalReals('bootstrapValues', given.bootstrapValues, trajectories.length);
  for (let i = 0; i < rewards.length; i++) {
    if (layout.counts(i) || rewards[i] === 0) continue;
    const rule = 'the reward 0 at an element that the mask drops, where another one would be lost,';
    throw rangeError('ERR_ARG_VALUE', expected(rule, `rewards[${i}]`, rewards[i]));
  }
  return { rewards, layout, trajectories, gamma, bootstrap };
}

/**
 * The discounted sum of the rewards from each element on.
 *
 *     G_i = r_i + gamma G_i+;  i+ the next counted element of the trajectory, G after the last = bootstrap
 *
 * @param options.rewards [N]; `mask` [N]: a dropped element takes no time step.
 * @param options.turnOffsets [T + 1] into elements, by default every element is a turn; `trajectoryOffsets` [K + 1] into turns.
 * @param options.gamma in [0, 1], 1 by default.
 * @param options.bootstrapValues [K], the value after the last element of a trajectory that was cut short; 0 by default.
 * @param options.out a buffer for `returns`.
 * @returns `returns` [N], 0 at dropped elements.
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming a reward other than 0 at a dropped element: it would be
 *   lost; TypeError ERR_DEVICE for device buffers: this runs on the host.
 * @see LMRL-Gym (arXiv 2311.18232), Monte-Carlo returns: gamma 0.99.
 * @example
 * const { returns } = discountedReturns({
 *   rewards: Float64Array.of(0, 0, 1),
 *   trajectoryOffsets: Int32Array.of(0, 3),
 *   gamma: 0.9,
 * });
 * // returns = [0.81, 0.9, 1]
 */
export function discountedReturns(options: DiscountedReturnsOptions): { returns: Float64s } {
  const given = checkOptions('discountedReturns', options, RETURNS_OPTIONS, 'sync', RETURNS_OUT);
  const { rewards, layout, trajectories, gamma, bootstrap } = checkRewards(given, 'discountedReturns');
  const results = new HostResults(given);
  const returns = results.float64('returns', rewards.length);
  results.open();

  for (const [k, [from, to]] of trajectories.entries()) {
    let next = bootstrap?.[k] ?? 0;
    for (let i = to - 1; i >= from; i--) {
      if (!layout.counts(i)) continue;
      next = (rewards[i] as number) + gamma * next;
      returns[i] = next;
    }
  }
  return results.collect();
}

/**
 * Generalized advantage estimation, over elements, or over turns and then over the tokens of each turn.
 *
 *     delta_i = r_i + gamma V_i+ - V_i;  A_i = delta_i + gamma lambda A_i+;  returns A_i + V_i          level 'element'
 *
 * i+ is the next counted element of the trajectory: a dropped one takes no time step. After the last, V is the bootstrap
 * value and A is 0. Level 'bilevel': e is the last counted token of a turn, e+ that of the next turn that has one,
 *
 *     A^H_t = r_e + turnGamma V_e+ - V_e + turnGamma turnLambda A^H_t+
 *
 * and inside each turn the recursion of level 'element', where the reward at the end is A^H_t + V_e, and V and A after it are 0.
 *
 * `fillMissing`: NaN values at the end of a trajectory were not estimated: V_i = r_i + gamma V_i+, so A_i = 0 at lambda = 0.
 *
 * @param options.rewards [N]; `values` [N], not read where `mask` [N] is 0.
 * @param options.turnOffsets [T + 1] into elements, by default every element is a turn; `trajectoryOffsets` [K + 1] into turns.
 * @param options.gamma in [0, 1], 1 by default; `lambda` in [0, 1], 0.95 by default; 'bilevel': `turnGamma` 0.95, `turnLambda`
 *   = `lambda` by default.
 * @param options.bootstrapValues [K], the value after the last element of a trajectory that was cut short; 0 by default.
 * @param options.out buffers for any array of the result, by name.
 * @returns `advantages` [N], `returns` [N] (the targets of a value loss), 0 at dropped elements.
 * @throws RangeError ERR_OFFSETS naming an index; ERR_ARG_VALUE naming a reward other than 0 at a dropped element, a missing value
 *   before an estimated one, or an option that the level does not use.
 * @see arXiv 1506.02438; VinePPO (arXiv 2410.01679): lambda 0, fillMissing; RAGEN (arXiv 2504.20073): bilevel.
 * @example
 * const { advantages, returns } = generalizedAdvantages({
 *   rewards: Float64Array.of(0, -0.1, 0, 1),
 *   values: Float64Array.of(0.5, 0.6, 0.4, 0.7),
 *   trajectoryOffsets: Int32Array.of(0, 4),
 *   gamma: 0.99,
 * });
 * // advantages = [0.3168, 0.2369, 0.5752, 0.3], returns = [0.8168, 0.8369, 0.9752, 1]
 */
export function generalizedAdvantages(options: GeneralizedAdvantagesOptions): {
  advantages: Float64s;
  returns: Float64s;
} {
  const given = checkOptions('generalizedAdvantages', options, GAE_OPTIONS, 'sync', GAE_OUT);
  const rewarded = checkRewards(given, 'generalizedAdvantages');
  const { rewards, layout, trajectories, gamma, bootstrap } = rewarded;
  const lambda = fraction('lambda', given.lambda, 0.95);
  const level = oneOf('level', given.level, 'element', ['element', 'bilevel']);
  refuseUnused(given, level === 'element' ? BILEVEL_OPTIONS : ['fillMissing'], `level '${level}'`);
  const turnGamma = fraction('turnGamma', given.turnGamma, 0.95);
  const turnLambda = fraction('turnLambda', given.turnLambda, lambda);
  let values = reals('values', given.values, rewards.length);
  if (boolean('fillMissing', given.fillMissing, false)) values = filledValues({ ...rewarded, values });
  const results = new HostResults(given);
  const advantages = results.float64('advantages', rewards.length);
  const returns = results.float64('returns', rewards.length);
  results.open();

  /** The recursion over elements, backwards from what follows them; the advantage of the last counted one may be given. */
  const recur = ([from, to]: Range, nextValue: number, advantageAtEnd?: (end: number) => number) => {
    let [advantage, isEnd] = [0, true];
    for (let i = to - 1; i >= from; i--) {
      if (!layout.counts(i)) continue;
      const value = values[i] as number;
      advantage =
        isEnd && advantageAtEnd
          ? advantageAtEnd(i)
          : (rewards[i] as number) + gamma * nextValue - value + gamma * lambda * advantage;
      advantages[i] = advantage;
      returns[i] = advantage + value;
      nextValue = value;
      isEnd = false;
    }
  };
  for (const [k, range] of trajectories.entries()) {
    let nextEnd = bootstrap?.[k] ?? 0;
    if (level === 'element') {
      recur(range, nextEnd);
      continue;
    }
    let advantage = 0;
    const atEnd = (end: number) => {
      const value = values[end] as number;
      advantage = (rewards[end] as number) + turnGamma * nextEnd - value + turnGamma * turnLambda * advantage;
      nextEnd = value;
      return advantage;
    };
    const [first, last] = layout.turnsOf('level')[k] as Range;
    for (let t = last - 1; t >= first; t--) recur(layout.turn(t), 0, atEnd);
  }
  return results.collect();
}

/** The values with those that are missing at the end of a trajectory. */
function filledValues(given: ReturnType<typeof checkRewards> & { values: Reals }): Float64Array {
  const { rewards, layout, trajectories, gamma, bootstrap } = given;
  const values = Float64Array.from(given.values);
  for (const [k, [from, to]] of trajectories.entries()) {
    let [next, estimated] = [bootstrap?.[k] ?? 0, false];
    for (let i = to - 1; i >= from; i--) {
      if (!layout.counts(i)) continue;
      if (Number.isNaN(values[i])) {
        if (estimated) {
          throw rangeError('ERR_ARG_VALUE', expected('a value before one that is estimated', `values[${i}]`, NaN));
        }
        values[i] = (rewards[i] as number) + gamma * next;
      } else {
        estimated = true;
      }
      next = values[i] as number;
    }
  }
  return values;
}

/**
 * Advantages with mean 0 and deviation 1 over the elements that count.
 *
 *     x_i = (a_i - mu) / sqrt(s^2 + epsilon)   epsilonAt 'variance';   (a_i - mu) / (s + epsilon)   epsilonAt 'std'
 *
 * mu and s are those of the counted elements, s with n - ddof. `center: false` adds mu again. Where all are equal, s is exactly 0
 * and so is x.
 *
 * @param options.advantages [N], not read where `mask` [N] is 0.
 * @param options.ddof 1 by default (verl, TRL); 0, the deviation of the population (LMRL-Gym).
 * @param options.epsilon >= 0, 1e-8 by default.
 * @param options.out a buffer for `advantages`.
 * @returns `advantages` [N], 0 at dropped elements; `mean` mu and `std` s.
 * @throws RangeError ERR_ARG_VALUE where not more than ddof elements count; TypeError ERR_DEVICE for device buffers.
 * @see masked_whiten of verl and TRL.
 * @example
 * const { advantages, mean, std } = whiten({ advantages: Float64Array.of(1, 2, 4, -3) });
 * // advantages = [0, 0.3397, 1.019, -1.3587], mean = 1, std = 2.9439
 */
export function whiten(options: WhitenOptions): { advantages: Float64s; mean: number; std: number } {
  const given = checkOptions('whiten', options, WHITEN_OPTIONS, 'sync', ADVANTAGES_OUT);
  const advantages = reals('advantages', given.advantages);
  const layout = new Layout({ mask: given.mask }, advantages.length);
  const ddof = ddofOf(given.ddof, 1);
  const epsilon = notNegative('epsilon', given.epsilon, 1e-8);
  const epsilonAt = oneOf('epsilonAt', given.epsilonAt, 'variance', ['variance', 'std']);
  const center = boolean('center', given.center, true);
  const counted = new Float64Array(layout.counted());
  for (let i = 0, j = 0; i < advantages.length; i++) if (layout.counts(i)) counted[j++] = advantages[i] as number;
  if (counted.length <= ddof) {
    const rule = `more than ddof = ${ddof} elements that count`;
    throw rangeError('ERR_ARG_VALUE', `Expected ${rule} for advantages but received ${counted.length}`);
  }
  const results = new HostResults(given);
  const whitened = results.float64('advantages', advantages.length);
  results.open();

  const { mean, std, equal } = momentsOf(counted, ddof);
  const scale = epsilonAt === 'variance' ? Math.sqrt(std ** 2 + epsilon) : std + epsilon;
  for (let i = 0; i < advantages.length; i++) {
    if (!layout.counts(i)) continue;
    whitened[i] = (equal ? 0 : ((advantages[i] as number) - mean) / scale) + (center ? 0 : mean);
  }
  return { ...results.collect<{ advantages: Float64s }>(), mean, std };
}

/** The number of elements that the offsets end at; undefined without offsets, where every element is a turn of its own. */
function elementsOf(given: { readonly [name in keyof LayoutOptions]?: unknown }): number | undefined {
  const name = given.turnOffsets === undefined ? 'trajectoryOffsets' : 'turnOffsets';
  if (given[name] === undefined) return undefined;
  return hostView(name, offsets(name, given[name])).at(-1);
}

/**
 * The advantage of a turn at each of its elements, or that of a trajectory.
 *
 *     x_i = a_t of the turn t of element i;  with trajectoryOffsets: a_k of its trajectory k
 *
 * `trajectoryOffsets` alone goes from trajectories to turns.
 *
 * @param options.advantages [T] of turns; with `trajectoryOffsets` [K] of trajectories.
 * @param options.turnOffsets [T + 1] into elements, by default every element is a turn; `trajectoryOffsets` [K + 1] into turns.
 * @param options.mask [N]: 0 where it is 0.
 * @param options.out a buffer for `advantages`.
 * @returns [N] advantages.
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_LENGTH where there is another number of advantages than of turns (of
 *   trajectories); TypeError ERR_DEVICE for device buffers.
 * @see ArCHer (arXiv 2402.19446), Section 3: the advantage of an utterance at its tokens.
 * @example
 * const perToken = broadcastTurns({ advantages: Float64Array.of(0.5, -1), turnOffsets: Int32Array.of(0, 2, 3) });
 * // perToken = [0.5, 0.5, -1]
 */
export function broadcastTurns(options: BroadcastTurnsOptions): Float64s {
  const given = checkOptions('broadcastTurns', options, BROADCAST_OPTIONS, 'sync', ADVANTAGES_OUT);
  const unchecked = reals('advantages', given.advantages);
  const elements = elementsOf(given) ?? unchecked.length;
  const layout = new Layout(given, elements);
  const units =
    given.trajectoryOffsets !== undefined
      ? layout.trajectories('broadcastTurns')
      : given.turnOffsets !== undefined
        ? layout.turns('broadcastTurns')
        : Array.from({ length: elements }, (_, i) => [i, i + 1] as const);
  const advantages = reals('advantages', given.advantages, units.length);
  const results = new HostResults(given);
  const spread = results.float64('advantages', elements);
  results.open();

  for (const [u, [from, to]] of units.entries()) {
    for (let i = from; i < to; i++) if (layout.counts(i)) spread[i] = advantages[u] as number;
  }
  return results.collect<{ advantages: Float64s }>().advantages;
}
