import { type Abortable, type Call, callOf, runLater, runNow, type When } from './call.js';
import { boolean, checkOptions, float32 } from './checks.js';
import type { OnDevice } from './device.js';
import type { FloatArray } from './dtypes.js';
import {
  backwardNumbers,
  checkDebug,
  type DebugOption,
  linearNumbers,
  lookedThrough,
  lookThrough,
  rowsRead,
} from './finite.js';
import {
  checkLinear,
  checkTemperature,
  LINEAR_GRADIENTS,
  LINEAR_HEAD,
  type LinearGradients,
  type LinearHead,
  linearGradientsOf,
  ownGradients,
  type TemperatureOption,
} from './head.js';
import { checkLabels, LABEL_OPTIONS, type LabelOptions } from './labels.js';
import { Out } from './out.js';
import { checkShard, SHARD_OPTIONS, type ShardOptions } from './shard.js';
import { FORWARD_OUT, type Logps, type LogpsOut, logpsOf, ownLogps } from './token-logps.js';

/** What `linearLogps` takes. */
export interface LinearLogpsOptions extends LinearHead, TemperatureOption, LabelOptions, DebugOption {
  entropy?: boolean | undefined;
  out?: LogpsOut | undefined;
}

/** What `linearLogpsBackward` takes. */
export interface LinearLogpsBackwardOptions
  extends LinearHead,
    TemperatureOption,
    ShardOptions,
    LabelOptions,
    DebugOption {
  /** [N], of the forward pass over the same head. */
  lse: Float32Array;
  /** [N], the gradient of the loss at each log-prob. */
  gradLogps: Float32Array;
  /** Add to the buffers of `out` instead of overwriting them. */
  accumulate?: boolean | undefined;
  out?: { [name in keyof LinearGradients]?: Float32Array | undefined } | undefined;
}

const HEAD_OPTIONS = [...LINEAR_HEAD, ...LABEL_OPTIONS, 'debug'];
const FORWARD_OPTIONS = new Set([...HEAD_OPTIONS, 'entropy', 'out']);
const BACKWARD_OPTIONS = new Set([...HEAD_OPTIONS, ...SHARD_OPTIONS, 'lse', 'gradLogps', 'accumulate', 'out']);
const BACKWARD_OUT = new Set<string>(LINEAR_GRADIENTS);

function forward(given: LinearLogpsOptions, when: When): Call<Logps> {
  const options = checkOptions('linearLogps', given, FORWARD_OPTIONS, when, FORWARD_OUT);
  const labels = checkLabels(options);
  const head = checkLinear(options, labels.count, checkTemperature(options));
  const entropy = boolean('entropy', options.entropy, false);
  const debug = checkDebug(options);
  const out = new Out(options.out, labels.labels, when);
  const results = logpsOf(out, labels.count, entropy);
  const native = out.settle([...head.inputs, ['labels', labels.labels], ['mask', labels.mask]]);
  if (debug) lookThrough(linearNumbers(head.args, rowsRead(labels, true)));
  const args = [...head.args, ...labels.args, results.logps, results.lse, results.entropy] as const;
  return callOf(
    native,
    'linearLogps',
    args,
    out,
    lookedThrough(debug, () => ownLogps(results)),
  );
}

function backward(given: LinearLogpsBackwardOptions, when: When): Call<LinearGradients> {
  const options = checkOptions('linearLogpsBackward', given, BACKWARD_OPTIONS, when, BACKWARD_OUT);
  const labels = checkLabels(options);
  const head = checkLinear<FloatArray>(options, labels.count, checkTemperature(options));
  const shard = checkShard(options, head.vocab);
  const lse = float32('lse', options.lse, labels.count);
  const gradLogps = float32('gradLogps', options.gradLogps, labels.count);
  const accumulate = boolean('accumulate', options.accumulate, false);
  const debug = checkDebug(options);
  const out = new Out(options.out, labels.labels, when);
  const grads = linearGradientsOf(head, out, accumulate);
  const native = out.settle([
    ...head.inputs,
    ['labels', labels.labels],
    ['mask', labels.mask],
    ['lse', lse],
    ['gradLogps', gradLogps],
  ]);
  if (debug) lookThrough([...linearNumbers(head.args, rowsRead(labels, false)), ...backwardNumbers(labels, options)]);
  const { gradHidden, gradWeight, gradBias } = grads;
  const args = [
    ...head.args,
    ...shard,
    ...labels.args,
    lse,
    gradLogps,
    gradHidden,
    gradWeight,
    gradBias,
    accumulate,
  ] as const;
  const finish = lookedThrough(debug, () => ownGradients(grads), [true, ...head.args]);
  return callOf(native, 'linearLogpsBackward', args, out, finish);
}

/**
 * Log-probabilities of tokens from hidden states; the [N, V] logits are never stored.
 *
 *     logits_i = hidden_i * weight^T (+ bias), then as in `tokenLogps`
 *
 * Rows masked by 0 cost nothing. Sums in float32, in an order that does not depend on the number of threads.
 *
 * @param options.hidden [N, H] float32, bfloat16 or float16.
 * @param options.weight [V, H] of the class of `hidden`; `bias` [V] likewise.
 * @param options.labels [N] the tokens taken.
 * @param options.chunkBytes on a device, the most bytes of logits at once; 2^30 by default.
 * @param options.entropy whether the entropy of each row is wanted too.
 * @param options.out buffers to write to: `logps`, `lse`, `entropy`, [N] each.
 * @returns logps, lse and, when asked for, entropy: [N] each, nats.
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const hidden = new Float32Array([1, 0]); // one row, H = 2
 * const weight = new Float32Array([1, 0, 2, 0, 3, 0]); // V = 3
 * const { logps } = linearLogps({ hidden, weight, labels: new Int32Array([2]) }); // [-0.4076]
 */
