/** policyUpdate against the oracle, on every backend. */
import { policyUpdate, turnPreferenceLoss } from 'sweet-rl';
import { it } from 'vitest';
import { expectClose } from '../helpers/compare.ts';
import { forEachBackend } from '../helpers/machine.ts';
import { optionalInputs } from '../helpers/preference.ts';
import { describeUpdate, type UpdateSubject } from '../helpers/updates.ts';
import { vectorCases } from '../helpers/vectors.ts';
import { policyUpdate as oracle } from '../reference/policy-update.ts';

const subject: UpdateSubject = {
  // The helper's options are the same for every head; the overloads of the library tell heads apart.
  update: policyUpdate as unknown as UpdateSubject['update'],
  loss: turnPreferenceLoss as unknown as UpdateSubject['loss'],
  oracle,
  variants: [
    ['mean', { reduction: 'mean' }],
    ['temperature', { temperature: 0.6, beta: 0.4 }],
    ['no NLL', { nllCoef: 0 }],
    ['hinge', { lossType: 'hinge', beta: 0.2, nllCoef: 0.5 }],
    ['ipo', { lossType: 'ipo', beta: 0.5, nllDenominator: 77 }],
    [
      'smoothed and weighted',
      { labelSmoothing: 0.3, pairWeights: new Float32Array(9).fill(0.5).fill(0, 0, 2), pairDenominator: 6 },
    ],
  ],
  structureOf: ({ turnOffsets }) => ({ turnOffsets }),
  units: ({ turnOffsets }) => turnOffsets.length - 1,
};

const vectors = vectorCases<object>('pair_losses', 'policy_update');

forEachBackend(() => {
  describeUpdate(subject);

  it.each(vectors)('meets the vector $name', (vector) => {
    const names = ['labels', 'turn_offsets', 'chosen', 'rejected'].map((name) => [
      name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase()),
      vector.integers(name),
    ]);
    const given = { ...Object.fromEntries(names), ...optionalInputs(vector, false), ...vector.options };
    const logits = vector.floats('logits');
    const ours = subject.update({ ...given, logits, vocabSize: vector.shape('logits')[1] });
    for (const [name, expected] of Object.entries(vector.expected())) {
      const own = ours[name as 'logps'] as unknown as Float32Array | number;
      const size = Math.max(1, ...expected.map(Math.abs));
      expectClose(name, typeof own === 'number' ? [own] : own, expected, () => 4e-6 * size);
    }
  });
});
