import { type Call, callOf, runNow, type When } from './call.js';
import { boolean, checkOptions, float32 } from './checks.js';
import type { DeviceBuffer, OnDevice } from './device.js';
import type { FloatArray } from './dtypes.js';
import {
  checkLogits,
  checkTemperature,
  gradLogitsOf,
  LOGITS_HEAD,
  type LogitsHead,
  type TemperatureOption,
} from './head.js';
import { checkLabels, LABEL_OPTIONS, type LabelOptions } from './labels.js';
import { Out, own } from './out.js';

export interface LogpsOut {
  logps?: Float32Array | undefined;
  lse?: Float32Array | undefined;
  entropy?: Float32Array | undefined;
}

/** Log-probs with what their gradient needs, and the entropy where it was asked for. */
export interface Logps {
  /** [N], log p(label); 0 where the row is dropped. */
  logps: Float32Array;
  /** [N], log Σ exp of the row. */
  lse: Float32Array;
  /** [N], nats; only when asked for. */
  entropy?: Float32Array;
}

/** What `tokenLogps` takes. */
export interface TokenLogpsOptions extends LogitsHead, TemperatureOption, LabelOptions {
  entropy?: boolean | undefined;
  out?: LogpsOut | undefined;
}

/** What `tokenLogpsBackward` takes. */
export interface TokenLogpsBackwardOptions<L extends FloatArray = FloatArray>
  extends LogitsHead<L>,
    TemperatureOption,
    LabelOptions {
  /** [N], of the forward pass over the same logits. */
  lse: Float32Array;
  /** [N], the gradient of the loss at each log-prob. */
  gradLogps: Float32Array;
  out?: { gradLogits?: L | undefined } | undefined;
}

const HEAD_OPTIONS = [...LOGITS_HEAD, ...LABEL_OPTIONS];
const FORWARD_OPTIONS = new Set([...HEAD_OPTIONS, 'entropy', 'out']);
const BACKWARD_OPTIONS = new Set([...HEAD_OPTIONS, 'lse', 'gradLogps', 'out']);
export const FORWARD_OUT = new Set(['logps', 'lse', 'entropy']);
const BACKWARD_OUT = new Set(['gradLogits']);

/** The results of a forward pass over N rows, in the caller's buffers or fresh ones. */
export function logpsOf(out: Out, rows: number, entropy: boolean): Logps {
  const results = { logps: out.float32('logps', rows), lse: out.float32('lse', rows) };
  if (entropy) return { ...results, entropy: out.float32('entropy', rows) };
  out.refuse('entropy', 'entropy: true asks for it');
  return results;
}

/** After the native call. */
export function ownLogps({ logps, lse, entropy }: Logps): Logps {
  const owned = { logps: own(logps), lse: own(lse) };
  return entropy === undefined ? owned : { ...owned, entropy: own(entropy) };
}

function forward(options: TokenLogpsOptions, when: When): Call<Logps> {
  checkOptions('tokenLogps', options, FORWARD_OPTIONS, when);
  const labels = checkLabels(options);
  const head = checkLogits(options, labels.count, checkTemperature(options));
  const entropy = boolean('entropy', options.entropy, false);
  const out = new Out(options.out, FORWARD_OUT, labels.labels, when);
  const results = logpsOf(out, labels.count, entropy);
  const native = out.settle([...head.inputs, ['labels', labels.labels], ['mask', labels.mask]]);
  const args = [...head.args, ...labels.args, results.logps, results.lse, results.entropy] as const;
  return callOf(native, 'tokenLogps', args, () => ownLogps(results));
}

