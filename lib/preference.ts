// What both preference losses share: the pairs, their options and their results.
import {
  boolean,
  float32,
  int32,
  lengthOf,
  mask,
  notNegative,
  number,
  offsets,
  oneOf,
  optionalArray,
  positive,
} from './checks.js';
import { check, expected, rangeError } from './errors.js';
import { checkDebug, type DebugOption, logpsNumbers, lookedThrough, lookThrough } from './finite.js';
import type { BatchArgs, PreferenceOptionArgs, PreferenceOutArgs } from './native.js';
import { type Inputs, Out, own } from './out.js';

/** The loss of a pair: Bradley-Terry ('sigmoid'), 'hinge' or 'ipo'. */
export type LossType = 'sigmoid' | 'hinge' | 'ipo';

export interface PairOptions {
  /** [P], indices of the better units. */
  chosen: Int32Array;
  /** [P], indices of the worse units. */
  rejected: Int32Array;
  /** The sharpness of the preference, beta > 0; 0.1 by default. */
  beta?: number | undefined;
  /** 'sigmoid' by default. */
  lossType?: LossType | undefined;
  /** epsilon in [0, 0.5) of the sigmoid loss; 0 by default. */
  labelSmoothing?: number | undefined;
  /** [P], >= 0, not all 0; 1 each by default. */
  pairWeights?: Float32Array | undefined;
  /** D; the sum of the weights of this call by default. Micro-batches give that of the whole batch. */
  pairDenominator?: number | undefined;
  /** The weight of the NLL of the chosen tokens. */
  nllCoef?: number | undefined;
  /** The number of tokens that the NLL is averaged over; those of this call's chosen units by default. */
  nllDenominator?: number | undefined;
  /** Let a turn without a token count 0 instead of being an error; false by default. */
  allowEmptyTurns?: boolean | undefined;
}

/** The loss of all pairs, metrics, and the gradient at the log-probs. */
export interface PreferenceResult {
  /** preferenceLoss + nllCoef * nllLoss. */
  loss: number;
  preferenceLoss: number;
  nllLoss: number;
  /** The share of pairs whose chosen unit scores higher. */
  accuracy: number;
  /** [P], the loss of each pair. */
  pairLosses: Float32Array;
  /** [P], beta (S_chosen - S_rejected). */
  margins: Float32Array;
  /** [P], beta S_chosen. */
  chosenRewards: Float32Array;
  /** [P], beta S_rejected. */
  rejectedRewards: Float32Array;
  /** [T], the mean log-ratio of each turn where turns are averaged, else its sum. */
  turnAdvantages: Float32Array;
  /** [N], the gradient of the loss at the log-probs. */
  gradLogps: Float32Array;
}

type ResultArrays = Pick<
  PreferenceResult,
  'pairLosses' | 'margins' | 'chosenRewards' | 'rejectedRewards' | 'turnAdvantages' | 'gradLogps'
>;

export type PreferenceOut = { [name in keyof ResultArrays]?: Float32Array | undefined };

