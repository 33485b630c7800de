// SWEET-RL's losses as operations of TensorFlow.js, by tf.customGrad. The caller passes his `tf`: four packages bring it,
// and tensors of one copy are strangers to another.

import { float32, hostView } from '../args/arrays.js';
import { isArray, isRecord } from '../args/options.js';
import { expected, rangeError, typeError } from '../errors.js';
import type { UpdateResult } from '../ops/preference-update.js';
import { type CriticBatch, criticInPlace, type InPlaceUpdate, type PolicyBatch, policyInPlace } from './adapter.js';

export type { CriticBatch, PolicyBatch };

/** What is used of a tensor. */
export interface TensorLike {
  readonly shape: number[];
  readonly dtype: string;
  /** Its numbers, at once. */
  readonly dataSync: () => unknown;
}

/** What is used of TensorFlow.js: `@tensorflow/tfjs`, `@tensorflow/tfjs-core` and others fit. */
export interface TensorFlow<S> {
  /** Makes an operation of a function that also tells its gradient. */
  readonly customGrad: (f: never) => (...args: never[]) => unknown;
  /** A tensor of one number. */
  readonly scalar: (value: number) => S;
  /** A tensor of these numbers. */
  readonly tensor: (values: Float32Array, shape: number[]) => unknown;
  /** The product, element by element. */
  readonly mul: (a: never, b: never) => unknown;
}

type CustomOp<S> = (logits: TensorLike, save: (tensors: unknown[]) => void) => { value: S; gradFunc: Gradient };
type Gradient = (upstream: unknown, saved: unknown[]) => unknown;

const READ = 'the result of logits.dataSync';

function lossOf<S, Batch>(
  tf: TensorFlow<S>,
  logits: TensorLike,
  batch: Batch,
  update: InPlaceUpdate<Batch>,
  onResult: ((result: UpdateResult) => void) | undefined,
): S {
  if (!isRecord(tf) || typeof tf.customGrad !== 'function')
    throw typeError('ERR_ARG_TYPE', expected('TensorFlow.js', 'tf', tf));
  if (!isRecord(logits) || logits.dtype !== 'float32')
    throw typeError('ERR_ARG_TYPE', expected('a float32 tensor', 'logits', logits));
  const { shape, dataSync } = logits;
  if (!isArray(shape)) throw typeError('ERR_ARG_TYPE', expected('an array', 'logits.shape', shape));
  if (typeof dataSync !== 'function')
    throw typeError('ERR_ARG_TYPE', expected('a function', 'logits.dataSync', dataSync));
  if (onResult !== undefined && typeof onResult !== 'function') {
    throw typeError('ERR_ARG_TYPE', expected('a function', 'onResult', onResult));
  }
  if (shape.length < 2) throw rangeError('ERR_ARG_VALUE', expected('a tensor [N, V]', 'logits', shape));
  const op: CustomOp<S> = (input, save) => {
    const given = input.dataSync();
    const numbers = isArray(given) ? (given as number[]) : hostView(READ, float32(READ, given));
    // A copy: the tensor's own memory must not become its gradient.
    const values = Float32Array.from(numbers);
    const result = update(batch, values);
    onResult?.(result);
    // Saved, not captured: what a gradient captures TensorFlow.js differentiates again, or frees.
    save([tf.tensor(values, input.shape)]);
    return {
      value: tf.scalar(result.loss),
      gradFunc: (upstream, [gradient]) => tf.mul(gradient as never, upstream as never),
    };
  };
  return tf.customGrad(op as never)(logits as never) as S;
}

/**
 * The critic's loss as an operation of TensorFlow.js, differentiable in the logits.
 *
 *     loss = criticUpdate({ logits, ...batch }).loss,  dloss/dlogits = gradLogits
 *
 * It reads the logits synchronously, so the backend must be cpu, wasm or node; webgpu has no such reads.
 *
 * @param tf the module that made the tensors.
 * @param logits float32 [N, V], or [..., V] with N rows in all; row i predicts labels[i].
 * @param batch everything that `criticUpdate` takes, but the logits and `out`.
 * @param onResult gets the metrics: the result of `criticUpdate` without gradLogits.
 * @returns the loss, a scalar tensor.
 * @throws as `criticUpdate` does; TypeError where the logits are not float32.
 * @see arXiv 2503.15478, Equation 2; tf.customGrad.
 * @example
 * const { value, grads } = tf.variableGrads(() => criticLoss(tf, model.apply(x), batch));
 */
export function criticLoss<S>(
  tf: TensorFlow<S>,
  logits: TensorLike,
  batch: CriticBatch,
  onResult?: (result: UpdateResult) => void,
): S {
  return lossOf(tf, logits, batch, criticInPlace, onResult);
}

/**
 * The policy's loss as an operation of TensorFlow.js, differentiable in the logits.
 *
 *     loss = policyUpdate({ logits, ...batch }).loss,  dloss/dlogits = gradLogits
 *
 * @param tf the module that made the tensors.
 * @param logits float32 [N, V], or [..., V] with N rows in all; row i predicts labels[i].
 * @param batch everything that `policyUpdate` takes, but the logits and `out`.
 * @param onResult gets the metrics: the result of `policyUpdate` without gradLogits.
 * @returns the loss, a scalar tensor.
 * @throws as `policyUpdate` does; TypeError where the logits are not float32.
 * @see arXiv 2503.15478, Equation 4; tf.customGrad.
 * @example
 * const { value, grads } = tf.variableGrads(() => policyLoss(tf, model.apply(x), batch));
 */
export function policyLoss<S>(
  tf: TensorFlow<S>,
  logits: TensorLike,
  batch: PolicyBatch,
  onResult?: (result: UpdateResult) => void,
): S {
  return lossOf(tf, logits, batch, policyInPlace, onResult);
}
