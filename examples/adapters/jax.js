// The critic's loss of a transformer in jax-js: node examples/adapters/jax.js
import * as jax from '@jax-js/jax';
import { tokenLogps } from 'sweet-rl';
import { criticValueAndGrad } from 'sweet-rl/jax';
import { batch, causal, initialParams, LENGTH, oneHot, report, SEQUENCES, STEPS, VOCAB, WIDTH } from './batch.js';

const { init, jit, nn, numpy: np, tree } = jax;

// Node 20 selects the backend without it.
if (Number(process.versions.node.split('.')[0]) > 20) await init('wasm');

const array = (data, ...shape) => np.array(data).reshape(shape);
const causalMask = array(causal(), LENGTH, LENGTH);

const forward = jit((p, x) => {
  const project = (y, w) => np.matmul(y.reshape([SEQUENCES * LENGTH, WIDTH]), w).reshape([SEQUENCES, LENGTH, WIDTH]);
  let h = np.matmul(x, p.tokens).reshape([SEQUENCES, LENGTH, WIDTH]).add(p.positions);
  const [query, key, value] = [p.query, p.key, p.value].map((w) => project(h.ref, w));
  const scores = np.matmul(query, np.transpose(key, [0, 2, 1])).mul(1 / Math.sqrt(WIDTH));
  h = h.add(np.matmul(nn.softmax(scores.add(causalMask.ref), -1), value)).reshape([SEQUENCES * LENGTH, WIDTH]);
  h = h.ref.add(np.matmul(nn.relu(np.matmul(h, p.up)), p.down));
  return np.matmul(h, p.head);
});

let params = Object.fromEntries(
  Object.entries(initialParams).map(([name, { data, shape }]) => [name, array(data, ...shape)]),
);
const x = array(oneHot(), SEQUENCES * LENGTH, VOCAB);

// The reference model is the model before training.
const { labels, mask } = batch;
const firstLogits = forward(tree.ref(params), x.ref).dataSync();
const { logps: refLogps } = tokenLogps({ labels, mask, logits: firstLogits, vocabSize: VOCAB });

const step = criticValueAndGrad(jax, forward);
const descend = jit((p, g) => Object.fromEntries(Object.keys(p).map((name) => [name, p[name].sub(g[name].mul(0.3))])));

for (let i = 1; i <= STEPS; i++) {
  const [result, gradients] = step(tree.ref(params), { ...batch, refLogps }, x.ref);
  params = descend(params, gradients);
  report(i, result);
}
