import {
  checkLinear,
  checkScale,
  HEAD_NAMES,
  LINEAR_GRADIENT_OPTIONS,
  LINEAR_HEAD,
  type LinearGradientOptions,
  type LinearHead,
  type ScaleOptions,
} from '../args/head.js';
import { LABEL_OPTIONS } from '../args/labels.js';
import { checkOptions, type Mode } from '../args/options.js';
import { LINEAR_TEACHER, type TeacherLinear, type TopKTeacher } from '../args/teacher.js';
import type { OnDevice } from '../device/device-buffer.js';
import { type Abortable, type PreparedCall, runAsync, runSync } from '../runtime/call.js';
import {
  countRows,
  DIVERGENCE_OPTIONS,
  DIVERGENCE_OUT,
  type DivergenceBackwardOptions,
  type DivergenceOptions,
  type DivergenceOut,
  divergenceBackwardCall,
  divergenceCall,
  OF_STUDENT,
  type RowDivergences,
} from './divergence.js';
import { LINEAR_GRADIENTS, type LinearGradients, type LinearGradientsOf, linearGradients } from './head-gradients.js';

type Teacher = TeacherLinear | TopKTeacher;

interface Inputs extends LinearHead, ScaleOptions, DivergenceOptions {
  out?: DivergenceOut | undefined;
}

/** What `linearDivergence` takes. */
export type LinearDivergenceOptions = Inputs & Teacher;

/** What `linearDivergenceBackward` takes. */
export type LinearDivergenceBackwardOptions = LinearHead &
  LinearGradientOptions &
  ScaleOptions &
  DivergenceBackwardOptions &
  Teacher & { out?: { [name in keyof LinearGradients]?: Float32Array | undefined } | undefined };

const FORWARD_OPTIONS = new Set<string>([...LINEAR_HEAD, ...LABEL_OPTIONS, ...LINEAR_TEACHER, ...DIVERGENCE_OPTIONS]);
const BACKWARD_OPTIONS = new Set([...FORWARD_OPTIONS, 'saved', 'gradDivergence', ...LINEAR_GRADIENT_OPTIONS]);
const BACKWARD_OUT = new Set<string>(LINEAR_GRADIENTS);

const checkHead = (options: LinearHead & ScaleOptions) => {
  const rows = countRows(options, ['hidden', 'dtype', 'hiddenSize', 'hiddenStride']);
  return checkLinear(options, rows, checkScale(options), HEAD_NAMES, OF_STUDENT);
};

function forward(given: LinearDivergenceOptions, mode: Mode): PreparedCall<'headDivergence'> {
  const options = checkOptions('linearDivergence', given, FORWARD_OPTIONS, mode, DIVERGENCE_OUT);
  return divergenceCall(checkHead(options), options);
}

function backward(given: LinearDivergenceBackwardOptions, mode: Mode): PreparedCall<'headDivergenceBackward'> {
  const options = checkOptions('linearDivergenceBackward', given, BACKWARD_OPTIONS, mode, BACKWARD_OUT);
  const head = checkHead(options);
  return divergenceBackwardCall(head, options, (results) => linearGradients(head, results, options));
}

/**
 * The divergence of a student's distribution from a teacher's, both from hidden states; no [N, V] logits are stored.
 *
 *     logits_i = hidden_i * weight^T (+ bias),  teacherLogits_i = teacherHidden_i * teacherWeight^T (+ teacherBias)
 *     D_i as in `tokenDivergence`
 *
 * Each head's logits are formed once, in tiles or, for jsd, a block of rows at a time. Masked and ignored rows cost nothing. The
 * same bits for any number of threads.
 *
 * @param options.hidden [N, H] of the student, `weight` [V, H], `bias` [V], as in `linearLogps`.
 * @param options.hiddenSize H; N is the length of `hidden` divided by H or `hiddenStride`. `vocabSize`: V.
 * @param options.divergence 'forward_kl', 'reverse_kl' or 'jsd' (with `jsdBeta`, 0.5 by default).
 * @param options.teacherHidden [N, H'], `teacherWeight` [V, H'], `teacherBias` [V] of another class or hidden size or the same, with
 * `teacherDtype`, `teacherWeightDtype`, `teacherWeightLayout`, `teacherHiddenSize`, `teacherHiddenStride`, `teacherTemperature` and
 * `teacherSoftcap`, the student's by default (but for the sizes): a teacher without softcap of a student that has one needs
 * `teacherSoftcap: null`.
 * @param options.teacherIndices [N, K] in place of a head, with `teacherLogps` [N, K] and `topKTail`. With 'renormalize', only K
 * logits of a row are formed.
 * @param options.labels [N], which drops rows with the label `ignoreIndex`; `mask` [N] likewise.
 * @param options.out buffers to write to: `divergence` [N], `saved` [4 N].
 * @returns divergence: [N], nats; saved: [4 N] float64, for `linearDivergenceBackward`.
 * @throws as `tokenDivergence` does.
 * @see arXiv 2306.13649, Section 3.
 * @example
 * const hidden = new Float32Array([1, 0]); // one row, H = 2
 * const weight = new Float32Array([1, 0, 2, 0]); // V = 2
 * const teacher = { teacherHidden: new Float32Array([1]), teacherWeight: new Float32Array([2, 1]) };
 * const { divergence } = linearDivergence({ hidden, weight, hiddenSize: 2, ...teacher, divergence: 'forward_kl' }); // [0.4621]
 */
export function linearDivergence(options: Inputs & Teacher): RowDivergences;
export function linearDivergence(options: OnDevice<LinearDivergenceOptions>): OnDevice<RowDivergences>;
export function linearDivergence(
  options: LinearDivergenceOptions | OnDevice<LinearDivergenceOptions>,
): RowDivergences | OnDevice<RowDivergences> {
  return runSync(forward(options as LinearDivergenceOptions, 'sync')) as RowDivergences;
}

