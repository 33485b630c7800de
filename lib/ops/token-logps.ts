import type { FloatArray } from '../args/dtypes.js';
import { checkLogits, checkScale, LOGITS_HEAD, type LogitsHead, type ScaleOptions } from '../args/head.js';
import { checkLabels, LABEL_OPTIONS } from '../args/labels.js';
import { checkOptions, type Mode } from '../args/options.js';
import { checkShard, SHARD_OPTIONS } from '../args/vocab-shard.js';
import type { DeviceBuffer, OnDevice } from '../device/device-buffer.js';
import { type Abortable, type PreparedCall, runAsync, runSync } from '../runtime/call.js';
import { logitsGradients } from './head-gradients.js';
import {
  type BackwardOptions,
  backwardCall,
  type ForwardOptions,
  forwardCall,
  LOGPS_OUT,
  type Logps,
  STATISTICS,
  UPSTREAM_OPTIONS,
} from './logps.js';

/** What `tokenLogps` takes. */
export interface TokenLogpsOptions extends LogitsHead, ScaleOptions, ForwardOptions {}

/** What `tokenLogpsBackward` takes. */
export interface TokenLogpsBackwardOptions<L extends FloatArray = FloatArray> extends LogitsHead<L>, BackwardOptions {
  out?: { gradLogits?: L | undefined } | undefined;
}

const HEAD_OPTIONS = [...LOGITS_HEAD, ...LABEL_OPTIONS, 'debug', 'out'];
const FORWARD_OPTIONS = new Set([...HEAD_OPTIONS, ...STATISTICS]);
const BACKWARD_OPTIONS = new Set([...HEAD_OPTIONS, ...SHARD_OPTIONS, ...UPSTREAM_OPTIONS]);
const BACKWARD_OUT = new Set(['gradLogits']);

function forward(given: TokenLogpsOptions, mode: Mode): PreparedCall<'logps'> {
  const options = checkOptions('tokenLogps', given, FORWARD_OPTIONS, mode, LOGPS_OUT);
  const labels = checkLabels(options);
  const head = checkLogits(options, labels.rows, checkScale(options));
  return forwardCall(head, labels, options);
}

function backward(given: TokenLogpsBackwardOptions, mode: Mode): PreparedCall<'logpsBackward'> {
  const options = checkOptions('tokenLogpsBackward', given, BACKWARD_OPTIONS, mode, BACKWARD_OUT);
  const labels = checkLabels(options);
  const head = checkLogits(options, labels.rows, checkScale(options));
  checkShard(options, head);
  return backwardCall(head, labels, options, (results) => logitsGradients(head, results));
}

/**
 * Log-probabilities of tokens under the softmax of their rows of logits.
 *
 *     z = s(logits) / temperature,  lse_i = log sum_v exp(z_iv),  logp_i = z_i,label - lse_i,  p_iv = exp(z_iv - lse_i)
 *     s(x) = softcap * tanh(x / softcap), or x without a softcap
 *     H_i = lse_i - sum_v p_iv z_iv,  sumSquaredProbs_i = sum_v p_iv^2,  argmax_i = the lowest v of the largest logits_iv
 *
 * 1 - 2 p_i,label + sumSquaredProbs_i is the squared norm of the gradient of logp_i at z_i, by which the optimal token baseline
 * of policy gradients weighs returns (verl).
 *
 * One pass over memory; sums in float32 lanes joined in float64, the same bits for any number of threads. -inf
 * logits are vocabulary entries of probability 0; a NaN is propagated. A row whose label is `ignoreIndex` has logp 0 and
 * keeps its other results; a masked row (mask 0) is never read and has 0 in all of them, and -1 as argmax. A row without a
 * distribution (a NaN, +inf, or nothing but -inf) has NaN in all of them, and -1 as argmax.
 *
 * @param options.logits [N, V] float32, bfloat16 or float16; see `dtype`, `rowStride`.
 * @param options.vocabSize V. Give it: without it V is logits.length / N, and a wrong number of labels can pass.
 * @param options.temperature divides the logits; 1 by default. `softcap` caps them before that, as in Gemma 2; none by default.
 * @param options.labels [N] the tokens taken.
 * @param options.entropy also compute the entropy of each row.
 * @param options.argmax also find the token id of the largest logit, before the temperature; the lowest of equal ones. The share
 * of the kept rows with argmax = label is the token accuracy.
 * @param options.sumSquaredProbs also compute the sum of the squares of all probabilities of each row.
 * @param options.out buffers to write to: `logps`, `lse`, `entropy`, `argmax`, `sumSquaredProbs`, [N] each.
 * @returns logps, lse and, when asked for, entropy, [N] each, nats, argmax, an Int32Array [N], and sumSquaredProbs [N].
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4: log pi(a | o) token by token.
 * @example
 * const { logps } = tokenLogps({ logits: new Float32Array([1, 2, 3, 4]), vocabSize: 2, labels: new Int32Array([1, 0]) });
 * // logps = [-0.3133, -1.3133]
 */
export function tokenLogps(options: TokenLogpsOptions): Logps;
export function tokenLogps(options: OnDevice<TokenLogpsOptions>): OnDevice<Logps>;
export function tokenLogps(options: TokenLogpsOptions | OnDevice<TokenLogpsOptions>): Logps | OnDevice<Logps> {
  return runSync(forward(options as TokenLogpsOptions, 'sync')) as Logps;
}

