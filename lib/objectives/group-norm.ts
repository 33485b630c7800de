// The arithmetic of group-relative advantages.
import { rangeError } from '../argument-errors.js';
import type { Reals } from './host-call.js';
import { type Moments, momentsOf } from './moments.js';

export interface Normalization {
  baseline: 'mean' | 'leave-one-out' | 'length-weighted' | 'none';
  scale: 'group' | 'batch' | 'mean' | 'none';
  ddof: number;
  epsilon: number;
  singletons: 'zero' | 'reward';
  /** Of baseline 'length-weighted'. */
  lengths?: ArrayLike<number> | undefined;
}

/** The number of each member's group, by first appearance of the group's key. */
export function numbered(n: number, keyOf: (i: number) => number | string): Int32Array {
  const numbers = new Map<number | string, number>();
  return Int32Array.from({ length: n }, (_, i) => {
    const key = keyOf(i);
    const number = numbers.get(key) ?? numbers.size;
    numbers.set(key, number);
    return number;
  });
}

/** The members of each group, ascending. */
export function membersOf(numbers: Int32Array): number[][] {
  const members: number[][] = [];
  for (const [i, g] of numbers.entries()) {
    members[g] ??= [];
    members[g].push(i);
  }
  return members;
}

export const numbersAt = (numbers: ArrayLike<number>, at: readonly number[]): number[] =>
  at.map((i) => numbers[i] as number);

/** The advantage of each member (A, see `groupAdvantages`) and the moments of each group. */
export function groupAdvantagesOf(
  rewards: Reals,
  members: readonly (readonly number[])[],
  normalization: Normalization,
): { advantages: Float64Array; moments: Moments[] } {
  const { baseline, scale, ddof, singletons } = normalization;
  const advantages = new Float64Array(rewards.length);
  const batchStd = scale === 'batch' ? momentsOf(rewards, ddof).std : 0;
  const moments = members.map((group, g) => {
    const own = numbersAt(rewards, group);
    const moments = momentsOf(own, ddof);
    const weighted = baseline === 'length-weighted' ? lengthWeighted(own, group, g, normalization) : 0;
    const isSingleton = own.length === 1 && baseline !== 'none';
    if (isSingleton && singletons === 'zero') return moments;
    if (moments.equal && own.length > 1 && baseline !== 'none') return moments;
    const scaleBy = isSingleton ? scaleOfSingleton(batchStd, normalization) : scaleOf(moments, batchStd, normalization);
    if (scaleBy === 0) return moments;
    const loo = baseline === 'leave-one-out' && !isSingleton ? own.length / (own.length - 1) : 1;
    const b = isSingleton || baseline === 'none' ? 0 : baseline === 'length-weighted' ? weighted : moments.mean;
    for (const [j, i] of group.entries()) advantages[i] = (loo * ((own[j] as number) - b)) / scaleBy;
    return moments;
  });
  return { advantages, moments };
}

/** s; 0 where the advantages are 0. */
function scaleOf({ mean, std }: Moments, batchStd: number, { scale, epsilon }: Normalization): number {
  if (scale === 'none') return 1;
  if (scale === 'mean') return mean <= 0 ? 0 : mean + epsilon;
  const deviation = scale === 'group' ? std : batchStd;
  return deviation === 0 ? 0 : deviation + epsilon;
}

/** s of a group of one whose advantage is its reward. */
function scaleOfSingleton(batchStd: number, { scale, epsilon }: Normalization): number {
  if (scale === 'group') return 1 + epsilon;
  if (scale === 'batch') return batchStd === 0 ? 0 : batchStd + epsilon;
  return 1;
}

/** sum L R / sum L over the group. */
function lengthWeighted(
  own: readonly number[],
  group: readonly number[],
  g: number,
  { lengths }: Normalization,
): number {
  let [sum, total] = [0, 0];
  for (const [j, i] of group.entries()) {
    const length = lengths?.[i] as number;
    total += length;
    sum += length * (own[j] as number);
  }
  if (total > 0) return sum / total;
  const rule = "a length > 0 in each group, as baseline 'length-weighted' divides by their sum,";
  throw rangeError('ERR_ARG_VALUE', `Expected ${rule} for lengths but received only 0 in group ${g}`);
}
