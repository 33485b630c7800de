import { classOf, float32, hostView, plainView } from '../args/arrays.js';
import {
  LABEL_OPTIONS,
  type TokenOptions,
  tokenInputs,
  WEIGHT_OPTION,
  type WeightOption,
  weightOfToken,
} from '../args/labels.js';
import { checkOptions } from '../args/options.js';
import { divisor, number } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { comparable, groups } from '../data/candidates.js';
import {
  assertFinite,
  assertFiniteNumber,
  assertFiniteResults,
  checkDebug,
  type DebugOption,
} from '../runtime/assert-finite.js';
import { Results } from '../runtime/results.js';

/** What `filteredNll` takes. */
export interface FilteredNllOptions extends TokenOptions, WeightOption, DebugOption {
  /** [N] under the trained model. */
  logps: ArrayOrTensor<Float32Array>;
  /** [T + 1], the tokens of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: ArrayOrTensor<Int32Array>;
  /** [K + 1], the turns of trajectory k, likewise. */
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** [K], the reward of each trajectory. */
  rewards: ArrayOrTensor<Float32Array | Float64Array>;
  /** The least reward of a selected trajectory; 1, a solved task, by default. */
  threshold?: number | undefined;
  /** The weight of the tokens that the NLL is averaged over; the `keptWeight` of this call by default. */
  nllDenominator?: number | undefined;
  out?: { gradLogps?: Float32Array | undefined } | undefined;
}

/** The NLL of the selected trajectories, and its gradient at the log-probs. */
export interface FilteredNll {
  loss: number;
  /** The number of selected trajectories: those with a reward of at least the threshold. */
  keptTrajectories: number;
  /** The number of their tokens that are neither masked nor ignored. */
  keptTokens: number;
  /**
   * The sum of the weights of these tokens, their number where no weights are given: its sum over micro-batches is the
   * `nllDenominator` of the whole batch.
   */
  keptWeight: number;
  /** [N], the gradient of the loss; 0 at tokens that do not count and outside selected trajectories. */
  gradLogps: Float32Array<ArrayBuffer>;
}

const OPTIONS = new Set([
  'logps',
  ...LABEL_OPTIONS,
  WEIGHT_OPTION,
  'turnOffsets',
  'trajectoryOffsets',
  'rewards',
  'threshold',
  'nllDenominator',
  'debug',
  'out',
]);
const OUT_NAMES = new Set(['gradLogps']);

/**
 * The loss of rejection fine-tuning: the mean NLL over the tokens of the trajectories with a sufficient reward.
 *
 *     S = { k : R_k >= threshold },  n = sum_{k in S} sum_{i in k} m_i w_i
 *     loss = -sum_{k in S} sum_{i in k} m_i w_i logp_i / n;   dloss/dlogp_i = -m_i w_i / n in trajectories of S, else 0
 *
 * The threshold is rounded to the type of the rewards, so that a float32 reward of 0.7 reaches 0.7. Where no trajectory
 * is selected, the loss and the gradient are 0. w_i is the token's weight, 1 by default. m_i is 0 where the mask is 0 or the label is ignored: give the `mask` or
 * the `labels` that the log-probs were computed with, since an ignored token has the log-prob 0 and would count as one
 * otherwise.
 *
 * @param options.logps [N] of the tokens of all turns; `mask` [N]: 0 masks a token; `labels` [N] with `ignoreIndex`.
 * @param options.tokenWeights [N] w >= 0, not read where a token is masked or ignored.
 * @param options.turnOffsets [T + 1] into tokens; `trajectoryOffsets` [K + 1] into turns.
 * @param options.rewards [K], one per trajectory.
 * @param options.nllDenominator for micro-batches: the sum of `keptWeight` over the whole batch.
 * @returns the loss, the numbers of selected trajectories and of their tokens, their weight, and `gradLogps` [N].
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming a reward that is NaN or a wrong weight; TypeError ERR_DEVICE for
 *   device buffers: this runs on the host.
 * @see arXiv 2503.15478, Section 5 (rejection fine-tuning).
 * @example
 * const { loss, gradLogps } = filteredNll({
 *   logps: new Float32Array([-1, -2, -3]),
 *   turnOffsets: new Int32Array([0, 2, 3]),
 *   trajectoryOffsets: new Int32Array([0, 1, 2]),
 *   rewards: new Float32Array([1, 0.5]),
 * });
 * // loss = 1.5, gradLogps = [-0.5, -0.5, 0]
 */
export function filteredNll(options: FilteredNllOptions): FilteredNll {
  const given = checkOptions('filteredNll', options, OPTIONS, 'sync', OUT_NAMES);
  const logps = hostView('logps', float32('logps', given.logps));
  const weightOf = weightOfToken(given, logps.length);
  const turns = groups('turnOffsets', given.turnOffsets, logps.length);
  const trajectories = groups('trajectoryOffsets', given.trajectoryOffsets, turns.length);
  const rewards = comparable('rewards', given.rewards, trajectories.length);
  const threshold = number('threshold', given.threshold, 1, 'a number', (x) => !Number.isNaN(x));
  const givenDenominator = divisor('nllDenominator', given.nllDenominator, 0);
  const debug = checkDebug(given);
  const results = new Results(given.out, logps);
  const gradLogps = results.float32('gradLogps', logps.length);
  results.place([
    ['logps', logps],
    ...tokenInputs(given),
    ['turnOffsets', given.turnOffsets],
    ['trajectoryOffsets', given.trajectoryOffsets],
    ['rewards', rewards],
  ]);

  const minReward = classOf(rewards) === 'Float32Array' ? Math.fround(threshold) : threshold;
  const selected = trajectories.filter((_, k) => (rewards[k] as number) >= minReward);
  const tokens: number[] = []; // with a weight
  let [sum, keptTokens, keptWeight] = [0, 0, 0];
  for (const [first, last] of selected) {
    for (const [from, to] of turns.slice(first, last)) {
      for (let i = from; i < to; i++) {
        const weight = weightOf(i);
        if (weight === undefined) continue;
        keptTokens++;
        if (weight === 0) continue;
        keptWeight += weight;
        sum -= weight * (logps[i] as number);
        tokens.push(i);
      }
    }
  }
  if (debug) {
    const selectedTokens = new Uint8Array(logps.length);
    for (const i of tokens) selectedTokens[i] = 1;
    assertFinite([{ name: 'logps', array: logps, unit: 'row', mask: selectedTokens }]);
  }
  const denominator = givenDenominator > 0 ? givenDenominator : keptWeight;
  const gradient = plainView(gradLogps);
  gradient.fill(0);
  for (const i of tokens) gradient[i] = -(weightOf(i) as number) / denominator;
  const loss = tokens.length === 0 ? 0 : sum / denominator;
  const collected = results.collect() as { gradLogps: Float32Array<ArrayBuffer> };
  if (debug) {
    assertFiniteNumber('loss', loss);
    assertFiniteResults(results);
  }
  return {
    loss,
    keptTrajectories: selected.length,
    keptTokens,
    keptWeight,
    ...collected,
  };
}
