// The updates of the critic and of the policy: head -> log-probs -> preference loss -> gradient at the head, in one native
// call. They differ in what a pair compares.
import type * as native from '../addon/operations.js';
import { float32, type NamedArray } from '../args/arrays.js';
import type { DType, FloatArray } from '../args/dtypes.js';
import { exclusiveGroups, selectGroup } from '../args/exclusive.js';
import {
  checkHead,
  headInputs,
  LINEAR_GRADIENT_OPTIONS,
  LINEAR_HEAD,
  type LinearGradientOptions,
  type LinearHead,
  LOGITS_HEAD,
  type LogitsHead,
  type ScaleOptions,
  type WeightLayout,
} from '../args/head.js';
import {
  checkLabels,
  LABEL_OPTIONS,
  type LabelOptions,
  WEIGHT_OPTION,
  type WeightOption,
  withWeights,
} from '../args/labels.js';
import { type CheckedLossTypes, checkReferenceNeed, type LossType } from '../args/loss-types.js';
import { checkOptions, type Mode } from '../args/options.js';
import {
  batchInputs,
  type CheckedPreferenceOptions,
  checkBatch,
  PAIR_OPTIONS,
  type PairOptions,
} from '../args/preference.js';
import { checkSecondHead, SECOND_NAMES, secondLinear, secondLogits } from '../args/second-head.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import type { DeviceBuffer, OnDevice } from '../device/device-buffer.js';
import {
  assertFinite,
  assertFiniteLabels,
  checkDebug,
  type DebugOption,
  headMatrices,
  referenceMatrices,
  rowsRead,
} from '../runtime/assert-finite.js';
import { type Abortable, type PreparedCall, runAsync, runSync } from '../runtime/call.js';
import { Results } from '../runtime/results.js';
import {
  LINEAR_GRADIENTS,
  type LinearGradients,
  type LinearGradientsOf,
  linearGradients,
  logitsGradients,
} from './head-gradients.js';
import { type RowStatistics, STATISTICS, type StatisticsOptions, type StatisticsOut, statisticsOut } from './logps.js';
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

/** Options of both kinds of a reference head. Those that are absent are the trained head's. */
interface ReferenceHead {
  /** Of a Uint16Array. */
  refDtype?: DType | undefined;
  refTemperature?: number | undefined;
  /** null: none. */
  refSoftcap?: number | null | undefined;
  /** V, which is that of the trained head. */
  refVocabSize?: number | undefined;
}

/**
 * The frozen reference: its log-probs, or a head over the same labels, or nothing where no type of the loss needs one. refLogps is
 * last: errors of TypeScript name the last.
 */
export type Reference =
  | (ReferenceHead & {
      refHidden: ArrayOrTensor<FloatArray>;
      /** H of the reference, which need not be that of the trained head; by the lengths if absent. */
      refHiddenSize?: number | undefined;
      /** As `hiddenStride`; H of the reference if absent. */
      refHiddenStride?: number | undefined;
      refWeight: ArrayOrTensor<FloatArray>;
      /** As `weightDtype`; if absent, `weightDtype`, `refDtype` or `dtype`, whichever is given. */
      refWeightDtype?: DType | undefined;
      /** As `weightLayout`; that of the trained head if absent. */
      refWeightLayout?: WeightLayout | undefined;
      refBias?: ArrayOrTensor<FloatArray> | undefined;
    })
  | (ReferenceHead & {
      refLogits: ArrayOrTensor<FloatArray>;
      /** As `rowStride`; V, or the trained head's, by the length, if absent. */
      refRowStride?: number | undefined;
    })
  | { refLogps?: undefined; referenceFree: true }
  | { refLogps?: undefined; lossType: LossType | readonly LossType[] }
  | { refLogps: ArrayOrTensor<Float32Array> };