function backward(options: TokenLogpsBackwardOptions, when: When): Call<{ gradLogits: FloatArray }> {
  checkOptions('tokenLogpsBackward', options, BACKWARD_OPTIONS, when);
  const labels = checkLabels(options);
  const head = checkLogits(options, labels.count, checkTemperature(options));
  const lse = float32('lse', options.lse, labels.count);
  const gradLogps = float32('gradLogps', options.gradLogps, labels.count);
  const out = new Out(options.out, BACKWARD_OUT, labels.labels, when);
  const gradLogits = gradLogitsOf(head, out);
  const inputs = [
    ...head.inputs,
    ['labels', labels.labels],
    ['mask', labels.mask],
    ['lse', lse],
    ['gradLogps', gradLogps],
  ] as const;
  const native = out.settle(inputs, ['gradLogits', 'logits']);
  const args = [...head.args, ...labels.args, lse, gradLogps, gradLogits] as const;
  return callOf(native, 'tokenLogpsBackward', args, () => ({ gradLogits }));
}

/**
 * Log-probabilities of tokens under the softmax of their rows of logits.
 *
 *     z = logits / temperature,  lse_i = log Σ_v exp(z_iv),  logp_i = z_i,label − lse_i,  H_i = lse_i − Σ_v p_iv z_iv
 *
 * One pass over memory; sums in float32 lanes joined in float64, the same bits for any number of threads. −∞ logits are
 * words of probability 0; a NaN stays visible. A row whose label is `ignoreIndex` has logp 0 and keeps its lse and
 * entropy; a row masked by 0 is never read and has 0 in all three.
 *
 * @param options.logits [N, V] float32, bfloat16 or float16; see `dtype`, `rowStride`, `vocabSize`.
 * @param options.labels [N] the tokens taken.
 * @param options.entropy whether the entropy of each row is wanted too.
 * @param options.out buffers to write to: `logps`, `lse`, `entropy`, [N] each.
 * @returns logps, lse and, when asked for, entropy: [N] each, nats.
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4: log π(a | o) token by token.
 * @example
 * const { logps } = tokenLogps({ logits: new Float32Array([1, 2, 3, 4]), labels: new Int32Array([1, 0]) });
 * // logps = [-0.3133, -1.3133]
 */
export function tokenLogps(options: TokenLogpsOptions): Logps;
export function tokenLogps(options: OnDevice<TokenLogpsOptions>): OnDevice<Logps>;
export function tokenLogps(given: TokenLogpsOptions | OnDevice<TokenLogpsOptions>): Logps | OnDevice<Logps> {
  return runNow(forward(given as TokenLogpsOptions, 'now'));
}

/**
 * The gradient of token log-probs at the logits.
 *
 *     ∂loss/∂logits_iv = gradLogps_i · (1[v = label_i] − p_iv) / temperature,  p_iv = exp(z_iv − lse_i)
 *
 * One read and one write. Dropped rows become 0. In place only when asked: `out.gradLogits` may be `logits` itself.
 *
 * @param options.lse [N] from `tokenLogps` over the same logits, with the same temperature.
 * @param options.gradLogps [N] the gradient of the loss at each log-prob.
 * @param options.out `gradLogits`, of the class and length of `logits`.
 * @returns gradLogits: [N, V] in the type and with the row stride of `logits`, rounded once.
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const logits = new Float32Array([1, 2, 3, 4]);
 * const labels = new Int32Array([1, 0]);
 * const { lse } = tokenLogps({ logits, labels });
 * const { gradLogits } = tokenLogpsBackward({ logits, labels, lse, gradLogps: new Float32Array([1, 1]) });
 * // gradLogits = [-0.2689, 0.2689, 0.7311, -0.7311]
 */
export function tokenLogpsBackward<L extends FloatArray>(options: TokenLogpsBackwardOptions<L>): { gradLogits: L };
export function tokenLogpsBackward(options: OnDevice<TokenLogpsBackwardOptions>): { gradLogits: DeviceBuffer };
export function tokenLogpsBackward(given: TokenLogpsBackwardOptions | OnDevice<TokenLogpsBackwardOptions>): {
  gradLogits: FloatArray | DeviceBuffer;
} {
  return runNow(backward(given as TokenLogpsBackwardOptions, 'now'));
}
