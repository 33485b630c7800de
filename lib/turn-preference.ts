import { checkOptions } from './checks.js';
import type { OnDevice } from './device.js';
import {
  checkTurnReduction,
  LOGPS_PAIR,
  type LogpsPair,
  PAIR_OPTIONS,
  type PairOptions,
  PREFERENCE_OUT_NAMES,
  type PreferenceResult,
  preferenceArgs,
  preferenceLoss,
} from './preference.js';
import type { Reduction } from './turn-advantages.js';

/** Where the units of the pairs are turns. */
export interface TurnScoreOptions {
  /** How token ratios become a turn's score; 'sum' by default, as in the paper. */
  reduction?: Reduction | undefined;
}

/** What `turnPreferenceLoss` takes. */
export interface TurnPreferenceOptions extends LogpsPair, PairOptions, TurnScoreOptions {}

export const TURN_SCORE_OPTIONS = ['reduction'] as const;
const OPTIONS = new Set<string>([...LOGPS_PAIR, ...PAIR_OPTIONS, ...TURN_SCORE_OPTIONS]);

export const turnScoreArgs = (options: PairOptions & TurnScoreOptions) =>
  preferenceArgs(options, checkTurnReduction(options.reduction), 0.01);

/**
 * The policy's loss: DPO on pairs of turns plus a small NLL term, with its gradient at the log-probs.
 *
 *     S_t = sum_{i in t} m_i (logp_i - refLogp_i)     'sum' (the paper);  'mean' divides by L_t
 *     delta_p = S_chosen - S_rejected, pair losses as in `trajectoryPreferenceLoss`
 *     loss = sum_p w_p l_p / D + nllCoef * NLL,  NLL = -sum_p sum_{i in chosen_p} m_i logp_i / sum_p L_chosen_p
 *
 * A turn may stand in several pairs.
 *
 * @param options.logps [N] of the tokens of all turns; `refLogps` [N] likewise.
 * @param options.turnOffsets [T + 1] into tokens.
 * @param options.chosen [P] indices of turns; `rejected` [P] likewise; `pairWeights` [P].
 * @param options.nllCoef 0.01 by default, as in the paper.
 * @param options.out buffers for any of the result's arrays, by their names.
 * @returns loss, metrics and `gradLogps` [N].
 * @throws RangeError ERR_OFFSETS, ERR_EMPTY_TURN, ERR_PAIR, ERR_PAIR_WEIGHT naming where.
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
  const options = checkOptions(
    'turnPreferenceLoss',
    given as TurnPreferenceOptions,
    OPTIONS,
    'now',
    PREFERENCE_OUT_NAMES,
  );
  return preferenceLoss('turnPreference', options, false, turnScoreArgs(options));
}
