/** sweet-rl/jax against jax-js's own gradient of the same loss. */
import * as jax from '@jax-js/jax';
import { criticUpdate } from 'sweet-rl';
import { criticValueAndGrad, policyValueAndGrad } from 'sweet-rl/jax';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  denseLoss,
  LOSS_CASES,
  type LossCase,
  optionsOf,
  relativeError,
  smallProblem,
  VOCAB,
} from '../helpers/dense-loss.ts';

const { init, jit, nn, numpy: np, tree, valueAndGrad } = jax;
type JaxArray = jax.Array;
type Params = Record<'w1' | 'w2' | 'bias', JaxArray>;
type Problem = ReturnType<typeof smallProblem>;

// On Node 20 the backend needs no initialization, and init() asks for a navigator.
beforeAll(async () => {
  if (Number(process.versions.node.split('.')[0]) > 20) await init('wasm');
});

const array = ({ data, shape }: { data: Float32Array; shape: number[] }) => np.array(data).reshape(shape);
const paramsOf = ({ params: { w1, w2, bias } }: Problem): Params => ({
  w1: array(w1),
  w2: array(w2),
  bias: array(bias),
});
const inputOf = ({ x, N }: Problem) => array({ data: x, shape: [N, x.length / N] });
const forward = ({ w1, w2, bias }: Params, x: JaxArray) => np.matmul(np.tanh(np.matmul(x, w1)), w2).add(bias);

/** The same loss in jax-js's own operations. */
function ownLoss(problem: Problem, loss: LossCase) {
  const { N, batch } = problem;
  const dense = denseLoss(batch, loss.ofTrajectories, loss.rule);
  const P = batch.chosen.length;
  const matrix = (data: Float32Array, ...shape: number[]) => array({ data, shape });
  return (params: Params): JaxArray => {
    const logp = nn
      .logSoftmax(forward(params, inputOf(problem)), -1)
      .mul(matrix(dense.oneHot, N, VOCAB))
      .sum(-1);
    const ratios = logp.ref.sub(matrix(batch.refLogps, N)).reshape([N, 1]);
    const u = np
      .matmul(matrix(dense.differences, P, N), ratios)
      .reshape([P])
      .mul(loss.beta);
    const losses = nn
      .softplus(u.ref.mul(-1))
      .mul(1 - loss.labelSmoothing)
      .add(nn.softplus(u).mul(loss.labelSmoothing));
    const preference = losses.mul(matrix(dense.pairWeights, P)).sum();
    return preference.add(logp.mul(matrix(dense.nll, N)).sum().mul(loss.nllCoef));
  };
}

describe.each(LOSS_CASES)('$name', (loss) => {
  const problem = smallProblem(loss.beta * 100, loss.ofTrajectories);
  const { turnOffsets, trajectoryOffsets, ...rest } = problem.batch;
  const options = { ...rest, turnOffsets, ...optionsOf(loss) };

  const ours = (compile: boolean) => {
    const model = compile ? (jit(forward) as typeof forward) : forward;
    if (loss.ofTrajectories)
      return criticValueAndGrad(jax, model)(paramsOf(problem), { ...options, trajectoryOffsets }, inputOf(problem));
    return policyValueAndGrad(jax, model)(paramsOf(problem), options, inputOf(problem));
  };

  it.each([false, true])("has jax-js's own value and gradients (jit: %s)", (compile) => {
    const [value, expected] = valueAndGrad(ownLoss(problem, loss))(paramsOf(problem));
    const [result, gradients] = ours(compile);
    expect(relativeError([result.loss], value.dataSync() as Float32Array)).toBeLessThan(1e-5);
    for (const name of ['w1', 'w2', 'bias'] as const) {
      expect(gradients[name].shape).toEqual(problem.params[name].shape);
      const error = relativeError(
        gradients[name].dataSync() as Float32Array,
        expected[name].dataSync() as Float32Array,
      );
      expect(error, name).toBeLessThan(1e-5);
    }
  });
});

