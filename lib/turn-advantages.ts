import { boolean, checkOptions, float32, lengthOf, mask, offsets, oneOf } from './checks.js';
import { type DeviceBuffer, lastOf, type OnDevice } from './device.js';
import { check } from './errors.js';
import { checkDebug, type DebugOption, logpsNumbers, lookThrough } from './finite.js';
import type { TurnArgs } from './native.js';
import { freshFloat32 } from './out.js';
import { nativeFor } from './place.js';

/** What a turn's ratios become: their mean (the paper's advantage) or their sum. */
export type Reduction = 'mean' | 'sum';

export interface TurnOptions extends DebugOption {
  /** [N]; 0 drops a token. */
  mask?: Uint8Array | undefined;
  /** [T + 1], the tokens of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: Int32Array;
  /** 'mean' by default, as in the paper. */
  reduction?: Reduction | undefined;
  /** Let a turn without a token have advantage 0 instead of an error; false by default. */
  allowEmptyTurns?: boolean | undefined;
}

/** What `turnAdvantages` takes. */
export interface TurnAdvantagesOptions extends TurnOptions {
  /** [N] under the trained model. */
  logps: Float32Array;
  /** [N] under the frozen reference. */
  refLogps: Float32Array;
}

/** What `turnAdvantagesBackward` takes. */
export interface TurnAdvantagesBackwardOptions extends TurnOptions {
  /** [T], the gradient of the loss at each advantage. */
  gradAdvantages: Float32Array;
}

const TURN_OPTIONS = ['mask', 'turnOffsets', 'reduction', 'allowEmptyTurns', 'debug'];
const FORWARD_OPTIONS = new Set([...TURN_OPTIONS, 'logps', 'refLogps']);
const BACKWARD_OPTIONS = new Set([...TURN_OPTIONS, 'gradAdvantages']);

function turnArgs(options: TurnOptions, tokens: number, turnOffsets: Int32Array): TurnArgs {
  const mean = oneOf<Reduction>('reduction', options.reduction, 'mean', ['mean', 'sum']) === 'mean';
  const allowEmpty = boolean('allowEmptyTurns', options.allowEmptyTurns, false);
  return [tokens, mask(options.mask, tokens), turnOffsets, mean, allowEmpty];
}

/**
 * The advantage of each turn: the mean log-prob ratio of its tokens to the reference.
 *
 *     A_t = (1/L_t) sum_{i in t} m_i (logp_i - refLogp_i),  L_t = sum m_i;  reduction 'sum' drops 1/L_t
 *
 * @param options.logps [N] log-probs of the tokens, of all turns one after the other; `refLogps` [N] likewise.
 * @param options.turnOffsets [T + 1] from 0 to N, never falling.
 * @param options.mask [N] 0 drops a token.
 * @returns [T] advantages.
 * @throws RangeError ERR_EMPTY_TURN naming a turn without a token (under 'mean'), ERR_OFFSETS naming an index.
 * @see arXiv 2503.15478, Equation 3.
 * @example
 * const logps = new Float32Array([-1, -2, -3]);
 * const refLogps = new Float32Array([-2, -2, -4]);
 * turnAdvantages({ logps, refLogps, turnOffsets: new Int32Array([0, 2, 3]) }); // [0.5, 1]
 */
export function turnAdvantages(options: TurnAdvantagesOptions): Float32Array;
export function turnAdvantages(options: OnDevice<TurnAdvantagesOptions>): DeviceBuffer;
export function turnAdvantages(
  given: TurnAdvantagesOptions | OnDevice<TurnAdvantagesOptions>,
): Float32Array | DeviceBuffer {
  const options = checkOptions('turnAdvantages', given as TurnAdvantagesOptions, FORWARD_OPTIONS);
  const logps = float32('logps', options.logps);
  const refLogps = float32('refLogps', options.refLogps, lengthOf(logps));
  const turnOffsets = offsets('turnOffsets', options.turnOffsets);
  const args = turnArgs(options, lengthOf(logps), turnOffsets);
  const native = nativeFor([
    ['logps', logps],
    ['refLogps', refLogps],
    ['turnOffsets', turnOffsets],
    ['mask', options.mask],
  ]);
  const debug = checkDebug(options);
  if (debug) lookThrough(logpsNumbers(logps, refLogps, options.mask));
  const advantages = freshFloat32(logps, lengthOf(turnOffsets) - 1);
  check(native.turnAdvantages(...args, logps, refLogps, advantages));
  if (debug) lookThrough([{ name: 'the advantages', array: advantages, unit: 'turn' }]);
  return advantages;
}

/**
 * The gradient of turn advantages at the log-probs.
 *
 *     dA_t/dlogp_i = m_i / L_t;  reduction 'sum': m_i
 *
 * @param options.gradAdvantages [T] the gradient of the loss at each advantage.
 * @param options.turnOffsets [T + 1] as in `turnAdvantages`; its last entry is N.
 * @returns [N] gradLogps, 0 at dropped tokens.
 * @throws RangeError ERR_EMPTY_TURN naming a turn without a token (under 'mean'), ERR_OFFSETS naming an index.
 * @see arXiv 2503.15478, Equation 3.
 * @example
 * turnAdvantagesBackward({ gradAdvantages: new Float32Array([1, 2]), turnOffsets: new Int32Array([0, 2, 3]) });
 * // [0.5, 0.5, 2]
 */
export function turnAdvantagesBackward(options: TurnAdvantagesBackwardOptions): Float32Array;
export function turnAdvantagesBackward(options: OnDevice<TurnAdvantagesBackwardOptions>): DeviceBuffer;
export function turnAdvantagesBackward(
  given: TurnAdvantagesBackwardOptions | OnDevice<TurnAdvantagesBackwardOptions>,
): Float32Array | DeviceBuffer {
  const options = checkOptions('turnAdvantagesBackward', given as TurnAdvantagesBackwardOptions, BACKWARD_OPTIONS);
  const turnOffsets = offsets('turnOffsets', options.turnOffsets);
  const gradAdvantages = float32('gradAdvantages', options.gradAdvantages, lengthOf(turnOffsets) - 1);
  const tokens = Math.max(lastOf(turnOffsets), 0);
  const args = turnArgs(options, tokens, turnOffsets);
  const native = nativeFor([
    ['turnOffsets', turnOffsets],
    ['gradAdvantages', gradAdvantages],
    ['mask', options.mask],
  ]);
  const debug = checkDebug(options);
  if (debug) lookThrough([{ name: 'gradAdvantages', array: gradAdvantages, unit: 'turn' }]);
  const gradLogps = freshFloat32(turnOffsets, tokens);
  check(native.turnAdvantagesBackward(...args, gradAdvantages, gradLogps));
  if (debug) lookThrough([{ name: 'gradLogps', array: gradLogps, unit: 'row' }]);
  return gradLogps;
}
