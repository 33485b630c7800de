import {
  checkLinear,
  checkScale,
  LINEAR_GRADIENT_OPTIONS,
  LINEAR_HEAD,
  type LinearGradientOptions,
  type LinearHead,
  type ScaleOptions,
} from '../args/head.js';
import { checkLabels, LABEL_OPTIONS } from '../args/labels.js';
import { checkOptions, type Mode } from '../args/options.js';
import { checkShard, SHARD_OPTIONS } from '../args/vocab-shard.js';
import type { OnDevice } from '../device/device-buffer.js';
import { type Abortable, type PreparedCall, runAsync, runSync } from '../runtime/call.js';
import { LINEAR_GRADIENTS, type LinearGradients, type LinearGradientsOf, linearGradients } from './head-gradients.js';
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

/** What `linearLogps` takes. */
export interface LinearLogpsOptions extends LinearHead, ScaleOptions, ForwardOptions {}

/** What `linearLogpsBackward` takes. */
export interface LinearLogpsBackwardOptions extends LinearHead, LinearGradientOptions, BackwardOptions {
  out?: { [name in keyof LinearGradients]?: Float32Array | undefined } | undefined;
}

const HEAD_OPTIONS = [...LINEAR_HEAD, ...LABEL_OPTIONS, 'debug', 'out'];
const FORWARD_OPTIONS = new Set([...HEAD_OPTIONS, ...STATISTICS]);
const BACKWARD_OPTIONS = new Set([...HEAD_OPTIONS, ...SHARD_OPTIONS, ...UPSTREAM_OPTIONS, ...LINEAR_GRADIENT_OPTIONS]);
const BACKWARD_OUT = new Set<string>(LINEAR_GRADIENTS);

function forward(given: LinearLogpsOptions, mode: Mode): PreparedCall<'logps'> {
  const options = checkOptions('linearLogps', given, FORWARD_OPTIONS, mode, LOGPS_OUT);
  const labels = checkLabels(options);
  const head = checkLinear(options, labels.rows, checkScale(options));
  return forwardCall(head, labels, options);
}

function backward(given: LinearLogpsBackwardOptions, mode: Mode): PreparedCall<'logpsBackward'> {
  const options = checkOptions('linearLogpsBackward', given, BACKWARD_OPTIONS, mode, BACKWARD_OUT);
  const labels = checkLabels(options);
  const head = checkLinear(options, labels.rows, checkScale(options));
  checkShard(options, head);
  return backwardCall(head, labels, options, (results) => linearGradients(head, results, options));
}

/**
 * Log-probabilities of tokens from hidden states; the [N, V] logits are never stored.
 *
 *     logits_i = hidden_i * weight^T (+ bias), then as in `tokenLogps`
 *
 * Masked rows (mask 0) cost nothing. Sums in float32, in an order that does not depend on the number of threads.
 *
 * @param options.hidden [N, H] float32, bfloat16 or float16; with `hiddenStride`, elements from one hidden state to the next.
 * @param options.weight [V, H] or, with `weightLayout: 'HV'`, [H, V] (a kernel of flax); `bias` [V]. The weight may have another
 * type than `hidden`, of a Uint16Array by `weightDtype`; the bias has the weight's or is float32. Products are in float32 then.
 * @param options.hiddenSize H, and `vocabSize` V. Give one of them: without both, a wrong number of labels can pass.
 * @param options.labels [N] the tokens taken.
 * @param options.chunkBytes on a device, the most bytes of logits at once; 2^30 by default.
 * @param options.entropy also compute the entropy of each row.
 * @param options.argmax also find the token id of the largest logit, before the temperature; the lowest of equal ones. The share
 * of the kept rows with argmax = label is the token accuracy.
 * @param options.sumSquaredProbs also compute the sum of the squares of all probabilities of each row.
 * @param options.out buffers to write to: `logps`, `lse`, `entropy`, `argmax`, `sumSquaredProbs`, [N] each.
 * @returns logps, lse and, when asked for, entropy, [N] each, nats, argmax, an Int32Array [N], and sumSquaredProbs [N].
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const hidden = new Float32Array([1, 0]); // one row, H = 2
 * const weight = new Float32Array([1, 0, 2, 0, 3, 0]); // V = 3
 * const { logps } = linearLogps({ hidden, weight, hiddenSize: 2, labels: new Int32Array([2]) }); // [-0.4076]
 */
export function linearLogps(options: LinearLogpsOptions): Logps;
export function linearLogps(options: OnDevice<LinearLogpsOptions>): OnDevice<Logps>;
export function linearLogps(options: LinearLogpsOptions | OnDevice<LinearLogpsOptions>): Logps | OnDevice<Logps> {
  return runSync(forward(options as LinearLogpsOptions, 'sync')) as Logps;
}

/**
 * `linearLogps` on another thread.
 *
 *     logits_i = hidden_i * weight^T (+ bias), then as in `tokenLogps`
 *
 * @param options as `linearLogps` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `linearLogps`; the same bits.
 * @throws nothing; the promise rejects with what `linearLogps` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was detached meanwhile.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const { logps } = await linearLogpsAsync({ hidden, weight, hiddenSize, labels, signal: AbortSignal.timeout(1000) });
 */
