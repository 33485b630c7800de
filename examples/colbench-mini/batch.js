/**
 * Padded batches of dialogues. packTurns packs without padding; here each sequence gets the same number of positions.
 */

import { IGNORE_INDEX, packTurns } from 'sweet-rl';
import { idOf } from './language.js';
import { dispose, forwardPass, oneHot, paddedLength, shape, share, toArrays } from './model.js';
import { native } from './native.js';

/**
 * A batch of `size` sequences of `length` positions. Labels are IGNORE_INDEX where the next token is not the agent's;
 * turns and trajectories cover all positions.
 * @typedef {object} Batch
 * @property {number} size
 * @property {number} length
 * @property {Int32Array} inputIds
 * @property {Int32Array} labels
 * @property {Int32Array} turnOffsets
 * @property {Int32Array} trajectoryOffsets
 */

/** @typedef {{ tokens: number[], agent: boolean }[]} Messages */

export const tokenCount = (messages) => messages.reduce((sum, { tokens }) => sum + tokens.length, 0);

const labelOf = (code) => (code === IGNORE_INDEX ? code : idOf(code));

/** @param {Messages[]} dialogues @returns {Batch} */
export function padBatch(dialogues) {
  const packed = packTurns(dialogues.map((turns) => ({ turns })));
  const { sequenceOffsets, trajectoryOffsets, turnOffsets } = packed;
  const size = dialogues.length;
  const length = paddedLength(Math.max(...dialogues.map(tokenCount)) - 1);
  const inputIds = new Int32Array(size * length);
  const labels = new Int32Array(size * length).fill(IGNORE_INDEX);
  const padded = new Int32Array(turnOffsets.length);
  for (let b = 0; b < size; b++) {
    const [from, to] = [sequenceOffsets[b], sequenceOffsets[b + 1]];
    inputIds.set(packed.inputIds.subarray(from, to), b * length);
    labels.set(packed.labels.subarray(from, to).map(labelOf), b * length);
    for (let t = trajectoryOffsets[b]; t < trajectoryOffsets[b + 1]; t++) {
      padded[t] = turnOffsets[t] - from + b * length;
    }
  }
  padded[turnOffsets.length - 1] = size * length;
  return { size, length, inputIds, labels, turnOffsets: padded, trajectoryOffsets };
}

/**
 * Batches of the indices 0 ... n - 1, shuffled in each epoch. Within a window of batches, indices are sorted by length
 * to reduce padding. Indices that do not fill a batch are dropped.
 */
export function batchIndices(lengths, size, epochs, rand, window = 16) {
  return Array.from({ length: epochs }, () => {
    const order = rand.shuffle(lengths.map((_, i) => i));
    const batches = [];
    for (let start = 0; start < order.length; start += size * window) {
      const part = order.slice(start, start + size * window).sort((a, b) => lengths[a] - lengths[b]);
      for (let i = 0; i < part.length; i += size) batches.push(part.slice(i, i + size));
    }
    return rand.shuffle(batches.filter((batch) => batch.length === size));
  }).flat();
}

/**
 * Forward passes of dialogues with frozen parameters, in batches of similar length.
 * @param {import('./model.js').Params} params
 * @param {Messages[]} dialogues
 * @param {(logits: Float32Array, batch: Batch, part: number[]) => void} onBatch part: the dialogues' indices; the last
 *   batch is filled with copies
 */
function forward(params, dialogues, onBatch, size = 32) {
  const arrays = toArrays(params);
  const order = dialogues.map((_, i) => i).sort((a, b) => tokenCount(dialogues[a]) - tokenCount(dialogues[b]));
  for (let start = 0; start < order.length; start += size) {
    const part = order.slice(start, start + size);
    const filled = Array.from({ length: size }, (_, b) => dialogues[part[Math.min(b, part.length - 1)]]);
    const batch = padBatch(filled);
    const logits = forwardPass(size, batch.length)(share(arrays), oneHot(batch.inputIds)).dataSync();
    onBatch(logits, batch, part);
  }
  dispose(arrays);
}

/**
 * Log-probs of the agent's tokens: one array per dialogue, over the positions with a label.
 * @param {import('./model.js').Params} params
 * @param {Messages[]} dialogues
 * @param {(done: number) => void} onProgress
 * @returns {Float32Array[]}
 */
export function logpsOf(params, dialogues, onProgress) {
  const result = new Array(dialogues.length);
  let done = 0;
  forward(params, dialogues, (logits, { labels, length }, part) => {
    const { logps } = native.tokenLogps({ logits, vocabSize: shape.vocab, labels });
    part.forEach((index, b) => {
      const rows = logps.subarray(b * length, (b + 1) * length);
      result[index] = rows.filter((_, row) => labels[b * length + row] !== IGNORE_INDEX);
    });
    done += part.length;
    onProgress(done);
  });
  return result;
}

/** Mean entropy of the distributions at the agent's tokens, in nats. */
export function entropyOf(params, dialogues) {
  let [sum, count] = [0, 0];
  forward(params, dialogues, (logits, { labels, length }, part) => {
    const { entropy } = native.tokenLogps({ logits, vocabSize: shape.vocab, labels, entropy: true });
    for (let row = 0; row < part.length * length; row++) {
      if (labels[row] === IGNORE_INDEX) continue;
      sum += entropy[row];
      count++;
    }
  });
  return sum / count;
}

/** Log-probs of dialogues, as logpsOf returns them, at the positions of a batch; 0 where there is no label. */
export function spreadLogps(batch, parts) {
  const rows = new Float32Array(batch.labels.length);
  parts.forEach((part, b) => {
    let next = 0;
    for (let row = b * batch.length; row < (b + 1) * batch.length; row++) {
      if (batch.labels[row] !== IGNORE_INDEX) rows[row] = part[next++];
    }
  });
  return rows;
}
