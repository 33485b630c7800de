// The losses of single trajectories or turns, each desirable or not: one native operation.
import { check } from '../addon/faults.js';
import { invoke } from '../addon/native.js';
import type * as native from '../addon/operations.js';
import { float32, lengthOf, optionalArray } from '../args/arrays.js';
import { checkTokens, LABEL_OPTIONS, type TokenOptions, WEIGHT_OPTION, type WeightOption } from '../args/labels.js';
import { checkReferenceNeed } from '../args/loss-types.js';
import { checkOptions } from '../args/options.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import {
  type CheckedUnpairedBatch,
  checkUnpairedBatch,
  checkUnpairedOptions,
  type ItemOptions,
  type RunningMean,
  UNPAIRED_OPTIONS,
  type UnpairedLossType,
  type UnpairedOptions,
  unpairedInputs,
} from '../args/unpaired.js';
import type { DeviceBuffer, OnDevice } from '../device/device-buffer.js';
import {
  assertFinite,
  assertFiniteResults,
  checkDebug,
  type DebugOption,
  logpsMatrices,
  type Matrix,
  rowsRead,
} from '../runtime/assert-finite.js';
import { Results } from '../runtime/results.js';

/** The loss of all items, metrics, and the gradient at the log-probs. */
export interface UnpairedResult {
  loss: number;
  /** The share of items on the right side of the reference point: above it where desirable, else below it. */
  accuracy: number;
  /** z, in the units of the scores. */
  referencePoint: number;
  /** Of 'bco' without a given reference point: `running` of the next call. */
  running?: RunningMean;
  /** What `trlMetrics` needs to know. */
  lossType: UnpairedLossType;
  beta: number;
  /** [K], the loss of each item, without its weights. */
  unitLosses: Float32Array<ArrayBuffer>;
  /** [K], beta x. */
  rewards: Float32Array<ArrayBuffer>;
  /** Those of the desirable items, in their order. */
  chosenRewards: Float32Array<ArrayBuffer>;
  /** Those of the undesirable items, in their order. */
  rejectedRewards: Float32Array<ArrayBuffer>;
  /** [T], the mean log-ratio of each turn where turns are averaged, else its sum; of log-probs without a reference. */
  turnAdvantages: Float32Array<ArrayBuffer>;
  /** [N], the gradient of the loss at the log-probs. */
  gradLogps: Float32Array<ArrayBuffer>;
}

/** Their lengths are known before the call; those of the rewards by kind are not. */
export const UNPAIRED_OUT = ['unitLosses', 'rewards', 'turnAdvantages', 'gradLogps'] as const;

export type UnpairedOut = { [name in (typeof UNPAIRED_OUT)[number]]?: Float32Array | undefined };

interface LogpsInputs extends TokenOptions, WeightOption, DebugOption {
  /** [N] under the trained model. */
  logps: ArrayOrTensor<Float32Array>;
  /** [N] under the frozen reference; none with `referenceFree`. */
  refLogps?: ArrayOrTensor<Float32Array> | undefined;
  out?: UnpairedOut | undefined;
}

/** What `unpairedPreferenceLoss` takes. */
export type UnpairedPreferenceOptions = UnpairedOptions & ItemOptions & LogpsInputs;

const KNOWN = new Set<string>([
  ...(['logps', 'refLogps', ...LABEL_OPTIONS, WEIGHT_OPTION] as const),
  ...UNPAIRED_OPTIONS,
  ...(['debug', 'out'] as const),
]);
const OUT_NAMES = new Set<string>(UNPAIRED_OUT);

/** In the order of the native result; the number of desirable items follows. */
const SCALARS = ['loss', 'accuracy', 'referencePoint'];

/** The results of the loss of a batch. */
export function unpairedOut(
  results: Results,
  { level, tokens, turns, trajectories }: CheckedUnpairedBatch,
  { type, beta, referencePoint: { isRunning, count } }: native.UnpairedOptions,
): native.UnpairedOut {
  const items = level === 'turn' ? turns : trajectories;
  const scalars = results.scalars(SCALARS, (collected, [, , referencePoint = 0, chosen = 0]) => {
    if (isRunning) collected.running = { mean: referencePoint, count: count + items } satisfies RunningMean;
    Object.assign(collected, { lossType: type, beta });
    const byKind = collected.chosenRewards as Float32Array;
    const part = (begin: number, end: number) =>
      ArrayBuffer.isView(byKind) ? byKind.slice(begin, end) : (byKind as DeviceBuffer).subarray(begin, end);
    collected.chosenRewards = part(0, chosen);
    collected.rejectedRewards = part(chosen, items);
  });
  return {
    scalars,
    unitLosses: results.float32('unitLosses', items, { unit: level }),
    rewards: results.float32('rewards', items, { unit: level }),
    rewardsByKind: results.float32('chosenRewards', items, { unit: level }),
    turnAdvantages: results.float32('turnAdvantages', turns, { unit: 'turn' }),
    gradLogps: results.float32('gradLogps', tokens),
  };
}

/** Numbers of sequences, for `debug: 'finite'`. */
export const sequenceMatrices = ({ referencePoint }: native.UnpairedOptions): Matrix[] => [
  { name: 'klLogps', array: referencePoint.klLogps, unit: 'row' },
  { name: 'klRefLogps', array: referencePoint.klRefLogps, unit: 'row' },
];

