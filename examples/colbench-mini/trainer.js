/** Adam in jax-js with an external loss: logits and their gradient are plain arrays. */
import { jit, numpy as np, vjp } from '@jax-js/jax';
import { dispose, forwardPass, oneHot, shape, share, toArrays } from './model.js';

const decay1 = 0.9;
const decay2 = 0.99;
const maxNorm = 1;

const squaredNorm = jit((grads) => {
  let sum = np.zeros([]);
  for (const name in grads) sum = sum.add(np.sum(np.square(grads[name])));
  return sum;
});

const adam = jit((params, grads, mean, square, scalars) => {
  const { rate, correction1, correction2, clip } = scalars;
  const next = { params: {}, mean: {}, square: {} };
  for (const name in params) {
    const grad = grads[name].mul(clip.ref);
    const m = mean[name].mul(decay1).add(grad.ref.mul(1 - decay1));
    const v = square[name].mul(decay2).add(np.square(grad).mul(1 - decay2));
    next.mean[name] = m.ref;
    next.square[name] = v.ref;
    const step = m.mul(correction1.ref).div(np.sqrt(v.mul(correction2.ref)).add(1e-8));
    next.params[name] = params[name].sub(step.mul(rate.ref));
  }
  for (const scalar of [rate, correction1, correction2, clip]) scalar.dispose();
  return next;
});

/** The learning rate of step i of n: linear warm-up, constant, linear decay over the second half. */
export function schedule(i, n, rate, warmup = 20) {
  const fall = i < n / 2 ? 1 : Math.max(0.05, (2 * (n - i)) / n);
  return rate * Math.min(1, (i + 1) / warmup) * fall;
}

export class Trainer {
  #shapes;
  #params;
  #mean;
  #square;
  #steps = 0;

  /** @param {import('./model.js').Params} params */
  constructor(params) {
    this.#shapes = params;
    this.#params = toArrays(params);
    const zeros = () => Object.fromEntries(Object.entries(params).map(([name, p]) => [name, np.zeros(p.shape)]));
    this.#mean = zeros();
    this.#square = zeros();
  }

  /**
   * One step. `loss` maps the logits [batch * length, vocab] to an object with their gradient, which is returned.
   * @template {{ gradLogits: Float32Array }} Result
   * @param {import('./batch.js').Batch} batch
   * @param {(logits: Float32Array) => Result} loss
   * @param {number} rate
   * @returns {Result}
   */
  step(batch, loss, rate) {
    const tokens = oneHot(batch.inputIds);
    const forward = forwardPass(batch.size, batch.length);
    const [logits, pull] = vjp((params) => forward(params, tokens.ref), [share(this.#params)]);
    const result = loss(logits.dataSync());
    const [grads] = pull(np.array(result.gradLogits).reshape([batch.size * batch.length, shape.vocab]));
    pull.dispose?.();
    tokens.dispose();

    const norm = Math.sqrt(squaredNorm(share(grads)).dataSync()[0]);
    this.#steps++;
    const next = adam(this.#params, grads, this.#mean, this.#square, {
      rate: np.array(rate),
      correction1: np.array(1 / (1 - decay1 ** this.#steps)),
      correction2: np.array(1 / (1 - decay2 ** this.#steps)),
      clip: np.array(Math.min(1, maxNorm / (norm + 1e-9))),
    });
    this.#params = next.params;
    this.#mean = next.mean;
    this.#square = next.square;
    return result;
  }

  /** The trained parameters. Ends the trainer. */
  finish() {
    /** @type {import('./model.js').Params} */
    const params = {};
    for (const [name, { shape: dims }] of Object.entries(this.#shapes)) {
      params[name] = { shape: dims, data: this.#params[name].ref.dataSync().slice() };
    }
    for (const arrays of [this.#params, this.#mean, this.#square]) dispose(arrays);
    return params;
  }
}
