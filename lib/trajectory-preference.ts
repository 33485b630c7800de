import { checkOptions } from './checks.js';
import type { OnDevice } from './device.js';
import {
  checkNormalization,
  LOGPS_PAIR,
  type LogpsPair,
  type Normalization,
  PAIR_OPTIONS,
  type PairOptions,
  PREFERENCE_OUT_NAMES,
  type PreferenceResult,
  preferenceArgs,
  preferenceLoss,
} from './preference.js';

/** Where the units of the pairs are trajectories. */
export interface TrajectoryOptions {
  /** [K + 1], the turns of trajectory k are trajectoryOffsets[k] ... trajectoryOffsets[k + 1] - 1. */
  trajectoryOffsets: Int32Array;
  /** How token ratios become a trajectory's score; 'turn-mean' by default, as in the paper. */
  normalization?: Normalization | undefined;
}

/** What `trajectoryPreferenceLoss` takes. */
export interface TrajectoryPreferenceOptions extends LogpsPair, PairOptions, TrajectoryOptions {}

export const TRAJECTORY_OPTIONS = ['trajectoryOffsets', 'normalization'] as const;
const OPTIONS = new Set<string>([...LOGPS_PAIR, ...PAIR_OPTIONS, ...TRAJECTORY_OPTIONS]);

export const trajectoryArgs = (options: PairOptions & TrajectoryOptions) =>
  preferenceArgs(options, checkNormalization(options.normalization), 0);

/**
 * The critic's loss: Bradley-Terry on pairs of whole trajectories, with its gradient at the log-probs.
 *
 *     rho_i = logp_i - refLogp_i,  A_t = (1/L_t) sum_{i in t} m_i rho_i
 *     S_k = sum_{t in k} A_t                          'turn-mean' (the paper)
 *     S_k = sum_i m_i rho_i / sum_i m_i                   'token-mean' (the released code)
 *     S_k = sum_i m_i rho_i                             'sum' (multi-turn DPO)
 *     delta_p = S_chosen - S_rejected,  u_p = beta delta_p
 *     l_p = -(1-epsilon) log sigma(u_p) - epsilon log sigma(-u_p)       'sigmoid';  'hinge': max(0, 1 - u_p);  'ipo': (delta_p - 1/(2beta))^2
 *     loss = sum_p w_p l_p / D + nllCoef * NLL of the tokens of the chosen trajectories
 *
 * A trajectory may stand in several pairs. Gradient accumulation: give every micro-batch the whole batch's
 * `pairDenominator` and `nllDenominator`; losses and gradients then add up.
 *
 * @param options.logps [N] of the tokens, of all turns of all trajectories; `refLogps` [N] likewise.
 * @param options.turnOffsets [T + 1] into tokens; `trajectoryOffsets` [K + 1] into turns.
 * @param options.chosen [P] indices of trajectories; `rejected` [P] likewise; `pairWeights` [P].
 * @param options.nllCoef 0 by default.
 * @param options.out buffers for any of the result's arrays, by their names.
 * @returns loss, metrics and `gradLogps` [N].
 * @throws RangeError ERR_OFFSETS, ERR_EMPTY_TURN, ERR_PAIR, ERR_PAIR_WEIGHT naming where.
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
  const options = checkOptions(
    'trajectoryPreferenceLoss',
    given as TrajectoryPreferenceOptions,
    OPTIONS,
    'now',
    PREFERENCE_OUT_NAMES,
  );
  return preferenceLoss('trajectoryPreference', options, true, trajectoryArgs(options));
}
