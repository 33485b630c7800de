import { classOf, float32, hostView, mask, plainView } from '../args/arrays.js';
import { checkOptions } from '../args/options.js';
import { number, positive } from '../args/scalars.js';
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
export interface FilteredNllOptions extends DebugOption {
  /** [N] under the trained model. */
  logps: Float32Array;
  /** [N]; 0 drops a token. */
  mask?: Uint8Array | undefined;
  /** [T + 1], the tokens of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: Int32Array;
  /** [K + 1], the turns of trajectory k, likewise. */
  trajectoryOffsets: Int32Array;
  /** [K], how each trajectory ended. */
  rewards: Float32Array | Float64Array;
  /** The reward from which on a trajectory is kept; 1, a solved task, by default. */
  threshold?: number | undefined;
  /** The number of tokens that the NLL is averaged over; those kept of this call by default. */
  nllDenominator?: number | undefined;
  out?: { gradLogps?: Float32Array | undefined } | undefined;
}

/** The NLL of the trajectories that were kept, and its gradient at the log-probs. */
export interface FilteredNll {
  loss: number;
  /** How many trajectories have a reward of at least the threshold. */
  keptTrajectories: number;
  /** How many tokens of them count: their sum over micro-batches is the `nllDenominator` of the whole. */
  keptTokens: number;
  /** [N], the gradient of the loss; 0 at tokens that were dropped or not kept. */
  gradLogps: Float32Array;
}

const OPTIONS = new Set([
  'logps',
  'mask',
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
 * The loss of rejection fine-tuning: the mean NLL over the tokens of the trajectories that ended well enough.
 *
 *     kept = { k : R_k >= threshold },  n = sum_{k kept} sum_{i in k} m_i
 *     loss = -sum_{k kept} sum_{i in k} m_i logp_i / n;   dloss/dlogp_i = -m_i / n in kept trajectories, else 0
 *
 * The threshold is rounded as the rewards are, so that 0.7 in float32 reaches 0.7. Where nothing is kept, the loss and the
 * gradient are 0. Tokens that do not count are never read; a row whose label was ignored has logp 0 and counts unless the
 * mask drops it, as that of `packTurns` does.
 *
 * @param options.logps [N] of the tokens of all turns; `mask` [N] drops tokens.
 * @param options.turnOffsets [T + 1] into tokens; `trajectoryOffsets` [K + 1] into turns.
 * @param options.rewards [K], one a trajectory.
 * @param options.nllDenominator for micro-batches: the number of kept tokens of the whole batch.
 * @returns the loss, how many trajectories and tokens were kept, and `gradLogps` [N].
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming a reward that is NaN; TypeError ERR_DEVICE for
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
  const counts = hostView('mask', mask(given.mask, logps.length));
  const turns = groups('turnOffsets', given.turnOffsets, logps.length);
  const trajectories = groups('trajectoryOffsets', given.trajectoryOffsets, turns.length);
  const rewards = comparable('rewards', given.rewards, trajectories.length);
  const threshold = number('threshold', given.threshold, 1, 'a number', (x) => !Number.isNaN(x));
  const denominator = positive('nllDenominator', given.nllDenominator, 0);
  const debug = checkDebug(given);
  const results = new Results(given.out, logps);
  const gradLogps = results.float32('gradLogps', logps.length);
  results.place([
    ['logps', logps],
    ['mask', counts],
    ['turnOffsets', given.turnOffsets],
    ['trajectoryOffsets', given.trajectoryOffsets],
    ['rewards', rewards],
  ]);

  const least = classOf(rewards) === 'Float32Array' ? Math.fround(threshold) : threshold;
  const kept = trajectories.filter((_, k) => (rewards[k] as number) >= least);
  const tokens: number[] = [];
  let sum = 0;
  for (const [first, last] of kept) {
    for (const [from, to] of turns.slice(first, last)) {
      for (let i = from; i < to; i++) {
        if (counts?.[i] === 0) continue;
        sum -= logps[i] as number;
        tokens.push(i);
      }
    }
  }
  if (debug) {
    const read = new Uint8Array(logps.length);
    for (const i of tokens) read[i] = 1;
    assertFinite([{ name: 'logps', array: logps, unit: 'row', mask: read }]);
  }
  const count = denominator > 0 ? denominator : tokens.length;
  const gradient = plainView(gradLogps);
  gradient.fill(0);
  for (const i of tokens) gradient[i] = -1 / count;
  const loss = tokens.length === 0 ? 0 : sum / count;
  if (debug) {
    assertFiniteNumber('loss', loss);
    assertFiniteResults(results);
  }
  return {
    loss,
    keptTrajectories: kept.length,
    keptTokens: tokens.length,
    ...(results.collect() as { gradLogps: Float32Array }),
  };
}
