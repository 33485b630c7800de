// Advantages of turns relative to a group: turns with the same observation (GiGPO, HGPO), rewards of turns and outcomes (MT-GRPO).

import { hostView, offsets } from '../args/arrays.js';
import { checkOptions, missing, refuseUnused } from '../args/options.js';
import { boolean, integer, number, oneOf, signedCoefficient } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import { groups as rangesOf } from '../data/candidates.js';
import { epsilonOf } from './group-advantages.js';
import { groupAdvantagesOf, membersOf, type Normalization, numbered, numbersAt } from './group-norm.js';
import {
  type Float64s,
  fraction,
  HostResults,
  type Int32s,
  integers,
  type Optional,
  type OutOf,
  optionalReals,
  type Range,
  type Reals,
  reals,
} from './host-call.js';
import { ddofOf, momentsOf } from './moments.js';

/** What `stepGroupAdvantages` takes; the elements are turns. */
export interface StepGroupAdvantagesOptions {
  /** [T], the discounted returns of the step rewards: see `discountedReturns`. */
  returns: ArrayOrTensor<Reals>;
  /** [K + 1] into turns. */
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** [K], the task of each trajectory. */
  groupIds: ArrayOrTensor<Int32Array>;
  /** [T], equal for the same observation. */
  observationIds: ArrayOrTensor<Int32Array>;
  /** [K], the rewards of the trajectories; without them the advantages of episodes are 0. */
  episodeRewards?: Optional<Reals>;
  /** 'gigpo' by default. */
  method?: 'gigpo' | 'hgpo' | undefined;
  /** Division by the deviation ('group', the default of 'hgpo'), or none (the default of 'gigpo'). */
  scale?: 'group' | 'none' | undefined;
  /** Of the deviation over turns: 1 is the default of 'gigpo', 0 of 'hgpo'; not accepted under scale 'none'. */
  ddof?: 0 | 1 | undefined;
  /** 1e-6 by default; not accepted under scale 'none'. */
  epsilon?: number | undefined;
  /** The episode advantage of a group of one: 0 (default), or its reward. Needs `episodeRewards`. */
  singletons?: Normalization['singletons'] | undefined;
  /** What counts once in the moments of the episode rewards: a trajectory (default), or each of its turns. */
  episodeCounts?: 'trajectory' | 'step' | undefined;
  /** 'gigpo': the weight of the step advantage; 1 by default. */
  stepCoef?: number | undefined;
  /** 'hgpo': how many observations before that of a turn are compared; 2 by default. */
  historyLength?: number | undefined;
  /** 'hgpo': the exponent of a level's weight; 1 by default. */
  lengthPower?: number | undefined;
  /** 'hgpo': the episode advantage is level 0; false by default. */
  includeEpisode?: boolean | undefined;
  out?:
    | (OutOf<'advantages' | 'episodeAdvantages' | 'stepAdvantages'> & { groupSizes?: Int32Array | undefined })
    | undefined;
}

/** Advantages of turns. */
export interface StepGroupAdvantages {
  /** [T] */
  advantages: Float64s;
  /** [T], A_E of the turn's trajectory. */
  episodeAdvantages: Float64s;
  /** [T], a_1 of 'gigpo', A of 'hgpo'. */
  stepAdvantages: Float64s;
  /** [T], the number of turns of the task with the same observation. */
  groupSizes: Int32s;
}

/** What `turnRewardAdvantages` takes. */
export interface TurnRewardAdvantagesOptions {
  /** [K], the reward of the turn that calls the tool. */
  turnRewards: ArrayOrTensor<Reals>;
  /** [K] */
  outcomeRewards: ArrayOrTensor<Reals>;
  /** [K], the task of each trajectory. */
  groupIds: ArrayOrTensor<Int32Array>;
  /** [K + 1] into turns. */
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** [K] >= 0, how many leading turns the turn reward belongs to; 1 by default, 0: no tool was called. */
  splitTurns?: Optional<Int32Array>;
  /** 'aae' by default. */
  method?: 'aae' | 'cae' | undefined;
  /** 'aae': the weight of the turn reward; 1 by default. */
  turnCoef?: number | undefined;
  /** 'cae': the discount of the outcome; 1 by default. */
  gamma?: number | undefined;
  /** As in `groupAdvantages`; 'group' by default. */
  scale?: Normalization['scale'] | undefined;
  /** 1 by default. */
  ddof?: 0 | 1 | undefined;
  /** 1e-6 by default; not accepted under scale 'none'. */
  epsilon?: number | undefined;
  out?: OutOf<'advantages'>;
}

