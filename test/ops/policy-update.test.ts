/** policyUpdate against the oracle, on every backend. */
import { policyUpdate, turnPreferenceLoss } from 'sweet-rl';
import { forEachBackend } from '../helpers/machine.ts';
import { describeUpdate, type UpdateSubject } from '../helpers/updates.ts';
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

forEachBackend(() => describeUpdate(subject));
