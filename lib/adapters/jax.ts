// SWEET-RL's losses for models in jax-js, which has no custom gradients: jax-js runs the forward pass, this package
// computes the loss and its gradient at the logits, and the pullback of jax-js runs the backward pass. The caller
// passes the module `jax`: a second copy of jax-js would not accept its arrays.
import type * as jaxJs from '@jax-js/jax';
import type { Array as JaxArray, JsTree } from '@jax-js/jax';
import { isRecord } from '../args/options.js';
import { expected, typeError } from '../errors.js';
import type { UpdateResult } from '../ops/preference-update.js';
import { type CriticBatch, criticInPlace, type InPlaceUpdate, type PolicyBatch, policyInPlace } from './adapter.js';

export type { CriticBatch, PolicyBatch };

/** The part of jax-js that is used: `import * as jax from '@jax-js/jax'`. */
export type Jax = Pick<typeof jaxJs, 'vjp' | 'numpy' | 'tree'>;

/** A model: parameters and inputs to logits [N, V], or [..., V] with N rows in total. */
export type Forward<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[]> = (params: P, ...inputs: I) => JaxArray;

/** (parameters, batch, inputs) -> [loss and metrics, the gradient of each parameter]. */
export type ValueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[], Batch> = (
  params: P,
  batch: Batch,
  ...inputs: I
) => [UpdateResult, P];

function valueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[], Batch>(
  jax: Jax,
  forward: Forward<P, I>,
  update: InPlaceUpdate<Batch>,
): ValueAndGrad<P, I, Batch> {
  const { vjp, numpy, tree } = (isRecord(jax) ? jax : {}) as Partial<Jax>;
  if (typeof vjp !== 'function' || !numpy || !tree) {
    throw typeError('ERR_ARG_TYPE', expected('the module of jax-js', 'jax', jax));
  }
  if (typeof forward !== 'function') throw typeError('ERR_ARG_TYPE', expected('a function', 'forward', forward));
  return (params, batch, ...inputs) => {
    const [logits, pullback] = vjp((traced: P) => forward(traced, ...tree.ref(inputs)), [params] as never);
    try {
      const shape = [...logits.shape];
      const values = logits.dataSync();
      if (!(values instanceof Float32Array))
        throw typeError('ERR_ARG_TYPE', expected('float32 logits', 'forward', values));
      const result = update(batch, values, shape);
      const [gradients] = pullback(numpy.array(values).reshape(shape) as never);
      return [result, gradients as P];
    } finally {
      pullback.dispose();
      tree.dispose(inputs);
    }
  };
}

/**
 * The critic's loss of a jax-js model and the gradient of its parameters.
 *
 *     logits = forward(params, ...inputs),  result = criticUpdate({ logits, ...batch }),  gradients = result.gradLogits * dlogits/dparams
 *
 * Arrays are consumed, as by all functions of jax-js: pass `tree.ref(params)` to keep them. `forward` may be compiled
 * by `jit`.
 *
 * @param jax the module that created the arrays.
 * @param forward (params, ...inputs) -> logits [N, V], float32; row i predicts labels[i].
 * @returns (params, batch, ...inputs) -> [result of `criticUpdate` without gradLogits, gradients shaped like params].
 * @throws as `criticUpdate` does; TypeError where the logits are not float32.
 * @see arXiv 2503.15478, Equation 2; jax.value_and_grad.
 * @example
 * const step = criticValueAndGrad(jax, jax.jit((params, x) => jax.numpy.matmul(x, params.head)));
 * const [{ loss, margins }, gradients] = step(jax.tree.ref(params), batch, x);
 */
export function criticValueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[]>(
  jax: Jax,
  forward: Forward<P, I>,
): ValueAndGrad<P, I, CriticBatch> {
  return valueAndGrad(jax, forward, criticInPlace);
}

/**
 * The policy's loss of a jax-js model and the gradient of its parameters.
 *
 *     logits = forward(params, ...inputs),  result = policyUpdate({ logits, ...batch }),  gradients = result.gradLogits * dlogits/dparams
 *
 * @param jax the module that created the arrays.
 * @param forward (params, ...inputs) -> logits [N, V], float32; row i predicts labels[i].
 * @returns (params, batch, ...inputs) -> [result of `policyUpdate` without gradLogits, gradients shaped like params].
 * @throws as `policyUpdate` does; TypeError where the logits are not float32.
 * @see arXiv 2503.15478, Equation 4; jax.value_and_grad.
 * @example
 * const step = policyValueAndGrad(jax, jax.jit((params, x) => jax.numpy.matmul(x, params.head)));
 * const [{ loss, accuracy }, gradients] = step(jax.tree.ref(params), batch, x);
 */
export function policyValueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[]>(
  jax: Jax,
  forward: Forward<P, I>,
): ValueAndGrad<P, I, PolicyBatch> {
  return valueAndGrad(jax, forward, policyInPlace);
}