const EPISODE_OPTIONS = ['singletons', 'episodeCounts'] as const;
const HGPO_OPTIONS = ['historyLength', 'lengthPower', 'includeEpisode'] as const;
const STEP_OPTIONS = new Set([
  ...['returns', 'trajectoryOffsets', 'groupIds', 'observationIds', 'episodeRewards', 'method'],
  ...['scale', 'ddof', 'epsilon', ...EPISODE_OPTIONS, 'stepCoef', ...HGPO_OPTIONS, 'out'],
]);
const STEP_OUT = new Set(['advantages', 'episodeAdvantages', 'stepAdvantages', 'groupSizes']);
const TURN_OPTIONS = new Set([
  ...['turnRewards', 'outcomeRewards', 'groupIds', 'trajectoryOffsets', 'splitTurns', 'method'],
  ...['turnCoef', 'gamma', 'scale', 'ddof', 'epsilon', 'out'],
]);
const TURN_OUT = new Set(['advantages']);

/**
 * The advantage of each turn over the turns of its task with the same observation: GiGPO, HGPO.
 *
 *     level k    turns of one task whose last k observations (this one and k - 1 before, within the trajectory) agree
 *     a_k(t)     (R_t - mean) / (sigma + epsilon) ('group') or R_t - mean ('none') in that group; a group of one, or of equal
 *                returns, carries nothing
 *     gigpo      A = A_E + stepCoef a_1
 *     hgpo       A = sum_k w_k a_k / sum_k w_k over k = 1 ... historyLength + 1 that carry something, w_k = (k + 1)^lengthPower;
 *                `includeEpisode` adds k = 0 with A_E, where it carries something
 *     A_E        `groupAdvantages` of the episode rewards by `groupIds` with ddof 1 and the same scale; 0 without episode rewards
 *
 * @param options.returns [T] of turns; `observationIds` [T].
 * @param options.trajectoryOffsets [K + 1] into turns; `groupIds` [K]; `episodeRewards` [K].
 * @param options.method 'gigpo' (scale 'none', ddof 1 by default) or 'hgpo' (scale 'group', ddof 0 by default).
 * @param options.out buffers for any array of the result, by name.
 * @returns `advantages`, `episodeAdvantages`, `stepAdvantages`, `groupSizes` (of level 1), each [T].
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming an option that the method or scale does not use; TypeError
 *   ERR_ARG_TYPE for includeEpisode without episodeRewards, ERR_DEVICE for device buffers.
 * @see GiGPO arXiv 2505.10978, HGPO arXiv 2602.22817.
 * @example
 * const { advantages, stepAdvantages } = stepGroupAdvantages({
 *   returns: Float64Array.of(0.95, 1, 0, 0),
 *   trajectoryOffsets: Int32Array.of(0, 2, 4),
 *   groupIds: Int32Array.of(0, 0),
 *   observationIds: Int32Array.of(0, 1, 0, 2),
 *   episodeRewards: Float64Array.of(1, 0),
 * });
 * // advantages = [0.975, 0.5, -0.975, -0.5], stepAdvantages = [0.475, 0, -0.475, 0]
 */
