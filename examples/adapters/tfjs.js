// The critic's loss of a transformer in TensorFlow.js:
// npm ci --prefix examples/adapters && node examples/adapters/tfjs.js
import tf from '@tensorflow/tfjs';
import { tokenLogps } from 'sweet-rl';
import { criticLoss } from 'sweet-rl/tfjs';
import { batch, causal, initialParams, LENGTH, oneHot, report, SEQUENCES, STEPS, VOCAB, WIDTH } from './batch.js';

await tf.setBackend('cpu');

const params = Object.fromEntries(
  Object.entries(initialParams).map(([name, { data, shape }]) => [name, tf.variable(tf.tensor(data, shape))]),
);
const x = tf.tensor(oneHot(), [SEQUENCES * LENGTH, VOCAB]);
const causalMask = tf.tensor(causal(), [LENGTH, LENGTH]);

function forward(p) {
  const project = (y, w) =>
    y
      .reshape([SEQUENCES * LENGTH, WIDTH])
      .matMul(w)
      .reshape([SEQUENCES, LENGTH, WIDTH]);
  let h = x.matMul(p.tokens).reshape([SEQUENCES, LENGTH, WIDTH]).add(p.positions);
  const [query, key, value] = [p.query, p.key, p.value].map((w) => project(h, w));
  const scores = query.matMul(key, false, true).mul(1 / Math.sqrt(WIDTH));
  h = h.add(scores.add(causalMask).softmax().matMul(value)).reshape([SEQUENCES * LENGTH, WIDTH]);
  return h.add(h.matMul(p.up).relu().matMul(p.down)).matMul(p.head);
}

// The reference model is the model before training.
const { labels, mask } = batch;
const firstLogits = tf.tidy(() => forward(params).dataSync());
const { logps: refLogps } = tokenLogps({ labels, mask, logits: firstLogits, vocabSize: VOCAB });

const optimizer = tf.train.sgd(0.3);
for (let i = 1; i <= STEPS; i++) {
  let result;
  const { value, grads } = tf.variableGrads(() =>
    criticLoss(tf, forward(params), { ...batch, refLogps }, (metrics) => {
      result = metrics;
    }),
  );
  optimizer.applyGradients(grads);
  tf.dispose([value, grads]);
  report(i, result);
}
