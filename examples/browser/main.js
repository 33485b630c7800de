// The first update of the README, repeated: gradient descent on the logits themselves. Bundle it for a browser with
//   npx vite build examples/browser        or: npx esbuild main.js --bundle --format=esm --outfile=bundle.js
import { backends, criticUpdate, packTurns } from 'sweet-rl';

const batch = packTurns([
  {
    turns: [
      { tokens: [3, 1], agent: false },
      { tokens: [4, 1], agent: true },
    ],
  },
  {
    turns: [
      { tokens: [3, 1], agent: false },
      { tokens: [5, 9, 2], agent: true },
    ],
  },
]);
const { labels, mask, turnOffsets, trajectoryOffsets } = batch;
const [N, V] = [labels.length, 16];
const logits = Float32Array.from({ length: N * V }, (_, i) => Math.sin(i)); // [N, V]
const refLogps = new Float32Array(N).fill(-2.5);
const [chosen, rejected] = [Int32Array.of(0), Int32Array.of(1)];

const LEARNING_RATE = 20;
const losses = Array.from({ length: 60 }, () => {
  const options = { refLogps, turnOffsets, trajectoryOffsets, chosen, rejected };
  const { loss, gradLogits } = criticUpdate({ logits, vocabSize: V, labels, mask, ...options });
  for (const [i, gradient] of gradLogits.entries()) logits[i] -= LEARNING_RATE * gradient;
  return loss;
});

const show = (id, text) => {
  document.getElementById(id).textContent = text;
};
const x = (step) => (400 * step) / (losses.length - 1);
const y = (loss) => 200 - (200 * loss) / losses[0];
const points = losses.map((loss, step) => `${x(step).toFixed(1)},${y(loss).toFixed(1)}`);
document.querySelector('polyline').setAttribute('points', points.join(' '));
show('backend', backends().find(({ active }) => active).name);
show('first', losses[0].toFixed(4));
show('last', losses.at(-1).toFixed(4));
show('steps', String(losses.length));
