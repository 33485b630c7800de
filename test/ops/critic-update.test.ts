/** criticUpdate against the oracle, on every backend. */
import { criticUpdate, trajectoryPreferenceLoss } from 'sweet-rl';
import { it } from 'vitest';
import { expectClose, expectGradient, lossTolerance, specified } from '../helpers/compare.ts';
import { forEachBackend } from '../helpers/machine.ts';
import { describeOracle } from '../helpers/preference.ts';
import type { Stored } from '../helpers/storage.ts';
import { describeUpdate, type UpdateSubject } from '../helpers/updates.ts';
import { type VectorCase, vectorCases } from '../helpers/vectors.ts';
import { criticUpdate as oracle } from '../reference/critic-update.ts';
import { tokenLogpsBackward as logitGradients } from '../reference/token-logps.ts';

const subject: UpdateSubject = {
  // The helper's options are the same for every head; the overloads of the library tell heads apart.
  update: criticUpdate as unknown as UpdateSubject['update'],
  loss: trajectoryPreferenceLoss as unknown as UpdateSubject['loss'],
  oracle,
  variants: [
    ['token-mean', { normalization: 'token-mean' }],
    ['sum', { normalization: 'sum' }],
    ['temperature', { temperature: 1.7, beta: 0.6 }],
    ['hinge with NLL', { lossType: 'hinge', nllCoef: 0.2, beta: 0.3 }],
    ['ipo', { lossType: 'ipo', beta: 0.8 }],
    [
      'smoothed and weighted',
      { labelSmoothing: 0.1, pairWeights: new Float32Array(9).fill(2).fill(0, 3, 5), pairDenominator: 4 },
    ],
  ],
  structureOf: ({ turnOffsets, trajectoryOffsets }) => ({ turnOffsets, trajectoryOffsets }),
  units: ({ trajectoryOffsets }) => trajectoryOffsets.length - 1,
};

interface VectorOptions {
  beta: number;
  normalization: 'turn-mean' | 'token-mean' | 'sum';
  temperature: number;
  ignoreIndex: number;
}

const vectors = vectorCases<VectorOptions>('critic_update');

function structureOf(vector: VectorCase<VectorOptions>) {
  return {
    labels: vector.integers('labels'),
    turnOffsets: vector.integers('turn_offsets'),
    trajectoryOffsets: vector.integers('trajectory_offsets'),
    chosen: vector.integers('chosen'),
    rejected: vector.integers('rejected'),
    ...vector.options,
  };
}

describeOracle(vectors, (vector) => {
  const [head, reference] = [{ logits: vector.values('logits') }, { logits: vector.values('ref_logits') }];
  return oracle({ ...structureOf(vector), head, reference });
});

forEachBackend(() => {
  it.each(vectors)('meets the vector $name', (vector) => {
    const { data: logits, dtype } = vector.stored('logits');
    const { data: refLogits, dtype: refDtype } = vector.stored('ref_logits');
    const ours = criticUpdate({ ...structureOf(vector), logits, dtype, refLogits, refDtype });
    expectClose('loss', [ours.loss], vector.values('expected.loss'), lossTolerance);
    expectClose('margins', ours.margins, vector.values('expected.margins'), specified);
    // Under "sum" up to nine log-ratios add up, each within the specified tolerance.
    expectClose(
      'turnAdvantages',
      ours.turnAdvantages,
      vector.values('expected.advantages'),
      (x) => 4 * specified(x, 0),
    );
    const upstream = Math.max(...ours.gradLogps.map(Math.abs));
    expectGradient('gradLogits', ours.gradLogits as Stored, vector.values('expected.grad_logits'), dtype, { upstream });
  });

  // The lse of such rows is off by up to 3e-5 as a float32 number; the update has it in float64 and must use it all.
  it.each([1, 0.7])('has gradients as exact where logits are near 1000, temperature %s', (temperature) => {
    const [N, V] = [2, 97];
    const logits = Float32Array.from({ length: N * V }, (_, i) => 1000 + ((i * 37) % 64) / 16);
    const labels = Int32Array.of(5, 90);
    const structure = { turnOffsets: Int32Array.of(0, 1, 2), trajectoryOffsets: Int32Array.of(0, 1, 2) };
    const pair = { chosen: Int32Array.of(0), rejected: Int32Array.of(1), beta: 1 };
    const call = { ...structure, ...pair, logits, labels, temperature, refLogps: new Float32Array(N) };
    const { gradLogits, gradLogps } = criticUpdate(call);
    const head = { logits: Float64Array.from(logits), labels, temperature, gradLogps };
    expectClose('gradLogits', gradLogits, logitGradients(head), (x) => 2e-6 * Math.abs(x));
  });

  describeUpdate(subject);
});