export function linearLogps(options: LinearLogpsOptions): Logps;
export function linearLogps(options: OnDevice<LinearLogpsOptions>): OnDevice<Logps>;
export function linearLogps(given: LinearLogpsOptions | OnDevice<LinearLogpsOptions>): Logps | OnDevice<Logps> {
  return runNow(forward(given as LinearLogpsOptions, 'now'));
}

/**
 * `linearLogps` on another thread.
 *
 *     logits_i = hidden_i * weight^T (+ bias), then as in `tokenLogps`
 *
 * @param options as `linearLogps` takes them, of which nothing may be written to until the promise settles.
 * @param options.signal ends the call, be it running or waiting; buffers in `out` then hold anything.
 * @returns a promise of what `linearLogps` returns, the same bits.
 * @throws nothing; it rejects with what `linearLogps` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was taken away meanwhile.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const { logps } = await linearLogpsAsync({ hidden, weight, labels, signal: AbortSignal.timeout(1000) });
 */
export function linearLogpsAsync(options: LinearLogpsOptions & Abortable): Promise<Logps>;
export function linearLogpsAsync(options: OnDevice<LinearLogpsOptions> & Abortable): Promise<OnDevice<Logps>>;
export function linearLogpsAsync(
  options: (LinearLogpsOptions | OnDevice<LinearLogpsOptions>) & Abortable,
): Promise<Logps | OnDevice<Logps>> {
  return runLater(options as LinearLogpsOptions, forward);
}

/**
 * The gradients of token log-probs at hidden states, weight and bias.
 *
 *     d_iv = gradLogps_i * (1[v = label_i] - p_iv) / temperature
 *     gradHidden_i = sum_v d_iv weight_v,  gradWeight_v = sum_i d_iv hidden_i,  gradBias_v = sum_i d_iv
 *
 * Logits are formed again, a tile at a time. Everything is summed in float32, whatever the storage type, in a fixed order.
 *
 * @param options.lse [N] from `linearLogps` over the same head, with the same temperature, or of a shard of the weight from
 * `mergePartials`; then `vocabOffset` and `totalVocab` tell which words these are, and gradHidden is what they add to it.
 * @param options.gradLogps [N] the gradient of the loss at each log-prob.
 * @param options.accumulate add into `out` (gradient accumulation over micro-batches); then all of its buffers must be given.
 * @param options.out `gradHidden` [N, H], `gradWeight` [V, H], `gradBias` [V], float32.
 * @returns gradHidden, gradWeight and, with a bias, gradBias: float32.
 * @throws RangeError ERR_LABEL for a label outside [0, V); TypeError or RangeError naming a wrong argument.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const head = { hidden: new Float32Array([1, 0]), weight: new Float32Array([1, 0, 2, 0, 3, 0]) };
 * const labels = new Int32Array([2]);
 * const { lse } = linearLogps({ ...head, labels });
 * linearLogpsBackward({ ...head, labels, lse, gradLogps: new Float32Array([1]) }).gradHidden; // [0.4248, 0]
 */
export function linearLogpsBackward(options: LinearLogpsBackwardOptions): LinearGradients;
export function linearLogpsBackward(options: OnDevice<LinearLogpsBackwardOptions>): OnDevice<LinearGradients>;
export function linearLogpsBackward(
  given: LinearLogpsBackwardOptions | OnDevice<LinearLogpsBackwardOptions>,
): LinearGradients | OnDevice<LinearGradients> {
  return runNow(backward(given as LinearLogpsBackwardOptions, 'now'));
}

/**
 * `linearLogpsBackward` on another thread.
 *
 *     gradHidden_i = sum_v d_iv weight_v,  gradWeight_v = sum_i d_iv hidden_i,  gradBias_v = sum_i d_iv
 *
 * @param options as `linearLogpsBackward` takes them, of which nothing may be written to until the promise settles.
 * @param options.signal ends the call, be it running or waiting; buffers in `out` then hold anything.
 * @returns a promise of what `linearLogpsBackward` returns, the same bits.
 * @throws nothing; it rejects with what `linearLogpsBackward` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was taken away meanwhile.
 * @see arXiv 2503.15478, Section 4.
 * @example
 * const { gradHidden, gradWeight } = await linearLogpsBackwardAsync({ hidden, weight, labels, lse, gradLogps });
 */
export function linearLogpsBackwardAsync(options: LinearLogpsBackwardOptions & Abortable): Promise<LinearGradients>;
export function linearLogpsBackwardAsync(
  options: OnDevice<LinearLogpsBackwardOptions> & Abortable,
): Promise<OnDevice<LinearGradients>>;
export function linearLogpsBackwardAsync(
  options: (LinearLogpsBackwardOptions | OnDevice<LinearLogpsBackwardOptions>) & Abortable,
): Promise<LinearGradients | OnDevice<LinearGradients>> {
  return runLater(options as LinearLogpsBackwardOptions, backward);
}
