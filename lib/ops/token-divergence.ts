import type { FloatArray } from '../args/dtypes.js';
import { checkLogits, checkScale, LOGITS_HEAD, type LogitsHead, type ScaleOptions } from '../args/head.js';
import { LABEL_OPTIONS } from '../args/labels.js';
import { checkOptions, type Mode } from '../args/options.js';
import { LOGITS_TEACHER, type TeacherLogits, type TopKTeacher } from '../args/teacher.js';
import type { DeviceBuffer, OnDevice } from '../device/device-buffer.js';
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
import { logitsGradients } from './head-gradients.js';

type Teacher = TeacherLogits | TopKTeacher;

interface Inputs extends LogitsHead, ScaleOptions, DivergenceOptions {
  out?: DivergenceOut | undefined;
}

interface BackwardInputs<L extends FloatArray> extends LogitsHead<L>, ScaleOptions, DivergenceBackwardOptions {
  out?: { gradLogits?: L | undefined } | undefined;
}

/** What `tokenDivergence` takes. */
export type TokenDivergenceOptions = Inputs & Teacher;

/** What `tokenDivergenceBackward` takes. */
export type TokenDivergenceBackwardOptions<L extends FloatArray = FloatArray> = BackwardInputs<L> & Teacher;

const FORWARD_OPTIONS = new Set<string>([...LOGITS_HEAD, ...LABEL_OPTIONS, ...LOGITS_TEACHER, ...DIVERGENCE_OPTIONS]);
const BACKWARD_OPTIONS = new Set([...FORWARD_OPTIONS, 'saved', 'gradDivergence']);
const BACKWARD_OUT = new Set(['gradLogits']);

const checkHead = <L extends FloatArray>(options: LogitsHead<L> & ScaleOptions) => {
  const rows = countRows(options, ['logits', 'dtype', 'vocabSize', 'rowStride']);
  return checkLogits(options, rows, checkScale(options), OF_STUDENT);
};

function forward(given: TokenDivergenceOptions, mode: Mode): PreparedCall<'headDivergence'> {
  const options = checkOptions('tokenDivergence', given, FORWARD_OPTIONS, mode, DIVERGENCE_OUT);
  return divergenceCall(checkHead(options), options);
}

function backward(given: TokenDivergenceBackwardOptions, mode: Mode): PreparedCall<'headDivergenceBackward'> {
  const options = checkOptions('tokenDivergenceBackward', given, BACKWARD_OPTIONS, mode, BACKWARD_OUT);
  const head = checkHead(options);
  return divergenceBackwardCall(head, options, (results) => logitsGradients(head, results));
}

/**
 * The divergence of a student's distribution Q from a teacher's P over the whole vocabulary, row by row, for distillation.
 *
 *     forward_kl  D_i = sum_v P_iv (log P_iv - log Q_iv)
 *     reverse_kl  D_i = sum_v Q_iv (log Q_iv - log P_iv)
 *     jsd         D_i = b KL(P_i || M_i) + (1 - b) KL(Q_i || M_i),  M = b P + (1 - b) Q,  b = jsdBeta
 *
 * One read of both rows, two for jsd; the same bits for any number of threads. A KL is infinite where the left distribution has
 * an entry that is -inf in the right one; jsd is finite. Rows of equal bits give exactly 0. A row that is masked or whose label
 * is `ignoreIndex` is not read and has 0. The loss is the caller's: of sum_i w_i D_i / sum_i w_i, gradDivergence is w / sum w.
 * No factor temperature^2 is applied.
 *
 * @param options.logits [N, V] of the student, float32, bfloat16 or float16.
 * @param options.vocabSize V; N is the length of `logits` divided by V or `rowStride`.
 * @param options.divergence 'forward_kl', 'reverse_kl' or 'jsd' (with `jsdBeta`, 0.5 by default).
 * @param options.teacherLogits [N, V], with `teacherDtype`, `teacherRowStride`, `teacherTemperature` and `teacherSoftcap`, the student's
 * by default: a teacher without softcap of a student that has one needs `teacherSoftcap: null`.
 * @param options.teacherIndices [N, K] in place of logits, with `teacherLogps` [N, K]: the K most probable tokens of the teacher;
 * `topKTail` 'bucket' (default) makes one entry of all others, 'renormalize' leaves them out.
 * @param options.labels [N], which drops rows with the label `ignoreIndex`; other labels are not looked at. `mask` [N] likewise.
 * @param options.out buffers to write to: `divergence` [N], `saved` [4 N].
 * @returns divergence: [N], nats; saved: [4 N] float64, for `tokenDivergenceBackward`.
 * @throws RangeError ERR_ARG_VALUE for token ids of a teacher outside [0, V) or twice in a row, and for log-probs that add up to
 * more than 1; TypeError or RangeError naming a wrong argument.
 * @see arXiv 2306.13649, Section 3 (generalised Jensen-Shannon divergence).
 * @example
 * const logits = new Float32Array([1, 2, 3, 4]);
 * const teacherLogits = new Float32Array([2, 1, 3, 4]);
 * const { divergence } = tokenDivergence({ logits, vocabSize: 2, teacherLogits, divergence: 'forward_kl' });
 * // divergence = [0.4621, 0]
 */
export function tokenDivergence(options: Inputs & Teacher): RowDivergences;
export function tokenDivergence(options: OnDevice<TokenDivergenceOptions>): OnDevice<RowDivergences>;
export function tokenDivergence(
  options: TokenDivergenceOptions | OnDevice<TokenDivergenceOptions>,
): RowDivergences | OnDevice<RowDivergences> {
  return runSync(forward(options as TokenDivergenceOptions, 'sync')) as RowDivergences;
}