/** The log-probs that the standalone losses start from. */
export interface LogpsPair extends DebugOption {
  /** [N] under the trained model. */
  logps: Float32Array;
  /** [N] under the frozen reference. */
  refLogps: Float32Array;
  /** [N]; 0 drops a token. */
  mask?: Uint8Array | undefined;
  /** [T + 1], the tokens of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: Int32Array;
  out?: PreferenceOut | undefined;
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

export const LOGPS_PAIR = ['logps', 'refLogps', 'mask', 'debug', 'out'] as const;

export const PREFERENCE_OUT = [
  'pairLosses',
  'margins',
  'chosenRewards',
  'rejectedRewards',
  'turnAdvantages',
  'gradLogps',
] as const;

export const PREFERENCE_OUT_NAMES = new Set<string>(PREFERENCE_OUT);

const LOSS_TYPES: readonly LossType[] = ['sigmoid', 'hinge', 'ipo'];

// In the order of the native enum.
const NORMALIZATIONS = ['turn-mean', 'token-mean', 'sum'] as const;
/** A trajectory's score: the sum of its turns' means (the paper), the mean over its tokens (the released code), or their sum. */
export type Normalization = (typeof NORMALIZATIONS)[number];

export interface CheckedBatch {
  turns: number;
  pairs: number;
  inputs: Inputs;
  args: BatchArgs;
}

export function checkBatch(
  options: { turnOffsets: Int32Array; trajectoryOffsets?: Int32Array | undefined } & PairOptions,
  tokens: number,
  tokenMask: Uint8Array | undefined,
  ofTrajectories: boolean,
): CheckedBatch {
  const turnOffsets = offsets('turnOffsets', options.turnOffsets);
  const trajectoryOffsets = ofTrajectories ? offsets('trajectoryOffsets', options.trajectoryOffsets) : undefined;
  const chosen = int32('chosen', options.chosen);
  const pairs = lengthOf(chosen);
  const rejected = int32('rejected', options.rejected, pairs);
  if (pairs === 0) throw rangeError('ERR_PAIR', expected('at least one pair, pair 0,', 'chosen and rejected', chosen));
  const weights = optionalArray('pairWeights', options.pairWeights, ['Float32Array'], pairs);
  return {
    turns: lengthOf(turnOffsets) - 1,
    pairs,
    inputs: [
      ['mask', tokenMask],
      ['turnOffsets', turnOffsets],
      ['trajectoryOffsets', trajectoryOffsets],
      ['chosen', chosen],
      ['rejected', rejected],
      ['pairWeights', weights],
    ],
    args: [tokens, tokenMask, turnOffsets, trajectoryOffsets, chosen, rejected, weights],
  };
}

export function checkNormalization(value: unknown): Normalization {
  return oneOf<Normalization>('normalization', value, 'turn-mean', NORMALIZATIONS);
}

/** A turn's mean or sum, as the normalization of a unit of one turn. */
export function checkTurnReduction(value: unknown): Normalization {
  return oneOf('reduction', value, 'sum', ['mean', 'sum']) === 'mean' ? 'turn-mean' : 'sum';
}

export function preferenceArgs(
  options: PairOptions,
  normalization: Normalization,
  defaultNllCoef: number,
): PreferenceOptionArgs {
  const lossType = oneOf('lossType', options.lossType, 'sigmoid', LOSS_TYPES);
  const smoothing = number(
    'labelSmoothing',
    options.labelSmoothing,
    0,
    'a number in [0, 0.5)',
    (x) => x >= 0 && x < 0.5,
  );
  if (smoothing > 0 && lossType !== 'sigmoid') {
    throw rangeError('ERR_ARG_VALUE', expected(`0 with lossType '${lossType}'`, 'labelSmoothing', smoothing));
  }
  return [
    NORMALIZATIONS.indexOf(normalization),
    boolean('allowEmptyTurns', options.allowEmptyTurns, false),
    LOSS_TYPES.indexOf(lossType),
    positive('beta', options.beta, 0.1),
    smoothing,
    positive('pairDenominator', options.pairDenominator, 0),
    notNegative('nllCoef', options.nllCoef, defaultNllCoef),
    positive('nllDenominator', options.nllDenominator, 0),
  ];
}

/** The result arrays of a batch and the order in which the native code fills them. */
export class PreferenceResults {
  private readonly arrays: ResultArrays;
  private readonly scalars: Float64Array;

  constructor(out: Out, batch: CheckedBatch, tokens: number) {
    this.scalars = out.scalars();
    this.arrays = {
      pairLosses: out.float32('pairLosses', batch.pairs),
      margins: out.float32('margins', batch.pairs),
      chosenRewards: out.float32('chosenRewards', batch.pairs),
      rejectedRewards: out.float32('rejectedRewards', batch.pairs),
      turnAdvantages: out.float32('turnAdvantages', batch.turns),
      gradLogps: out.float32('gradLogps', tokens),
    };
  }

  get args(): PreferenceOutArgs {
    const { pairLosses, margins, chosenRewards, rejectedRewards, turnAdvantages, gradLogps } = this.arrays;
    return [this.scalars, pairLosses, margins, chosenRewards, rejectedRewards, turnAdvantages, gradLogps];
  }

  /** After the native call. */
  result(): PreferenceResult {
    const scalars = this.scalars as unknown as readonly [number, number, number, number];
    const { pairLosses, margins, chosenRewards, rejectedRewards, turnAdvantages, gradLogps } = this.arrays;
    return {
      loss: scalars[0],
      preferenceLoss: scalars[1],
      nllLoss: scalars[2],
      accuracy: scalars[3],
      pairLosses: own(pairLosses),
      margins: own(margins),
      chosenRewards: own(chosenRewards),
      rejectedRewards: own(rejectedRewards),
      turnAdvantages: own(turnAdvantages),
      gradLogps: own(gradLogps),
    };
  }
}

/** The one path of both standalone losses, from checked names to the result. */
export function preferenceLoss(
  call: 'trajectoryPreference' | 'turnPreference',
  options: LogpsPair & PairOptions & { trajectoryOffsets?: Int32Array | undefined },
  ofTrajectories: boolean,
  args: PreferenceOptionArgs,
): PreferenceResult {
  const logps = float32('logps', options.logps);
  const tokens = lengthOf(logps);
  const refLogps = float32('refLogps', options.refLogps, tokens);
  const batch = checkBatch(options, tokens, mask(options.mask, tokens), ofTrajectories);
  const out = new Out(options.out, logps);
  const results = new PreferenceResults(out, batch, tokens);
  const native = out.settle([['logps', logps], ['refLogps', refLogps], ...batch.inputs]);
  const debug = checkDebug(options);
  if (debug) lookThrough(logpsNumbers(logps, refLogps, batch.args[1] as Uint8Array | undefined));
  check(native[call](...batch.args, ...args, logps, refLogps, ...results.args));
  return lookedThrough(debug, () => results.result())();
}
