/** Batches of ragged turns in trajectories, with pairs of them. */
import { Random } from './random.ts';

export interface Structure {
  mask: Uint8Array;
  turnOffsets: Int32Array;
  trajectoryOffsets: Int32Array;
}

export interface Pairs {
  chosen: Int32Array;
  rejected: Int32Array;
}

export type Batch = Structure & { logps: Float32Array; refLogps: Float32Array };

/** Every turn keeps at least one token that counts. */
export function randomStructure(random: Random, trajectories = 6, mostTurns = 4, mostTokens = 9): Structure {
  const trajectoryOffsets = random.offsets(trajectories, mostTurns);
  const turns = trajectoryOffsets[trajectories]!;
  const turnOffsets = random.offsets(turns, mostTokens);
  const mask = random.mask(turnOffsets[turns]!, 0.3);
  for (const begin of turnOffsets.subarray(0, turns)) mask[begin] = 1;
  return { mask, turnOffsets, trajectoryOffsets };
}

/** Weights of tokens in no order, some of them 0, but not the first of a turn; NaN where the mask drops a token. */
export function randomWeights(seed: number, { mask, turnOffsets }: Omit<Structure, 'trajectoryOffsets'>): Float32Array {
  const random = new Random(seed);
  return Float32Array.from(mask, (m, i) => {
    const weight = random.uniform() < 0.25 && !turnOffsets.includes(i) ? 0 : Math.exp(random.normal());
    return m === 0 ? NaN : weight;
  });
}

export function randomBatch(seed: number, scale = 2, ...shape: [number?, number?, number?]): Batch {
  const random = new Random(seed);
  const structure = randomStructure(random, ...shape);
  const logps = Float32Array.from(structure.mask, () => scale * random.normal());
  const refLogps = Float32Array.from(structure.mask, () => scale * random.normal());
  return { ...structure, logps, refLogps };
}

/** So many pairs of two different units each; with more pairs than units, some units stand in several. */
export function randomPairs(random: Random, units: number, count: number): Pairs {
  const chosen = random.integers(count, 0, units);
  const rejected = chosen.map((k) => (k + random.integer(1, units)) % units);
  return { chosen, rejected };
}

/** [begin, end) of the pairs of each micro-batch, and those pairs. */
export function pairsBetween({ chosen, rejected }: Pairs, begin: number, end: number): Pairs {
  return { chosen: chosen.slice(begin, end), rejected: rejected.slice(begin, end) };
}
