import { trajectoryPreferenceLoss, trlMetrics, turnPreferenceLoss } from 'sweet-rl';
import { expect, it } from 'vitest';
import { randomBatch, randomPairs } from '../helpers/batches.ts';
import { Random } from '../helpers/random.ts';

const { trajectoryOffsets, ...turns } = randomBatch(81);
const mean = (values: Float32Array) => Array.from(values).reduce((a, b) => a + b, 0) / values.length;

it.each([
  ['trajectories', trajectoryPreferenceLoss({ ...turns, trajectoryOffsets, ...randomPairs(new Random(82), 6, 9) })],
  ['turns', turnPreferenceLoss({ ...turns, ...randomPairs(new Random(83), turns.turnOffsets.length - 1, 12) })],
])('logs the means over pairs of %s under the keys of TRL', (_name, result) => {
  const metrics = trlMetrics(result);
  expect(Object.keys(metrics).sort()).toEqual(
    ['loss', 'rewards/accuracies', 'rewards/chosen', 'rewards/margins', 'rewards/rejected'].sort(),
  );
  expect(metrics.loss).toBe(result.loss);
  expect(metrics['rewards/accuracies']).toBe(result.accuracy);
  expect(metrics['rewards/chosen']).toBeCloseTo(mean(result.chosenRewards), 6);
  expect(metrics['rewards/rejected']).toBeCloseTo(mean(result.rejectedRewards), 6);
  expect(metrics['rewards/margins']).toBeCloseTo(mean(result.margins), 6);
  expect(metrics['rewards/margins']).toBeCloseTo(metrics['rewards/chosen'] - metrics['rewards/rejected'], 6);
});