/**
 * `tokenDivergence` on another thread.
 *
 *     forward_kl  D_i = sum_v P_iv (log P_iv - log Q_iv),  reverse_kl and jsd as in `tokenDivergence`
 *
 * @param options as `tokenDivergence` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `tokenDivergence`; the same bits.
 * @throws nothing; the promise rejects with what `tokenDivergence` throws, with the signal's reason, and with TypeError ERR_DETACHED
 * where a buffer of `out` was detached meanwhile.
 * @see arXiv 2306.13649, Section 3.
 * @example
 * const { divergence } = await tokenDivergenceAsync({ logits, vocabSize, teacherLogits, divergence: 'reverse_kl' });
 */
export function tokenDivergenceAsync(options: TokenDivergenceOptions & Abortable): Promise<RowDivergences>;
export function tokenDivergenceAsync(
  options: OnDevice<TokenDivergenceOptions> & Abortable,
): Promise<OnDevice<RowDivergences>>;
export function tokenDivergenceAsync(
  options: (TokenDivergenceOptions | OnDevice<TokenDivergenceOptions>) & Abortable,
): Promise<RowDivergences | OnDevice<RowDivergences>> {
  return runAsync(options as TokenDivergenceOptions, forward) as Promise<RowDivergences>;
}

/**
 * The gradient of `tokenDivergence` at the student's logits; there is none at the teacher.
 *
 *     forward_kl  dloss/dlogits_iv = gradDivergence_i (Q_iv - P_iv) / temperature
 *     reverse_kl  dloss/dlogits_iv = gradDivergence_i Q_iv (log Q_iv - log P_iv - D_i) / temperature
 *     jsd         dloss/dlogits_iv = gradDivergence_i (1 - b) Q_iv (log Q_iv - log M_iv - KL(Q_i || M_i)) / temperature
 *
 * With a softcap of the student, the gradient at a logit x is this times 1 - tanh^2(x / softcap).
 *
 * One read of both rows and one write. Masked and ignored rows become 0, and so does the padding of rows. A row whose reverse_kl is
 * infinite becomes NaN. In place only when asked: `out.gradLogits` may be `logits` itself.
 *
 * @param options.saved [4 N] from `tokenDivergence` with the same options.
 * @param options.gradDivergence [N] the gradient of the loss at each divergence.
 * @param options.out `gradLogits`, of the class and length of `logits`.
 * @returns gradLogits: [N, V] in the type and with the row stride of `logits`, rounded once.
 * @throws as `tokenDivergence` does.
 * @see arXiv 2306.13649, Section 3.
 * @example
 * const given = { logits: new Float32Array([1, 2, 3, 4]), vocabSize: 2, teacherLogits: new Float32Array([2, 1, 3, 4]) };
 * const { saved } = tokenDivergence({ ...given, divergence: 'forward_kl' });
 * const gradDivergence = new Float32Array([1, 1]);
 * const { gradLogits } = tokenDivergenceBackward({ ...given, divergence: 'forward_kl', saved, gradDivergence });
 * // gradLogits = [-0.4621, 0.4621, 0, 0]
 */
export function tokenDivergenceBackward<L extends FloatArray>(options: BackwardInputs<L> & Teacher): { gradLogits: L };
export function tokenDivergenceBackward(options: OnDevice<TokenDivergenceBackwardOptions>): {
  gradLogits: DeviceBuffer;
};
export function tokenDivergenceBackward(
  options: TokenDivergenceBackwardOptions | OnDevice<TokenDivergenceBackwardOptions>,
): { gradLogits: FloatArray | DeviceBuffer } {
  return runSync(backward(options as TokenDivergenceBackwardOptions, 'sync')) as { gradLogits: FloatArray };
}

/**
 * `tokenDivergenceBackward` on another thread.
 *
 *     forward_kl  dloss/dlogits_iv = gradDivergence_i (Q_iv - P_iv) / temperature,  others as in `tokenDivergenceBackward`
 *
 * @param options as `tokenDivergenceBackward` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `tokenDivergenceBackward`; the same bits.
 * @throws nothing; the promise rejects with what `tokenDivergenceBackward` throws, with the signal's reason, and with TypeError
 * ERR_DETACHED where a buffer of `out` was detached meanwhile.
 * @see arXiv 2306.13649, Section 3.
 * @example
 * const backward = { logits, vocabSize, teacherLogits, divergence: 'jsd', saved, gradDivergence } as const;
 * const { gradLogits } = await tokenDivergenceBackwardAsync(backward);
 */
export function tokenDivergenceBackwardAsync<L extends FloatArray>(
  options: TokenDivergenceBackwardOptions<L> & Abortable,
): Promise<{ gradLogits: L }>;
export function tokenDivergenceBackwardAsync(
  options: OnDevice<TokenDivergenceBackwardOptions> & Abortable,
): Promise<{ gradLogits: DeviceBuffer }>;
export function tokenDivergenceBackwardAsync(
  options: (TokenDivergenceBackwardOptions | OnDevice<TokenDivergenceBackwardOptions>) & Abortable,
): Promise<{ gradLogits: FloatArray | DeviceBuffer }> {
  return runAsync(options as TokenDivergenceBackwardOptions, backward) as Promise<{ gradLogits: FloatArray }>;
}
