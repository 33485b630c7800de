import { check } from '../addon/faults.js';
import { invoke } from '../addon/native.js';
import type { TurnBatch } from '../addon/operations.js';
import { float32, isOnDevice, lengthOf, offsets } from '../args/arrays.js';
import {
  type CheckedTokens,
  checkTokens,
  LABEL_OPTIONS,
  labelInputs,
  type TokenOptions,
  WEIGHT_OPTION,
  type WeightOption,
} from '../args/labels.js';
import { checkOptions } from '../args/options.js';
import { boolean, oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { groups } from '../data/candidates.js';
import { type DeviceBuffer, lastOf, type OnDevice } from '../device/device-buffer.js';
import { assertFinite, checkDebug, type DebugOption, logpsMatrices, rowsRead } from '../runtime/assert-finite.js';
import { addonFor } from '../runtime/placement.js';
import { freshFloat32 } from '../runtime/results.js';

/** The reduction of a turn's log-ratios: their mean (the paper's advantage) or their sum. */
export type Reduction = 'mean' | 'sum';

export interface TurnOptions extends TokenOptions, WeightOption, DebugOption {
  /** [T + 1], the tokens of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: ArrayOrTensor<Int32Array>;
  /** [K + 1], as in a batch of `packTurns`, which can be given whole: they are checked, and change no advantage. */
  trajectoryOffsets?: ArrayOrTensor<Int32Array> | undefined;
  /** 'mean' by default, as in the paper. */
  reduction?: Reduction | undefined;
  /** A turn without a token that counts has advantage 0 instead of being an error; false by default. */
  allowEmptyTurns?: boolean | undefined;
}

/** What `turnAdvantages` takes. */
export interface TurnAdvantagesOptions extends TurnOptions {
  /** [N] under the trained model. */
  logps: ArrayOrTensor<Float32Array>;
  /** [N] under the frozen reference. */
  refLogps: ArrayOrTensor<Float32Array>;
}

/** What `turnAdvantagesBackward` takes. */
export interface TurnAdvantagesBackwardOptions extends TurnOptions {
  /** [T], the gradient of the loss at each advantage. */
  gradAdvantages: ArrayOrTensor<Float32Array>;
}

const BATCH_OPTIONS = ['turnOffsets', 'trajectoryOffsets', 'reduction', 'allowEmptyTurns'];
const TURN_OPTIONS = [...LABEL_OPTIONS, WEIGHT_OPTION, ...BATCH_OPTIONS, 'debug'];
const FORWARD_OPTIONS = new Set([...TURN_OPTIONS, 'logps', 'refLogps']);
const BACKWARD_OPTIONS = new Set([...TURN_OPTIONS, 'gradAdvantages']);

interface CheckedTurns extends TurnBatch {
  labels: CheckedTokens;
}

function checkTurns(options: TurnOptions, tokens: number, turnOffsets: Int32Array): CheckedTurns {
  const mean = oneOf<Reduction>('reduction', options.reduction, 'mean', ['mean', 'sum']) === 'mean';
  const allowEmptyTurns = boolean('allowEmptyTurns', options.allowEmptyTurns, false);
  const turns = lengthOf(turnOffsets) - 1;
  const { trajectoryOffsets } = options;
  if (isOnDevice(trajectoryOffsets)) offsets('trajectoryOffsets', trajectoryOffsets);
  else if (trajectoryOffsets !== undefined) groups('trajectoryOffsets', trajectoryOffsets, turns);
  return { tokens, turns, mean, allowEmptyTurns, labels: checkTokens(options, tokens), turnOffsets };
}

/**
 * The advantage of each turn: the mean log-prob ratio of its tokens to the reference.
 *
 *     A_t = (1/L_t) sum_{i in t} m_i w_i (logp_i - refLogp_i),  L_t = sum m_i w_i;  reduction 'sum' omits 1/L_t
 *
 * w_i is the token's weight, 1 by default; one of weight 0 counts as a masked one. m_i is 0 where the mask is 0 or the label is
 * ignored: give the `mask` or the `labels` that the log-probs were computed with, since an ignored token has the log-prob 0 and
 * would count as one otherwise.
 *
 * @param options.logps [N] log-probs of the tokens, of all turns in their order; `refLogps` [N] likewise.
 * @param options.turnOffsets [T + 1] from 0 to N, not decreasing. `trajectoryOffsets` of a packed batch may be given too: in host memory
 * they are checked.
 * @param options.mask [N] 0 masks a token; `labels` [N] with `ignoreIndex` likewise.
 * @param options.tokenWeights [N] w >= 0, not read where a token is masked or ignored.
 * @returns [T] advantages.
 * @throws RangeError ERR_EMPTY_TURN naming a turn without a token that counts (under 'mean'), ERR_OFFSETS naming an index,
 *   ERR_ARG_VALUE naming a token of a wrong weight.
 * @see arXiv 2503.15478, Equation 3.
 * @example
 * const logps = new Float32Array([-1, -2, -3]);
 * const refLogps = new Float32Array([-2, -2, -4]);
 * turnAdvantages({ logps, refLogps, turnOffsets: new Int32Array([0, 2, 3]) }); // [0.5, 1]
 */
export function turnAdvantages(options: TurnAdvantagesOptions): Float32Array<ArrayBuffer>;
export function turnAdvantages(options: OnDevice<TurnAdvantagesOptions>): DeviceBuffer;
export function turnAdvantages(
  given: TurnAdvantagesOptions | OnDevice<TurnAdvantagesOptions>,
): Float32Array<ArrayBuffer> | DeviceBuffer {
  const options = checkOptions('turnAdvantages', given as TurnAdvantagesOptions, FORWARD_OPTIONS);
  const logps = float32('logps', options.logps);
  const refLogps = float32('refLogps', options.refLogps, lengthOf(logps));
  const turnOffsets = offsets('turnOffsets', options.turnOffsets);
  const batch = checkTurns(options, lengthOf(logps), turnOffsets);
  const addon = addonFor([
    ['logps', logps],
    ['refLogps', refLogps],
    ['turnOffsets', turnOffsets],
    ...labelInputs(batch.labels),
  ]);
  const debug = checkDebug(options);
  if (debug) assertFinite(logpsMatrices(logps, refLogps, rowsRead(batch.labels, false)));
  const advantages = freshFloat32(logps, batch.turns);
  const args = { batch, logps, refLogps, advantages };
  check(invoke(addon, 'turnAdvantages', args), args);
  if (debug) assertFinite([{ name: 'the advantages', array: advantages, unit: 'turn' }]);
  return advantages;
}

/**
 * The gradient of turn advantages at the log-probs.
 *
 *     dA_t/dlogp_i = m_i w_i / L_t,  L_t = sum m_i w_i;  reduction 'sum': m_i w_i
 *
 * @param options.gradAdvantages [T] the gradient of the loss at each advantage.
 * @param options.turnOffsets [T + 1] as in `turnAdvantages`; its last entry is N. `mask`, `labels`,
 *   `tokenWeights` [N] as there.
 * @returns [N] gradLogps, 0 at masked tokens.
 * @throws RangeError as `turnAdvantages` does.
 * @see arXiv 2503.15478, Equation 3.
 * @example
 * turnAdvantagesBackward({ gradAdvantages: new Float32Array([1, 2]), turnOffsets: new Int32Array([0, 2, 3]) });
 * // [0.5, 0.5, 2]
 */
export function turnAdvantagesBackward(options: TurnAdvantagesBackwardOptions): Float32Array<ArrayBuffer>;
export function turnAdvantagesBackward(options: OnDevice<TurnAdvantagesBackwardOptions>): DeviceBuffer;
export function turnAdvantagesBackward(
  given: TurnAdvantagesBackwardOptions | OnDevice<TurnAdvantagesBackwardOptions>,
): Float32Array<ArrayBuffer> | DeviceBuffer {
  const options = checkOptions('turnAdvantagesBackward', given as TurnAdvantagesBackwardOptions, BACKWARD_OPTIONS);
  const turnOffsets = offsets('turnOffsets', options.turnOffsets);
  const gradAdvantages = float32('gradAdvantages', options.gradAdvantages, lengthOf(turnOffsets) - 1);
  const tokens = Math.max(lastOf(turnOffsets), 0);
  const batch = checkTurns(options, tokens, turnOffsets);
  const addon = addonFor([
    ['turnOffsets', turnOffsets],
    ['gradAdvantages', gradAdvantages],
    ...labelInputs(batch.labels),
  ]);
  const debug = checkDebug(options);
  if (debug) assertFinite([{ name: 'gradAdvantages', array: gradAdvantages, unit: 'turn' }]);
  const gradLogps = freshFloat32(turnOffsets, tokens);
  const args = { batch, gradAdvantages, gradLogps };
  check(invoke(addon, 'turnAdvantagesBackward', args), args);
  if (debug) assertFinite([{ name: 'gradLogps', array: gradLogps, unit: 'row' }]);
  return gradLogps;
}
