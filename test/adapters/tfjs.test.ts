/** sweet-rl/tfjs against TensorFlow.js's own gradient of the same loss. */
import { criticUpdate } from 'sweet-rl';
import { criticLoss, policyLoss, type TensorFlow } from 'sweet-rl/tfjs';
import { describe, expect, it } from 'vitest';
import {
  denseLoss,
  LOSS_CASES,
  type LossCase,
  optionsOf,
  relativeError,
  smallProblem,
  VOCAB,
} from '../helpers/dense-loss.ts';
import { loadTensorflow, type Tensor, type Tf } from '../helpers/tensorflow.ts';

const loaded = await loadTensorflow();
const tf = loaded as Tf; // the tests below run only where it is there
type Problem = ReturnType<typeof smallProblem>;

const paramsOf = ({ params: { w1, w2, bias } }: Problem) =>
  [w1, w2, bias].map(({ data, shape }) => tf.tensor(data, shape));
const forward = ({ x, N }: Problem, [w1, w2, bias]: Tensor[]) =>
  tf.add(tf.matMul(tf.tanh(tf.matMul(tf.tensor(x, [N, x.length / N]), w1!)), w2!), bias!);

/** The same loss in TensorFlow.js's own operations; not by tf.logSigmoid, whose gradient is wrong. */
function ownLoss(problem: Problem, loss: LossCase, logits: Tensor): Tensor {
  const { N, batch } = problem;
  const P = batch.chosen.length;
  const dense = denseLoss(batch, loss.ofTrajectories, loss.rule);
  const logp = tf.sum(tf.mul(tf.logSoftmax(logits), tf.tensor(dense.oneHot, [N, VOCAB])), -1);
  const ratios = tf.reshape(tf.sub(logp, tf.tensor(batch.refLogps, [N])), [N, 1]);
  const u = tf.mul(tf.reshape(tf.matMul(tf.tensor(dense.differences, [P, N]), ratios), [P]), loss.beta);
  const won = tf.mul(tf.softplus(tf.neg(u)), 1 - loss.labelSmoothing);
  const losses = tf.add(won, tf.mul(tf.softplus(u), loss.labelSmoothing));
  const nll = tf.sum(tf.mul(logp, tf.tensor(dense.nll, [N])));
  return tf.add(tf.sum(tf.mul(losses, tf.tensor(dense.pairWeights, [P]))), tf.mul(nll, loss.nllCoef));
}

describe.runIf(loaded).each(LOSS_CASES)('$name', (loss) => {
  const problem = smallProblem(loss.beta * 100, loss.ofTrajectories);
  const { turnOffsets, trajectoryOffsets, ...rest } = problem.batch;
  const options = { ...rest, turnOffsets, ...optionsOf(loss) };
  const ours = (logits: Tensor): Tensor =>
    loss.ofTrajectories ? criticLoss(tf, logits, { ...options, trajectoryOffsets }) : policyLoss(tf, logits, options);

  it("has TensorFlow.js's own value and gradients", () => {
    const own = tf.valueAndGrads((...params) => ownLoss(problem, loss, forward(problem, params)))(paramsOf(problem));
    const { value, grads } = tf.valueAndGrads((...params) => ours(forward(problem, params)))(paramsOf(problem));
    expect(relativeError(value.dataSync(), own.value.dataSync())).toBeLessThan(1e-5);
    grads.forEach((gradient, i) => {
      expect(gradient.shape).toEqual(own.grads[i]!.shape);
      expect(relativeError(gradient.dataSync(), own.grads[i]!.dataSync())).toBeLessThan(1e-5);
    });
  });
});

describe.runIf(loaded)('criticLoss', () => {
  const problem = smallProblem(3, true);
  const logitsOf = () => forward(problem, paramsOf(problem));

  it('hands out the metrics of criticUpdate, and leaves the logits as they were', () => {
    const logits = logitsOf();
    const before = logits.dataSync().slice();
    const { gradLogits: _, ...expected } = criticUpdate({ ...problem.batch, logits: before.slice() });
    let result: unknown;
    const value = criticLoss(tf, logits, problem.batch, (metrics) => {
      result = metrics;
    });
    expect(result).toEqual(expected);
    expect(value.dataSync()[0]).toBe(Math.fround(expected.loss));
    expect(logits.dataSync()).toEqual(before);
  });

  it('multiplies by the gradient from above, and takes logits of more dimensions', () => {
    const logits = logitsOf();
    const plain = tf
      .grad((z) => criticLoss(tf, z, problem.batch))(logits)
      .dataSync();
    const scaled = tf.grad((z) => tf.mul(criticLoss(tf, tf.reshape(z, [1, problem.N, VOCAB]), problem.batch), -4))(
      logits,
    );
    expect(scaled.dataSync()).toEqual(plain.map((x) => -4 * x));
  });

  it('leaves no tensor behind', () => {
    const logits = logitsOf();
    const gradient = tf.grad((z) => criticLoss(tf, z, problem.batch));
    const before = tf.memory().numTensors;
    for (let i = 0; i < 3; i++) tf.tidy(() => gradient(logits).dataSync());
    expect(tf.memory().numTensors).toBe(before);
  });

  it('throws what criticUpdate throws, and where it gets no float32 tensor', () => {
    const logits = logitsOf();
    const labels = problem.batch.labels.slice();
    labels[problem.batch.mask.indexOf(1)] = VOCAB;
    expect(() => criticLoss(tf, logits, { ...problem.batch, labels })).toThrow(/Expected a label from 0 to below V = /);
    expect(() => criticLoss(tf, logits, { ...problem.batch, colour: 1 } as never)).toThrow(/"colour"/);
    expect(() => criticLoss(tf, logits, { ...problem.batch, logits: [] } as never)).toThrow(/no logits in batch/);
    expect(() => criticLoss(tf, tf.cast(logits, 'int32'), problem.batch)).toThrow(/a float32 tensor for logits/);
    expect(() => criticLoss(tf, tf.reshape(logits, [problem.N * VOCAB]), problem.batch)).toThrow(/\[N, V\]/);
    expect(() => criticLoss({} as Tf, logits, problem.batch)).toThrow(/TensorFlow\.js for tf/);
  });
});

it('refuses labels whose rows are in another order than the logits', () => {
  const own: TensorFlow<number> = {
    customGrad: ((f: (input: unknown, save: () => void) => { value: number }) => (input: unknown) =>
      f(input, () => {}).value) as never,
    scalar: (value) => value,
    tensor: (values) => values,
    mul: (a) => a,
  };
  const offsets = Int32Array.of(0, 2, 6);
  const turns = { turnOffsets: offsets, chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
  const logits = { shape: [3, 2, 4], dtype: 'float32', dataSync: () => new Float32Array(24) };
  const lossOf = (...dims: number[]) =>
    policyLoss(own, logits, { ...turns, refLogps: new Float32Array(6), labels: { data: new Int32Array(6), dims } });
  for (const dims of [[3, 2], [6], [1, 6]]) expect(lossOf(...dims)).toBeGreaterThan(0);
  expect(() => lossOf(2, 3)).toThrow(expect.objectContaining({ code: 'ERR_ARG_LENGTH' }));
});
