import { trajectoryPairs } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { Random } from '../helpers/random.ts';
import { bestVersusWorse, type Pair, threshold } from '../reference/trajectory-pairs.ts';

const offsets = (...values: number[]) => Int32Array.from(values);

/** The specification does not order the pairs of a task. */
function sorted(pairs: Pair[]): string[] {
  return pairs.map(({ chosen, rejected }) => `${chosen} over ${rejected}`).sort();
}

function pairsOf(options: Parameters<typeof trajectoryPairs>[0]): string[] {
  const { chosen, rejected } = trajectoryPairs(options);
  expect(chosen).toBeInstanceOf(Int32Array);
  expect(rejected).toHaveLength(chosen.length);
  return sorted(Array.from(chosen, (k, p) => ({ chosen: k, rejected: rejected[p]! })));
}

/** Rewards in tenths, so that differences of just 0.1 come up, with ties. */
function tasks(Rewards: Float32ArrayConstructor | Float64ArrayConstructor) {
  const random = new Random(61);
  const taskOffsets = random.offsets(150, 6);
  const rewards = new Rewards(random.integers(taskOffsets[150]!, 0, 11)).map((tenths: number) => tenths / 10);
  return { rewards, taskOffsets };
}

describe.each([Float32Array, Float64Array])('%o', (Rewards) => {
  const batch = tasks(Rewards);

  it('pairs the first best against each strictly worse, where the best reaches 1', () => {
    const expected = sorted(bestVersusWorse(batch.rewards, batch.taskOffsets));
    expect(expected.length).toBeGreaterThan(0);
    expect(pairsOf(batch)).toEqual(expected);
    expect(pairsOf({ ...batch, rule: 'best-vs-worse' })).toEqual(expected);
  });

  it('pairs all whose rewards differ enough', () => {
    const common = { ...batch, rule: 'threshold' } as const;
    expect(pairsOf(common)).toEqual(sorted(threshold(batch.rewards, batch.taskOffsets, 0.1)));
    for (const minDifference of [0, 0.25, 0.3, 1]) {
      const expected = sorted(threshold(batch.rewards, batch.taskOffsets, minDifference));
      expect(pairsOf({ ...common, minDifference })).toEqual(expected);
    }
  });

  it('takes 0.3 - 0.2 as 0.1', () => {
    const rewards = Rewards.of(0.2, 0.3, 0.35);
    const pairs = pairsOf({ rewards, taskOffsets: offsets(0, 3), rule: 'threshold' });
    expect(pairs).toEqual(['1 over 0', '2 over 0']);
  });
});

it('gives no pair where the best stays below 1, and picks the first of several best', () => {
  const rewards = Float32Array.of(0.9, 0, /* next task */ 0.5, 1, 1, 0);
  expect(pairsOf({ rewards, taskOffsets: offsets(0, 2, 6) })).toEqual(['3 over 2', '3 over 5']);
});

it('counts the tasks without a pair by reason', () => {
  const tasksOf = {
    solved: [1, 0.5, 0],
    alone: [1],
    empty: [],
    unsolved: [0.9, 0],
    allSolved: [1, 1],
    allWrong: [0, 0],
    close: [0.95, 1],
  };
  const rewards = Float32Array.from(Object.values(tasksOf).flat());
  const lengths = Object.values(tasksOf).map(({ length }) => length);
  const taskOffsets = offsets(0, ...lengths.map((_, t) => lengths.slice(0, t + 1).reduce((a, b) => a + b)));
  const skippedBy = (rule?: 'best-vs-worse' | 'threshold', minDifference?: number) =>
    trajectoryPairs({ rewards, taskOffsets, rule, minDifference }).skipped;
  expect(skippedBy()).toEqual({ alone: 2, unsolved: 2, tied: 1 });
  expect(skippedBy('threshold')).toEqual({ alone: 2, unsolved: 0, tied: 3 });
  expect(skippedBy('threshold', 0)).toEqual({ alone: 2, unsolved: 0, tied: 2 });
  expect(skippedBy('threshold', 2)).toEqual({ alone: 2, unsolved: 0, tied: 5 });
});

it('says why there are no pairs where no reward reaches 1', () => {
  const rewards = Float32Array.of(0.9, 0.3, 0.5, 0.2);
  const pairs = trajectoryPairs({ rewards, taskOffsets: offsets(0, 2, 4) });
  expect(pairs).toEqual({
    chosen: offsets(),
    rejected: offsets(),
    skipped: { alone: 0, unsolved: 2, tied: 0 },
  });
});

it.each([62, 63])('counts every task without a pair once, seed %d', (seed) => {
  const random = new Random(seed);
  const taskOffsets = random.offsets(80, 4);
  const rewards = Float32Array.from(random.integers(taskOffsets[80]!, 0, 5), (quarters) => quarters / 4);
  for (const options of [{}, { rule: 'threshold' }, { rule: 'threshold', minDifference: 0.6 }] as const) {
    const { chosen, skipped } = trajectoryPairs({ rewards, taskOffsets, ...options });
    const paired = new Set(Array.from(chosen, (k) => taskOffsets.findIndex((begin) => begin > k)));
    expect(paired.size + skipped.alone + skipped.unsolved + skipped.tied).toBe(80);
  }
});

it('gives no pairs for lone trajectories, empty tasks and no tasks', () => {
  for (const rule of ['best-vs-worse', 'threshold'] as const) {
    expect(pairsOf({ rewards: Float32Array.of(1, 0), taskOffsets: offsets(0, 1, 1, 2), rule })).toEqual([]);
    expect(pairsOf({ rewards: new Float32Array(0), taskOffsets: offsets(0), rule })).toEqual([]);
  }
});

it('takes equal infinite rewards for equal', () => {
  for (const reward of [Infinity, -Infinity]) {
    const equal = { rewards: Float32Array.of(reward, reward), taskOffsets: offsets(0, 2), rule: 'threshold' } as const;
    expect(trajectoryPairs({ ...equal, minDifference: 0 })).toMatchObject({ chosen: offsets(), skipped: { tied: 1 } });
  }
});

it('refuses more pairs than memory may hold', () => {
  const call = () =>
    trajectoryPairs({ rewards: new Float32Array(3000), taskOffsets: offsets(0, 3000), rule: 'threshold' });
  expect(call).toThrow(expect.objectContaining({ code: 'ERR_ARG_VALUE' }));
});