export function linearLogpsAsync(options: LinearLogpsOptions & Abortable): Promise<Logps>;
export function linearLogpsAsync(options: OnDevice<LinearLogpsOptions> & Abortable): Promise<OnDevice<Logps>>;
export function linearLogpsAsync(
  options: (LinearLogpsOptions | OnDevice<LinearLogpsOptions>) & Abortable,
): Promise<Logps | OnDevice<Logps>> {
  return runAsync(options as LinearLogpsOptions, forward) as Promise<Logps>;
}

/**
 * The gradients of token log-probs, and of entropy and lse, at hidden states, weight and bias.
 *
 *     l_iv = z_iv - lse_i,  p_iv = exp(l_iv)
 *     d_iv = (gradLogps_i * (1[v = label_i] - p_iv) - gradEntropy_i * p_iv * (l_iv + entropy_i) + gradLse_i * p_iv) / temperature
 *     gradHidden_i = sum_v d_iv weight_v,  gradWeight_v = sum_i d_iv hidden_i,  gradBias_v = sum_i d_iv
 *
 * With a softcap, d_iv is this times 1 - tanh^2 of the logit divided by the softcap.
 *
 * Logits are recomputed, a tile at a time. Everything is summed in float32, whatever the storage type, in a fixed order. The
 * label's entry of a confident token is the sum of the other p_iv, as in `tokenLogpsBackward`; not in a vocabulary shard.
 *
 * @param options.lse [N] from `linearLogps` over the same head, with the same temperature, or, for a vocabulary shard
 * of the weight with its `vocabOffset` and `totalVocab`, from `mergeVocabParallelStats`; gradHidden is then the shard's term
 * of the sum over shards.
 * @param options.gradLogps [N] the gradient of the loss at each log-prob. At least one of the three gradients must be given.
 * @param options.gradEntropy [N] the gradient of the loss at each entropy; with `entropy` [N] of the forward pass.
 * @param options.gradLse [N] the gradient of the loss at each lse.
 * @param options.precision of 16-bit heads: 'float32' or 'storage', which rounds d to 16 bits; see `backends()`.
 * @param options.accumulate add into `out` (gradient accumulation over micro-batches); then all of its buffers must be given.
 * @param options.frozenWeight true: only gradHidden is computed (LoRA, a frozen head), at 4 N H V operations instead of 6 and
 * without memory of the size of the weight. `frozenHidden`: only gradWeight and gradBias are.
 * @param options.weightLayout 'VH' or 'HV': of the weight and of gradWeight.
 * @param options.out `gradHidden` [N, H], `gradWeight` [V, H] (or [H, V]), `gradBias` [V], float32; not of what is frozen.
 * @returns gradHidden, gradWeight and, with a bias, gradBias, unless frozen: float32.
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const head = { hidden: new Float32Array([1, 0]), weight: new Float32Array([1, 0, 2, 0, 3, 0]), hiddenSize: 2 };
 * const labels = new Int32Array([2]);
 * const { lse } = linearLogps({ ...head, labels });
 * linearLogpsBackward({ ...head, labels, lse, gradLogps: new Float32Array([1]) }).gradHidden; // [0.4248, 0]
 */
export function linearLogpsBackward<FW extends boolean = false, FH extends boolean = false>(
  options: LinearLogpsBackwardOptions & LinearGradientOptions<FW, FH>,
): LinearGradientsOf<FW, FH>;
export function linearLogpsBackward<FW extends boolean = false, FH extends boolean = false>(
  options: OnDevice<LinearLogpsBackwardOptions> & LinearGradientOptions<FW, FH>,
): OnDevice<LinearGradientsOf<FW, FH>>;
export function linearLogpsBackward(
  options: LinearLogpsBackwardOptions | OnDevice<LinearLogpsBackwardOptions>,
): object {
  return runSync(backward(options as LinearLogpsBackwardOptions, 'sync'));
}

/**
 * `linearLogpsBackward` on another thread.
 *
 *     gradHidden_i = sum_v d_iv weight_v,  gradWeight_v = sum_i d_iv hidden_i,  gradBias_v = sum_i d_iv
 *
 * @param options as `linearLogpsBackward` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `linearLogpsBackward`; the same bits.
 * @throws nothing; the promise rejects with what `linearLogpsBackward` throws, with the signal's reason, and with TypeError
 * ERR_DETACHED where a buffer of `out` was detached meanwhile.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const { gradHidden, gradWeight } = await linearLogpsBackwardAsync({ hidden, weight, hiddenSize, labels, lse, gradLogps });
 */
export function linearLogpsBackwardAsync<FW extends boolean = false, FH extends boolean = false>(
  options: LinearLogpsBackwardOptions & LinearGradientOptions<FW, FH> & Abortable,
): Promise<LinearGradientsOf<FW, FH>>;
export function linearLogpsBackwardAsync<FW extends boolean = false, FH extends boolean = false>(
  options: OnDevice<LinearLogpsBackwardOptions> & LinearGradientOptions<FW, FH> & Abortable,
): Promise<OnDevice<LinearGradientsOf<FW, FH>>>;
export function linearLogpsBackwardAsync(
  options: (LinearLogpsBackwardOptions | OnDevice<LinearLogpsBackwardOptions>) & Abortable,
): Promise<object> {
  return runAsync(options as LinearLogpsBackwardOptions, backward);
}