/**
 * `linearDivergence` on another thread.
 *
 *     logits_i = hidden_i * weight^T (+ bias),  D_i as in `tokenDivergence`
 *
 * @param options as `linearDivergence` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `linearDivergence`; the same bits.
 * @throws nothing; the promise rejects with what `linearDivergence` throws, with the signal's reason, and with TypeError ERR_DETACHED
 * where a buffer of `out` was detached meanwhile.
 * @see arXiv 2306.13649, Section 3.
 * @example
 * const { divergence } = await linearDivergenceAsync({ hidden, weight, hiddenSize, ...teacher, divergence: 'jsd' });
 */
export function linearDivergenceAsync(options: LinearDivergenceOptions & Abortable): Promise<RowDivergences>;
export function linearDivergenceAsync(
  options: OnDevice<LinearDivergenceOptions> & Abortable,
): Promise<OnDevice<RowDivergences>>;
export function linearDivergenceAsync(
  options: (LinearDivergenceOptions | OnDevice<LinearDivergenceOptions>) & Abortable,
): Promise<RowDivergences | OnDevice<RowDivergences>> {
  return runAsync(options as LinearDivergenceOptions, forward) as Promise<RowDivergences>;
}

/**
 * The gradients of `linearDivergence` at the student's hidden states, weight and bias; there is none at the teacher.
 *
 *     d_iv = gradDivergence_i * dD_i/dlogits_iv, as in `tokenDivergenceBackward`
 *     gradHidden_i = sum_v d_iv weight_v,  gradWeight_v = sum_i d_iv hidden_i,  gradBias_v = sum_i d_iv
 *
 * Logits are recomputed, a tile at a time. Everything is summed in float32 in a fixed order.
 *
 * @param options.saved [4 N] from `linearDivergence` with the same options.
 * @param options.gradDivergence [N] the gradient of the loss at each divergence.
 * @param options.precision of 16-bit heads: 'float32' or 'storage', which rounds d to 16 bits; see `backends()`.
 * @param options.accumulate add into `out` (gradient accumulation over micro-batches); then all of its buffers must be given.
 * @param options.frozenWeight true: only gradHidden is computed (LoRA, a frozen head). `frozenHidden`: only gradWeight and gradBias.
 * @param options.out `gradHidden` [N, H], `gradWeight` [V, H], `gradBias` [V], float32; not of what is frozen.
 * @returns gradHidden, gradWeight and, with a bias, gradBias, unless frozen: float32.
 * @throws as `tokenDivergence` does.
 * @see arXiv 2306.13649, Section 3.
 * @example
 * const head = { hidden: new Float32Array([1, 0]), weight: new Float32Array([1, 0, 2, 0]), hiddenSize: 2 };
 * const teacher = { teacherHidden: new Float32Array([1]), teacherWeight: new Float32Array([2, 1]) };
 * const given = { ...head, ...teacher, divergence: 'forward_kl' } as const;
 * const { saved } = linearDivergence(given);
 * linearDivergenceBackward({ ...given, saved, gradDivergence: new Float32Array([1]) }).gradHidden; // [0.4621, 0]
 */
export function linearDivergenceBackward<FW extends boolean = false, FH extends boolean = false>(
  options: LinearDivergenceBackwardOptions & LinearGradientOptions<FW, FH>,
): LinearGradientsOf<FW, FH>;
export function linearDivergenceBackward<FW extends boolean = false, FH extends boolean = false>(
  options: OnDevice<LinearDivergenceBackwardOptions> & LinearGradientOptions<FW, FH>,
): OnDevice<LinearGradientsOf<FW, FH>>;
export function linearDivergenceBackward(
  options: LinearDivergenceBackwardOptions | OnDevice<LinearDivergenceBackwardOptions>,
): object {
  return runSync(backward(options as LinearDivergenceBackwardOptions, 'sync'));
}

/**
 * `linearDivergenceBackward` on another thread.
 *
 *     gradHidden_i = sum_v d_iv weight_v,  gradWeight_v = sum_i d_iv hidden_i,  gradBias_v = sum_i d_iv
 *
 * @param options as `linearDivergenceBackward` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `linearDivergenceBackward`; the same bits.
 * @throws nothing; the promise rejects with what `linearDivergenceBackward` throws, with the signal's reason, and with TypeError
 * ERR_DETACHED where a buffer of `out` was detached meanwhile.
 * @see arXiv 2306.13649, Section 3.
 * @example
 * const backward = { hidden, weight, hiddenSize, ...teacher, divergence: 'jsd', saved, gradDivergence } as const;
 * const { gradHidden, gradWeight } = await linearDivergenceBackwardAsync(backward);
 */
export function linearDivergenceBackwardAsync<FW extends boolean = false, FH extends boolean = false>(
  options: LinearDivergenceBackwardOptions & LinearGradientOptions<FW, FH> & Abortable,
): Promise<LinearGradientsOf<FW, FH>>;
export function linearDivergenceBackwardAsync<FW extends boolean = false, FH extends boolean = false>(
  options: OnDevice<LinearDivergenceBackwardOptions> & LinearGradientOptions<FW, FH> & Abortable,
): Promise<OnDevice<LinearGradientsOf<FW, FH>>>;
export function linearDivergenceBackwardAsync(
  options: (LinearDivergenceBackwardOptions | OnDevice<LinearDivergenceBackwardOptions>) & Abortable,
): Promise<object> {
  return runAsync(options as LinearDivergenceBackwardOptions, backward);
}