export function stepGroupAdvantages(options: StepGroupAdvantagesOptions): StepGroupAdvantages {
  const given = checkOptions('stepGroupAdvantages', options, STEP_OPTIONS, 'sync', STEP_OUT);
  const returns = reals('returns', given.returns);
  const turns = returns.length;
  const trajectories = rangesOf('trajectoryOffsets', given.trajectoryOffsets, turns);
  const tasks = integers('groupIds', given.groupIds, trajectories.length);
  const observations = integers('observationIds', given.observationIds, turns);
  const rewards = optionalReals('episodeRewards', given.episodeRewards, trajectories.length);
  const method = oneOf('method', given.method, 'gigpo', ['gigpo', 'hgpo']);
  refuseUnused(given, method === 'gigpo' ? HGPO_OPTIONS : ['stepCoef'], `method '${method}'`);
  const scale = oneOf('scale', given.scale, method === 'gigpo' ? 'none' : 'group', ['group', 'none']);
  if (scale === 'none') refuseUnused(given, ['ddof'], "scale 'none'");
  if (rewards === undefined) refuseUnused(given, EPISODE_OPTIONS, 'no episodeRewards');
  const norm = { scale, ddof: ddofOf(given.ddof, method === 'gigpo' ? 1 : 0), epsilon: epsilonOf(given, scale) };
  const singletons = oneOf('singletons', given.singletons, 'zero', ['zero', 'reward']);
  const counts = oneOf('episodeCounts', given.episodeCounts, 'trajectory', ['trajectory', 'step']);
  const stepCoef = signedCoefficient('stepCoef', given.stepCoef, 1);
  const levels = method === 'gigpo' ? 1 : 1 + integer('historyLength', given.historyLength, 2, 0, 1000);
  const power = number('lengthPower', given.lengthPower, 1, 'a number from -30 to 30', (x) => Math.abs(x) <= 30);
  const includeEpisode = boolean('includeEpisode', given.includeEpisode, false);
  if (includeEpisode && rewards === undefined) {
    throw missing('episodeRewards', 'Float32Array or Float64Array', 'includeEpisode');
  }
  const results = new HostResults(given);
  const advantages = results.float64('advantages', turns);
  const episodeAdvantages = results.float64('episodeAdvantages', turns);
  const stepAdvantages = results.float64('stepAdvantages', turns);
  const groupSizes = results.int32('groupSizes', turns);
  results.open();

  const episode = rewards && episodesOf({ rewards, tasks, trajectories }, counts, { ...norm, singletons });
  for (const [t, a] of episode?.advantages.entries() ?? []) episodeAdvantages[t] = a;
  const [sums, weights] = [new Float64Array(turns), new Float64Array(turns)];
  const add = (t: number, k: number, a: number) => {
    const w = method === 'gigpo' ? 1 : (k + 1) ** power;
    sums[t] = (sums[t] as number) + w * a;
    weights[t] = (weights[t] as number) + w;
  };
  if (includeEpisode) for (const [t, a] of episode?.advantages.entries() ?? []) if (episode?.carries[t]) add(t, 0, a);
  const levelGroups = groupsByHistory(observations, tasks, trajectories, levels);
  for (const [k, groups] of levelGroups.entries()) {
    for (const group of groups) {
      if (k === 0) for (const t of group) groupSizes[t] = group.length;
      const { mean, std, equal } = momentsOf(numbersAt(returns, group), norm.ddof);
      if (equal) continue;
      for (const t of group) {
        const difference = (returns[t] as number) - mean;
        add(t, k + 1, scale === 'group' ? difference / (std + norm.epsilon) : difference);
      }
    }
  }
  for (let t = 0; t < turns; t++) {
    const a = weights[t] === 0 ? 0 : (sums[t] as number) / (weights[t] as number);
    stepAdvantages[t] = a;
    advantages[t] = method === 'gigpo' ? (episodeAdvantages[t] as number) + stepCoef * a : a;
  }
  return results.collect();
}

interface Episodes {
  rewards: Reals;
  tasks: Int32Array;
  trajectories: readonly Range[];
}

/** A_E of each turn, and whether it carries something: whether the rewards that its moments are of differ. */
function episodesOf(
  { rewards, tasks, trajectories }: Episodes,
  counts: 'trajectory' | 'step',
  norm: Pick<Normalization, 'scale' | 'epsilon' | 'singletons'>,
) {
  const trajectoryOf = trajectories.flatMap(([from, to], k) => new Array<number>(to - from).fill(k));
  const counted = counts === 'step' ? trajectoryOf : [...trajectories.keys()];
  const groups = membersOf(numbered(counted.length, (j) => tasks[counted[j] as number] as number));
  const normalization: Normalization = { ...norm, baseline: 'mean', ddof: 1 };
  const own = Float64Array.from(numbersAt(rewards, counted));
  const computed = groupAdvantagesOf(own, groups, normalization);
  const differs = new Array<boolean>(counted.length);
  for (const [g, group] of groups.entries()) {
    const { count, equal } = computed.moments[g] as { count: number; equal: boolean };
    for (const j of group) differs[j] = count > 1 ? !equal : computed.advantages[j] !== 0;
  }
  const at = counts === 'step' ? (_k: number, t: number) => t : (k: number) => k;
  return {
    advantages: trajectoryOf.map((k, t) => computed.advantages[at(k, t)] as number),
    carries: trajectoryOf.map((k, t) => differs[at(k, t)] as boolean),
  };
}

/** The turns of each group of each level, level 1 first. A turn has no group at a level that is longer than its history. */
function groupsByHistory(
  observations: Int32Array,
  tasks: Int32Array,
  trajectories: readonly Range[],
  levels: number,
): number[][][] {
  const all: number[][][] = [];
  let numbers: Int32Array | undefined;
  for (let k = 0; k < levels; k++) {
    const members = trajectories.flatMap(([from, to], trajectory) =>
      Array.from({ length: Math.max(0, to - from - k) }, (_, j) => ({ t: from + k + j, trajectory })),
    );
    const before = numbers;
    // The group of the level before, and the observation that this level adds.
    const keys = members.map(
      ({ t, trajectory }) => `${before === undefined ? tasks[trajectory] : before[t]} ${observations[t - k]}`,
    );
    const own = numbered(keys.length, (j) => keys[j] as string);
    numbers = new Int32Array(observations.length);
    for (const [j, { t }] of members.entries()) numbers[t] = own[j] as number;
    all.push(membersOf(own).map((group) => group.map((j) => (members[j] as { t: number }).t)));
  }
  return all;
}

