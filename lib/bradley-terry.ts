import { checkOptions, float32 } from './checks.js';
import { check } from './errors.js';
import type { PreferenceOutArgs } from './native.js';
import { Out, own } from './out.js';
import { hostView } from './place.js';
import { checkBatch, type PairOptions, type PreferenceResult, preferenceArgs } from './preference.js';

/** What `bradleyTerryLoss` takes. */
export interface BradleyTerryOptions extends Omit<PairOptions, 'nllCoef' | 'nllDenominator' | 'allowEmptyTurns'> {
  /** [n], a score of each unit: of a reward model, of a value head, or any sum of log-ratios. */
  scores: Float32Array;
  /** What a score is multiplied with, > 0; 1 by default. */
  beta?: number | undefined;
  out?: { [name in (typeof OUT)[number]]?: Float32Array | undefined } | undefined;
}

/** The loss of all pairs, metrics, and the gradient at the scores. */
export interface BradleyTerryResult
  extends Pick<PreferenceResult, 'loss' | 'accuracy' | 'pairLosses' | 'margins' | 'chosenRewards' | 'rejectedRewards'> {
  /** [n], the gradient of the loss; 0 at scores in no pair. */
  gradScores: Float32Array;
}

const PER_PAIR = ['pairLosses', 'margins', 'chosenRewards', 'rejectedRewards'] as const;
const OUT = [...PER_PAIR, 'gradScores'] as const;
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
 * The pairwise loss on scores that are given: Bradley-Terry, hinge or IPO, with its gradient at the scores.
 *
 *     delta_p = s_chosen - s_rejected,  u_p = beta delta_p;  pair losses l_p as in `trajectoryPreferenceLoss`
 *     loss = sum_p w_p l_p / D,  D = sum_p w_p unless given
 *     accuracy = share of pairs with delta_p > 0
 *
 * A score may stand in several pairs: its gradients add up. `trlMetrics` takes the result.
 *
 * @param options.scores [n].
 * @param options.chosen [P] indices of scores; `rejected` [P] likewise; `pairWeights` [P].
 * @param options.lossType 'sigmoid' (with `labelSmoothing`), 'hinge' or 'ipo'.
 * @param options.pairDenominator for micro-batches: the sum of the weights of the whole batch.
 * @param options.out buffers for any of the result's arrays, by their names.
 * @returns loss, metrics and `gradScores` [n].
 * @throws RangeError ERR_PAIR, ERR_PAIR_WEIGHT naming the pair; TypeError ERR_DEVICE for device buffers: scores come from
 *   the host.
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
  const given = checkOptions('bradleyTerryLoss', options, OPTIONS, 'now', OUT_NAMES);
  const scores = hostView('scores', float32('scores', given.scores));
  // Scores are turns of one token each, whose references are 0.
  const n = scores.length;
  const turnOffsets = Int32Array.from({ length: n + 1 }, (_, i) => i);
  const batch = checkBatch({ ...given, turnOffsets }, n, undefined, false);
  const args = preferenceArgs({ ...given, beta: given.beta === undefined ? 1 : given.beta }, 'sum', 0);
  const out = new Out(given.out, scores);
  const perPair = PER_PAIR.map((name) => out.float32(name, batch.pairs));
  const gradScores = out.float32('gradScores', n);
  const native = out.settle([['scores', scores], ...batch.inputs]);
  const scalars = out.scalars();
  const [zeros, sums] = [new Float32Array(n), new Float32Array(n)];
  const results = [scalars, ...perPair, sums, gradScores] as unknown as PreferenceOutArgs;
  check(native.turnPreference(...batch.args, ...args, scores, zeros, ...results));

  const [loss, , , accuracy] = scalars as unknown as [number, number, number, number];
  const [pairLosses, margins, chosenRewards, rejectedRewards] = perPair.map(own) as Four;
  return { loss, accuracy, pairLosses, margins, chosenRewards, rejectedRewards, gradScores: own(gradScores) };
}

type Four = [Float32Array, Float32Array, Float32Array, Float32Array];
