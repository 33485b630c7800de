import { type Abortable, type Call, runLater, runNow, type When } from './call.js';
import { checkOptions } from './checks.js';
import type { DeviceBuffer, OnDevice } from './device.js';
import type { FloatArray } from './dtypes.js';
import type { LinearGradients } from './head.js';
import { TURN_SCORE_OPTIONS, type TurnScoreOptions, turnScoreArgs } from './turn-preference.js';
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

type Inputs = UpdateInputs & TurnScoreOptions & Reference;

/** What `policyUpdate` takes. */
export type PolicyUpdateOptions<L extends FloatArray = FloatArray> = Inputs & (LogitsUpdate<L> | LinearUpdate);

const OPTIONS = new Set<string>([...UPDATE_OPTIONS, ...TURN_SCORE_OPTIONS]);

function prepare(given: PolicyUpdateOptions, when: When): Call<UpdateResult> {
  const options = checkOptions('policyUpdate', given, OPTIONS, when, UPDATE_OUT);
  return updateOf('policyUpdate', options, turnScoreArgs(options), when);
}

/**
 * One update of the policy: log-probs of the tokens, the turn preference loss, its gradient at the head.
 *
 *     logps = tokenLogps(head),  result = turnPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * The same numbers as the three calls, without their passes over dropped rows: a row that is masked or ignored is never
 * read. Nothing of size [N, V] is stored beside the gradient of logits, and with hidden states not even that.
 *
 * @param options.logits [N, V], or `hidden` [N, H] and `weight` [V, H] with or without `bias` [V].
 * @param options.labels [N] the tokens taken; rows of all turns.
 * @param options.refLogps [N], or `refLogits` [N, V], or `refHidden` and `refWeight`: the frozen reference.
 * @param options.turnOffsets [T + 1] into rows.
 * @param options.chosen [P] indices of turns; `rejected` [P] likewise.
 * @param options.out buffers for any array of the result; `gradLogits` may be `logits` itself.
 * @returns the result of `turnPreferenceLoss`, `logps` [N], and `gradLogits` or `gradHidden`, `gradWeight`, `gradBias`.
 * @throws as `tokenLogps` and `turnPreferenceLoss` do; nothing is written then.
 * @see arXiv 2503.15478, Equation 4.
 * @example
 * const { loss, gradLogits } = policyUpdate({ logits, labels, refLogps, turnOffsets, chosen, rejected });
 */
export function policyUpdate<L extends FloatArray>(options: Inputs & LogitsUpdate<L>): UpdateResult & { gradLogits: L };
export function policyUpdate(options: Inputs & LinearUpdate): UpdateResult & LinearGradients;
export function policyUpdate(
  options: OnDevice<Inputs & LogitsUpdate<FloatArray>>,
): OnDevice<UpdateResult> & { gradLogits: DeviceBuffer };
export function policyUpdate(options: OnDevice<Inputs & LinearUpdate>): OnDevice<UpdateResult & LinearGradients>;
export function policyUpdate(
  given: PolicyUpdateOptions | OnDevice<PolicyUpdateOptions>,
): UpdateResult | OnDevice<UpdateResult> {
  return runNow(prepare(given as PolicyUpdateOptions, 'now'));
}

/**
 * `policyUpdate` on another thread.
 *
 *     logps = tokenLogps(head),  result = turnPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * @param options as `policyUpdate` takes them, of which nothing may be written to until the promise settles.
 * @param options.signal ends the call, be it running or waiting; buffers in `out` then hold anything.
 * @returns a promise of what `policyUpdate` returns, the same bits.
 * @throws nothing; it rejects with what `policyUpdate` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was taken away meanwhile.
 * @see arXiv 2503.15478, Equation 4.
 * @example
 * const batch = { labels, refLogps, turnOffsets, chosen, rejected };
 * const { loss, gradLogits } = await policyUpdateAsync({ ...batch, logits, out: { gradLogits: logits } });
 */
export function policyUpdateAsync<L extends FloatArray>(
  options: Inputs & LogitsUpdate<L> & Abortable,
): Promise<UpdateResult & { gradLogits: L }>;
export function policyUpdateAsync(options: Inputs & LinearUpdate & Abortable): Promise<UpdateResult & LinearGradients>;
export function policyUpdateAsync(
  options: OnDevice<Inputs & LogitsUpdate<FloatArray>> & Abortable,
): Promise<OnDevice<UpdateResult> & { gradLogits: DeviceBuffer }>;
export function policyUpdateAsync(
  options: OnDevice<Inputs & LinearUpdate> & Abortable,
): Promise<OnDevice<UpdateResult & LinearGradients>>;
export function policyUpdateAsync(
  options: (PolicyUpdateOptions | OnDevice<PolicyUpdateOptions>) & Abortable,
): Promise<UpdateResult | OnDevice<UpdateResult>> {
  return runLater(options as PolicyUpdateOptions, prepare);
}
