// The one path of both updates: head -> log-probs -> loss -> gradient at the head, in one native call.
import { alternatives, choose } from './alternatives.js';
import { type Call, callOf, type When } from './call.js';
import { boolean, float32 } from './checks.js';
import type { DType, FloatArray } from './dtypes.js';
import {
  checkDebug,
  type DebugOption,
  headNumbers,
  lookedThrough,
  lookThrough,
  referenceNumbers,
  rowsRead,
} from './finite.js';
import {
  type CheckedLinear,
  type CheckedLogits,
  checkLinear,
  checkLogits,
  checkRefLogits,
  checkTemperature,
  gradLogitsOf,
  LINEAR_GRADIENTS,
  LINEAR_HEAD,
  type LinearGradients,
  type LinearHead,
  LOGITS_HEAD,
  type LogitsHead,
  linearGradientsOf,
  ownGradients,
  REF_NAMES,
  type TemperatureOption,
} from './head.js';
import { checkLabels, LABEL_OPTIONS, type LabelOptions } from './labels.js';
import type { GradientArgs, HeadArgs, PreferenceOptionArgs, ReferenceArgs } from './native.js';
import { type Inputs, Out, own } from './out.js';
import {
  checkBatch,
  PAIR_OPTIONS,
  type PairOptions,
  PREFERENCE_OUT,
  type PreferenceOut,
  type PreferenceResult,
  PreferenceResults,
} from './preference.js';

/** The frozen reference: its log-probs, or a head over the same labels. */
export type Reference =
  | { refLogps: Float32Array }
  | { refLogits: FloatArray; refDtype?: DType | undefined }
  | { refHidden: FloatArray; refWeight: FloatArray; refBias?: FloatArray | undefined; refDtype?: DType | undefined };

export interface UpdateInputs extends TemperatureOption, LabelOptions, PairOptions, DebugOption {
  /** [T + 1], the rows of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: Int32Array;
}

export type LogitsUpdate<L extends FloatArray> = LogitsHead<L> & {
  out?: (PreferenceOut & { logps?: Float32Array | undefined; gradLogits?: L | undefined }) | undefined;
};

export type LinearUpdate = LinearHead & {
  /** Add gradHidden, gradWeight and gradBias into `out` instead of overwriting it. */
  accumulate?: boolean | undefined;
  out?: (PreferenceOut & { [name in 'logps' | keyof LinearGradients]?: Float32Array | undefined }) | undefined;
};

/** The result of the loss and the trained model's log-probs, [N], 0 at dropped rows. */
export type UpdateResult = PreferenceResult & { logps: Float32Array };

const REFERENCE = ['refLogps', 'refLogits', 'refHidden', 'refWeight', 'refBias', 'refDtype'] as const;
const HEADS = [...LOGITS_HEAD, ...LINEAR_HEAD, 'accumulate'] as const;

export const UPDATE_OPTIONS = [...HEADS, ...LABEL_OPTIONS, ...REFERENCE, ...PAIR_OPTIONS, 'debug', 'out'] as const;
export const UPDATE_OUT = new Set<string>(['logps', 'gradLogits', ...LINEAR_GRADIENTS, ...PREFERENCE_OUT]);

type Given = Partial<Record<(typeof UPDATE_OPTIONS)[number], unknown>>;
type AnyUpdate = UpdateInputs & { trajectoryOffsets?: Int32Array | undefined };

const OWN_HEADS = alternatives([LOGITS_HEAD, [...LINEAR_HEAD, 'accumulate']]);
const REFERENCES = alternatives([
  ['refLogps'],
  ['refLogits', 'refDtype'],
  ['refHidden', 'refWeight', 'refBias', 'refDtype'],
]);

interface CheckedReference {
  args: ReferenceArgs;
  inputs: Inputs;
}