/**
 * The advantage of each turn from a reward of its leading turns and the outcome: MT-GRPO.
 *
 *     norm(x)   x normalized in its group, as `groupAdvantages` does with baseline 'mean'; a group of one 0
 *     aae       turn index < split: norm(R_O) + turnCoef norm(R_T);  from split on: norm(R_O);  split = 0: norm(R_T + R_O)
 *     cae       turn index < split: norm(R_T + gamma R_O);  from split on: norm(R_O);  split = 0: norm(R_T + gamma R_O)
 *
 * @param options.turnRewards [K] R_T; `outcomeRewards` [K] R_O; `groupIds` [K].
 * @param options.trajectoryOffsets [K + 1] into turns.
 * @param options.splitTurns [K], how many leading turns R_T belongs to (those up to the tool's result), 1 by default; 0: no tool
 *   was called.
 * @param options.out a buffer for `advantages`.
 * @returns [T] advantages of turns.
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming a split < 0 or an option that the method or scale does not
 *   use; TypeError ERR_DEVICE for device buffers.
 * @see MT-GRPO, arXiv 2505.11821.
 * @example
 * const advantages = turnRewardAdvantages({
 *   turnRewards: Float64Array.of(1, 0),
 *   outcomeRewards: Float64Array.of(0, 1),
 *   groupIds: Int32Array.of(0, 0),
 *   trajectoryOffsets: Int32Array.of(0, 2, 3),
 *   turnCoef: 0.5,
 *   scale: 'none',
 * });
 * // advantages = [-0.25, -0.5, 0.25]
 */
export function turnRewardAdvantages(options: TurnRewardAdvantagesOptions): Float64s {
  const given = checkOptions('turnRewardAdvantages', options, TURN_OPTIONS, 'sync', TURN_OUT);
  // How many turns there are is where the offsets end.
  const turns = hostView('trajectoryOffsets', offsets('trajectoryOffsets', given.trajectoryOffsets)).at(-1) as number;
  const trajectories = rangesOf('trajectoryOffsets', given.trajectoryOffsets, turns);
  const count = trajectories.length;
  const turnRewards = reals('turnRewards', given.turnRewards, count);
  const outcomes = reals('outcomeRewards', given.outcomeRewards, count);
  const tasks = integers('groupIds', given.groupIds, count);
  const splits = given.splitTurns === undefined ? undefined : integers('splitTurns', given.splitTurns, count);
  const at = splits?.findIndex((split) => split < 0) ?? -1;
  if (at >= 0) throw rangeError('ERR_ARG_VALUE', expected('a number of turns >= 0', `splitTurns[${at}]`, splits?.[at]));
  const method = oneOf('method', given.method, 'aae', ['aae', 'cae']);
  refuseUnused(given, method === 'aae' ? ['gamma'] : ['turnCoef'], `method '${method}'`);
  const turnCoef = signedCoefficient('turnCoef', given.turnCoef, 1);
  const gamma = fraction('gamma', given.gamma, 1);
  const scale = oneOf('scale', given.scale, 'group', ['group', 'batch', 'mean', 'none']);
  const ddof = ddofOf(given.ddof, 1);
  const epsilon = epsilonOf(given, scale);
  const results = new HostResults(given);
  const advantages = results.float64('advantages', turns);
  results.open();

  const groups = membersOf(numbered(count, (k) => tasks[k] as number));
  const normalization: Normalization = { baseline: 'mean', scale, ddof, epsilon, singletons: 'zero' };
  const norm = (rewards: Reals) => groupAdvantagesOf(rewards, groups, normalization).advantages;
  const mixed = Float64Array.from(turnRewards, (r, k) => r + gamma * (outcomes[k] as number)); // gamma is 1 under 'aae'
  const [ofOutcome, ofTurn, ofMixed] = [norm(outcomes), norm(turnRewards), norm(mixed)];
  for (const [k, [from, to]] of trajectories.entries()) {
    const split = splits?.[k] ?? 1;
    const both = ofMixed[k] as number;
    const outcome = ofOutcome[k] as number;
    const leading = method === 'aae' ? outcome + turnCoef * (ofTurn[k] as number) : both;
    for (let t = from; t < to; t++) advantages[t] = split === 0 ? both : t - from < split ? leading : outcome;
  }
  return results.collect<{ advantages: Float64s }>().advantages;
}