describe('criticValueAndGrad', () => {
  const problem = smallProblem(3, true);

  it('gives the metrics of criticUpdate on the logits of the model', () => {
    const logits = forward(paramsOf(problem), inputOf(problem)).dataSync() as Float32Array;
    const { gradLogits: _, ...expected } = criticUpdate({ ...problem.batch, logits });
    const [result] = criticValueAndGrad(jax, forward)(paramsOf(problem), problem.batch, inputOf(problem));
    expect(result).toEqual(expected);
  });

  it('takes logits of more dimensions, and models without inputs', () => {
    const x = inputOf(problem);
    const model = (params: Params) => forward(params, x.ref).reshape([1, problem.N, VOCAB]);
    const [flat] = criticValueAndGrad(jax, forward)(paramsOf(problem), problem.batch, x.ref);
    const [result, gradients] = criticValueAndGrad(jax, model)(paramsOf(problem), problem.batch);
    expect(result).toEqual(flat);
    tree.dispose(gradients);
  });

  it('refuses labels whose rows are in another order than the logits', () => {
    const turns = { turnOffsets: Int32Array.of(0, 2, 6), chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
    const model = (params: { head: JaxArray }) => params.head.reshape([3, 2, 4]);
    const lossOf = (...dims: number[]) => {
      const head = np.array(Float32Array.from({ length: 24 }, (_, i) => Math.sin(i)));
      const batch = { ...turns, refLogps: new Float32Array(6), labels: { data: new Int32Array(6), dims } };
      const [{ loss }, gradients] = policyValueAndGrad(jax, model)({ head }, batch);
      tree.dispose(gradients);
      return loss;
    };
    for (const dims of [[6], [1, 6]]) expect(lossOf(...dims)).toBe(lossOf(3, 2));
    expect(() => lossOf(2, 3)).toThrow(expect.objectContaining({ code: 'ERR_ARG_LENGTH' }));
  });

  it('uses its arrays up, and keeps those of which it got a reference', () => {
    const [params, x] = [paramsOf(problem), inputOf(problem)];
    const step = criticValueAndGrad(jax, forward);
    for (let i = 0; i < 3; i++) tree.dispose(step(tree.ref(params), problem.batch, x.ref)[1]);
    expect(params.w1.refCount).toBe(1);
    expect(x.refCount).toBe(1);
    tree.dispose(step(params, problem.batch, x)[1]);
    expect(() => params.w1.ref).toThrow(/freed|disposed|reference/i);
  });

  it('throws what criticUpdate throws, and lets go of its arrays all the same', () => {
    const [params, x] = [paramsOf(problem), inputOf(problem)];
    const labels = problem.batch.labels.slice();
    labels[problem.batch.mask.indexOf(1)] = VOCAB;
    const step = criticValueAndGrad(jax, forward);
    expect(() => step(tree.ref(params), { ...problem.batch, labels }, x.ref)).toThrow(
      /Expected a label from 0 to below V = /,
    );
    expect(() => step(tree.ref(params), { ...problem.batch, colour: 1 } as never, x.ref)).toThrow(/"colour"/);
    expect(() => step(tree.ref(params), { ...problem.batch, out: {} } as never, x.ref)).toThrow(/no out in batch/);
    const heir = Object.assign(Object.create({ logits: [] }), problem.batch);
    expect(() => step(tree.ref(params), heir, x.ref)).toThrow(/no logits in batch/);
    expect(() => step(tree.ref(params), undefined as never, x.ref)).toThrow(/an object for batch/);
    expect(() => criticValueAndGrad(jax, 3 as never)).toThrow(/a function for forward/);
    expect(() => criticValueAndGrad({} as never, forward)).toThrow(/the module of jax-js for jax/);
    const integers = (p: Params, y: JaxArray) => forward(p, y).astype(np.int32);
    expect(() => criticValueAndGrad(jax, integers)(tree.ref(params), problem.batch, x.ref)).toThrow(TypeError);
    expect(x.refCount).toBe(1);
  });
});
