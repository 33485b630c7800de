// Advantages relative to a group: the other samples of one task, turns with the same observation.

import { hostView, typedArray } from '../args/arrays.js';
import { exclusiveGroups, selectGroup } from '../args/exclusive.js';
import { checkOptions, missing, refuseUnused } from '../args/options.js';
import { notNegative, oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import { groups as rangesOf } from '../data/candidates.js';
import { groupAdvantagesOf, membersOf, type Normalization, numbered } from './group-norm.js';
import {
  type Float64s,
  HostResults,
  type Int32s,
  integers,
  type Optional,
  type OutOf,
  type Reals,
  reals,
} from './host-call.js';
import { ddofOf } from './moments.js';

/** What `groupAdvantages` takes: one of `groupIds` and `groupOffsets`. */
export interface GroupAdvantagesOptions {
  /** [n] */
  rewards: ArrayOrTensor<Reals>;
  /** [n], equal in one group; members need not be adjacent. */
  groupIds?: Optional<Int32Array>;
  /** [groups + 1], the members of group g are groupOffsets[g] ... groupOffsets[g + 1] - 1. */
  groupOffsets?: Optional<Int32Array>;
  /** [n]: groups are pairs of a group and an agent. */
  agentIds?: Optional<Int32Array>;
  /** [n] >= 0, the lengths that baseline 'length-weighted' needs. */
  lengths?: Optional<Int32Array | Reals>;
  /** 'mean' by default. */
  baseline?: Normalization['baseline'] | undefined;
  /** 'group' by default. */
  scale?: Normalization['scale'] | undefined;
  /** 1, the deviation of a sample, by default; 0, that of the population. */
  ddof?: 0 | 1 | undefined;
  /** 1e-6 by default, 0 under scale 'mean'; not accepted under scale 'none'. */
  epsilon?: number | undefined;
  /** The advantage of a group of one: 0 (default), or its reward. */
  singletons?: Normalization['singletons'] | undefined;
  out?:
    | (OutOf<'advantages' | 'means' | 'stds'> & { [name in 'groups' | 'sizes']?: Int32Array | undefined })
    | undefined;
}

/** Advantages, and the groups in the order of their first members. */
export interface GroupAdvantages {
  /** [n] */
  advantages: Float64s;
  /** [n], the number of each member's group. */
  groups: Int32s;
  /** [G], the mean of each group; `stds` with ddof, without epsilon. */
  means: Float64s;
  stds: Float64s;
  /** [G] */
  sizes: Int32s;
  /** The number of groups of several members with equal rewards, which carry no gradient. */
  zeroVarianceGroups: number;
}

const SCALES = ['group', 'batch', 'mean', 'none'] as const;
const SINGLETONS = ['zero', 'reward'] as const;
const OPTIONS = new Set([
  ...['rewards', 'groupIds', 'groupOffsets', 'agentIds', 'lengths'],
  ...['baseline', 'scale', 'ddof', 'epsilon', 'singletons', 'out'],
]);
const FORMS = exclusiveGroups([['groupIds'], ['groupOffsets']] as const);
const OUT = new Set(['advantages', 'groups', 'means', 'stds', 'sizes']);

/** 1e-6 where a deviation is divided by; not accepted where nothing is. */
export function epsilonOf(given: { readonly epsilon?: unknown }, scale: Normalization['scale'], fallback = 1e-6) {
  if (scale === 'none') refuseUnused(given, ['epsilon'], "scale 'none'");
  return notNegative('epsilon', given.epsilon, fallback);
}

/** A key of the group of each member. */
function groupKeys(given: { groupIds?: unknown; groupOffsets?: unknown; agentIds?: unknown }, n: number) {
  const { groupIds, groupOffsets, agentIds } = given;
  const form = selectGroup(given, FORMS, 'groupAdvantages');
  let ids: Int32Array;
  if (form === 'groupIds') {
    ids = integers('groupIds', groupIds, n);
  } else {
    ids = new Int32Array(n);
    for (const [g, [from, to]] of rangesOf('groupOffsets', groupOffsets, n).entries()) ids.fill(g, from, to);
  }
  const agents = agentIds === undefined ? undefined : integers('agentIds', agentIds, n);
  return agents === undefined ? (i: number) => ids[i] as number : (i: number) => `${ids[i]} ${agents[i]}`;
}

function lengthsOf(value: unknown, n: number): Int32Array | Reals {
  if (value === undefined)
    throw missing('lengths', 'Int32Array or Float32Array or Float64Array', "baseline 'length-weighted'");
  const lengths = hostView('lengths', typedArray('lengths', value, ['Int32Array', 'Float32Array', 'Float64Array'], n));
  const at = Array.from(lengths).findIndex((length) => !(length >= 0 && length < Infinity));
  if (at >= 0) throw rangeError('ERR_ARG_VALUE', expected('a finite length >= 0', `lengths[${at}]`, lengths[at]));
  return lengths;
}

/**
 * The advantage of each sample over its group: GRPO, Dr. GRPO, RLOO, REINFORCE++ with a baseline, MaxRL, OPO.
 *
 *     A_i = (R_i - b_i) / s_i;   mu, sigma of the group (with ddof), sigma_B of all rewards of the call
 *     baseline  'mean' mu, 'leave-one-out' R - b = n / (n - 1) (R - mu), 'length-weighted' sum L R / sum L, 'none' 0
 *     scale     'group' sigma + epsilon, 'batch' sigma_B + epsilon, 'mean' mu + epsilon (A = 0 where mu <= 0), 'none' 1
 *
 * GRPO: the defaults (TRL's epsilon is 1e-4). Dr. GRPO: scale 'none'. RLOO: 'leave-one-out', 'none'. REINFORCE++ with a baseline:
 * scale 'none', then `broadcastTurns` and `whiten`. MaxRL: scale 'mean'. OPO: 'length-weighted', 'none'. Dr. MAS: with `agentIds`.
 *
 * A group of one has A = 0; with `singletons: 'reward'` b = 0 and s is 1 + epsilon under 'group', 1 under 'mean' and 'none'; under
 * baseline 'none' it is like any other. In a group of several equal rewards A is exactly 0, except under baseline 'none'.
 *
 * @param options.rewards [n]; `lengths` [n] for baseline 'length-weighted'.
 * @param options.groupIds [n], or `groupOffsets` [groups + 1]; `agentIds` [n] splits groups by agent.
 * @param options.out buffers for any array of the result, by name.
 * @returns `advantages` [n], `groups` [n], and of each group, in the order of their first members, `means`, `stds`, `sizes` [G];
 *   `zeroVarianceGroups`, which dynamic sampling drops.
 * @throws TypeError ERR_ARG_TYPE for a missing argument; RangeError ERR_ARG_VALUE naming a length, an option that is not used,
 *   or a group whose lengths add up to 0; TypeError ERR_DEVICE for device buffers.
 * @see GRPO arXiv 2402.03300, Dr. GRPO 2503.20783, RLOO 2402.14740, MaxRL 2602.02710, OPO 2505.23585, Dr. MAS 2602.08847.
 * @example
 * const { advantages, zeroVarianceGroups } = groupAdvantages({
 *   rewards: Float64Array.of(1, 0, 0, 1, 0.5),
 *   groupIds: Int32Array.of(7, 7, 7, 7, 7),
 * });
 * // advantages = [1, -1, -1, 1, 0], zeroVarianceGroups = 0
 */
export function groupAdvantages(options: GroupAdvantagesOptions): GroupAdvantages {
  const given = checkOptions('groupAdvantages', options, OPTIONS, 'sync', OUT);
  const rewards = reals('rewards', given.rewards);
  const n = rewards.length;
  const keyOf = groupKeys(given, n);
  const names = ['mean', 'leave-one-out', 'length-weighted', 'none'] as const;
  const baseline = oneOf('baseline', given.baseline, 'mean', names);
  const scale = oneOf('scale', given.scale, 'group', SCALES);
  if (baseline !== 'length-weighted') refuseUnused(given, ['lengths'], `baseline '${baseline}'`);
  const normalization: Normalization = {
    baseline,
    scale,
    ddof: ddofOf(given.ddof, 1),
    epsilon: epsilonOf(given, scale, scale === 'mean' ? 0 : 1e-6),
    singletons: oneOf('singletons', given.singletons, 'zero', SINGLETONS),
    lengths: baseline === 'length-weighted' ? lengthsOf(given.lengths, n) : undefined,
  };
  const numbers = numbered(n, keyOf);
  const members = membersOf(numbers);
  const computed = groupAdvantagesOf(rewards, members, normalization);
  const results = new HostResults(given);
  const advantages = results.float64('advantages', n);
  const groups = results.int32('groups', n);
  const means = results.float64('means', members.length);
  const stds = results.float64('stds', members.length);
  const sizes = results.int32('sizes', members.length);
  results.open();

  advantages.set(computed.advantages);
  groups.set(numbers);
  for (const [g, moments] of computed.moments.entries()) {
    means[g] = moments.mean;
    stds[g] = moments.std;
    sizes[g] = moments.count;
  }
  const zeroVarianceGroups = computed.moments.filter(({ count, equal }) => count > 1 && equal).length;
  return { ...results.collect<Omit<GroupAdvantages, 'zeroVarianceGroups'>>(), zeroVarianceGroups };
}
