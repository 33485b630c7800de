// The pairs of a preference loss and the options of the loss.
import type * as native from '../addon/operations.js';
import { LOSS_TYPE, NORMALIZATION } from '../addon/operations.js';
import { expected, rangeError } from '../errors.js';
import { int32, lengthOf, type NamedArray, offsets, optionalArray } from './arrays.js';
import { type CheckedTokens, labelInputs } from './labels.js';
import { boolean, notNegative, number, oneOf, positive } from './scalars.js';
import type { ArrayOrTensor } from './tensors.js';

/** The loss of a pair: Bradley-Terry ('sigmoid'), 'hinge' or 'ipo'. */
export type LossType = native.LossType;

export interface PairOptions {
  /** [P], indices of the better items (trajectories or turns). */
  chosen: ArrayOrTensor<Int32Array>;
  /** [P], indices of the worse items. */
  rejected: ArrayOrTensor<Int32Array>;
  /** The inverse temperature beta > 0 of the preference; 0.1 by default. */
  beta?: number | undefined;
  /** 'sigmoid' by default. */
  lossType?: LossType | undefined;
  /** epsilon in [0, 0.5) of the sigmoid loss; 0 by default. */
  labelSmoothing?: number | undefined;
  /** [P], >= 0, not all 0; 1 each by default. */
  pairWeights?: ArrayOrTensor<Float32Array> | undefined;
  /** D; the sum of the weights of this call by default. Micro-batches give the sum of the whole batch. */
  pairDenominator?: number | undefined;
  /** The weight of the NLL of the chosen tokens. */
  nllCoef?: number | undefined;
  /** The weight of the tokens that the NLL is averaged over; that of this call's chosen items by default. */
  nllDenominator?: number | undefined;
  /** A turn without a token that counts is 0 instead of being an error; false by default. */
  allowEmptyTurns?: boolean | undefined;
}

export const PAIR_OPTIONS = [
  'turnOffsets',
  'chosen',
  'rejected',
  'beta',
  'lossType',
  'labelSmoothing',
  'pairWeights',
  'pairDenominator',
  'nllCoef',
  'nllDenominator',
  'allowEmptyTurns',
] as const;

/** A trajectory's score: the sum of its turns' means (the paper), the mean over its tokens (the released code), or their sum. */
export type Normalization = native.Normalization;

const LOSS_TYPES = Object.keys(LOSS_TYPE) as LossType[];
const NORMALIZATIONS = Object.keys(NORMALIZATION) as Normalization[];

export interface CheckedBatch extends native.PreferenceBatch {
  labels: CheckedTokens;
}

export function checkBatch(
  options: PairOptions & { turnOffsets: unknown; trajectoryOffsets?: unknown },
  labels: CheckedTokens,
  level: native.PreferenceLevel,
): CheckedBatch {
  const turnOffsets = offsets('turnOffsets', options.turnOffsets);
  const trajectoryOffsets =
    level === 'trajectory' ? offsets('trajectoryOffsets', options.trajectoryOffsets) : undefined;
  const chosen = int32('chosen', options.chosen);
  const count = lengthOf(chosen);
  const rejected = int32('rejected', options.rejected, count);
  if (count === 0) throw rangeError('ERR_PAIR', expected('at least one pair, pair 0,', 'chosen and rejected', chosen));
  const weights = optionalArray('pairWeights', options.pairWeights, ['Float32Array'], count);
  return {
    level,
    tokens: labels.rows,
    turns: lengthOf(turnOffsets) - 1,
    trajectories: trajectoryOffsets === undefined ? 0 : lengthOf(trajectoryOffsets) - 1,
    labels,
    turnOffsets,
    trajectoryOffsets,
    pairs: { count, chosen, rejected, weights },
  };
}

export function batchInputs({ labels, turnOffsets, trajectoryOffsets, pairs }: CheckedBatch): NamedArray[] {
  return [
    ...labelInputs(labels),
    ['turnOffsets', turnOffsets],
    ['trajectoryOffsets', trajectoryOffsets],
    ['chosen', pairs.chosen],
    ['rejected', pairs.rejected],
    ['pairWeights', pairs.weights],
  ];
}

/** Of trajectories. */
export function checkNormalization(value: unknown): Normalization {
  return oneOf<Normalization>('normalization', value, 'turn-mean', NORMALIZATIONS);
}

/** Of turns: the mean or the sum over the tokens of a turn. */
export function checkTurnReduction(value: unknown): Normalization {
  return oneOf('reduction', value, 'sum', ['mean', 'sum']) === 'mean' ? 'turn-mean' : 'sum';
}

export function checkPreferenceOptions(
  options: PairOptions,
  normalization: Normalization,
  defaultNllCoef: number,
): native.PreferenceOptions {
  const type = oneOf('lossType', options.lossType, 'sigmoid', LOSS_TYPES);
  const labelSmoothing = number(
    'labelSmoothing',
    options.labelSmoothing,
    0,
    'a number in [0, 0.5)',
    (x) => x >= 0 && x < 0.5,
  );
  if (labelSmoothing > 0 && type !== 'sigmoid') {
    throw rangeError('ERR_ARG_VALUE', expected(`0 with lossType '${type}'`, 'labelSmoothing', labelSmoothing));
  }
  return {
    normalization,
    allowEmptyTurns: boolean('allowEmptyTurns', options.allowEmptyTurns, false),
    pairLoss: { type, beta: positive('beta', options.beta, 0.1), labelSmoothing },
    pairDenominator: positive('pairDenominator', options.pairDenominator, 0),
    nllCoef: notNegative('nllCoef', options.nllCoef, defaultNllCoef),
    nllDenominator: positive('nllDenominator', options.nllDenominator, 0),
  };
}
