// An update of a policy on single trajectories or turns: head -> log-probs -> unpaired loss -> gradient at the head, in one
// native call.
import type { FloatArray } from '../args/dtypes.js';
import { checkOptions, type Mode } from '../args/options.js';
import {
  checkUnpairedBatch,
  checkUnpairedOptions,
  type ItemOptions,
  UNPAIRED_OPTIONS,
  type UnpairedOptions,
  unpairedInputs,
} from '../args/unpaired.js';
import type { OnDevice } from '../device/device-buffer.js';
import { type Abortable, type PreparedCall, runAsync, runSync } from '../runtime/call.js';
import type { LinearGradientsOf } from './head-gradients.js';
import {
  type AnyGradients,
  type DeviceUpdateResult,
  type FrozenReference,
  type LinearUpdate,
  type LogitsUpdate,
  prepareUpdate,
  type RowInputs,
  type RowResult,
  UPDATE_OPTIONS,
  UPDATE_OUT,
} from './head-update.js';
import { sequenceMatrices, UNPAIRED_OUT, type UnpairedOut, type UnpairedResult, unpairedOut } from './unpaired-loss.js';

type Inputs = RowInputs & UnpairedOptions & ItemOptions & FrozenReference;

/** What `unpairedUpdate` takes. */
export type UnpairedUpdateOptions<L extends FloatArray = FloatArray> = Inputs &
  (LogitsUpdate<L, UnpairedOut> | LinearUpdate<boolean, boolean, UnpairedOut>);

/** The result of the loss, the trained model's log-probs, [N], and the statistics that were asked for. */
export type UnpairedUpdateResult = UnpairedResult & RowResult;

/** The result of an update whose head is not known: a wrapper that passes its options on. */
export type AnyUnpairedUpdateResult = UnpairedUpdateResult & AnyGradients;

const KNOWN = new Set<string>([...UPDATE_OPTIONS, ...UNPAIRED_OPTIONS]);
const OUT_NAMES = new Set<string>([...UPDATE_OUT, ...UNPAIRED_OUT]);

function prepare(given: UnpairedUpdateOptions, mode: Mode): PreparedCall<'unpairedUpdate'> {
  const known = checkOptions('unpairedUpdate', given, KNOWN, mode, OUT_NAMES);
  const { options, level, need } = checkUnpairedOptions(known);
  return prepareUpdate('unpairedUpdate', known, need, (tokens) => {
    const batch = checkUnpairedBatch(known, tokens, level);
    return {
      batch,
      options,
      inputs: unpairedInputs(batch, options),
      out: (results) => unpairedOut(results, batch, options),
      matrices: () => sequenceMatrices(options),
    };
  });
}

/**
 * One update of a policy on single items: log-probs of the tokens, the unpaired loss, its gradient at the head.
 *
 *     logps = tokenLogps(head),  result = unpairedPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * The same numbers as the three calls, but masked and ignored rows are never read. Nothing of size [N, V] is stored except the
 * gradient of logits, and nothing at all of that size with hidden states.
 *
 * @param options.logits [N, V], or `hidden` [N, H] and `weight` [V, H] with or without `bias` [V].
 * @param options.labels [N] the tokens taken; rows of all turns.
 * @param options.refLogps [N], or `refLogits` [N, V], or `refHidden` and `refWeight`: the frozen reference; none with `referenceFree`.
 * @param options.turnOffsets [T + 1] into rows; `trajectoryOffsets` [K + 1] into turns, where the items are trajectories.
 * @param options.desirable [K], 0 for an undesirable item; the other options of the loss as for `unpairedPreferenceLoss`.
 * @param options.vocabSize V; with hidden states `hiddenSize` H. Give them: a length that does not fit is an error then. The options of
 *   heads, references, statistics and gradients are those of `policyUpdate`.
 * @param options.out buffers for the arrays of the result, but not for `chosenRewards` and `rejectedRewards`; `gradLogits` may be `logits`
 *   itself.
 * @returns the result of `unpairedPreferenceLoss`, `logps` [N], and `gradLogits` or `gradHidden`, `gradWeight`, `gradBias`.
 * @throws as `tokenLogps` and `unpairedPreferenceLoss` do; nothing is written then.
 * @see arXiv 2402.01306 (KTO), 2408.06266 (APO), 2404.04656 (BCO).
 * @example
 * const { loss, gradLogits } = unpairedUpdate({
 *   ...{ logits, vocabSize, labels, refLogps },
 *   ...{ turnOffsets, desirable, klLogps, klRefLogps },
 * });
 */
export function unpairedUpdate<L extends FloatArray>(
  options: Inputs & LogitsUpdate<L, UnpairedOut>,
): UnpairedUpdateResult & { gradLogits: L };
export function unpairedUpdate<FW extends boolean = false, FH extends boolean = false>(
  options: Inputs & LinearUpdate<FW, FH, UnpairedOut>,
): UnpairedUpdateResult & LinearGradientsOf<FW, FH>;
export function unpairedUpdate<O extends OnDevice<UnpairedUpdateOptions>>(
  options: O,
): DeviceUpdateResult<O, UnpairedResult>;
export function unpairedUpdate(options: UnpairedUpdateOptions): AnyUnpairedUpdateResult;
export function unpairedUpdate(options: UnpairedUpdateOptions | OnDevice<UnpairedUpdateOptions>): unknown {
  return runSync(prepare(options as UnpairedUpdateOptions, 'sync'));
}

/**
 * `unpairedUpdate` on another thread.
 *
 *     logps = tokenLogps(head),  result = unpairedPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * @param options as `unpairedUpdate` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `unpairedUpdate`; the same bits.
 * @throws nothing; the promise rejects with what `unpairedUpdate` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was detached meanwhile.
 * @see arXiv 2402.01306 (KTO), 2408.06266 (APO), 2404.04656 (BCO).
 * @example
 * const batch = { labels, refLogps, turnOffsets, desirable, klLogps, klRefLogps };
 * const { loss, gradLogits } = await unpairedUpdateAsync({ ...batch, logits, vocabSize, out: { gradLogits: logits } });
 */
export function unpairedUpdateAsync<L extends FloatArray>(
  options: Inputs & LogitsUpdate<L, UnpairedOut> & Abortable,
): Promise<UnpairedUpdateResult & { gradLogits: L }>;
export function unpairedUpdateAsync<FW extends boolean = false, FH extends boolean = false>(
  options: Inputs & LinearUpdate<FW, FH, UnpairedOut> & Abortable,
): Promise<UnpairedUpdateResult & LinearGradientsOf<FW, FH>>;
export function unpairedUpdateAsync<O extends OnDevice<UnpairedUpdateOptions>>(
  options: O & Abortable,
): Promise<DeviceUpdateResult<O, UnpairedResult>>;
export function unpairedUpdateAsync(options: UnpairedUpdateOptions & Abortable): Promise<AnyUnpairedUpdateResult>;
export function unpairedUpdateAsync(
  options: (UnpairedUpdateOptions | OnDevice<UnpairedUpdateOptions>) & Abortable,
): Promise<unknown> {
  return runAsync(options as UnpairedUpdateOptions, prepare);
}
