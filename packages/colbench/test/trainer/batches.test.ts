import { describe, expect, it } from 'vitest';
import type { Sequence } from '../../src/model.js';
import {
  batchOfStep,
  checkSequence,
  inputTokens,
  microBatches,
  packSequences,
  stepCount,
  tokenBatches,
} from '../../src/trainer/batches.js';
import { learningRate } from '../../src/trainer/schedule.js';

const sequence = (id: string, length: number, ...turns: [number, number][]): Sequence => ({
  ...{ id, ids: Int32Array.from({ length }, (_, i) => 10 + i) },
  turns: turns.map(([start, end]) => ({ start, end })),
});

describe('packSequences', () => {
  it('has a row before each scored token and no token after the last one', () => {
    const packed = packSequences([sequence('a', 9, [2, 4], [6, 7]), sequence('b', 3, [1, 3])]);
    expect(packed).toEqual({
      ids: [10, 11, 12, 13, 14, 15, 10, 11],
      sequenceOffsets: [0, 6, 8],
      rows: [1, 2, 5, 6, 7],
      labels: Int32Array.of(12, 13, 16, 11, 12),
      turnOffsets: Int32Array.of(0, 2, 3, 5),
      trajectoryOffsets: Int32Array.of(0, 2, 3),
    });
  });

  it('splits the parts of a trajectory that do not attend to each other', () => {
    const { sequenceOffsets, trajectoryOffsets } = packSequences([
      { ...sequence('a', 9, [2, 4], [6, 9]), starts: [4] },
      sequence('b', 3, [1, 3]),
    ]);
    expect(sequenceOffsets).toEqual([0, 4, 8, 10]);
    expect(trajectoryOffsets).toEqual(Int32Array.of(0, 2, 3));
  });
});

it('checkSequence names the turn', () => {
  checkSequence(sequence('a', 5, [1, 2], [2, 5]));
  for (const turns of [
    [[0, 1]],
    [[1, 1]],
    [[1, 6]],
    [
      [2, 4],
      [3, 5],
    ],
  ] as [number, number][][]) {
    expect(() => checkSequence(sequence('a', 5, ...turns))).toThrow(/turn \d of a/);
  }
  expect(() => checkSequence(sequence('a', 5))).toThrow(/a turn of the agent in a/);
});

describe('micro-batches', () => {
  const sequences = [8, 8, 3, 5, 20].map((length, k) => sequence(`s${k}`, length, [1, length]));
  const pair = (chosen: number, rejected: number) => ({ chosen: sequences[chosen]!, rejected: sequences[rejected]! });

  it('hold whole pairs within the budget, a longer pair alone, and count a shared sequence once', () => {
    const items = [pair(0, 1), pair(0, 2), pair(2, 3), pair(4, 3)];
    const ids = (budget: number) =>
      microBatches(items, budget).map((micro) => micro.map(({ chosen, rejected }) => chosen.id + rejected!.id));
    expect(ids(16)).toEqual([['s0s1', 's0s2'], ['s2s3'], ['s4s3']]);
    expect(ids(1)).toEqual([['s0s1'], ['s0s2'], ['s2s3'], ['s4s3']]);
    expect(ids(1000)).toHaveLength(1);
    expect(tokenBatches(sequences, 14).map((batch) => batch.length)).toEqual([2, 2, 1]);
    expect(sequences.map(inputTokens)).toEqual([7, 7, 2, 4, 19]);
  });
});

describe('the order of a run', () => {
  const items = Array.from({ length: 11 }, (_, i) => i);

  it('visits an item at most once an epoch, in another order each epoch, the same for a seed', () => {
    const epoch = (e: number, seed: number) => [0, 1, 2].flatMap((s) => batchOfStep(items, 3, seed, 3 * e + s));
    expect(new Set(epoch(0, 1)).size).toBe(9);
    expect(epoch(0, 1)).toEqual(epoch(0, 1));
    expect(epoch(0, 1)).not.toEqual(epoch(1, 1));
    expect(epoch(0, 1)).not.toEqual(epoch(0, 2));
    expect(new Set(Array.from({ length: 30 }, (_, e) => epoch(e, 1)).flat()).size).toBe(11);
  });

  it('has ceil(epochs * floor(items / batch)) steps', () => {
    expect(stepCount(11, 3, 4)).toBe(12);
    expect(stepCount(11, 3, 0.5)).toBe(2);
  });

  it('warms up over 3 % of the steps and falls to a tenth', () => {
    const rates = Array.from({ length: 100 }, (_, step) => learningRate(2, step, 100));
    expect(rates.slice(0, 4)).toEqual([2 / 3, 4 / 3, 2, 2]);
    expect(rates[99]).toBeCloseTo(0.2, 2);
    expect(rates[51]).toBeCloseTo(2 * (0.1 + 0.45 * (1 + Math.cos((Math.PI * 48) / 97))), 12);
    expect(learningRate(2, 0, 1)).toBe(2);
  });
});
