/** turnPreferenceLoss (the policy's) against the oracle, on every backend. */
import { turnPreferenceLoss } from 'sweet-rl';
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
import type { Reduction } from '../reference/turn-advantages.ts';
import { turnPreferenceLoss as oracle } from '../reference/turn-preference.ts';

const REDUCTIONS: Reduction[] = ['sum', 'mean'];

interface VectorOptions {
  beta: number;
  reduction: Reduction;
  nllCoef: number;
}

const vectors = [
  ...vectorCases<VectorOptions>('turn_preference'),
  ...vectorCases<VectorOptions>('pair_losses', 'turn_preference'),
];

function vectorInputs(vector: VectorCase<VectorOptions>, exact = false) {
  return {
    logps: vector.floats('logps'),
    turnOffsets: vector.integers('turn_offsets'),
    chosen: vector.integers('chosen'),
    rejected: vector.integers('rejected'),
    ...optionalInputs(vector, exact),
    ...vector.options,
  };
}

function turnsOf(seed: number, pairs: number, ...shape: [number?, number?, number?, number?]) {
  const { trajectoryOffsets: _, ...turns } = randomBatch(seed, ...shape);
  return { ...turns, ...randomPairs(new Random(seed), turns.turnOffsets.length - 1, pairs) };
}

/** More pairs than turns: several stand in more than one pair. */
const batch = turnsOf(21, 13, 2, 4, 3, 7);

function subject(reduction: Reduction): Subject {
  return {
    loss: (options: LossOptions) => turnPreferenceLoss({ ...batch, reduction, ...options }),
    oracle: (options: LossOptions) => oracle({ ...batch, reduction, ...options }),
    batch,
    tokensOf: (t) => range(batch.turnOffsets[t]!, batch.turnOffsets[t + 1]!).filter((i) => batch.mask[i] === 1),
  };
}

describeOracle(vectors, (vector) => oracle({ ...vectorInputs(vector, true), ...vector.oracleCounting() }));

describe.each(REDUCTIONS)('%s', (reduction) => describeOracleGradient(subject(reduction)));

forEachBackend(() => {
  describeVectors(vectors, (vector) => turnPreferenceLoss({ ...vectorInputs(vector), ...vector.counting() }));

  describe.each(REDUCTIONS)('%s', (reduction) => {
    describePreference(subject(reduction));

    it('agrees with the oracle on many long turns', () => {
      const long = { ...turnsOf(23, 400, 3, 60, 4, 200), reduction };
      expectPreference(turnPreferenceLoss(long), oracle(long));
    });
  });

  it('takes "sum", beta 0.1, sigmoid and an NLL of 0.01 unless told otherwise', () => {
    const spelled = { reduction: 'sum', beta: 0.1, lossType: 'sigmoid', labelSmoothing: 0, nllCoef: 0.01 } as const;
    expectSamePreference(turnPreferenceLoss(batch), turnPreferenceLoss({ ...batch, ...spelled }));
  });

  it('counts empty turns 0 under "sum", and under "mean" with allowEmptyTurns', () => {
    const inputs = {
      logps: Float32Array.of(-1, -3),
      refLogps: new Float32Array(2),
      turnOffsets: Int32Array.of(0, 0, 2),
      chosen: Int32Array.of(0),
      rejected: Int32Array.of(1),
      beta: 1,
    };
    const sum = turnPreferenceLoss(inputs);
    expect([sum.margins[0], sum.nllLoss, sum.accuracy]).toEqual([4, 0, 1]);
    const mean = turnPreferenceLoss({ ...inputs, reduction: 'mean', allowEmptyTurns: true });
    expect([mean.margins[0], mean.nllLoss, mean.accuracy]).toEqual([2, 0, 1]);
    expect([...sum.gradLogps, ...mean.gradLogps].every(Number.isFinite)).toBe(true);
  });

  it('takes a pair of weight 0 for absent, be its loss infinite', () => {
    const inputs = {
      logps: Float32Array.of(-1, -Infinity, -2),
      refLogps: new Float32Array(3),
      turnOffsets: Int32Array.of(0, 1, 2, 3),
      lossType: 'ipo',
      nllCoef: 0,
    } as const;
    const alone = turnPreferenceLoss({ ...inputs, chosen: Int32Array.of(0), rejected: Int32Array.of(2) });
    const pairs = { chosen: Int32Array.of(0, 1), rejected: Int32Array.of(2, 2) };
    const both = turnPreferenceLoss({ ...inputs, ...pairs, pairWeights: Float32Array.of(1, 0) });
    expect(both.pairLosses[1]).toBe(Infinity);
    expect([both.loss, ...both.gradLogps]).toEqual([alone.loss, ...alone.gradLogps]);
  });

  it('averages the NLL over the tokens of all chosen turns, once for every pair', () => {
    const inputs = {
      logps: Float32Array.of(-1, -2, -6, -5),
      refLogps: new Float32Array(4),
      turnOffsets: Int32Array.of(0, 2, 3, 4),
      chosen: Int32Array.of(0, 0, 1),
      rejected: Int32Array.of(1, 2, 2),
    };
    expectClose('nllLoss', [turnPreferenceLoss(inputs).nllLoss], [(3 + 3 + 6) / 5], lossTolerance);
  });
});
