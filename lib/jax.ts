// SWEET-RL's losses for models in jax-js, which has no custom gradients: the forward pass is jax-js's, the loss and its
// gradient at the logits are ours, and the way back through the model is jax-js's again.
import { type Array as JaxArray, type JsTree, numpy as np, tree, vjp } from '@jax-js/jax';
import { type CriticBatch, criticInPlace, type InPlaceUpdate, type PolicyBatch, policyInPlace } from './adapter.js';
import { expected, typeError } from './errors.js';
import type { UpdateResult } from './update.js';

export type { CriticBatch, PolicyBatch };

/** A model: parameters and inputs to logits [N, V], or [..., V] with N rows in all. */
export type Forward<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[]> = (params: P, ...inputs: I) => JaxArray;

/** Takes the parameters, a batch and the model's inputs; gives loss and metrics, and the gradient of each parameter. */
export type ValueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[], Batch> = (
  params: P,
  batch: Batch,
  ...inputs: I
) => [UpdateResult, P];

function valueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[], Batch>(
  forward: Forward<P, I>,
  update: InPlaceUpdate<Batch>,
): ValueAndGrad<P, I, Batch> {
  if (typeof forward !== 'function') throw typeError('ERR_ARG_TYPE', expected('a function', 'forward', forward));
  return (params, batch, ...inputs) => {
    const [logits, pull] = vjp((traced: P) => forward(traced, ...tree.ref(inputs)), [params] as never);
    try {
      const shape = [...logits.shape];
      const values = logits.dataSync();
      if (!(values instanceof Float32Array))
        throw typeError('ERR_ARG_TYPE', expected('float32 logits', 'forward', values));
      const result = update(batch, values);
      const [gradients] = pull(np.array(values).reshape(shape) as never);
      return [result, gradients as P];
    } finally {
      pull.dispose();
      tree.dispose(inputs);
    }
  };
}

/**
 * The critic's loss of a jax-js model, with the gradient of its parameters.
 *
 *     logits = forward(params, …inputs),  result = criticUpdate({ logits, …batch }),  gradients = result.gradLogits · ∂logits/∂params
 *
 * Arrays are used up, as everywhere in jax-js: pass `tree.ref(params)` to keep them. `forward` may be compiled by `jit`.
 *
 * @param forward (params, …inputs) → logits [N, V], float32; row i predicts labels[i].
 * @returns (params, batch, …inputs) → [result of `criticUpdate` without gradLogits, gradients in the shape of params].
 * @throws as `criticUpdate` does; TypeError where the logits are not float32.
 * @see arXiv 2503.15478, Equation 2; jax.value_and_grad.
 * @example
 * const step = criticValueAndGrad(jit((params, x) => np.matmul(x, params.head)));
 * const [{ loss, margins }, gradients] = step(tree.ref(params), batch, x);
 */
export function criticValueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[]>(
  forward: Forward<P, I>,
): ValueAndGrad<P, I, CriticBatch> {
  return valueAndGrad(forward, criticInPlace);
}

/**
 * The policy's loss of a jax-js model, with the gradient of its parameters.
 *
 *     logits = forward(params, …inputs),  result = policyUpdate({ logits, …batch }),  gradients = result.gradLogits · ∂logits/∂params
 *
 * @param forward (params, …inputs) → logits [N, V], float32; row i predicts labels[i].
 * @returns (params, batch, …inputs) → [result of `policyUpdate` without gradLogits, gradients in the shape of params].
 * @throws as `policyUpdate` does; TypeError where the logits are not float32.
 * @see arXiv 2503.15478, Equation 4; jax.value_and_grad.
 * @example
 * const step = policyValueAndGrad(jit((params, x) => np.matmul(x, params.head)));
 * const [{ loss, accuracy }, gradients] = step(tree.ref(params), batch, x);
 */
export function policyValueAndGrad<P extends JsTree<JaxArray>, I extends JsTree<JaxArray>[]>(
  forward: Forward<P, I>,
): ValueAndGrad<P, I, PolicyBatch> {
  return valueAndGrad(forward, policyInPlace);
}
