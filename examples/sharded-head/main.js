// The critic's update with a vocabulary-parallel head: each rank has a shard of the weight's rows.
//
//   mpirun -n 4 node examples/sharded-head/main.js
//     [--transport mpi|nccl] [--dtype float32|bfloat16] [--steps 5] [--check]
//
// With --check, rank 0 computes the last step's gradients with the whole weight and prints the largest differences.
import { createHash } from 'node:crypto';
import { parseArgs } from 'node:util';
import {
  linearLogps,
  linearLogpsBackward,
  mergeVocabParallelStats,
  trajectoryPreferenceLoss,
  vocabParallelStats,
} from 'sweet-rl';
import { batch, numbers, pairs, ROWS, shardOffsets, shardSizes, toBfloat16, VOCAB, WIDTH } from './data.js';
import { cpus, devices } from './ranks.js';

const RATE = 20;
// Relative to the largest gradient. A matrix library on a device sums thousands of vocabulary entries in one float32,
// in an unspecified order; the CPU kernels add partial sums of tiles.
const TOLERANCE = { mpi: 1e-6, nccl: 1e-5 };

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

const ranks = transport === 'nccl' ? devices() : cpus();
try {
  train(ranks);
  ranks.finalize();
} catch (error) {
  console.error(error);
  ranks.abort(); // the other ranks may wait for this one
}

/** An array of the head in its storage type, on the device if there is one. */
function stored({ place }, array) {
  return place(dtype === 'bfloat16' ? toBfloat16(array) : array, dtype);
}

function placed({ place }, arrays) {
  return Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, place(array)]));
}

function train(ranks) {
  const { rank, size } = ranks;
  const offsets = shardOffsets(size);
  const [first, end] = [offsets[rank], offsets[rank + 1]];
  const weight = numbers(VOCAB * WIDTH, 0.6, 2).slice(first * WIDTH, end * WIDTH);
  const bias = numbers(VOCAB, 0.5, 3).slice(first, end);
  const hidden = stored(ranks, numbers(ROWS * WIDTH, 1, 1));
  const [labels, loss] = [placed(ranks, batch), placed(ranks, { ...pairs, mask: batch.mask })];
  const head = () => ({
    hidden,
    weight: stored(ranks, weight),
    bias: stored(ranks, bias),
    dtype,
    hiddenSize: WIDTH,
    ...labels,
    vocabOffset: first,
    totalVocab: VOCAB,
  });
  const forward = () =>
    mergeVocabParallelStats({ stats: ranks.allGather(vocabParallelStats(head()).stats), ...labels });
  if (rank === 0) console.log(`vocabulary entries per rank: ${shardSizes(offsets).join(', ')}`);

  const { logps: refLogps } = forward(); // the reference model is the model before training
  let last;
  for (let step = 1; step <= steps; step++) {
    // The statistics of all shards give the same bits on every rank.
    const { logps, lse } = forward();
    const result = trajectoryPreferenceLoss({ logps, refLogps, ...loss });
    const gradients = linearLogpsBackward({ ...head(), lse, gradLogps: result.gradLogps });
    // Gather and add in the order of the ranks: an all-reduce may add in another order in another run.
    const gradHidden = sumOf(ranks.host(ranks.allGather(gradients.gradHidden)), size);
    const [gradWeight, gradBias] = [ranks.host(gradients.gradWeight), ranks.host(gradients.gradBias)];
    if (rank === 0) console.log(`step ${step}  loss ${result.loss.toFixed(6)}  accuracy ${result.accuracy}`);
    last = { weight: weight.slice(), bias: bias.slice(), gradHidden, gradWeight, gradBias, loss: result.loss };
    for (let i = 0; i < weight.length; i++) weight[i] -= RATE * gradWeight[i];
    for (let v = 0; v < bias.length; v++) bias[v] -= RATE * gradBias[v];
  }
  digest(ranks, last);
  if (options.check) check(ranks, offsets, last, hidden, labels, { ...loss, refLogps });
}

function sumOf(all, size) {
  const sum = all.slice(0, all.length / size);
  for (let i = sum.length; i < all.length; i++) sum[i % sum.length] += all[i];
  return sum;
}

/** Prints a hash of all ranks' gradients, the same in every run. */
function digest(ranks, { gradHidden, gradWeight, gradBias }) {
  const ofRank = createHash('sha256');
  for (const { buffer, byteOffset, byteLength } of [gradHidden, gradWeight, gradBias]) {
    ofRank.update(new Uint8Array(buffer, byteOffset, byteLength));
  }
  const all = ranks.host(ranks.allGather(ranks.place(new Uint8Array(ofRank.digest()))));
  if (ranks.rank === 0) console.log(`gradients ${createHash('sha256').update(all).digest('hex')}`);
}

/** The rows of all shards, [VOCAB, width]. Shards are padded to the largest for the all-gather. */
function gathered(ranks, offsets, shard, width) {
  const sizes = shardSizes(offsets);
  const largest = Math.max(...sizes);
  const padded = new Float32Array(largest * width);
  padded.set(shard);
  const all = ranks.host(ranks.allGather(ranks.place(padded)));
  const whole = new Float32Array(VOCAB * width);
  for (let r = 0; r < ranks.size; r++) {
    const rows = all.subarray(r * largest * width, (r * largest + sizes[r]) * width);
    whole.set(rows, offsets[r] * width);
  }
  return whole;
}

function check(ranks, offsets, last, hidden, labels, loss) {
  const [weight, gradWeight] = [last.weight, last.gradWeight].map((shard) => gathered(ranks, offsets, shard, WIDTH));
  const [bias, gradBias] = [last.bias, last.gradBias].map((shard) => gathered(ranks, offsets, shard, 1));
  if (ranks.rank !== 0) return;
  const head = {
    hidden,
    weight: stored(ranks, weight),
    bias: stored(ranks, bias),
    dtype,
    hiddenSize: WIDTH,
    ...labels,
  };
  const { logps, lse } = linearLogps(head);
  const whole = trajectoryPreferenceLoss({ logps, ...loss });
  const expected = linearLogpsBackward({ ...head, lse, gradLogps: whole.gradLogps });
  console.log(
    `one process: loss ${whole.loss.toFixed(6)}, off by ${Math.abs(whole.loss - last.loss).toExponential(1)}`,
  );
  for (const [name, actual] of Object.entries({ gradHidden: last.gradHidden, gradWeight, gradBias })) {
    const reference = ranks.host(expected[name]);
    const largest = reference.reduce((max, x) => Math.max(max, Math.abs(x)), 0);
    const off = reference.reduce((max, x, i) => Math.max(max, Math.abs(x - actual[i])), 0) / largest;
    console.log(`  ${name} differs by ${off.toExponential(1)} of its largest`);
    if (!(off <= TOLERANCE[transport])) {
      throw new Error(`Expected ${name} within ${TOLERANCE[transport]} of one process but it is off by ${off}`);
    }
  }
}
