import {
  policyGradientUpdate,
  trajectoryPreferenceLoss,
  trlMetrics,
  turnPreferenceLoss,
  unpairedPreferenceLoss,
} from 'sweet-rl';
import { policyGradientLoss } from 'sweet-rl/objectives';
import { describe, expect, it } from 'vitest';
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

describe('of a policy-gradient loss', () => {
  const { logps, refLogps, mask } = turns;
  const given = { oldLogps: refLogps, refLogps, klCoef: 0.1, mask };

  it('logs its terms under the keys of TRL, of the loss and of an update', () => {
    const alone = policyGradientLoss({ ...given, logps, advantages: logps, entropy: logps, entropyCoef: 0.1 });
    const labels = Int32Array.from(mask, () => 0);
    const logits = Float32Array.from({ length: 2 * mask.length }, (_, i) => logps[i >> 1]! * (i % 2));
    const updated = policyGradientUpdate({
      ...given,
      logits,
      vocabSize: 2,
      labels,
      advantages: logps,
      entropyCoef: 0.1,
    });
    for (const [result, metrics] of [
      [alone, trlMetrics(alone)],
      [updated, trlMetrics(updated)],
    ] as const) {
      expect(metrics).toEqual({
        ...{ loss: result.loss, 'loss/policy_avg': result.policyLoss, kl: result.klLoss, entropy: result.entropyBonus },
        ...{ 'clip_ratio/region_mean': result.clipFraction, approx_kl: result.approxKl },
      });
    }
  });

  it('refuses what lacks a number', () => {
    expect(() => trlMetrics({ policyLoss: 1, loss: 1 } as never)).toThrow(/result\.klLoss/);
  });
});

describe('of an unpaired loss', () => {
  const { logps, refLogps, turnOffsets, mask } = turns;
  const items = turnOffsets.length - 1;
  const given = { logps, refLogps, turnOffsets, mask, desirable: Uint8Array.from({ length: items }, (_, k) => k % 2) };
  const COMMON = ['loss', 'rewards/accuracies'];
  const REWARDS = ['rewards/chosen', 'rewards/rejected', 'rewards/margins'];

  it.each([
    ['kto', { klLogps: Float32Array.of(3), klRefLogps: Float32Array.of(1) }, { kl: 2 }],
    ['apo_zero_unpaired', {}, {}],
    ['bco', { referencePoint: 1.5, beta: 0.4 }, { delta: 0.4 * 1.5 }],
  ] as const)('logs the means of both kinds under the keys of TRL: %s', (lossType, options, more) => {
    const result = unpairedPreferenceLoss({ ...given, lossType, ...options });
    const metrics = trlMetrics(result);
    expect(Object.keys(metrics).sort()).toEqual([...COMMON, ...REWARDS, ...Object.keys(more)].sort());
    expect(metrics).toMatchObject({ loss: result.loss, 'rewards/accuracies': result.accuracy, ...more });
    expect(metrics['rewards/chosen']).toBeCloseTo(mean(result.chosenRewards), 6);
    expect(metrics['rewards/rejected']).toBeCloseTo(mean(result.rejectedRewards), 6);
    expect(metrics['rewards/margins']).toBeCloseTo(mean(result.chosenRewards) - mean(result.rejectedRewards), 6);
  });

  it('logs the mean that bco goes on with', () => {
    const result = unpairedPreferenceLoss({ ...given, lossType: 'bco', beta: 0.3, running: { mean: 2, count: 7 } });
    expect(trlMetrics(result).delta).toBe(0.3 * result.running!.mean);
  });

  it('leaves out the rewards of a kind that does not occur, and the margin', () => {
    for (const [kind, key] of [
      [1, 'rewards/chosen'],
      [0, 'rewards/rejected'],
    ] as const) {
      const desirable = new Uint8Array(items).fill(kind);
      const metrics = trlMetrics(unpairedPreferenceLoss({ ...given, desirable, lossType: 'apo_zero_unpaired' }));
      expect(Object.keys(metrics).sort()).toEqual([...COMMON, key].sort());
    }
  });
});
