/** Which sequences are computed together: batches of an epoch, micro-batches of a token budget, packed rows. */
import type { Sequence } from '../model.js';

/** A sequence to train on. */
export interface TrainingSequence extends Sequence {
  /** Indices into ids, inside, at which another sequence begins that attends to nothing before: the turns of --per-turn. */
  starts?: readonly number[] | undefined;
}

/** Two sequences of which the first is preferred. Fine-tuning and policy gradients have the chosen one alone. */
export interface TrainingItem {
  chosen: TrainingSequence;
  rejected?: TrainingSequence | undefined;
  /** Of a policy gradient: [turns] of the sequence. */
  advantages?: Float64Array | undefined;
  /** The outcome of the dialogue, where it has advantages. */
  reward?: number | undefined;
}

/** Sequences packed for one forward pass; the rows are the scored tokens alone. */
export interface PackedRows {
  /** What the model reads: each sequence up to the token before its last scored one; a shared prompt is a sequence of its own. */
  ids: number[];
  sequenceOffsets: number[];
  /** The sequence that each one continues, -1 for none; absent where no prompt is shared. */
  parents?: number[];
  /** Indices into ids of the tokens before each scored token. */
  rows: number[];
  /** [rows] the scored tokens. */
  labels: Int32Array;
  /** [turns + 1] into rows. */
  turnOffsets: Int32Array;
  /** [sequences + 1] into turns. */
  trajectoryOffsets: Int32Array;
}

/** Tokens that the model reads of a sequence: those after the last scored one, and that one, predict nothing. */
export function inputTokens({ turns }: Sequence): number {
  return (turns.at(-1)?.end ?? 1) - 1;
}

/** @throws RangeError naming the sequence whose turns are empty, out of order or start at its first token */
export function checkSequence({ id, ids, turns }: Sequence): void {
  let last = 1;
  for (const [t, { start, end }] of turns.entries()) {
    if (!(start >= last && end > start && end <= ids.length)) {
      const rule = `tokens from ${last} to ${ids.length}, at least one`;
      throw Object.assign(new RangeError(`Expected ${rule}, for turn ${t} of ${id} but received ${start} to ${end}`), {
        code: 'ERR_EMPTY_TURN',
      });
    }
    last = end;
  }
  if (turns.length === 0) {
    throw Object.assign(new RangeError(`Expected a turn of the agent in ${id}`), { code: 'ERR_EMPTY_TURN' });
  }
}

export function packSequences(sequences: readonly TrainingSequence[]): PackedRows {
  const packed = { ids: [] as number[], sequenceOffsets: [0], rows: [] as number[] };
  const parents: number[] = [];
  const labels: number[] = [];
  const turnOffsets = [0];
  const trajectoryOffsets = [0];
  let shared: { prompt: Int32Array; first: number; index: number } | undefined;
  const add = (ids: Int32Array, parent: number) => {
    for (const id of ids) packed.ids.push(id);
    if (ids.length > 0) parents.push(parent);
  };
  for (const sequence of sequences) {
    const { prompt } = sequence;
    if (prompt !== undefined && prompt !== shared?.prompt) {
      shared = { prompt, first: packed.ids.length, index: parents.length };
      add(prompt, -1);
      packed.sequenceOffsets.push(packed.ids.length);
    }
    const own = prompt?.length ?? 0;
    const first = packed.ids.length;
    add(sequence.ids.subarray(own, inputTokens(sequence)), prompt === undefined ? -1 : (shared?.index ?? -1));
    const rowOf = (i: number) => (i < own ? (shared?.first ?? 0) + i : first + i - own);
    for (const { start, end } of sequence.turns) {
      for (let i = start; i < end; i++) {
        packed.rows.push(rowOf(i - 1));
        labels.push(sequence.ids[i] as number);
      }
      turnOffsets.push(labels.length);
    }
    trajectoryOffsets.push(turnOffsets.length - 1);
    for (const start of sequence.starts ?? []) packed.sequenceOffsets.push(first + start);
    // A candidate of one token is scored by the last row of its prompt.
    if (packed.ids.length > first) packed.sequenceOffsets.push(packed.ids.length);
  }
  return {
    ...packed,
    ...(shared !== undefined && { parents }),
    labels: Int32Array.from(labels),
    turnOffsets: Int32Array.from(turnOffsets),
    trajectoryOffsets: Int32Array.from(trajectoryOffsets),
  };
}

