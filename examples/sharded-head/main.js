// The critic's update with a head that is cut over ranks, each of which has some words' rows of the weight:
//
//   mpirun -n 4 node examples/sharded-head/main.js [--transport mpi|nccl] [--dtype float32|bfloat16] [--steps 5] [--check]
//
// With --check, rank 0 computes the last step's gradients once more over the whole weight and tells the largest difference.
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import { linearLogps, linearLogpsBackward, mergePartials, partials, trajectoryPreferenceLoss } from 'sweet-rl';
import { batch, cutsOf, numbers, pairs, ROWS, toBfloat16, VOCAB, WIDTH, wordsOf } from './data.js';
import { devices, processors } from './ranks.js';

const RATE = 20;
// Of the largest gradient. A matrix library on a device sums thousands of words in one float32, in the order that it likes;
// the processor's kernels add up tiles.
const ALLOWED = { mpi: 1e-6, nccl: 1e-5 };

const { values: options } = parseArgs({
  options: {
    transport: { type: 'string', default: 'mpi' },
    dtype: { type: 'string', default: 'float32' },
    steps: { type: 'string', default: '5' },
    check: { type: 'boolean', default: false },
  },
});
const { dtype, transport } = options;
const steps = Number(options.steps);
if (!['float32', 'bfloat16'].includes(dtype))
  throw new Error(`Expected float32 or bfloat16 for --dtype but received ${dtype}`);
if (!['mpi', 'nccl'].includes(transport))
  throw new Error(`Expected mpi or nccl for --transport but received ${transport}`);
if (!(Number.isInteger(steps) && steps > 0))
  throw new Error(`Expected a number of steps but received ${options.steps}`);

const ranks = transport === 'nccl' ? devices() : processors();
try {
  train(ranks);
  ranks.finalize();
} catch (error) {
  console.error(error);
  ranks.abort(); // the others might wait for this rank for ever
}

/** As the head takes them, where they are computed with. */
function stored({ place }, array) {
  return place(dtype === 'bfloat16' ? toBfloat16(array) : array, dtype);
}

function placed({ place }, arrays) {
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, place(array)]));
}

function train(ranks) {
  const { rank, size } = ranks;
  const cuts = cutsOf(size);
  const [first, end] = [cuts[rank], cuts[rank + 1]];
  const weight = numbers(VOCAB * WIDTH, 0.6, 2).slice(first * WIDTH, end * WIDTH);
  const bias = numbers(VOCAB, 0.5, 3).slice(first, end);
  const hidden = stored(ranks, numbers(ROWS * WIDTH, 1, 1));
  const [labels, loss] = [placed(ranks, batch), placed(ranks, { ...pairs, mask: batch.mask })];
  const head = () => ({
    hidden,
    weight: stored(ranks, weight),
    bias: stored(ranks, bias),
    dtype,
    ...labels,
    vocabOffset: first,
    totalVocab: VOCAB,
  });
  const forward = () => mergePartials({ partials: ranks.allGather(partials(head()).partials), ...labels });
  if (rank === 0) console.log(`words of each rank: ${wordsOf(cuts).join(', ')}`);

  const { logps: refLogps } = forward(); // the reference: the model before its training
  let last;
  for (let step = 1; step <= steps; step++) {
    // The same bits on every rank, from the partials of all.
    const { logps, lse } = forward();
    const result = trajectoryPreferenceLoss({ logps, refLogps, ...loss });
    const gradients = linearLogpsBackward({ ...head(), lse, gradLogps: result.gradLogps });
    // Added in the order of the ranks: a sum of the library's may take another order in another run.
    const gradHidden = sumOf(ranks.host(ranks.allGather(gradients.gradHidden)), size);
    const [gradWeight, gradBias] = [ranks.host(gradients.gradWeight), ranks.host(gradients.gradBias)];
    if (rank === 0) console.log(`step ${step}  loss ${result.loss.toFixed(6)}  accuracy ${result.accuracy}`);
    last = { weight: weight.slice(), bias: bias.slice(), gradHidden, gradWeight, gradBias, loss: result.loss };
    for (let i = 0; i < weight.length; i++) weight[i] -= RATE * gradWeight[i];
    for (let v = 0; v < bias.length; v++) bias[v] -= RATE * gradBias[v];
  }
  digest(ranks, last);
  if (options.check) check(ranks, cuts, last, hidden, labels, { ...loss, refLogps });
}

function sumOf(all, size) {
  const sum = all.slice(0, all.length / size);
  for (let i = sum.length; i < all.length; i++) sum[i % sum.length] += all[i];
  return sum;
}

/** Of all ranks' gradients: the same in every run. */
function digest(ranks, { gradHidden, gradWeight, gradBias }) {
  const own = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of [gradHidden, gradWeight, gradBias]) {
    own.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  const all = ranks.host(ranks.allGather(ranks.place(new Uint8Array(own.digest()))));
  if (ranks.rank === 0) console.log(`gradients ${createHash('sha256').update(all).digest('hex')}`);
}

/** Rows of all ranks one after the other; a rank that has fewer than another fills up. */
function gathered(ranks, cuts, own, width) {
  const words = wordsOf(cuts);
  const most = Math.max(...words);
  const padded = new Float32Array(most * width);
  padded.set(own);
  const all = ranks.host(ranks.allGather(ranks.place(padded)));
  const whole = new Float32Array(VOCAB * width);
  for (let r = 0; r < ranks.size; r++) {
    const rows = all.subarray(r * most * width, (r * most + words[r]) * width);
    whole.set(rows, cuts[r] * width);
  }
  return whole;
}

function check(ranks, cuts, last, hidden, labels, loss) {
  const [weight, gradWeight] = [last.weight, last.gradWeight].map((own) => gathered(ranks, cuts, own, WIDTH));
  const [bias, gradBias] = [last.bias, last.gradBias].map((own) => gathered(ranks, cuts, own, 1));
  if (ranks.rank !== 0) return;
  const head = { hidden, weight: stored(ranks, weight), bias: stored(ranks, bias), dtype, ...labels };
  const { logps, lse } = linearLogps(head);
  const whole = trajectoryPreferenceLoss({ logps, ...loss });
  const expected = linearLogpsBackward({ ...head, lse, gradLogps: whole.gradLogps });
  console.log(
    `one process: loss ${whole.loss.toFixed(6)}, off by ${Math.abs(whole.loss - last.loss).toExponential(1)}`,
  );
  for (const [name, ours] of Object.entries({ gradHidden: last.gradHidden, gradWeight, gradBias })) {
    const theirs = ranks.host(expected[name]);
    const largest = theirs.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const off = theirs.reduce((most, x, i) => Math.max(most, Math.abs(x - ours[i])), 0) / largest;
    console.log(`  ${name} differs by ${off.toExponential(1)} of its largest`);
    if (!(off <= ALLOWED[transport])) {
      throw new Error(`Expected ${name} within ${ALLOWED[transport]} of one process but it is off by ${off}`);
    }
  }
}
