import { type Abortable, type Call, callOf, runLater, runNow, type When } from './call.js';
import { boolean, checkOptions, float32 } from './checks.js';
import type { DeviceBuffer, OnDevice } from './device.js';
import type { FloatArray } from './dtypes.js';
import {
  backwardNumbers,
  checkDebug,
  type DebugOption,
  logitsNumbers,
  lookedThrough,
  lookThrough,
  rowsRead,
} from './finite.js';
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
import { checkShard, SHARD_OPTIONS, type ShardOptions } from './shard.js';

export interface LogpsOut {
  logps?: Float32Array | undefined;
  lse?: Float32Array | undefined;
  entropy?: Float32Array | undefined;
}

/** Log-probs with what their gradient needs, and the entropy where it was asked for. */
export interface Logps {
  /** [N], log p(label); 0 where the row is dropped. */
  logps: Float32Array;
  /** [N], log sum exp of the row. */
  lse: Float32Array;
  /** [N], nats; only when asked for. */
  entropy?: Float32Array;
}

/** What `tokenLogps` takes. */
export interface TokenLogpsOptions extends LogitsHead, TemperatureOption, LabelOptions, DebugOption {
  entropy?: boolean | undefined;
  out?: LogpsOut | undefined;
}

/** What `tokenLogpsBackward` takes. */
export interface TokenLogpsBackwardOptions<L extends FloatArray = FloatArray>
  extends LogitsHead<L>,
    TemperatureOption,
    ShardOptions,
    LabelOptions,
    DebugOption {
  /** [N], of the forward pass over the same logits. */
  lse: Float32Array;
  /** [N], the gradient of the loss at each log-prob. */
  gradLogps: Float32Array;
  out?: { gradLogits?: L | undefined } | undefined;
}

const HEAD_OPTIONS = [...LOGITS_HEAD, ...LABEL_OPTIONS, 'debug'];
const FORWARD_OPTIONS = new Set([...HEAD_OPTIONS, 'entropy', 'out']);
const BACKWARD_OPTIONS = new Set([...HEAD_OPTIONS, ...SHARD_OPTIONS, 'lse', 'gradLogps', 'out']);
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

function forward(given: TokenLogpsOptions, when: When): Call<Logps> {
  const options = checkOptions('tokenLogps', given, FORWARD_OPTIONS, when, FORWARD_OUT);
  const labels = checkLabels(options);
  const head = checkLogits(options, labels.count, checkTemperature(options));
  const entropy = boolean('entropy', options.entropy, false);
  const debug = checkDebug(options);
  const out = new Out(options.out, labels.labels, when);
  const results = logpsOf(out, labels.count, entropy);
  const native = out.settle([...head.inputs, ['labels', labels.labels], ['mask', labels.mask]]);
  if (debug) lookThrough(logitsNumbers(head.args, rowsRead(labels, true)));
  const args = [...head.args, ...labels.args, results.logps, results.lse, results.entropy] as const;
  return callOf(
    native,
    'tokenLogps',
    args,
    out,
    lookedThrough(debug, () => ownLogps(results)),
  );
}

function backward(given: TokenLogpsBackwardOptions, when: When): Call<{ gradLogits: FloatArray }> {
  const options = checkOptions('tokenLogpsBackward', given, BACKWARD_OPTIONS, when, BACKWARD_OUT);
  const labels = checkLabels(options);
  const head = checkLogits(options, labels.count, checkTemperature(options));
  const shard = checkShard(options, head.vocab);
  const lse = float32('lse', options.lse, labels.count);
  const gradLogps = float32('gradLogps', options.gradLogps, labels.count);
  const debug = checkDebug(options);
  const out = new Out(options.out, labels.labels, when);
  const gradLogits = gradLogitsOf(head, out);
  const inputs = [
    ...head.inputs,
    ['labels', labels.labels],
    ['mask', labels.mask],
    ['lse', lse],
    ['gradLogps', gradLogps],
  ] as const;
  const native = out.settle(inputs, ['gradLogits', 'logits']);
  if (debug) lookThrough([...logitsNumbers(head.args, rowsRead(labels, false)), ...backwardNumbers(labels, options)]);
  const args = [...head.args, ...shard, ...labels.args, lse, gradLogps, gradLogits] as const;
  const finish = lookedThrough(debug, () => ({ gradLogits }), [false, ...head.args]);
  return callOf(native, 'tokenLogpsBackward', args, out, finish);
}

