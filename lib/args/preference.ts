// The pairs of a preference loss and the options of the loss.
import type * as native from '../addon/operations.js';
import { NORMALIZATION } from '../addon/operations.js';
import { expected, rangeError } from '../errors.js';
import { int32, lengthOf, type NamedArray, offsets, optionalArray } from './arrays.js';
import { type CheckedTokens, labelInputs } from './labels.js';
import {
  type CheckedLossTypes,
  checkLossTypes,
  LOSS_TYPE_OPTIONS,
  type LossTypeOptions,
  unknownWith,
} from './loss-types.js';
import { boolean, coefficient, divisor, oneOf } from './scalars.js';
import type { ArrayOrTensor } from './tensors.js';

export interface PairOptions extends LossTypeOptions {
  /** [P], indices of the better items (trajectories or turns). */
  chosen: ArrayOrTensor<Int32Array>;
  /** [P], indices of the worse items. */
  rejected: ArrayOrTensor<Int32Array>;
  /** [P], >= 0, not all 0; 1 each by default. */
  pairWeights?: ArrayOrTensor<Float32Array> | undefined;
  /** D; the sum of the weights of this call by default. Micro-batches give the sum of the whole batch. */
  pairDenominator?: number | undefined;
  /** The weight of the NLL of the chosen tokens; with 'sft' among the types, that type's weight. */
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
  ...LOSS_TYPE_OPTIONS,
  'pairWeights',
  'pairDenominator',
  'nllCoef',
  'nllDenominator',
  'allowEmptyTurns',
] as const;

/** A trajectory's score: the sum of its turns' means (the paper), the mean over its tokens (the released code), or their sum. */
export type Normalization = native.Normalization;

const NORMALIZATIONS = Object.keys(NORMALIZATION) as Normalization[];

/** Turns or trajectories and their tokens. */
export interface CheckedItems extends Omit<native.PreferenceBatch, 'pairs'> {
  labels: CheckedTokens;
}

export function checkItems(
  options: { turnOffsets: unknown; trajectoryOffsets?: unknown },
  labels: CheckedTokens,
  level: native.PreferenceLevel,
): CheckedItems {
  const turnOffsets = offsets('turnOffsets', options.turnOffsets);
  const trajectoryOffsets =
    level === 'trajectory' ? offsets('trajectoryOffsets', options.trajectoryOffsets) : undefined;
  return {
    level,
    tokens: labels.rows,
    turns: lengthOf(turnOffsets) - 1,
    trajectories: trajectoryOffsets === undefined ? 0 : lengthOf(trajectoryOffsets) - 1,
    labels,
    turnOffsets,
    trajectoryOffsets,
  };
}

export const itemInputs = ({ labels, turnOffsets, trajectoryOffsets }: CheckedItems): NamedArray[] => [
  ...labelInputs(labels),
  ['turnOffsets', turnOffsets],
  ['trajectoryOffsets', trajectoryOffsets],
];

export interface CheckedBatch extends CheckedItems, native.PreferenceBatch {
  labels: CheckedTokens;
}

export function checkBatch(
  options: PairOptions & { turnOffsets: unknown; trajectoryOffsets?: unknown },
  labels: CheckedTokens,
  level: native.PreferenceLevel,
): CheckedBatch {
  const items = checkItems(options, labels, level);
  const chosen = int32('chosen', options.chosen);
  const count = lengthOf(chosen);
  const rejected = int32('rejected', options.rejected, count);
  if (count === 0) throw rangeError('ERR_PAIR', expected('at least one pair, pair 0,', 'chosen and rejected', chosen));
  const weights = optionalArray('pairWeights', options.pairWeights, ['Float32Array'], count);
  return { ...items, pairs: { count, chosen, rejected, weights } };
}

export const batchInputs = ({ pairs, ...items }: CheckedBatch): NamedArray[] => [
  ...itemInputs(items),
  ['chosen', pairs.chosen],
  ['rejected', pairs.rejected],
  ['pairWeights', pairs.weights],
];

/** Of trajectories. */
export function checkNormalization(value: unknown): Normalization {
  return oneOf<Normalization>('normalization', value, 'turn-mean', NORMALIZATIONS);
}

/** Of turns: the mean or the sum over the tokens of a turn. */
export function checkTurnReduction(value: unknown): Normalization {
  return oneOf('reduction', value, 'sum', ['mean', 'sum']) === 'mean' ? 'turn-mean' : 'sum';
}

/** The options of the loss, and its checked types. */
export interface CheckedPreferenceOptions {
  types: CheckedLossTypes;
  options: native.PreferenceOptions;
}

export function checkPreferenceOptions(
  options: PairOptions,
  normalization: Normalization,
  defaultNllCoef: number,
): CheckedPreferenceOptions {
  const types = checkLossTypes(options, options.pairWeights);
  const { sftWeight } = types;
  const nllCoef = coefficient('nllCoef', options.nllCoef, sftWeight === undefined ? defaultNllCoef : 0);
  if (sftWeight !== undefined && nllCoef > 0) throw unknownWith('nllCoef', "lossType 'sft'", nllCoef);
  return {
    types,
    options: {
      normalization,
      allowEmptyTurns: boolean('allowEmptyTurns', options.allowEmptyTurns, false),
      pairLoss: types.pairLoss,
      pairDenominator: divisor('pairDenominator', options.pairDenominator, 0),
      nllCoef: sftWeight ?? nllCoef,
      nllDenominator: divisor('nllDenominator', options.nllDenominator, 0),
      ldAlpha: types.ldAlpha,
      useWeighting: types.useWeighting,
    },
  };
}
