// The updates of the critic and of the policy: head -> log-probs -> preference loss -> gradient at the head, in one native
// call. They differ in what a pair compares.
import type * as native from '../addon/operations.js';
import type { FloatArray } from '../args/dtypes.js';
import type { ReferenceFreeType } from '../args/loss-types.js';
import { checkOptions, type Mode } from '../args/options.js';
import {
  batchInputs,
  type CheckedPreferenceOptions,
  checkBatch,
  PAIR_OPTIONS,
  type PairOptions,
} from '../args/preference.js';
import type { ArrayOrTensor } from '../args/tensors.js';
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
import {
  PREFERENCE_OUT,
  type PreferenceOut,
  type PreferenceResult,
  preferenceOut,
  TRAJECTORY_OPTIONS,
  type TrajectoryOptions,
  TURN_SCORE_OPTIONS,
  type TurnScoreOptions,
  trajectoryLossOptions,
  turnLossOptions,
} from './preference-loss.js';

/**
 * The frozen reference: its log-probs, or a head over the same labels, or nothing where no type of the loss needs one.
 */
export type Reference =
  | { refLogps?: undefined; lossType: ReferenceFreeType | readonly ReferenceFreeType[] }
  | FrozenReference;

interface UpdateInputs extends RowInputs, PairOptions {
  /** [T + 1], the rows of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: ArrayOrTensor<Int32Array>;
}

type CriticInputs = UpdateInputs & TrajectoryOptions & Reference;
type PolicyInputs = UpdateInputs & TurnScoreOptions & Reference;

/** What `criticUpdate` takes. */
export type CriticUpdateOptions<L extends FloatArray = FloatArray> = CriticInputs &
  (LogitsUpdate<L, PreferenceOut> | LinearUpdate<boolean, boolean, PreferenceOut>);

/** What `policyUpdate` takes. */
export type PolicyUpdateOptions<L extends FloatArray = FloatArray> = PolicyInputs &
  (LogitsUpdate<L, PreferenceOut> | LinearUpdate<boolean, boolean, PreferenceOut>);

/**
 * The result of the loss, the trained model's log-probs, [N], 0 at masked and ignored rows, and the statistics that were asked
 * for.
 */
export type UpdateResult = PreferenceResult & RowResult;

/** The result of an update whose head is not known: a wrapper that passes its options on. */
export type AnyUpdateResult = UpdateResult & AnyGradients;

const CRITIC_OPTIONS = new Set<string>([...UPDATE_OPTIONS, ...PAIR_OPTIONS, ...TRAJECTORY_OPTIONS]);
const POLICY_OPTIONS = new Set<string>([...UPDATE_OPTIONS, ...PAIR_OPTIONS, ...TURN_SCORE_OPTIONS]);
const OUT_NAMES = new Set<string>([...UPDATE_OUT, ...PREFERENCE_OUT]);

function criticCall(given: CriticUpdateOptions, mode: Mode): PreparedCall<'preferenceUpdate'> {
  const options = checkOptions('criticUpdate', given, CRITIC_OPTIONS, mode, OUT_NAMES);
  return updateOf(options, 'trajectory', trajectoryLossOptions(options));
}

function policyCall(given: PolicyUpdateOptions, mode: Mode): PreparedCall<'preferenceUpdate'> {
  const options = checkOptions('policyUpdate', given, POLICY_OPTIONS, mode, OUT_NAMES);
  return updateOf(options, 'turn', turnLossOptions(options));
}

/** From options with known names, and the checked options of the loss, to the call. */
function updateOf(
  given: UpdateInputs & Partial<TrajectoryOptions>,
  level: native.PreferenceLevel,
  { options, types }: CheckedPreferenceOptions,
): PreparedCall<'preferenceUpdate'> {
  return prepareUpdate('preferenceUpdate', given, types, (tokens) => {
    const batch = checkBatch(given, tokens, level);
    return { batch, options, inputs: batchInputs(batch), out: (results) => preferenceOut(results, batch) };
  });
}

/**
 * One update of the critic: log-probs of the tokens, the trajectory preference loss, its gradient at the head.
 *
 *     logps = tokenLogps(head),  result = trajectoryPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * The same numbers as the three calls, but masked and ignored rows are never read. Nothing of size [N, V] is stored except the
 * gradient of logits, and nothing at all of that size with hidden states.
 *
 * @param options.logits [N, V], or `hidden` [N, H] and `weight` [V, H] with or without `bias` [V].
 * @param options.labels [N] the tokens taken; rows of all turns of all trajectories.
 * @param options.refLogps [N], or `refLogits` [N, V], or `refHidden` and `refWeight`: the frozen reference.
 * @param options.turnOffsets [T + 1] into rows; `trajectoryOffsets` [K + 1] into turns.
 * @param options.chosen [P] indices of trajectories; `rejected` [P] likewise.
 * @param options.vocabSize V; with hidden states `hiddenSize` H. Give them: a length that does not fit is an error then. `dtype`,
 *   `rowStride`, `temperature`, `mask` and `ignoreIndex` are those of `tokenLogps`, `chunkBytes`, `hiddenStride`, `weightDtype` and
 *   `weightLayout` are those of `linearLogps`. `refTemperature`, `refDtype` and so on are the reference's, by default the same.
 * @param options.beta 0.1 by default; `lossType` 'sigmoid' by default, and the options of the types, as for `trajectoryPreferenceLoss`;
 *   `useWeighting` computes its statistic itself. The reference may be absent where no type needs it, or with `referenceFree`.
 * @param options.pairWeights [P], 1 each by default; `pairDenominator`, their sum by default.
 * @param options.normalization 'turn-mean' by default, 'token-mean' or 'sum'.
 * @param options.tokenWeights [N] >= 0: how much a row counts, 1 each by default; not read at masked and ignored rows.
 * @param options.nllCoef 0 by default; `nllDenominator`, the weight of the rows of the chosen trajectories by default.
 * @param options.allowEmptyTurns false by default; `debug` 'finite' looks for NaN and infinity; `accumulate` adds the gradients
 *   of a linear head to those in `out`; `frozenWeight` and `frozenHidden` are those of `linearLogpsBackward`.
 * @param options.entropy also compute the entropies of `tokenLogps`, of the trained model; `argmax` and `sumSquaredProbs` likewise. They
 *   are 0, -1 and 0 at masked and ignored rows.
 * @param options.out buffers for any array of the result; `gradLogits` may be `logits` itself.
 * @returns the result of `trajectoryPreferenceLoss`, `logps` [N], and `gradLogits` or `gradHidden`, `gradWeight`, `gradBias`.
 * @throws as `tokenLogps` and `trajectoryPreferenceLoss` do; nothing is written then.
 * @see arXiv 2503.15478, Equation 2.
 * @example
 * const { loss, gradLogits } = criticUpdate({
 *   ...{ logits, vocabSize, labels, refLogps },
 *   ...{ turnOffsets, trajectoryOffsets, chosen, rejected },
 * });
 */
export function criticUpdate<L extends FloatArray>(
  options: CriticInputs & LogitsUpdate<L, PreferenceOut>,
): UpdateResult & { gradLogits: L };
export function criticUpdate<FW extends boolean = false, FH extends boolean = false>(
  options: CriticInputs & LinearUpdate<FW, FH, PreferenceOut>,
): UpdateResult & LinearGradientsOf<FW, FH>;
export function criticUpdate<O extends OnDevice<CriticUpdateOptions>>(
  options: O,
): DeviceUpdateResult<O, PreferenceResult>;
export function criticUpdate(options: CriticUpdateOptions): AnyUpdateResult;
export function criticUpdate(options: CriticUpdateOptions | OnDevice<CriticUpdateOptions>): unknown {
  return runSync(criticCall(options as CriticUpdateOptions, 'sync'));
}

/**
 * `criticUpdate` on another thread.
 *
 *     logps = tokenLogps(head),  result = trajectoryPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * @param options as `criticUpdate` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `criticUpdate`; the same bits.
 * @throws nothing; the promise rejects with what `criticUpdate` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was detached meanwhile.
 * @see arXiv 2503.15478, Equation 2.
 * @example
 * const batch = { labels, refLogps, turnOffsets, trajectoryOffsets, chosen, rejected };
 * const { loss, gradLogits } = await criticUpdateAsync({ ...batch, logits, vocabSize, out: { gradLogits: logits } });
 */
export function criticUpdateAsync<L extends FloatArray>(
  options: CriticInputs & LogitsUpdate<L, PreferenceOut> & Abortable,
): Promise<UpdateResult & { gradLogits: L }>;
export function criticUpdateAsync<FW extends boolean = false, FH extends boolean = false>(
  options: CriticInputs & LinearUpdate<FW, FH, PreferenceOut> & Abortable,
): Promise<UpdateResult & LinearGradientsOf<FW, FH>>;
export function criticUpdateAsync<O extends OnDevice<CriticUpdateOptions>>(
  options: O & Abortable,
): Promise<DeviceUpdateResult<O, PreferenceResult>>;
export function criticUpdateAsync(options: CriticUpdateOptions & Abortable): Promise<AnyUpdateResult>;
export function criticUpdateAsync(
  options: (CriticUpdateOptions | OnDevice<CriticUpdateOptions>) & Abortable,
): Promise<unknown> {
  return runAsync(options as CriticUpdateOptions, criticCall);
}

/**
 * One update of the policy: log-probs of the tokens, the turn preference loss, its gradient at the head.
 *
 *     logps = tokenLogps(head),  result = turnPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * The same numbers as the three calls, but masked and ignored rows are never read. Nothing of size [N, V] is stored except the
 * gradient of logits, and nothing at all of that size with hidden states.
 *
 * @param options.logits [N, V], or `hidden` [N, H] and `weight` [V, H] with or without `bias` [V].
 * @param options.labels [N] the tokens taken; rows of all turns.
 * @param options.refLogps [N], or `refLogits` [N, V], or `refHidden` and `refWeight`: the frozen reference.
 * @param options.turnOffsets [T + 1] into rows.
 * @param options.chosen [P] indices of turns; `rejected` [P] likewise.
 * @param options.vocabSize V; with hidden states `hiddenSize` H. Give them: a length that does not fit is an error then. `dtype`,
 *   `rowStride`, `temperature`, `mask` and `ignoreIndex` are those of `tokenLogps`, `chunkBytes`, `hiddenStride`, `weightDtype` and
 *   `weightLayout` are those of `linearLogps`. `refTemperature`, `refDtype` and so on are the reference's, by default the same.
 * @param options.beta 0.1 by default; `lossType` 'sigmoid' by default, and the options of the types, as for `trajectoryPreferenceLoss`;
 *   `useWeighting` computes its statistic itself. The reference may be absent where no type needs it, or with `referenceFree`.
 * @param options.pairWeights [P], 1 each by default; `pairDenominator`, their sum by default.
 * @param options.reduction 'sum' by default, or 'mean' over the tokens of a turn. TRL's 'ipo' has the mean: give
 *   `reduction: 'mean'` for it.
 * @param options.nllCoef 0.01 by default, as in the paper: the loss has 0.01 times the NLL of the chosen turns' tokens; 0 leaves
 *   it out. `nllDenominator`, the weight of these tokens by default.
 * @param options.tokenWeights [N] >= 0: how much a row counts, 1 each by default; not read at masked and ignored rows.
 * @param options.allowEmptyTurns false by default; `debug` 'finite' looks for NaN and infinity; `accumulate` adds the gradients
 *   of a linear head to those in `out`; `frozenWeight` and `frozenHidden` are those of `linearLogpsBackward`.
 * @param options.entropy also compute the entropies of `tokenLogps`, of the trained model; `argmax` and `sumSquaredProbs` likewise. They
 *   are 0, -1 and 0 at masked and ignored rows.
 * @param options.out buffers for any array of the result; `gradLogits` may be `logits` itself.
 * @returns the result of `turnPreferenceLoss`, `logps` [N], and `gradLogits` or `gradHidden`, `gradWeight`, `gradBias`.
 * @throws as `tokenLogps` and `turnPreferenceLoss` do; nothing is written then.
 * @see arXiv 2503.15478, Equation 4.
 * @example
 * const { loss, gradLogits } = policyUpdate({
 *   ...{ logits, vocabSize, labels, refLogps, turnOffsets, chosen, rejected },
 * });
 */
export function policyUpdate<L extends FloatArray>(
  options: PolicyInputs & LogitsUpdate<L, PreferenceOut>,
): UpdateResult & { gradLogits: L };
export function policyUpdate<FW extends boolean = false, FH extends boolean = false>(
  options: PolicyInputs & LinearUpdate<FW, FH, PreferenceOut>,
): UpdateResult & LinearGradientsOf<FW, FH>;
export function policyUpdate<O extends OnDevice<PolicyUpdateOptions>>(
  options: O,
): DeviceUpdateResult<O, PreferenceResult>;
export function policyUpdate(options: PolicyUpdateOptions): AnyUpdateResult;
export function policyUpdate(options: PolicyUpdateOptions | OnDevice<PolicyUpdateOptions>): unknown {
  return runSync(policyCall(options as PolicyUpdateOptions, 'sync'));
}

/**
 * `policyUpdate` on another thread.
 *
 *     logps = tokenLogps(head),  result = turnPreferenceLoss(logps, refLogps),  gradient = result.gradLogps * dlogps/dhead
 *
 * @param options as `policyUpdate` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `policyUpdate`; the same bits.
 * @throws nothing; the promise rejects with what `policyUpdate` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was detached meanwhile.
 * @see arXiv 2503.15478, Equation 4.
 * @example
 * const batch = { labels, refLogps, turnOffsets, chosen, rejected };
 * const { loss, gradLogits } = await policyUpdateAsync({ ...batch, logits, vocabSize, out: { gradLogits: logits } });
 */
export function policyUpdateAsync<L extends FloatArray>(
  options: PolicyInputs & LogitsUpdate<L, PreferenceOut> & Abortable,
): Promise<UpdateResult & { gradLogits: L }>;
export function policyUpdateAsync<FW extends boolean = false, FH extends boolean = false>(
  options: PolicyInputs & LinearUpdate<FW, FH, PreferenceOut> & Abortable,
): Promise<UpdateResult & LinearGradientsOf<FW, FH>>;
export function policyUpdateAsync<O extends OnDevice<PolicyUpdateOptions>>(
  options: O & Abortable,
): Promise<DeviceUpdateResult<O, PreferenceResult>>;
export function policyUpdateAsync(options: PolicyUpdateOptions & Abortable): Promise<AnyUpdateResult>;
export function policyUpdateAsync(
  options: (PolicyUpdateOptions | OnDevice<PolicyUpdateOptions>) & Abortable,
): Promise<unknown> {
  return runAsync(options as PolicyUpdateOptions, policyCall);
}
