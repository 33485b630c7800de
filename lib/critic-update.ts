import { type Abortable, type Call, runLater, runNow, type When } from './call.js';
import { checkOptions } from './checks.js';
import type { DeviceBuffer, OnDevice } from './device.js';
import type { FloatArray } from './dtypes.js';
import type { LinearGradients } from './head.js';
import { TRAJECTORY_OPTIONS, type TrajectoryOptions, trajectoryArgs } from './trajectory-preference.js';
import {
  type LinearUpdate,
  type LogitsUpdate,
  type Reference,
  UPDATE_OPTIONS,
  UPDATE_OUT,
  type UpdateInputs,
  type UpdateResult,
  updateOf,
} from './update.js';

type Inputs = UpdateInputs & TrajectoryOptions & Reference;

/** What `criticUpdate` takes. */
export type CriticUpdateOptions<L extends FloatArray = FloatArray> = Inputs & (LogitsUpdate<L> | LinearUpdate);

const OPTIONS = new Set<string>([...UPDATE_OPTIONS, ...TRAJECTORY_OPTIONS]);

function prepare(given: CriticUpdateOptions, when: When): Call<UpdateResult> {
  const options = checkOptions('criticUpdate', given, OPTIONS, when, UPDATE_OUT);
  return updateOf('criticUpdate', options, trajectoryArgs(options), when);
}

/**
 * One update of the critic: log-probs of the tokens, the trajectory preference loss, its gradient at the head.
 *
 *     logps = tokenLogps(head),  result = trajectoryPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * The same numbers as the three calls, without their passes over dropped rows: a row that is masked or ignored is never
 * read. Nothing of size [N, V] is stored beside the gradient of logits, and with hidden states not even that.
 *
 * @param options.logits [N, V], or `hidden` [N, H] and `weight` [V, H] with or without `bias` [V].
 * @param options.labels [N] the tokens taken; rows of all turns of all trajectories.
 * @param options.refLogps [N], or `refLogits` [N, V], or `refHidden` and `refWeight`: the frozen reference.
 * @param options.turnOffsets [T + 1] into rows; `trajectoryOffsets` [K + 1] into turns.
 * @param options.chosen [P] indices of trajectories; `rejected` [P] likewise.
 * @param options.out buffers for any array of the result; `gradLogits` may be `logits` itself.
 * @returns the result of `trajectoryPreferenceLoss`, `logps` [N], and `gradLogits` or `gradHidden`, `gradWeight`, `gradBias`.
 * @throws as `tokenLogps` and `trajectoryPreferenceLoss` do; nothing is written then.
 * @see arXiv 2503.15478, Equation 2.
 * @example
 * const { loss, gradLogits } = criticUpdate({ logits, labels, refLogps, turnOffsets, trajectoryOffsets, chosen, rejected });
 */
export function criticUpdate<L extends FloatArray>(options: Inputs & LogitsUpdate<L>): UpdateResult & { gradLogits: L };
export function criticUpdate(options: Inputs & LinearUpdate): UpdateResult & LinearGradients;
export function criticUpdate(
  options: OnDevice<Inputs & LogitsUpdate<FloatArray>>,
): OnDevice<UpdateResult> & { gradLogits: DeviceBuffer };
export function criticUpdate(options: OnDevice<Inputs & LinearUpdate>): OnDevice<UpdateResult & LinearGradients>;
export function criticUpdate(
  given: CriticUpdateOptions | OnDevice<CriticUpdateOptions>,
): UpdateResult | OnDevice<UpdateResult> {
  return runNow(prepare(given as CriticUpdateOptions, 'now'));
}

/**
 * `criticUpdate` on another thread.
 *
 *     logps = tokenLogps(head),  result = trajectoryPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * @param options as `criticUpdate` takes them, of which nothing may be written to until the promise settles.
 * @param options.signal ends the call, be it running or waiting; buffers in `out` then hold anything.
 * @returns a promise of what `criticUpdate` returns, the same bits.
 * @throws nothing; it rejects with what `criticUpdate` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was taken away meanwhile.
 * @see arXiv 2503.15478, Equation 2.
 * @example
 * const batch = { labels, refLogps, turnOffsets, trajectoryOffsets, chosen, rejected };
 * const { loss, gradLogits } = await criticUpdateAsync({ ...batch, logits, out: { gradLogits: logits } });
 */
export function criticUpdateAsync<L extends FloatArray>(
  options: Inputs & LogitsUpdate<L> & Abortable,
): Promise<UpdateResult & { gradLogits: L }>;
export function criticUpdateAsync(options: Inputs & LinearUpdate & Abortable): Promise<UpdateResult & LinearGradients>;
export function criticUpdateAsync(
  options: OnDevice<Inputs & LogitsUpdate<FloatArray>> & Abortable,
): Promise<OnDevice<UpdateResult> & { gradLogits: DeviceBuffer }>;
export function criticUpdateAsync(
  options: OnDevice<Inputs & LinearUpdate> & Abortable,
): Promise<OnDevice<UpdateResult & LinearGradients>>;
export function criticUpdateAsync(
  options: (CriticUpdateOptions | OnDevice<CriticUpdateOptions>) & Abortable,
): Promise<UpdateResult | OnDevice<UpdateResult>> {
  return runLater(options as CriticUpdateOptions, prepare);
}