function checkReference(
  options: Given,
  rows: number,
  head: CheckedLogits | CheckedLinear,
  temperature: number,
): CheckedReference {
  const name = choose(options, REFERENCES, 'the reference');
  if (name === 'refLogps') {
    const refLogps = float32('refLogps', options.refLogps, rows);
    return { args: [refLogps], inputs: [['refLogps', refLogps]] };
  }
  const refDtype = options.refDtype === undefined ? options.dtype : options.refDtype;
  if (name === 'refLogits') {
    const stride = 'stride' in head ? head.stride : head.vocab;
    const ref = checkRefLogits({ refLogits: options.refLogits, refDtype }, rows, head.vocab, stride, temperature);
    return { args: [undefined, false, ...ref.args], inputs: [['refLogits', ref.view]] };
  }
  const given = {
    hidden: options.refHidden,
    weight: options.refWeight,
    bias: options.refBias,
    dtype: refDtype,
    chunkBytes: options.chunkBytes,
  } as LinearHead;
  const ref = checkLinear(given, rows, temperature, REF_NAMES, head.vocab);
  return { args: [undefined, true, ...ref.args], inputs: ref.inputs };
}

type AnyResult = UpdateResult & Partial<LinearGradients & { gradLogits: FloatArray }>;

/** Everything of an update but the names of its options, which are checked, and what its loss alone takes. */
export function updateOf(
  name: 'criticUpdate' | 'policyUpdate',
  options: AnyUpdate,
  lossArgs: PreferenceOptionArgs,
  when: When,
): Call<AnyResult> {
  const given = options as Given;
  const labels = checkLabels(options);
  const temperature = checkTemperature(options);
  const linear = choose(given, OWN_HEADS, 'the head') === 'hidden';
  const head = linear
    ? checkLinear(given as unknown as LinearHead, labels.count, temperature)
    : checkLogits(given as unknown as LogitsHead, labels.count, temperature);
  const reference = checkReference(given, labels.count, head, temperature);
  const batch = checkBatch(options, labels.count, labels.mask, name === 'criticUpdate');
  const accumulate = boolean('accumulate', given.accumulate, false);
  const debug = checkDebug(options);

  const out = new Out(given.out as object | undefined, labels.labels, when);
  const logps = out.float32('logps', labels.count);
  const results = new PreferenceResults(out, batch, labels.count);
  const gradients = 'hidden' in head ? linearGradients(head, out, accumulate) : logitsGradients(head, out);
  const inputs = [...head.inputs, ['labels', labels.labels] as const, ...reference.inputs, ...batch.inputs];
  const native = out.settle(inputs, ['gradLogits', 'logits']);

  const headArgs: HeadArgs = 'hidden' in head ? [true, ...head.args] : [false, ...head.args];
  if (debug) {
    const read = rowsRead(labels, false);
    lookThrough([...headNumbers(headArgs, read), ...referenceNumbers(reference.args, read, REF_NAMES)]);
  }
  const args = [
    ...headArgs,
    ...labels.args,
    ...reference.args,
    ...batch.args,
    ...lossArgs,
    logps,
    ...results.args,
    ...gradients.args,
  ] as const;
  const finish = () => Object.assign(results.result(), { logps: own(logps) }, gradients.own());
  return callOf(native, name, args, out, lookedThrough(debug, finish, headArgs));
}

interface Gradients {
  /** After the native call. */
  own(): Partial<LinearGradients & { gradLogits: FloatArray }>;
  args: GradientArgs;
}

function logitsGradients(head: CheckedLogits, out: Out): Gradients {
  for (const name of LINEAR_GRADIENTS) out.refuse(name, 'the head is logits');
  const gradLogits = gradLogitsOf(head, out);
  return { own: () => ({ gradLogits }), args: [gradLogits, undefined, undefined, undefined, false] };
}

function linearGradients(head: CheckedLinear, out: Out, accumulate: boolean): Gradients {
  out.refuse('gradLogits', 'the head is hidden states');
  const results = linearGradientsOf(head, out, accumulate);
  return {
    own: () => ownGradients(results),
    args: [undefined, results.gradHidden, results.gradWeight, results.gradBias, accumulate],
  };
}
