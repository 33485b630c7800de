/** Returns, advantages and the policy-gradient loss by their definitions: sums over lists of elements, nothing recursive. */
import { range } from './range.ts';

type Numbers = ArrayLike<number>;

export interface RaggedBatch {
  mask?: Numbers | undefined;
  turnOffsets?: Numbers | undefined;
  trajectoryOffsets?: Numbers | undefined;
}

const groupsOf = (offsets: Numbers) => range(0, offsets.length - 1).map((k) => range(offsets[k]!, offsets[k + 1]!));

/** The counted elements of each turn, and of each trajectory. */
export function unitsOf({ mask, turnOffsets, trajectoryOffsets }: RaggedBatch, elements: number) {
  const counted = (list: number[]) => list.filter((i) => mask === undefined || mask[i] !== 0);
  const turns = (turnOffsets ? groupsOf(turnOffsets) : range(0, elements).map((i) => [i])).map(counted);
  const trajectories = (trajectoryOffsets ? groupsOf(trajectoryOffsets) : []).map((list) => list.map((t) => turns[t]!));
  return { turns, turnsOf: trajectories, trajectories: trajectories.map((list) => list.flat()) };
}

const sum = (list: number[], f: (x: number, j: number) => number) => list.reduce((total, x, j) => total + f(x, j), 0);

interface RewardBatch extends RaggedBatch {
  rewards: Numbers;
  values?: Numbers;
  gamma?: number;
  lambda?: number;
  bootstrapValues?: Numbers;
}

/** G_i = sum_j gamma^j r of the j-th counted element from i on, and the bootstrap behind the last. */
export function discountedReturns(batch: RewardBatch): Float64Array {
  const { rewards, gamma = 1, bootstrapValues } = batch;
  const returns = new Float64Array(rewards.length);
  for (const [k, tokens] of unitsOf(batch, rewards.length).trajectories.entries()) {
    for (const [j, i] of tokens.entries()) {
      const rest = tokens.slice(j);
      returns[i] = sum(rest, (e, l) => gamma ** l * rewards[e]!) + gamma ** rest.length * (bootstrapValues?.[k] ?? 0);
    }
  }
  return returns;
}

/** A_i = sum_l (gamma lambda)^l delta of the l-th counted element from i on. */
export function generalizedAdvantages(batch: RewardBatch): Float64Array {
  const { rewards, values, gamma = 1, lambda = 0.95, bootstrapValues } = batch;
  const advantages = new Float64Array(rewards.length);
  for (const [k, tokens] of unitsOf(batch, rewards.length).trajectories.entries()) {
    const valueAt = (j: number) => (j < tokens.length ? values![tokens[j]!]! : (bootstrapValues?.[k] ?? 0));
    const deltas = tokens.map((i, j) => rewards[i]! + gamma * valueAt(j + 1) - valueAt(j));
    for (const [j, i] of tokens.entries()) advantages[i] = sum(deltas.slice(j), (d, l) => (gamma * lambda) ** l * d);
  }
  return advantages;
}

/** (R - mean) / (deviation of the sample + epsilon) of each group; 0 in a group of one. */
export function groupAdvantages(rewards: Numbers, groupIds: Numbers, epsilon: number): Float64Array {
  return Float64Array.from(rewards, (r, i) => {
    const group = range(0, rewards.length).filter((j) => groupIds[j] === groupIds[i]);
    const mean = sum(group, (j) => rewards[j]!) / group.length;
    const std = Math.sqrt(sum(group, (j) => (rewards[j]! - mean) ** 2) / (group.length - 1));
    return group.length === 1 ? 0 : (r - mean) / (std + epsilon);
  });
}

/** The loss of clipped ratios of tokens, turns or trajectories, with k3 and entropy, by 'sequence-mean-token-mean'. */
export function clippedPolicyLoss(
  batch: RaggedBatch & { logps: Numbers; oldLogps: Numbers; advantages: Numbers; refLogps: Numbers; entropy: Numbers },
  ratioLevel: 'token' | 'turn' | 'trajectory',
  clip: number,
  [klCoef, entropyCoef]: readonly [number, number],
): number {
  const { logps, oldLogps, advantages, refLogps, entropy } = batch;
  const { turns, trajectories } = unitsOf(batch, logps.length);
  const units = { token: turns.flat().map((i) => [i]), turn: turns, trajectory: trajectories }[ratioLevel];
  const unitOf = new Map(units.flatMap((unit) => unit.map((i) => [i, unit] as const)));
  const lossOf = (i: number) => {
    const unit = unitOf.get(i)!;
    const r = Math.exp(sum(unit, (j) => logps[j]! - oldLogps[j]!) / unit.length);
    const bounded = Math.min(Math.max(r, 1 - clip), 1 + clip);
    const e = refLogps[i]! - logps[i]!;
    const kl = Math.exp(e) - e - 1;
    return -Math.min(r * advantages[i]!, bounded * advantages[i]!) + klCoef * kl - entropyCoef * entropy[i]!;
  };
  const full = trajectories.filter((tokens) => tokens.length > 0);
  return (
    sum(
      full.map((tokens) => sum(tokens, lossOf) / tokens.length),
      (mean) => mean,
    ) / full.length
  );
}
