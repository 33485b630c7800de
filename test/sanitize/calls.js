// Every operation over one set of arrays, as the programs of this folder call them.
import { createHash } from 'node:crypto';
import * as sweetRl from 'sweet-rl';

/** The package's functions by their names. */
export const operations = { ...sweetRl };

const SMALL = { N: 12, V: 33, H: 7, TURNS: 4 };
const LARGE = { N: 192, V: 3001, H: 48, TURNS: 8 };
export const SIZES = { small: SMALL, large: LARGE };

/** The same numbers on every run. */
function floats(length, seed, scale = 2) {
  return Float32Array.from({ length }, (_, i) => scale * Math.sin(i * 12.9898 + seed * 78.233) * Math.cos(i * 0.37));
}

/** The options of every operation, by its name. */
export function optionsOf({ N, V, H, TURNS }) {
  const labels = Int32Array.from({ length: N }, (_, i) => (i % 7 === 3 ? -100 : (i * 31) % V));
  const mask = Uint8Array.from({ length: N }, (_, i) => Number(i % 5 !== 1));
  const turnOffsets = Int32Array.from({ length: TURNS + 1 }, (_, t) => Math.floor((t * N) / TURNS));
  const trajectoryOffsets = Int32Array.of(0, 1, TURNS / 2, TURNS);
  const [chosen, rejected] = [Int32Array.of(0, 2), Int32Array.of(1, 0)];
  const [logits, refLogits] = [floats(N * V, 1, 6), floats(N * V, 2, 6)];
  const head = { hidden: floats(N * H, 3), weight: floats(V * H, 4), bias: floats(V, 5), labels, mask };
  const tokenWeights = floats(N, 10).map(Math.abs);
  const turns = { mask, tokenWeights, turnOffsets, allowEmptyTurns: true };
  const [logps, refLogps] = [floats(N, 6), floats(N, 7)];
  const pairs = { chosen, rejected, pairWeights: Float32Array.of(1, 0.5), nllCoef: 0.1 };
  const desirable = Uint8Array.from({ length: TURNS }, (_, t) => t % 2);
  const sequences = { klLogps: floats(5, 11), klRefLogps: floats(5, 12) };
  const upstream = { gradLogps: floats(N, 8) };
  const rows = { logits, labels, mask };
  const trajectories = { ...turns, trajectoryOffsets, ...pairs };
  const gradDivergence = upstream.gradLogps;
  const ofRows = { logits, vocabSize: V, mask, teacherLogits: refLogits, divergence: 'jsd' };
  const top = {
    teacherIndices: Int32Array.from({ length: 3 * N }, (_, k) => (k % 3) * 2 + (Math.floor(k / 3) % 2)),
    teacherLogps: new Float32Array(3 * N).fill(-2),
  };
  const { labels: _, ...ofHead } = { ...head, hiddenSize: H, ...top, divergence: 'reverse_kl' };
  return {
    tokenDivergence: ofRows,
    tokenDivergenceBackward: { ...ofRows, gradDivergence, saved: operations.tokenDivergence(ofRows).saved },
    linearDivergence: ofHead,
    linearDivergenceBackward: { ...ofHead, gradDivergence, saved: operations.linearDivergence(ofHead).saved },
    tokenLogps: { ...rows, entropy: true },
    tokenLogpsBackward: { ...rows, ...upstream, lse: operations.tokenLogps(rows).lse },
    linearLogps: { ...head, entropy: true },
    linearLogpsBackward: { ...head, ...upstream, lse: operations.linearLogps(head).lse },
    vocabParallelStats: { ...rows, entropy: true, vocabOffset: 5, totalVocab: V + 9 },
    mergeVocabParallelStats: {
      ...operations.vocabParallelStats({ ...head, entropy: true }),
      labels,
      mask,
      entropy: true,
    },
    turnAdvantages: { ...turns, logps, refLogps },
    turnAdvantagesBackward: { ...turns, gradAdvantages: floats(TURNS, 9) },
    trajectoryPreferenceLoss: { ...trajectories, logps, refLogps },
    turnPreferenceLoss: { ...turns, ...pairs, logps, refLogps },
    criticUpdate: { ...rows, ...trajectories, refLogits },
    unpairedPreferenceLoss: { ...turns, ...sequences, desirable, logps, refLogps },
    unpairedUpdate: {
      ...head,
      ...turns,
      trajectoryOffsets,
      desirable: desirable.subarray(0, 3),
      lossType: 'bco',
      refLogps,
    },
    policyUpdate: { ...head, ...turns, ...pairs, refLogps },
    policyGradientUpdate: { ...head, advantages: logps, oldLogps: refLogps, entropyCoef: 0.1 },
  };
}

/** { name, run } of every operation, and of its twin that runs off the thread where there is one. */
export function callsOf(size) {
  return Object.entries(optionsOf(size)).flatMap(([name, options]) =>
    [name, `${name}Async`]
      .filter((each) => each in operations)
      .map((each) => ({ name: each, run: () => operations[each](options) })),
  );
}

/** What the results of all operations come down to. */
export async function digestOf(size) {
  const hash = createHash('sha256');
  for (const { name, run } of callsOf(size)) {
    if (name.endsWith('Async')) continue;
    const result = await run();
    for (const [key, value] of ArrayBuffer.isView(result) ? [['', result]] : Object.entries(result)) {
      hash.update(`${name} ${key}`);
      hash.update(
        ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : `${value}`,
      );
    }
  }
  return hash.digest('hex');
}
