/** bradleyTerryLoss (pairs of given scores) against the oracle, on every backend. */
import { bradleyTerryLoss, trlMetrics } from 'sweet-rl';
import { expect, it } from 'vitest';
import { randomPairs } from '../helpers/batches.ts';
import { expectClose, expectSameBits, lossTolerance, oneRounding } from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { sharedView, shifted } from '../helpers/storage.ts';
import { bradleyTerryLoss as oracle } from '../reference/bradley-terry.ts';

const ARRAYS = ['pairLosses', 'margins', 'chosenRewards', 'rejectedRewards', 'gradScores'] as const;

function scored(seed: number, scores: number, pairs: number, scale = 2) {
  const random = new Random(seed);
  return { scores: Float32Array.from(random.normals(scores, scale)), ...randomPairs(random, scores, pairs) };
}

/** More pairs than scores: several stand in more than one pair. */
const batch = scored(51, 9, 14);
const pairWeights = Float32Array.from({ length: 14 }, (_, p) => (p % 3) / 2);

const OPTIONS = [
  ['defaults', {}],
  ['beta', { beta: 0.3 }],
  ['label smoothing', { labelSmoothing: 0.2, beta: 1.5 }],
  ['hinge', { lossType: 'hinge' }],
  ['ipo', { lossType: 'ipo', beta: 0.4 }],
  ['weights, some 0', { pairWeights }],
  ['a denominator', { pairWeights, pairDenominator: 37.5, lossType: 'ipo' }],
] as const;

type Given = Parameters<typeof oracle>[0] & Parameters<typeof bradleyTerryLoss>[0];

function expectAgreement(given: Given) {
  const [ours, expected] = [bradleyTerryLoss(given), oracle(given)];
  expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
  expect(ours.accuracy).toBeCloseTo(expected.accuracy, 12);
  for (const name of ARRAYS) expectClose(name, ours[name], expected[name], oneRounding);
}

forEachBackend(() => {
  it.each(OPTIONS)('agrees with the oracle: %s', (_name, options) => {
    expectAgreement({ ...batch, ...options });
    expectAgreement({
      ...scored(52, 300, 2000),
      ...options,
      ...('pairWeights' in options && { pairWeights: undefined }),
    });
    expectAgreement({
      ...scored(53, 40, 25, 1e4),
      ...options,
      ...('pairWeights' in options && { pairWeights: undefined }),
    });
  });

  it.each(OPTIONS)('has the gradient that finite differences give: %s', (_name, options) => {
    for (const call of [oracle, bradleyTerryLoss]) {
      const at = (moved: Float64Array) => call({ ...batch, ...options, scores: Float32Array.from(moved) }).loss;
      const differences = centralDifferences(batch.scores, 2 ** -8, at);
      const { gradScores } = bradleyTerryLoss({ ...batch, ...options });
      expectClose('gradScores', gradScores, differences, (g) => 2e-5 + 1e-4 * Math.abs(g));
    }
  });

  it('gives the same bits for any number of threads, from views and from shared memory, in out buffers', () => {
    const plain = bradleyTerryLoss(batch);
    const same = (result: typeof plain) => {
      expect(result.loss).toBe(plain.loss);
      for (const name of ARRAYS) expectSameBits(name, result[name], plain[name]);
    };
    for (const { result } of underThreadCounts(() => bradleyTerryLoss(batch))) same(result);
    const out = Object.fromEntries(ARRAYS.map((name, k) => [name, shifted(plain[name], k).fill(7)]));
    const views = { scores: sharedView(batch.scores), chosen: shifted(batch.chosen, 1), rejected: batch.rejected };
    const result = bradleyTerryLoss({ ...views, out });
    for (const name of ARRAYS) expect(result[name]).toBe(out[name]);
    same(result);
  });
});

it('is ln 2 at equal scores, which are no win, and leaves scores in no pair alone', () => {
  const pair = { chosen: Int32Array.of(0), rejected: Int32Array.of(2) };
  const result = bradleyTerryLoss({ scores: Float32Array.of(5, NaN, 5), ...pair });
  expect(result.loss).toBeCloseTo(Math.LN2, 12);
  expect(result.accuracy).toBe(0);
  expect(Array.from(result.gradScores)).toEqual([-0.5, 0, 0.5]);
});

it('logs under the keys of TRL', () => {
  const result = bradleyTerryLoss(batch);
  const metrics = trlMetrics(result);
  expect([metrics.loss, metrics['rewards/accuracies']]).toEqual([result.loss, result.accuracy]);
  expect(metrics['rewards/margins']).toBeCloseTo(metrics['rewards/chosen'] - metrics['rewards/rejected'], 6);
});