/** Consecutive groups whose cost is at most the budget; one that costs more is alone. */
function groups<T>(items: readonly T[], budget: number, cost: (group: readonly T[]) => number): T[][] {
  const result: T[][] = [];
  for (const item of items) {
    const group = result.at(-1);
    if (group !== undefined && cost([...group, item]) <= budget) group.push(item);
    else result.push([item]);
  }
  return result;
}

/** A shared prompt counts once. */
const inputs = (sequences: readonly Sequence[]) =>
  sequences.reduce((sum, each, k) => {
    const { prompt } = each;
    const again = prompt !== undefined && prompt === sequences[k - 1]?.prompt;
    return sum + inputTokens(each) - (again ? prompt.length : 0);
  }, 0);

/** Sequences in order, in groups of at most `microTokens` input tokens. */
export function tokenBatches<S extends Sequence>(sequences: readonly S[], microTokens: number): S[][] {
  return groups(sequences, microTokens, inputs);
}

/** The different sequences of items, in order: a trajectory in several pairs is computed once. */
export function sequencesOf(items: readonly TrainingItem[]): TrainingSequence[] {
  const all = items.flatMap(({ chosen, rejected }) => (rejected ? [chosen, rejected] : [chosen]));
  return [...new Map(all.map((sequence) => [sequence.id, sequence])).values()];
}

/** The items of a batch in micro-batches: whole pairs, at most `microTokens` input tokens where a pair has not more. */
export function microBatches(items: readonly TrainingItem[], microTokens: number): TrainingItem[][] {
  return groups(items, microTokens, (group) => inputs(sequencesOf(group)));
}

/** A generator of uniform numbers in [0, 1): the high 32 bits of splitmix64's finalizer over a counter. */
export function uniforms(seed: number): () => number {
  let counter = BigInt(seed);
  return () => {
    counter = BigInt.asUintN(64, counter + 0x9e3779b97f4a7c15n);
    return Number(mix(counter) >> 32n) / 2 ** 32;
  };
}

/** The finalizer of splitmix64: a bijection of 64-bit integers whose every output bit depends on every input bit. */
export function mix(x: bigint): bigint {
  x = BigInt.asUintN(64, (x ^ (x >> 30n)) * 0xbf58476d1ce4e5b9n);
  x = BigInt.asUintN(64, (x ^ (x >> 27n)) * 0x94d049bb133111ebn);
  return x ^ (x >> 31n);
}

/** The number of steps: ceil(epochs * floor(items / batch)), as the released trainer counts. */
export function stepCount(items: number, batch: number, epochs: number): number {
  return Math.ceil(epochs * Math.floor(items / batch));
}

/**
 * The items of a step. Each epoch is shuffled by the seed and its number; items that do not fill a batch are left out of it.
 *
 * @param step from 0
 */
export function batchOfStep<T>(items: readonly T[], batch: number, seed: number, step: number): T[] {
  const perEpoch = Math.floor(items.length / batch);
  const epoch = Math.floor(step / perEpoch);
  const order = shuffled(items.length, Number(mix((BigInt(seed) << 32n) + BigInt(epoch)) >> 11n));
  const first = (step % perEpoch) * batch;
  return order.slice(first, first + batch).map((i) => items[i] as T);
}

function shuffled(count: number, seed: number): number[] {
  const uniform = uniforms(seed);
  const order = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = Math.floor(uniform() * (i + 1));
    [order[i], order[j]] = [order[j] as number, order[i] as number];
  }
  return order;
}