interface UpdateInputs extends ScaleOptions, LabelOptions, WeightOption, PairOptions, StatisticsOptions, DebugOption {
  /** [T + 1], the rows of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: ArrayOrTensor<Int32Array>;
}

type LogitsUpdate<L extends FloatArray> = LogitsHead<L> & {
  out?: (PreferenceOut & StatisticsOut & { logps?: Float32Array | undefined; gradLogits?: L | undefined }) | undefined;
};

type LinearUpdate<FW = boolean, FH = boolean> = LinearHead &
  LinearGradientOptions<FW, FH> & {
    out?:
      | (PreferenceOut & StatisticsOut & { [name in 'logps' | keyof LinearGradients]?: Float32Array | undefined })
      | undefined;
  };

type CriticInputs = UpdateInputs & TrajectoryOptions & Reference;
type PolicyInputs = UpdateInputs & TurnScoreOptions & Reference;

/** What `criticUpdate` takes. */
export type CriticUpdateOptions<L extends FloatArray = FloatArray> = CriticInputs & (LogitsUpdate<L> | LinearUpdate);

/** What `policyUpdate` takes. */
export type PolicyUpdateOptions<L extends FloatArray = FloatArray> = PolicyInputs & (LogitsUpdate<L> | LinearUpdate);

/**
 * The result of the loss, the trained model's log-probs, [N], 0 at masked and ignored rows, and the statistics that were asked
 * for.
 */
export type UpdateResult = PreferenceResult & RowStatistics & { logps: Float32Array<ArrayBuffer> };

/** The result of an update whose head is not known: a wrapper that passes its options on. */
export type AnyUpdateResult = UpdateResult & Partial<LinearGradients & { gradLogits: FloatArray }>;

type DeviceUpdateResult<O> = OnDevice<UpdateResult> &
  (O extends { logits: unknown }
    ? { gradLogits: DeviceBuffer }
    : OnDevice<LinearGradientsOf<Flag<O, 'frozenWeight'>, Flag<O, 'frozenHidden'>>>);

type Flag<O, Name extends PropertyKey> = O extends { readonly [name in Name]?: infer F } ? F : false;

const REFERENCE_LOGITS = secondLogits('ref');
const REFERENCE_LINEAR = secondLinear('ref');
const REFERENCE = ['refLogps', ...REFERENCE_LOGITS, ...REFERENCE_LINEAR];
const HEADS = [...LOGITS_HEAD, ...LINEAR_HEAD, ...LINEAR_GRADIENT_OPTIONS] as const;
const OPTIONS = [
  ...HEADS,
  ...LABEL_OPTIONS,
  WEIGHT_OPTION,
  ...REFERENCE,
  ...PAIR_OPTIONS,
  ...STATISTICS,
  'debug',
  'out',
] as const;
const CRITIC_OPTIONS = new Set<string>([...OPTIONS, ...TRAJECTORY_OPTIONS]);
const POLICY_OPTIONS = new Set<string>([...OPTIONS, ...TURN_SCORE_OPTIONS]);
const OUT_NAMES = new Set<string>(['logps', 'gradLogits', ...LINEAR_GRADIENTS, ...PREFERENCE_OUT, ...STATISTICS]);

type AnyOptions = Readonly<Record<string, unknown>>;

const REFERENCE_GROUPS = exclusiveGroups([['refLogps'], REFERENCE_LOGITS, REFERENCE_LINEAR]);

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
  const any = given as object as AnyOptions;
  const labels = checkLabels(given);
  const head = checkHead(given, labels.rows);
  const reference = checkReference(any, head, types);
  const batch = checkBatch(given, withWeights(labels, given), level);
  const debug = checkDebug(given);