/**
 * `tokenLogps` on another thread.
 *
 *     z = logits / temperature,  logp_i = z_i,label - log sum_v exp(z_iv)
 *
 * @param options as `tokenLogps` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `tokenLogps`; the same bits.
 * @throws nothing; the promise rejects with what `tokenLogps` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was detached meanwhile.
 * @see arXiv 2503.15478, Section 4: log pi(a | o) token by token.
 * @example
 * const { logps } = await tokenLogpsAsync({ logits, vocabSize, labels, signal: AbortSignal.timeout(1000) });
 */
export function tokenLogpsAsync(options: TokenLogpsOptions & Abortable): Promise<Logps>;
export function tokenLogpsAsync(options: OnDevice<TokenLogpsOptions> & Abortable): Promise<OnDevice<Logps>>;
export function tokenLogpsAsync(
  options: (TokenLogpsOptions | OnDevice<TokenLogpsOptions>) & Abortable,
): Promise<Logps | OnDevice<Logps>> {
  return runAsync(options as TokenLogpsOptions, forward) as Promise<Logps>;
}

/**
 * The gradient of token log-probs, and of entropy and lse, at the logits.
 *
 *     l_iv = z_iv - lse_i,  p_iv = exp(l_iv)
 *     dloss/dlogits_iv = (gradLogps_i * (1[v = label_i] - p_iv) - gradEntropy_i * p_iv * (l_iv + entropy_i)
 *                         + gradLse_i * p_iv) / temperature
 *
 * With a softcap, the gradient at a logit x is this times 1 - tanh^2(x / softcap), and z is that of `tokenLogps`.
 *
 * An entropy bonus of coefficient c has gradEntropy_i = -c, a z-loss c * lse_i^2 has gradLse_i = 2 * c * lse_i.
 * One read and one write. Masked and ignored rows become 0. In place only when asked: `out.gradLogits` may be `logits` itself.
 *
 * lse is float32. Where that leaves 1 - p_label fewer than 12 bits, as for a confident token, the label's entry is the sum of
 * the other p_iv instead (in the updates too), at one more read of the row. A vocabulary shard does not have them: its entry
 * keeps the rounding of lse, 2^-24 |lse| of gradLogps_i.
 *
 * @param options.lse [N] from `tokenLogps` over the same logits, with the same temperature, or, for the logits of a
 * vocabulary shard with its `vocabOffset` and `totalVocab`, from `mergeVocabParallelStats`.
 * @param options.gradLogps [N] the gradient of the loss at each log-prob. At least one of the three gradients must be given.
 * @param options.gradEntropy [N] the gradient of the loss at each entropy; with `entropy` [N] of the forward pass.
 * @param options.gradLse [N] the gradient of the loss at each lse.
 * @param options.out `gradLogits`, of the class and length of `logits`.
 * @returns gradLogits: [N, V] in the type and with the row stride of `logits`, rounded once.
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const logits = new Float32Array([1, 2, 3, 4]);
 * const labels = new Int32Array([1, 0]);
 * const { lse } = tokenLogps({ logits, vocabSize: 2, labels });
 * const { gradLogits } = tokenLogpsBackward({ logits, vocabSize: 2, labels, lse, gradLogps: new Float32Array([1, 1]) });
 * // gradLogits = [-0.2689, 0.2689, 0.7311, -0.7311]
 */
export function tokenLogpsBackward<L extends FloatArray>(options: TokenLogpsBackwardOptions<L>): { gradLogits: L };
export function tokenLogpsBackward(options: OnDevice<TokenLogpsBackwardOptions>): { gradLogits: DeviceBuffer };
export function tokenLogpsBackward(options: TokenLogpsBackwardOptions | OnDevice<TokenLogpsBackwardOptions>): {
  gradLogits: FloatArray | DeviceBuffer;
} {
  return runSync(backward(options as TokenLogpsBackwardOptions, 'sync')) as { gradLogits: FloatArray };
}

/**
 * `tokenLogpsBackward` on another thread.
 *
 *     dloss/dlogits_iv = gradLogps_i * (1[v = label_i] - p_iv) / temperature,  p_iv = exp(z_iv - lse_i)
 *
 * @param options as `tokenLogpsBackward` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `tokenLogpsBackward`; the same bits.
 * @throws nothing; the promise rejects with what `tokenLogpsBackward` throws, with the signal's reason, and with TypeError
 * ERR_DETACHED where a buffer of `out` was detached meanwhile.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const { gradLogits } = await tokenLogpsBackwardAsync({ logits, vocabSize, labels, lse, gradLogps, out: { gradLogits: logits } });
 */
export function tokenLogpsBackwardAsync<L extends FloatArray>(
  options: TokenLogpsBackwardOptions<L> & Abortable,
): Promise<{ gradLogits: L }>;
export function tokenLogpsBackwardAsync(
  options: OnDevice<TokenLogpsBackwardOptions> & Abortable,
): Promise<{ gradLogits: DeviceBuffer }>;
export function tokenLogpsBackwardAsync(
  options: (TokenLogpsBackwardOptions | OnDevice<TokenLogpsBackwardOptions>) & Abortable,
): Promise<{ gradLogits: FloatArray | DeviceBuffer }> {
  return runAsync(options as TokenLogpsBackwardOptions, backward) as Promise<{ gradLogits: FloatArray }>;
}
