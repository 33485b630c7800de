// What the updates of all losses have: a head, a frozen reference, and the gradients at the head, in one native call.
import type * as native from '../addon/operations.js';
import type { AsyncOperation, Operations } from '../addon/operations.js';
import { classOf, float32, type NamedArray } from '../args/arrays.js';
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
  type CheckedTokens,
  checkLabels,
  LABEL_OPTIONS,
  type LabelOptions,
  WEIGHT_OPTION,
  type WeightOption,
  withWeights,
} from '../args/labels.js';
import { checkReferenceNeed, type ReferenceNeed } from '../args/loss-types.js';
import { checkSecondHead, SECOND_NAMES, secondLinear, secondLogits } from '../args/second-head.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import type { DeviceBuffer, OnDevice } from '../device/device-buffer.js';
import { typeError } from '../errors.js';
import {
  assertFinite,
  assertFiniteLabels,
  checkDebug,
  type DebugOption,
  headMatrices,
  type Matrix,
  referenceMatrices,
  rowsRead,
} from '../runtime/assert-finite.js';
import type { PreparedCall } from '../runtime/call.js';
import { Results } from '../runtime/results.js';
import {
  LINEAR_GRADIENTS,
  type LinearGradients,
  type LinearGradientsOf,
  linearGradients,
  logitsGradients,
} from './head-gradients.js';
import { type RowStatistics, STATISTICS, type StatisticsOptions, type StatisticsOut, statisticsOut } from './logps.js';

/** Options of both kinds of a reference head. Those that are absent are the trained head's. */
interface ReferenceScale {
  /** Of a Uint16Array. */
  refDtype?: DType | undefined;
  refTemperature?: number | undefined;
  /** null: none. */
  refSoftcap?: number | null | undefined;
  /** V, which is that of the trained head. */
  refVocabSize?: number | undefined;
}

