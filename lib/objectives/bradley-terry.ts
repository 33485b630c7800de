import { check } from '../addon/faults.js';
import { invoke } from '../addon/native.js';
import { float32, hostView } from '../args/arrays.js';
import { checkTokens } from '../args/labels.js';
import { checkOptions } from '../args/options.js';
import { batchInputs, checkBatch, checkPreferenceOptions, type PairOptions } from '../args/preference.js';
import { oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { PREFERENCE_SCALARS, type PreferenceResult } from '../ops/preference-loss.js';
import { Results } from '../runtime/results.js';

/** What `bradleyTerryLoss` takes. */
export interface BradleyTerryOptions
  extends Pick<PairOptions, 'chosen' | 'rejected' | 'labelSmoothing' | 'pairWeights' | 'pairDenominator'> {
  /** 'sigmoid' by default. */
  lossType?: (typeof TYPES)[number] | undefined;
  /** [n], scores of a reward model or a value head, or sums of log-ratios. */
  scores: ArrayOrTensor<Float32Array>;
  /** The inverse temperature beta > 0; 1 by default. */
  beta?: number | undefined;
  out?: { [name in (typeof OUT)[number]]?: Float32Array | undefined } | undefined;
}

/** The loss of all pairs, metrics, and the gradient at the scores. */
export interface BradleyTerryResult
  extends Pick<PreferenceResult, 'loss' | 'accuracy' | 'pairLosses' | 'margins' | 'chosenRewards' | 'rejectedRewards'> {
  /** [n], the gradient of the loss; 0 at scores in no pair. */
  gradScores: Float32Array<ArrayBuffer>;
}

const TYPES = ['sigmoid', 'hinge', 'ipo'] as const;
const OUT = ['pairLosses', 'margins', 'chosenRewards', 'rejectedRewards', 'gradScores'] as const;
const OUT_NAMES = new Set<string>(OUT);
const OPTIONS = new Set([
  'scores',
  'chosen',
  'rejected',
  'beta',
  'lossType',
  'labelSmoothing',
  'pairWeights',
  'pairDenominator',
  'out',
]);

/**
 * The pairwise loss of given scores: Bradley-Terry, hinge or IPO, with its gradient at the scores.
 *
 *     delta_p = s_chosen - s_rejected,  u_p = beta delta_p;  pair losses l_p as in `trajectoryPreferenceLoss`
 *     loss = sum_p w_p l_p / D,  D = sum_p w_p unless given
 *     accuracy = share of pairs with delta_p > 0
 *
 * A score may be in several pairs: its gradients add up. `trlMetrics` takes the result.
 *
 * @param options.scores [n].
 * @param options.chosen [P] indices of scores; `rejected` [P] likewise; `pairWeights` [P].
 * @param options.lossType 'sigmoid' (with `labelSmoothing`), 'hinge' or 'ipo'.
 * @param options.pairDenominator for micro-batches: the sum of the weights of the whole batch.
 * @param options.out buffers for any array of the result, by name.
 * @returns loss, metrics and `gradScores` [n].
 * @throws RangeError ERR_PAIR, ERR_PAIR_WEIGHT naming the pair; TypeError ERR_DEVICE for device buffers: the scores
 *   must be on the host.
 * @see arXiv 2503.15478, Section 4 (Equation 1: Bradley-Terry on trajectories).
 * @example
 * const { loss, gradScores } = bradleyTerryLoss({
 *   scores: new Float32Array([2, 1, 0]),
 *   chosen: new Int32Array([0, 0]),
 *   rejected: new Int32Array([1, 2]),
 * });
 * // loss = 0.2201, gradScores = [-0.1941, 0.1345, 0.0596]
 */
export function bradleyTerryLoss(options: BradleyTerryOptions): BradleyTerryResult {
  const given = checkOptions('bradleyTerryLoss', options, OPTIONS, 'sync', OUT_NAMES);
  const scores = hostView('scores', float32('scores', given.scores));
  // Each score is a turn of one token with a reference log-prob of 0.
  const n = scores.length;
  const turnOffsets = Int32Array.from({ length: n + 1 }, (_, i) => i);
  const batch = checkBatch({ ...given, turnOffsets }, checkTokens({}, n), 'turn');
  const beta = given.beta === undefined ? 1 : given.beta;
  const lossType = oneOf('lossType', given.lossType, 'sigmoid', TYPES);
  const { options: lossOptions } = checkPreferenceOptions({ ...given, lossType, beta }, 'sum', 0);
  const results = new Results(given.out, scores);
  const { count } = batch.pairs;
  const out = {
    scalars: results.scalars(PREFERENCE_SCALARS),
    pairLosses: results.float32('pairLosses', count),
    margins: results.float32('margins', count),
    chosenRewards: results.float32('chosenRewards', count),
    rejectedRewards: results.float32('rejectedRewards', count),
    turnAdvantages: new Float32Array(n),
    gradLogps: results.float32('gradScores', n),
  };
  const addon = results.place([['scores', scores], ...batchInputs(batch)]);
  const refLogps = new Float32Array(n);
  const args = { batch, options: lossOptions, logps: scores, refLogps, sumSquaredProbs: undefined, out };
  check(invoke(addon, 'preferenceLoss', args), args);
  const { preferenceLoss: _, nllLoss: __, ...result } = results.collect() as PreferenceResult & BradleyTerryResult;
  return result;
}
