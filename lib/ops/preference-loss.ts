// The critic's loss over pairs of trajectories and the policy's loss over pairs of turns: one native operation.

import { check } from '../addon/faults.js';
import { invoke } from '../addon/native.js';
import type * as native from '../addon/operations.js';
import { float32, lengthOf, optionalArray } from '../args/arrays.js';
import { checkTokens, LABEL_OPTIONS, type TokenOptions, WEIGHT_OPTION, type WeightOption } from '../args/labels.js';
import { checkReferenceNeed } from '../args/loss-types.js';
import { checkOptions } from '../args/options.js';
import {
  batchInputs,
  type CheckedBatch,
  type CheckedPreferenceOptions,
  checkBatch,
  checkNormalization,
  checkPreferenceOptions,
  checkTurnReduction,
  type Normalization,
  PAIR_OPTIONS,
  type PairOptions,
} from '../args/preference.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import type { OnDevice } from '../device/device-buffer.js';
import { typeError } from '../errors.js';
import {
  assertFinite,
  assertFiniteResults,
  checkDebug,
  type DebugOption,
  logpsMatrices,
  rowsRead,
} from '../runtime/assert-finite.js';
import { Results } from '../runtime/results.js';
import type { Reduction } from './turn-advantages.js';

/** The loss of all pairs, metrics, and the gradient at the log-probs. */
export interface PreferenceResult {
  /** preferenceLoss + nllCoef * nllLoss. */
  loss: number;
  preferenceLoss: number;
  nllLoss: number;
  /** The share of pairs whose chosen item (trajectory or turn) has the higher score. */
  accuracy: number;
  /** [P], the loss of each pair. */
  pairLosses: Float32Array<ArrayBuffer>;
  /** [P], beta (S_chosen - S_rejected). */
  margins: Float32Array<ArrayBuffer>;
  /** [P], beta S_chosen. */
  chosenRewards: Float32Array<ArrayBuffer>;
  /** [P], beta S_rejected. */
  rejectedRewards: Float32Array<ArrayBuffer>;
  /** [T], the mean log-ratio of each turn where turns are averaged, else its sum; of log-probs without a reference. */
  turnAdvantages: Float32Array<ArrayBuffer>;
  /** [N], the gradient of the loss at the log-probs. */
  gradLogps: Float32Array<ArrayBuffer>;
}

export const PREFERENCE_OUT = [
  'pairLosses',
  'margins',
  'chosenRewards',
  'rejectedRewards',
  'turnAdvantages',
  'gradLogps',
] as const;

/** In the order of the native result. */
export const PREFERENCE_SCALARS = ['loss', 'preferenceLoss', 'nllLoss', 'accuracy'];

export type PreferenceOut = { [name in (typeof PREFERENCE_OUT)[number]]?: Float32Array | undefined };