/** A head of the reference, over the same labels. */
export type ReferenceHead =
  | (ReferenceScale & {
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
  | (ReferenceScale & {
      refLogits: ArrayOrTensor<FloatArray>;
      /** As `rowStride`; V, or the trained head's, by the length, if absent. */
      refRowStride?: number | undefined;
    });

/** The frozen reference, or `referenceFree`. refLogps is last: errors of TypeScript name the last. */
export type FrozenReference =
  | ReferenceHead
  | { refLogps?: undefined; referenceFree: true }
  | { refLogps: ArrayOrTensor<Float32Array> };

export interface RowInputs extends ScaleOptions, LabelOptions, WeightOption, StatisticsOptions, DebugOption {}

/** The head, and buffers for the results; Out: for those of the loss. */
export type LogitsUpdate<L extends FloatArray, Out> = LogitsHead<L> & {
  out?: (Out & StatisticsOut & { logps?: Float32Array | undefined; gradLogits?: L | undefined }) | undefined;
};

export type LinearUpdate<FW, FH, Out> = LinearHead &
  LinearGradientOptions<FW, FH> & {
    out?: (Out & StatisticsOut & { [name in 'logps' | keyof LinearGradients]?: Float32Array | undefined }) | undefined;
  };

/** The trained model's log-probs, [N], 0 at masked and ignored rows, and the statistics that were asked for. */
export type RowResult = RowStatistics & { logps: Float32Array<ArrayBuffer> };

/** The gradients at a head that is not known. */
export type AnyGradients = Partial<LinearGradients & { gradLogits: FloatArray }>;

/** The result of an update on a device whose options are O; Result: that of the loss. */
export type DeviceUpdateResult<O, Result> = OnDevice<Result & RowResult> &
  (O extends { logits: unknown }
    ? { gradLogits: DeviceBuffer }
    : OnDevice<LinearGradientsOf<Flag<O, 'frozenWeight'>, Flag<O, 'frozenHidden'>>>);

type Flag<O, Name extends PropertyKey> = O extends { readonly [name in Name]?: infer F } ? F : false;

const REFERENCE_LOGITS = secondLogits('ref');
const REFERENCE_LINEAR = secondLinear('ref');
export const REFERENCE_OPTIONS = ['refLogps', ...REFERENCE_LOGITS, ...REFERENCE_LINEAR];
const HEADS = [...LOGITS_HEAD, ...LINEAR_HEAD, ...LINEAR_GRADIENT_OPTIONS] as const;
export const UPDATE_OPTIONS = [
  ...HEADS,
  ...LABEL_OPTIONS,
  WEIGHT_OPTION,
  ...REFERENCE_OPTIONS,
  ...STATISTICS,
  'debug',
  'out',
] as const;
export const UPDATE_OUT = ['logps', 'gradLogits', ...LINEAR_GRADIENTS, ...STATISTICS] as const;

type AnyOptions = Readonly<Record<string, unknown>>;

const REFERENCE_GROUPS = exclusiveGroups([['refLogps'], REFERENCE_LOGITS, REFERENCE_LINEAR]);

/** What an update has of its loss. */
export interface LossOfUpdate<K extends UpdateOperation> extends Pick<Operations[K], 'batch' | 'options'> {
  inputs: readonly NamedArray[];
  out: (results: Results) => Operations[K]['out'];
  /** What `debug: 'finite'` checks beside the rows; `read` [N]: 0 for rows that are not read. */
  matrices?: (read: Uint8Array) => Matrix[];
}

export type UpdateOperation = Extract<AsyncOperation, 'preferenceUpdate' | 'unpairedUpdate' | 'policyGradientUpdate'>;

/** From options with known names to the call. `lossOf` checks what the loss has beside the rows. */
export function prepareUpdate<K extends UpdateOperation>(
  operation: K,
  given: RowInputs,
  need: ReferenceNeed,
  lossOf: (tokens: CheckedTokens) => LossOfUpdate<K>,
): PreparedCall<K> {
  const any = given as object as AnyOptions;
  if (classOf(given.sumSquaredProbs) !== undefined) {
    const what = 'Expected no values of sumSquaredProbs, which an update computes itself, but received some';
    throw typeError('ERR_UNKNOWN_OPTION', `${what}: true returns them`);
  }
  const labels = checkLabels(given);
  const head = checkHead(given, labels.rows);
  const reference = checkReference(any, head, need);
  const { batch, options, inputs: ofLoss, out: outOf, matrices } = lossOf(withWeights(labels, given));
  const debug = checkDebug(given);

  const results = new Results(any.out as object | undefined, labels.data);
  const out = outOf(results);
  const logps = results.float32('logps', labels.rows);
  const statistics = statisticsOut(results, labels.rows, given);
  const gradients =
    head.kind === 'linear'
      ? linearGradients(head, results, given as LinearGradientOptions)
      : logitsGradients(head, results);
  const inputs: NamedArray[] = [...headInputs(head), ...referenceInputs(reference), ...ofLoss];
  const addon = results.place(inputs, { result: 'gradLogits', input: 'logits' });
  if (debug) {
    const read = rowsRead(labels, false);
    const ofLossToo = matrices?.(read) ?? [];
    assertFinite([...headMatrices(head, read), ...referenceMatrices(reference, read), ...ofLossToo]);
    assertFiniteLabels(head, labels);
    if (reference.kind === 'head') assertFiniteLabels(reference.head, labels, SECOND_NAMES.ref);
  }
  const args = { head, labels, reference, batch, options, logps, ...statistics, out, gradients };
  return { addon, operation, args: args as Operations[K], results, debug };
}

function checkReference(options: AnyOptions, head: native.Head, need: ReferenceNeed): native.Reference {
  const given = REFERENCE_OPTIONS.find((name) => options[name] !== undefined);
  checkReferenceNeed(need, given, 'one of refLogps, refLogits, refHidden');
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
