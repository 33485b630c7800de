/** trajectoryPreferenceLoss (the critic's) against the oracle, on every backend. */
import { trajectoryPreferenceLoss } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { randomBatch, randomPairs } from '../helpers/batches.ts';
import { expectClose, lossTolerance } from '../helpers/compare.ts';
import { forEachBackend } from '../helpers/machine.ts';
import {
  describeOracle,
  describeOracleGradient,
  describePreference,
  describeVectors,
  expectPreference,
  expectSamePreference,
  type LossOptions,
  optionalInputs,
  type Subject,
} from '../helpers/preference.ts';
import { Random } from '../helpers/random.ts';
import { type VectorCase, vectorCases } from '../helpers/vectors.ts';
import { range } from '../reference/range.ts';
import { type ReleasedTrajectory, releasedLoss } from '../reference/released-code.ts';
import { trajectoryPreferenceLoss as oracle } from '../reference/trajectory-preference.ts';

const NORMALIZATIONS = ['turn-mean', 'token-mean', 'sum'] as const;
type Normalization = (typeof NORMALIZATIONS)[number];

interface VectorOptions {
  beta: number;
  normalization: Normalization;
}

const vectors = [
  ...vectorCases<VectorOptions>('trajectory_preference'),
  ...vectorCases<VectorOptions>('pair_losses', 'trajectory_preference'),
];

function vectorInputs(vector: VectorCase<VectorOptions>, exact = false) {
  return {
    logps: vector.floats('logps'),
    turnOffsets: vector.integers('turn_offsets'),
    trajectoryOffsets: vector.integers('trajectory_offsets'),
    chosen: vector.integers('chosen'),
    rejected: vector.integers('rejected'),
    ...optionalInputs(vector, exact),
    ...vector.options,
  };
}

/** More pairs than trajectories: several stand in more than one pair. */
const batch = { ...randomBatch(11), ...randomPairs(new Random(12), 6, 11) };

/** The tokens of trajectory k. */
function tokensOf(k: number, { turnOffsets, trajectoryOffsets } = batch): number[] {
  return range(turnOffsets[trajectoryOffsets[k]!]!, turnOffsets[trajectoryOffsets[k + 1]!]!);
}

function subject(normalization: Normalization): Subject {
  return {
    loss: (options: LossOptions) => trajectoryPreferenceLoss({ ...batch, normalization, ...options }),
    oracle: (options: LossOptions) => oracle({ ...batch, normalization, ...options }),
    batch,
    tokensOf: (k) => tokensOf(k).filter((i) => batch.mask[i] === 1),
  };
}

describeOracle(vectors, (vector) => oracle({ ...vectorInputs(vector, true), ...vector.oracleCounting() }));

describe.each(NORMALIZATIONS)('%s', (normalization) => describeOracleGradient(subject(normalization)));

forEachBackend(() => {
  describeVectors(vectors, (vector) => trajectoryPreferenceLoss({ ...vectorInputs(vector), ...vector.counting() }));

  describe.each(NORMALIZATIONS)('%s', (normalization) => {
    describePreference(subject(normalization));

    it('agrees with the oracle on long trajectories in many pairs', () => {
      const long = { ...randomBatch(13, 3, 40, 9, 200), ...randomPairs(new Random(14), 40, 300), normalization };
      expectPreference(trajectoryPreferenceLoss(long), oracle(long));
    });

    it('counts an empty turn 0 with allowEmptyTurns', () => {
      const inputs = {
        logps: Float32Array.of(1, 3, -1, 5),
        refLogps: new Float32Array(4),
        mask: Uint8Array.of(1, 1, 1, 0),
        // The turns hold 2, 0, 1 tokens and one that is masked.
        turnOffsets: Int32Array.of(0, 2, 2, 3, 4),
        trajectoryOffsets: Int32Array.of(0, 2, 4),
        chosen: Int32Array.of(0),
        rejected: Int32Array.of(1),
        beta: 1,
        normalization,
        allowEmptyTurns: true,
      };
      const result = trajectoryPreferenceLoss(inputs);
      const score = normalization === 'sum' ? 4 : 2;
      expect([result.chosenRewards[0], result.rejectedRewards[0]]).toEqual([score, -1]);
      expect([result.turnAdvantages[1], result.turnAdvantages[3], result.gradLogps[3]]).toEqual([0, 0, 0]);
      expect(result.gradLogps.every(Number.isFinite)).toBe(true);
    });

    it('scores a trajectory without any token 0 with allowEmptyTurns, and has no NLL then', () => {
      const inputs = {
        logps: Float32Array.of(2),
        refLogps: Float32Array.of(0),
        turnOffsets: Int32Array.of(0, 0, 1),
        trajectoryOffsets: Int32Array.of(0, 1, 2),
        chosen: Int32Array.of(0),
        rejected: Int32Array.of(1),
        beta: 1,
        nllCoef: 1,
        normalization,
        allowEmptyTurns: true,
      };
      const result = trajectoryPreferenceLoss(inputs);
      expect(result.margins[0]).toBe(-2);
      expect(result.nllLoss).toBe(0);
      expect(result.loss).toBe(result.preferenceLoss);
      expect(result.gradLogps[0]).toBeCloseTo(1 / (1 + Math.exp(-2)), 6);
    });
  });

  it('takes "turn-mean", beta 0.1, sigmoid and no NLL unless told otherwise', () => {
    const spelled = {
      normalization: 'turn-mean',
      beta: 0.1,
      lossType: 'sigmoid',
      labelSmoothing: 0,
      nllCoef: 0,
    } as const;
    expectSamePreference(trajectoryPreferenceLoss(batch), trajectoryPreferenceLoss({ ...batch, ...spelled }));
  });

  it('reproduces the released code under "token-mean"', () => {
    const trajectory = (k: number): ReleasedTrajectory => ({
      logps: tokensOf(k).map((i) => batch.logps[i]!),
      refLogps: tokensOf(k).map((i) => batch.refLogps[i]!),
      lossMask: tokensOf(k).map((i) => batch.mask[i]!),
    });
    const pairs = Array.from(batch.chosen, (k, p) => ({
      chosen: trajectory(k),
      rejected: trajectory(batch.rejected[p]!),
    }));
    const { loss } = trajectoryPreferenceLoss({ ...batch, normalization: 'token-mean', beta: 0.3 });
    expectClose('loss', [loss], [releasedLoss(pairs, 0.3)], lossTolerance);
  });

  it('tells the three normalizations apart as the specification counts', () => {
    // Turns of 10 and 90 tokens with mean ratios 1 and 0 against a trajectory that scores 0.
    const inputs = {
      logps: Float32Array.from({ length: 101 }, (_, i) => (i < 10 ? 1 : 0)),
      refLogps: new Float32Array(101),
      turnOffsets: Int32Array.of(0, 10, 100, 101),
      trajectoryOffsets: Int32Array.of(0, 2, 3),
      chosen: Int32Array.of(0),
      rejected: Int32Array.of(1),
      beta: 1,
    };
    const margins = NORMALIZATIONS.map(
      (normalization) => trajectoryPreferenceLoss({ ...inputs, normalization }).margins[0],
    );
    expect(margins).toEqual([1, Math.fround(0.1), 10]);
  });
});
