// criticUpdate on logits against the same update in plain JavaScript, both on one thread.
import { criticUpdate, setThreads, threads } from 'sweet-rl';

const [turns, tokensPerTurn, vocab] = [8, 16, 128_256];
const rows = turns * tokensPerTurn;
const batch = {
  logits: Float32Array.from({ length: rows * vocab }, (_, i) => ((Math.imul(i, 0x9e3779b1) >>> 8) / 2 ** 24) * 12 - 6),
  labels: Int32Array.from({ length: rows }, (_, i) => i * 997),
  refLogps: new Float32Array(rows).fill(-12),
  turnOffsets: Int32Array.from({ length: turns + 1 }, (_, t) => t * tokensPerTurn),
  trajectoryOffsets: Int32Array.from([0, turns / 2, turns]),
  chosen: Int32Array.from([0]),
  rejected: Int32Array.from([1]),
};
const gradLogits = new Float32Array(batch.logits.length);

/** The loops that a trainer without the package would write. */
function plainUpdate({ logits, labels, refLogps, turnOffsets, trajectoryOffsets, chosen, rejected }, beta = 0.1) {
  const lse = new Float64Array(rows);
  const ratios = new Float64Array(rows);
  for (let i = 0; i < rows; i++) {
    const row = i * vocab;
    let max = -Infinity;
    for (let v = 0; v < vocab; v++) if (logits[row + v] > max) max = logits[row + v];
    let sum = 0;
    for (let v = 0; v < vocab; v++) sum += Math.exp(logits[row + v] - max);
    lse[i] = max + Math.log(sum);
    ratios[i] = logits[row + labels[i]] - lse[i] - refLogps[i];
  }
  const score = (k) => {
    let sum = 0;
    for (let t = trajectoryOffsets[k]; t < trajectoryOffsets[k + 1]; t++) {
      const [from, to] = [turnOffsets[t], turnOffsets[t + 1]];
      sum += ratios.subarray(from, to).reduce((a, b) => a + b, 0) / (to - from);
    }
    return sum;
  };
  const margin = beta * (score(chosen[0]) - score(rejected[0]));
  const slope = -beta / (1 + Math.exp(margin));
  for (let k = 0; k < 2; k++) {
    for (let t = trajectoryOffsets[k]; t < trajectoryOffsets[k + 1]; t++) {
      const [from, to] = [turnOffsets[t], turnOffsets[t + 1]];
      const g = (k === chosen[0] ? slope : -slope) / (to - from);
      for (let i = from; i < to; i++) {
        const row = i * vocab;
        for (let v = 0; v < vocab; v++) gradLogits[row + v] = -g * Math.exp(logits[row + v] - lse[i]);
        gradLogits[row + labels[i]] += g;
      }
    }
  }
  return Math.log1p(Math.exp(-margin));
}

const native = (count) => () => {
  setThreads(count);
  return criticUpdate({ ...batch, out: { gradLogits } }).loss;
};
const all = threads();
const contenders = {
  'plain JavaScript': () => plainUpdate(batch),
  'sweet-rl, 1 thread': native(1),
  [`sweet-rl, ${all} threads`]: native(all),
};

const times = Object.fromEntries(Object.keys(contenders).map((name) => [name, []]));
const losses = {};
for (let round = 0; round < 8; round++) {
  for (const [name, run] of Object.entries(contenders)) {
    const start = performance.now();
    losses[name] = run();
    if (round > 0) times[name].push(performance.now() - start); // the first round warms up
  }
}

const median = (list) => list.toSorted((a, b) => a - b)[list.length >> 1];
const plain = median(times['plain JavaScript']);
console.log(`criticUpdate, ${rows} × ${vocab} float32 logits, median of 7 interleaved runs`);
for (const [name, list] of Object.entries(times)) {
  const ms = median(list);
  console.log(
    `${name.padEnd(20)} ${ms.toFixed(1).padStart(8)} ms  ${(plain / ms).toFixed(1).padStart(6)} ×  loss ${losses[name].toFixed(6)}`,
  );
}
