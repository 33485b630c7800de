import { type Call, callOf, runNow, type When } from './call.js';
import { boolean, checkOptions, float32 } from './checks.js';
import type { FloatArray } from './dtypes.js';
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
import { FORWARD_OUT, type Logps, type LogpsOut, logpsOf, ownLogps } from './token-logps.js';

/** What `linearLogps` takes. */
export interface LinearLogpsOptions extends LinearHead, TemperatureOption, LabelOptions {
  entropy?: boolean | undefined;
  out?: LogpsOut | undefined;
}

/** What `linearLogpsBackward` takes. */
export interface LinearLogpsBackwardOptions extends LinearHead, TemperatureOption, LabelOptions {
  /** [N], of the forward pass over the same head. */
  lse: Float32Array;
  /** [N], the gradient of the loss at each log-prob. */
  gradLogps: Float32Array;
  /** Add to the buffers of `out` instead of overwriting them. */
  accumulate?: boolean | undefined;
  out?: { [name in keyof LinearGradients]?: Float32Array | undefined } | undefined;
}

const HEAD_OPTIONS = [...LINEAR_HEAD, ...LABEL_OPTIONS];
const FORWARD_OPTIONS = new Set([...HEAD_OPTIONS, 'entropy', 'out']);
const BACKWARD_OPTIONS = new Set([...HEAD_OPTIONS, 'lse', 'gradLogps', 'accumulate', 'out']);
const BACKWARD_OUT = new Set<string>(LINEAR_GRADIENTS);

function forward(options: LinearLogpsOptions, when: When): Call<Logps> {
  checkOptions('linearLogps', options, FORWARD_OPTIONS, when);
  const labels = checkLabels(options);
  const head = checkLinear(options, labels.count, checkTemperature(options));
  const entropy = boolean('entropy', options.entropy, false);
  const out = new Out(options.out, FORWARD_OUT, labels.labels, when);
  const results = logpsOf(out, labels.count, entropy);
  const native = out.settle([...head.inputs, ['labels', labels.labels], ['mask', labels.mask]]);
  const args = [...head.args, ...labels.args, results.logps, results.lse, results.entropy] as const;
  return callOf(native, 'linearLogps', args, () => ownLogps(results));
}

function backward(options: LinearLogpsBackwardOptions, when: When): Call<LinearGradients> {
  checkOptions('linearLogpsBackward', options, BACKWARD_OPTIONS, when);
  const labels = checkLabels(options);
  const head = checkLinear<FloatArray>(options, labels.count, checkTemperature(options));
  const lse = float32('lse', options.lse, labels.count);
  const gradLogps = float32('gradLogps', options.gradLogps, labels.count);
  const accumulate = boolean('accumulate', options.accumulate, false);
  const out = new Out(options.out, BACKWARD_OUT, labels.labels, when);
  const grads = linearGradientsOf(head, out, accumulate);
  const native = out.settle([
    ...head.inputs,
    ['labels', labels.labels],
    ['mask', labels.mask],
    ['lse', lse],
    ['gradLogps', gradLogps],
  ]);
  const { gradHidden, gradWeight, gradBias } = grads;
  const args = [...head.args, ...labels.args, lse, gradLogps, gradHidden, gradWeight, gradBias, accumulate] as const;
  return callOf(native, 'linearLogpsBackward', args, () => ownGradients(grads));
}

/**
 * Log-probabilities of tokens from hidden states; the [N, V] logits are never stored.
 *
 *     logits_i = hidden_i · weightᵀ (+ bias), then as in `tokenLogps`
 *
 * Rows masked by 0 cost nothing. Sums in float32, in an order that does not depend on the number of threads.
 *
 * @param options.hidden [N, H] float32, bfloat16 or float16.
 * @param options.weight [V, H] of the class of `hidden`; `bias` [V] likewise.
 * @param options.labels [N] the tokens taken.
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
export function linearLogps(options: LinearLogpsOptions): Logps {
  return runNow(forward(options, 'now'));
}

/**
 * The gradients of token log-probs at hidden states, weight and bias.
 *
 *     d_iv = gradLogps_i · (1[v = label_i] − p_iv) / temperature
 *     gradHidden_i = Σ_v d_iv weight_v,  gradWeight_v = Σ_i d_iv hidden_i,  gradBias_v = Σ_i d_iv
 *
 * Logits are formed again, a tile at a time. Everything is summed in float32, whatever the storage type, in a fixed order.
 *
 * @param options.lse [N] from `linearLogps` over the same head, with the same temperature.
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
export function linearLogpsBackward(options: LinearLogpsBackwardOptions): LinearGradients {
  return runNow(backward(options, 'now'));
}