  const results = new Results(any.out as object | undefined, labels.data);
  const out = preferenceOut(results, batch);
  const logps = results.float32('logps', labels.rows);
  const statistics = statisticsOut(results, labels.rows, given);
  const gradients =
    head.kind === 'linear'
      ? linearGradients(head, results, given as LinearGradientOptions)
      : logitsGradients(head, results);
  const inputs: NamedArray[] = [...headInputs(head), ...referenceInputs(reference), ...batchInputs(batch)];
  const addon = results.place(inputs, { result: 'gradLogits', input: 'logits' });
  if (debug) {
    const read = rowsRead(labels, false);
    assertFinite([...headMatrices(head, read), ...referenceMatrices(reference, read)]);
    assertFiniteLabels(head, labels);
    if (reference.kind === 'head') assertFiniteLabels(reference.head, labels, SECOND_NAMES.ref);
  }
  const args = { head, labels, reference, batch, options, logps, ...statistics, out, gradients };
  return { addon, operation: 'preferenceUpdate', args, results, debug };
}

function checkReference(options: AnyOptions, head: native.Head, types: CheckedLossTypes): native.Reference {
  const given = REFERENCE.find((name) => options[name] !== undefined);
  checkReferenceNeed(types, given, 'one of refLogps, refLogits, refHidden');
  if (given === undefined) return { kind: 'logps', logps: undefined };
  const name = selectGroup(options, REFERENCE_GROUPS, 'the reference');
  if (name === 'refLogps') return { kind: 'logps', logps: float32('refLogps', options.refLogps, head.rows) };
  const kind = name === 'refLogits' ? 'logits' : 'linear';
  return { kind: 'head', head: checkSecondHead(options, head, 'ref', kind) };
}

function referenceInputs(reference: native.Reference): NamedArray[] {
  if (reference.kind === 'logps') return [['refLogps', reference.logps]];
  return headInputs(reference.head, SECOND_NAMES.ref);
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
  options: CriticInputs & LogitsUpdate<L>,
): UpdateResult & { gradLogits: L };
export function criticUpdate<FW extends boolean = false, FH extends boolean = false>(
  options: CriticInputs & LinearUpdate<FW, FH>,
): UpdateResult & LinearGradientsOf<FW, FH>;
export function criticUpdate<O extends OnDevice<CriticUpdateOptions>>(options: O): DeviceUpdateResult<O>;
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
  options: CriticInputs & LogitsUpdate<L> & Abortable,
): Promise<UpdateResult & { gradLogits: L }>;
export function criticUpdateAsync<FW extends boolean = false, FH extends boolean = false>(
  options: CriticInputs & LinearUpdate<FW, FH> & Abortable,
): Promise<UpdateResult & LinearGradientsOf<FW, FH>>;
export function criticUpdateAsync<O extends OnDevice<CriticUpdateOptions>>(
  options: O & Abortable,
): Promise<DeviceUpdateResult<O>>;
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
  options: PolicyInputs & LogitsUpdate<L>,
): UpdateResult & { gradLogits: L };
export function policyUpdate<FW extends boolean = false, FH extends boolean = false>(
  options: PolicyInputs & LinearUpdate<FW, FH>,
): UpdateResult & LinearGradientsOf<FW, FH>;
export function policyUpdate<O extends OnDevice<PolicyUpdateOptions>>(options: O): DeviceUpdateResult<O>;
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
  options: PolicyInputs & LogitsUpdate<L> & Abortable,
): Promise<UpdateResult & { gradLogits: L }>;
export function policyUpdateAsync<FW extends boolean = false, FH extends boolean = false>(
  options: PolicyInputs & LinearUpdate<FW, FH> & Abortable,
): Promise<UpdateResult & LinearGradientsOf<FW, FH>>;
export function policyUpdateAsync<O extends OnDevice<PolicyUpdateOptions>>(
  options: O & Abortable,
): Promise<DeviceUpdateResult<O>>;
export function policyUpdateAsync(options: PolicyUpdateOptions & Abortable): Promise<AnyUpdateResult>;
export function policyUpdateAsync(
  options: (PolicyUpdateOptions | OnDevice<PolicyUpdateOptions>) & Abortable,
): Promise<unknown> {
  return runAsync(options as PolicyUpdateOptions, policyCall);
}