/** The log-probs of both losses. */
export interface LogpsPair extends TokenOptions, WeightOption, DebugOption {
  /** [N] under the trained model. */
  logps: ArrayOrTensor<Float32Array>;
  /** [N] under the frozen reference; may be absent where no type of the loss needs it. */
  refLogps?: ArrayOrTensor<Float32Array> | undefined;
  /** [N], sum_v p_iv^2 of every row as `tokenLogps` gives it; needed with `useWeighting`. */
  sumSquaredProbs?: ArrayOrTensor<Float32Array> | undefined;
  /** [T + 1], the tokens of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: ArrayOrTensor<Int32Array>;
  out?: PreferenceOut | undefined;
}

/** Options of pairs of trajectories. */
export interface TrajectoryOptions {
  /** [K + 1], the turns of trajectory k are trajectoryOffsets[k] ... trajectoryOffsets[k + 1] - 1. */
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** How token ratios become a trajectory's score; 'turn-mean' by default, as in the paper. */
  normalization?: Normalization | undefined;
}

/** Options of pairs of turns. */
export interface TurnScoreOptions {
  /** How token ratios become a turn's score; 'sum' by default, as in the paper. */
  reduction?: Reduction | undefined;
}

/** What `trajectoryPreferenceLoss` takes. */
export interface TrajectoryPreferenceOptions extends LogpsPair, PairOptions, TrajectoryOptions {}

/** What `turnPreferenceLoss` takes. */
export interface TurnPreferenceOptions extends LogpsPair, PairOptions, TurnScoreOptions {}

export const TRAJECTORY_OPTIONS = ['trajectoryOffsets', 'normalization'] as const;
export const TURN_SCORE_OPTIONS = ['reduction'] as const;

const LOGPS_PAIR = ['logps', 'refLogps', 'sumSquaredProbs', ...LABEL_OPTIONS, WEIGHT_OPTION, 'debug', 'out'] as const;
const OF_TRAJECTORIES = new Set<string>([...LOGPS_PAIR, ...PAIR_OPTIONS, ...TRAJECTORY_OPTIONS]);
const OF_TURNS = new Set<string>([...LOGPS_PAIR, ...PAIR_OPTIONS, ...TURN_SCORE_OPTIONS]);
const OUT_NAMES = new Set<string>(PREFERENCE_OUT);

/** The critic's: 'turn-mean' and no NLL by default. */
export const trajectoryLossOptions = (options: PairOptions & TrajectoryOptions): CheckedPreferenceOptions =>
  checkPreferenceOptions(options, checkNormalization(options.normalization), 0);

/** The policy's: 'sum' and 0.01 times the NLL by default. */
export const turnLossOptions = (options: PairOptions & TurnScoreOptions): CheckedPreferenceOptions =>
  checkPreferenceOptions(options, checkTurnReduction(options.reduction), 0.01);

/** The results of the loss of a batch. */
export function preferenceOut(results: Results, { tokens, turns, pairs }: CheckedBatch): native.PreferenceOut {
  const { count } = pairs;
  return {
    scalars: results.scalars(PREFERENCE_SCALARS),
    pairLosses: results.float32('pairLosses', count, { unit: 'pair' }),
    margins: results.float32('margins', count, { unit: 'pair' }),
    chosenRewards: results.float32('chosenRewards', count, { unit: 'pair' }),
    rejectedRewards: results.float32('rejectedRewards', count, { unit: 'pair' }),
    turnAdvantages: results.float32('turnAdvantages', turns, { unit: 'turn' }),
    gradLogps: results.float32('gradLogps', tokens),
  };
}

function preferenceLoss(
  given: LogpsPair & PairOptions & { trajectoryOffsets?: Int32Array | undefined },
  level: native.PreferenceLevel,
  { options, types }: CheckedPreferenceOptions,
): PreferenceResult {
  const logps = float32('logps', given.logps);
  const tokens = lengthOf(logps);
  checkReferenceNeed(types, given.refLogps === undefined ? undefined : 'refLogps', 'refLogps');
  const refLogps = optionalArray('refLogps', given.refLogps, ['Float32Array'], tokens);
  const sumSquaredProbs = optionalArray('sumSquaredProbs', given.sumSquaredProbs, ['Float32Array'], tokens);
  if ((sumSquaredProbs !== undefined) !== options.useWeighting) {
    throw options.useWeighting
      ? typeError('ERR_ARG_TYPE', `Expected sumSquaredProbs for useWeighting of ${types.names} but received none`)
      : typeError('ERR_UNKNOWN_OPTION', 'Expected no sumSquaredProbs without useWeighting but received some');
  }
  const batch = checkBatch(given, checkTokens(given, tokens), level);
  const results = new Results(given.out, logps);
  const out = preferenceOut(results, batch);
  const addon = results.place([
    ['logps', logps],
    ['refLogps', refLogps],
    ['sumSquaredProbs', sumSquaredProbs],
    ...batchInputs(batch),
  ]);
  const debug = checkDebug(given);
  if (debug) {
    const mask = rowsRead(batch.labels, false);
    const squares = { name: 'sumSquaredProbs', array: sumSquaredProbs, unit: 'row', mask } as const;
    assertFinite([...logpsMatrices(logps, refLogps, mask), squares]);
  }
  const args = { batch, options, logps, refLogps, sumSquaredProbs, out };
  check(invoke(addon, 'preferenceLoss', args), args);
  const collected = results.collect() as PreferenceResult;
  if (debug) assertFiniteResults(results);
  return collected;
}

/**
 * The critic's loss: Bradley-Terry on pairs of whole trajectories, with its gradient at the log-probs.
 *
 *     rho_i = logp_i - refLogp_i,  A_t = (1/L_t) sum_{i in t} m_i rho_i,  L_t = sum_{i in t} m_i
 *     S_k = sum_{t in k} A_t                          'turn-mean' (the paper)
 *     S_k = sum_i m_i rho_i / sum_i m_i                   'token-mean' (the released code)
 *     S_k = sum_i m_i rho_i                             'sum' (multi-turn DPO)
 *     s = f(S),  u_p = beta (s_chosen - s_rejected),  l_p = sum_j lossWeights_j l_jp over the types of the call
 *     l_jp = -(1-epsilon) log sigma(u_p) - epsilon log sigma(-u_p)      'sigmoid'; the others are in the guide, docs/guide/trl.md
 *     loss = sum_p w_p W_p l_p / D + nllCoef * NLL of the tokens of the chosen trajectories
 *
 * m_i is the token's weight, 1 by default, and 0 where the mask is 0 or the label is ignored: give the `mask` or the
 * `labels` that the log-probs were computed with, since an ignored token has the log-prob 0 and would count as one otherwise; the updates do so themselves.
 * A trajectory may be in several pairs. A pair of weight 0 is in no loss. Gradient accumulation: give every micro-batch the whole batch's
 * `pairDenominator` and `nllDenominator`; losses and gradients then add up.
 *
 * @param options.logps [N] of the tokens, of all turns of all trajectories; `refLogps` [N] likewise.
 * @param options.turnOffsets [T + 1] into tokens; `trajectoryOffsets` [K + 1] into turns.
 * @param options.chosen [P] indices of trajectories; `rejected` [P] likewise; `pairWeights` [P].
 * @param options.tokenWeights [N] >= 0, not read where a token is masked or ignored.
 * @param options.lossType 'sigmoid' by default, another name or several with `lossWeights`; `beta` 0.1 by default. An option that no
 *   type takes is an error: `labelSmoothing`, `gamma`, `discopopTau`, `fDivergence` with `fAlpha`, `dpopLambda`, `ldAlpha`, `useWeighting`
 *   with `sumSquaredProbs` [N]. `refLogps` may be absent where no type needs it, or with `referenceFree`.
 * @param options.nllCoef 0 by default; `nllDenominator`, the weight of the chosen trajectories' tokens by default.
 * @param options.out buffers for any array of the result, by name.
 * @returns loss, metrics and `gradLogps` [N].
 * @throws RangeError ERR_OFFSETS, ERR_EMPTY_TURN, ERR_PAIR, ERR_PAIR_WEIGHT, ERR_ARG_VALUE, naming where; TypeError
 *   ERR_UNKNOWN_OPTION naming an option that no type takes.
 * @see arXiv 2503.15478, Equation 2.
 * @example
 * const result = trajectoryPreferenceLoss({
 *   logps: new Float32Array([-1, -2, -3]),
 *   refLogps: new Float32Array([-2, -2, -3]),
 *   turnOffsets: new Int32Array([0, 2, 3]),
 *   trajectoryOffsets: new Int32Array([0, 1, 2]),
 *   chosen: new Int32Array([0]),
 *   rejected: new Int32Array([1]),
 * });
 * // result.loss = 0.6685, result.margins = [0.05], result.gradLogps = [-0.0244, -0.0244, 0.0488]
 */
export function trajectoryPreferenceLoss(options: TrajectoryPreferenceOptions): PreferenceResult;
export function trajectoryPreferenceLoss(options: OnDevice<TrajectoryPreferenceOptions>): OnDevice<PreferenceResult>;
export function trajectoryPreferenceLoss(
  given: TrajectoryPreferenceOptions | OnDevice<TrajectoryPreferenceOptions>,
): PreferenceResult | OnDevice<PreferenceResult> {
  const name = 'trajectoryPreferenceLoss';
  const options = checkOptions(name, given as TrajectoryPreferenceOptions, OF_TRAJECTORIES, 'sync', OUT_NAMES);
  return preferenceLoss(options, 'trajectory', trajectoryLossOptions(options));
}

/**
 * The policy's loss: DPO on pairs of turns plus a small NLL term, with its gradient at the log-probs.
 *
 *     S_t = sum_{i in t} m_i (logp_i - refLogp_i)     'sum' (the paper);  'mean' divides by L_t = sum_{i in t} m_i
 *     delta_p = S_chosen - S_rejected, pair losses as in `trajectoryPreferenceLoss`
 *     loss = sum_p w_p l_p / D + nllCoef * NLL,  NLL = -sum_p sum_{i in chosen_p} m_i logp_i / sum_p L_chosen_p
 *
 * m_i is the token's weight, 1 by default, and 0 where the mask is 0 or the label is ignored: give the `mask` or the
 * `labels`, as for `trajectoryPreferenceLoss`. A turn may be in several pairs. A pair of weight 0 is in no loss.
 *
 * @param options.logps [N] of the tokens of all turns; `refLogps` [N] likewise.
 * @param options.turnOffsets [T + 1] into tokens.
 * @param options.chosen [P] indices of turns; `rejected` [P] likewise; `pairWeights` [P].
 * @param options.tokenWeights [N] >= 0, not read where a token is masked or ignored.
 * @param options.lossType and the options of the types, as for `trajectoryPreferenceLoss`.
 * @param options.reduction 'sum' by default, or 'mean'. TRL's 'ipo' has the mean: give `reduction: 'mean'` for it.
 * @param options.nllCoef 0.01 by default, as in the paper; 0 leaves the NLL out. `nllDenominator`, the weight of the chosen
 *   turns' tokens by default.
 * @param options.out buffers for any array of the result, by name.
 * @returns loss, metrics and `gradLogps` [N].
 * @throws RangeError ERR_OFFSETS, ERR_EMPTY_TURN, ERR_PAIR, ERR_PAIR_WEIGHT, ERR_ARG_VALUE, naming where.
 * @see arXiv 2503.15478, Equation 4.
 * @example
 * const result = turnPreferenceLoss({
 *   logps: new Float32Array([-1, -2, -3]),
 *   refLogps: new Float32Array([-2, -2, -3]),
 *   turnOffsets: new Int32Array([0, 2, 3]),
 *   chosen: new Int32Array([0]),
 *   rejected: new Int32Array([1]),
 * });
 * // result.preferenceLoss = 0.6444, result.nllLoss = 1.5, result.loss = 0.6594
 */
export function turnPreferenceLoss(options: TurnPreferenceOptions): PreferenceResult;
export function turnPreferenceLoss(options: OnDevice<TurnPreferenceOptions>): OnDevice<PreferenceResult>;
export function turnPreferenceLoss(
  given: TurnPreferenceOptions | OnDevice<TurnPreferenceOptions>,
): PreferenceResult | OnDevice<PreferenceResult> {
  const name = 'turnPreferenceLoss';
  const options = checkOptions(name, given as TurnPreferenceOptions, OF_TURNS, 'sync', OUT_NAMES);
  return preferenceLoss(options, 'turn', turnLossOptions(options));
}