/**
 * Log-probabilities of tokens under the softmax of their rows of logits.
 *
 *     z = logits / temperature,  lse_i = log sum_v exp(z_iv),  logp_i = z_i,label - lse_i,  H_i = lse_i - sum_v p_iv z_iv
 *
 * One pass over memory; sums in float32 lanes joined in float64, the same bits for any number of threads. -inf logits are
 * words of probability 0; a NaN stays visible. A row whose label is `ignoreIndex` has logp 0 and keeps its lse and
 * entropy; a row masked by 0 is never read and has 0 in all three.
 *
 * @param options.logits [N, V] float32, bfloat16 or float16; see `dtype`, `rowStride`, `vocabSize`.
 * @param options.labels [N] the tokens taken.
 * @param options.entropy whether the entropy of each row is wanted too.
 * @param options.out buffers to write to: `logps`, `lse`, `entropy`, [N] each.
 * @returns logps, lse and, when asked for, entropy: [N] each, nats.
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4: log pi(a | o) token by token.
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
 * `tokenLogps` on another thread.
 *
 *     z = logits / temperature,  logp_i = z_i,label - log sum_v exp(z_iv)
 *
 * @param options as `tokenLogps` takes them, of which nothing may be written to until the promise settles.
 * @param options.signal ends the call, be it running or waiting; buffers in `out` then hold anything.
 * @returns a promise of what `tokenLogps` returns, the same bits.
 * @throws nothing; it rejects with what `tokenLogps` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was taken away meanwhile.
 * @see arXiv 2503.15478, Section 4: log pi(a | o) token by token.
 * @example
 * const { logps } = await tokenLogpsAsync({ logits, labels, signal: AbortSignal.timeout(1000) });
 */
export function tokenLogpsAsync(options: TokenLogpsOptions & Abortable): Promise<Logps>;
export function tokenLogpsAsync(options: OnDevice<TokenLogpsOptions> & Abortable): Promise<OnDevice<Logps>>;
export function tokenLogpsAsync(
  options: (TokenLogpsOptions | OnDevice<TokenLogpsOptions>) & Abortable,
): Promise<Logps | OnDevice<Logps>> {
  return runLater(options as TokenLogpsOptions, forward);
}

/**
 * The gradient of token log-probs at the logits.
 *
 *     dloss/dlogits_iv = gradLogps_i * (1[v = label_i] - p_iv) / temperature,  p_iv = exp(z_iv - lse_i)
 *
 * One read and one write. Dropped rows become 0. In place only when asked: `out.gradLogits` may be `logits` itself.
 *
 * @param options.lse [N] from `tokenLogps` over the same logits, with the same temperature, or of a shard's logits from
 * `mergePartials`; then `vocabOffset` and `totalVocab` tell which words these are.
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

/**
 * `tokenLogpsBackward` on another thread.
 *
 *     dloss/dlogits_iv = gradLogps_i * (1[v = label_i] - p_iv) / temperature,  p_iv = exp(z_iv - lse_i)
 *
 * @param options as `tokenLogpsBackward` takes them, of which nothing may be written to until the promise settles.
 * @param options.signal ends the call, be it running or waiting; buffers in `out` then hold anything.
 * @returns a promise of what `tokenLogpsBackward` returns, the same bits.
 * @throws nothing; it rejects with what `tokenLogpsBackward` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was taken away meanwhile.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const { gradLogits } = await tokenLogpsBackwardAsync({ logits, labels, lse, gradLogps, out: { gradLogits: logits } });
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
  return runLater(options as TokenLogpsBackwardOptions, backward);
}
