// SWEET-RL's losses as operations of TensorFlow.js, by tf.customGrad. The caller passes the module `tf`: several
// packages export it, and a second copy would not accept its tensors.
import { float32, hostView, isArray } from '../args/arrays.js';
import { isRecord } from '../args/options.js';
import { expected, rangeError, typeError } from '../errors.js';
import type { UpdateResult } from '../ops/preference-update.js';
import { type CriticBatch, criticInPlace, type InPlaceUpdate, type PolicyBatch, policyInPlace } from './adapter.js';

export type { CriticBatch, PolicyBatch };

/** The part of a tensor that is used. */
export interface TensorLike {
  readonly shape: number[];
  readonly dtype: string;
  /** Its elements, read synchronously. */
  readonly dataSync: () => unknown;
}

/** The part of TensorFlow.js that is used: `@tensorflow/tfjs`, `@tensorflow/tfjs-core` and others have it. */
export interface TensorFlow<S> {
  /** An operation of a function that returns its value and its gradient function. */
  readonly customGrad: (f: never) => (...args: never[]) => unknown;
  /** A scalar tensor. */
  readonly scalar: (value: number) => S;
  /** A tensor of these elements. */
  readonly tensor: (values: Float32Array, shape: number[]) => unknown;
  /** The elementwise product. */
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
    // A copy: the update overwrites the logits by their gradient.
    const values = Float32Array.from(numbers);
    const result = update(batch, values, input.shape);
    onResult?.(result);
    // Saved, not captured: TensorFlow.js differentiates or frees the tensors that a gradient function captures.
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
 * The logits are read synchronously: the backend must be cpu, wasm or node, since webgpu has no synchronous reads.
 *
 * @param tf the module that created the tensors.
 * @param logits float32 [N, V], or [..., V] with N rows in total; row i predicts labels[i].
 * @param batch the options of `criticUpdate` without the head and `out`.
 * @param onResult receives the metrics: the result of `criticUpdate` without gradLogits.
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
 * @param tf the module that created the tensors.
 * @param logits float32 [N, V], or [..., V] with N rows in total; row i predicts labels[i].
 * @param batch the options of `policyUpdate` without the head and `out`.
 * @param onResult receives the metrics: the result of `policyUpdate` without gradLogits.
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