/**
 * The loss of single trajectories or turns that are desirable or undesirable, with its gradient at the log-probs: KTO, APO-zero on
 * unpaired data, BCO.
 *
 *     x_k = S_k of `trajectoryPreferenceLoss`, or of `turnPreferenceLoss` without `trajectoryOffsets`
 *     y_k = 1 for a desirable item, -1 for another,  u_k = y_k beta (x_k - z)
 *     l_k = sigma(-u_k)             'kto', 'apo_zero_unpaired'
 *     l_k = -log sigma(u_k)         'bco'
 *     z = max(0, mean(klLogps - klRefLogps))     'kto', unless `referencePoint` is given
 *     z = 0                                      'apo_zero_unpaired'
 *     z = (mean * count + sum_k x_k) / (count + K)     'bco', unless `referencePoint` is given; mean and count of `running`
 *     loss = sum_k v_k l_k / D,  v_k = (desirableWeight or undesirableWeight) * unitWeights_k,  D = K
 *
 * z has no gradient. An item of weight 0 is in no loss, but in the running mean. Gradient accumulation: give every micro-batch the number
 * of items of the whole batch as `unitDenominator`, and the same reference point; losses and gradients then add up.
 *
 * @param options.logps [N] of the tokens of all turns; `refLogps` [N] likewise.
 * @param options.turnOffsets [T + 1] into tokens; `trajectoryOffsets` [K + 1] into turns, where the items are trajectories.
 * @param options.desirable [K], 0 for an undesirable item. Both kinds need not occur.
 * @param options.normalization of trajectories: 'turn-mean' by default, 'token-mean' or 'sum'; `reduction` of turns: 'sum' by default, or
 *   'mean'.
 * @param options.lossType 'kto' by default, 'apo_zero_unpaired' or 'bco'; `beta` 0.1 by default.
 * @param options.desirableWeight 1 by default; `undesirableWeight` likewise; `unitWeights` [K] >= 0, 1 each by default. The density ratio of
 *   BCO goes there.
 * @param options.unitDenominator K by default: weights do not enter, as in TRL.
 * @param options.klLogps [M] of mismatched sequences, for 'kto', in the units of x; `klRefLogps` [M] likewise.
 * @param options.referencePoint z of 'kto' or 'bco', in the units of x; `running` of 'bco' `{ mean, count }` of the call before.
 * @param options.tokenWeights [N] >= 0, not read where a token is masked or ignored. `mask` and `labels` as for
 *   `trajectoryPreferenceLoss`.
 * @param options.out buffers for `unitLosses`, `rewards`, `turnAdvantages` and `gradLogps`.
 * @returns loss, metrics and `gradLogps` [N].
 * @throws RangeError ERR_OFFSETS, ERR_EMPTY_TURN, ERR_UNIT_WEIGHT, ERR_ARG_VALUE, naming where; TypeError ERR_UNKNOWN_OPTION naming an
 *   option that the type does not take.
 * @see arXiv 2402.01306 (KTO), 2408.06266 (APO), 2404.04656 (BCO).
 * @example
 * const result = unpairedPreferenceLoss({
 *   logps: new Float32Array([-1, -2, -3]),
 *   refLogps: new Float32Array([-2, -2, -3]),
 *   turnOffsets: new Int32Array([0, 2, 3]),
 *   desirable: new Uint8Array([1, 0]),
 *   klLogps: new Float32Array([-4, -5]),
 *   klRefLogps: new Float32Array([-4.5, -5.5]),
 * });
 * // result.referencePoint = 0.5, result.loss = 0.4875, result.gradLogps = [-0.0125, -0.0125, 0.0125]
 */
export function unpairedPreferenceLoss(options: UnpairedOptions & ItemOptions & LogpsInputs): UnpairedResult;
export function unpairedPreferenceLoss(options: OnDevice<UnpairedPreferenceOptions>): OnDevice<UnpairedResult>;
export function unpairedPreferenceLoss(
  options: UnpairedPreferenceOptions | OnDevice<UnpairedPreferenceOptions>,
): UnpairedResult | OnDevice<UnpairedResult> {
  const known = options as UnpairedPreferenceOptions;
  const given = checkOptions('unpairedPreferenceLoss', known, KNOWN, 'sync', OUT_NAMES);
  const { options: checked, level, need } = checkUnpairedOptions(given);
  const logps = float32('logps', given.logps);
  const tokens = lengthOf(logps);
  checkReferenceNeed(need, given.refLogps === undefined ? undefined : 'refLogps', 'refLogps');
  const refLogps = optionalArray('refLogps', given.refLogps, ['Float32Array'], tokens);
  const batch = checkUnpairedBatch(given, checkTokens(given, tokens), level);
  const results = new Results(given.out, logps);
  const out = unpairedOut(results, batch, checked);
  const addon = results.place([['logps', logps], ['refLogps', refLogps], ...unpairedInputs(batch, checked)]);
  const debug = checkDebug(given);
  if (debug) {
    const read = rowsRead(batch.labels, false);
    assertFinite([...logpsMatrices(logps, refLogps, read), ...sequenceMatrices(checked)]);
  }
  const args = { batch, options: checked, logps, refLogps, out };
  check(invoke(addon, 'unpairedLoss', args), args);
  const collected = results.collect() as UnpairedResult;
  if (debug) assertFiniteResults(results);
  return collected;
}
