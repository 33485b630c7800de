/**
 * The critic with a value head: the base agent's network with privileged information predicts after each question
 * whether the dialogue will succeed.
 */
import { IGNORE_INDEX } from 'sweet-rl';
import { batchIndices, padBatch, tokenCount } from '../batch.js';
import { messagesOf } from '../dialogue.js';
import { token } from '../language.js';
import { shape } from '../model.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { schedule, Trainer } from '../trainer.js';
import { taskOf } from './offline.js';

/**
 * The value head is the output column of an unused vocabulary entry, initialized to 0: a linear function of the hidden
 * state at the question's last token.
 * @param {import('../model.js').Params} params
 */
function withValueHead(params) {
  const data = params.head.data.slice();
  for (let i = token.value; i < data.length; i += shape.vocab) data[i] = 0;
  return { ...params, head: { ...params.head, data } };
}

/** The positions of the last tokens of questions. */
function questionEnds({ labels, length, trajectoryOffsets }) {
  const rows = [];
  labels.forEach((label, row) => {
    const last = (row + 1) % length === 0 || labels[row + 1] === IGNORE_INDEX;
    if (label !== IGNORE_INDEX && last) rows.push(row + 1);
  });
  if (rows.length !== trajectoryOffsets[trajectoryOffsets.length - 1]) {
    throw new Error('Expected a position after every question');
  }
  return rows;
}

/**
 * @param {import('../model.js').Params} base
 * @param {import('./offline.js').Offline} offline
 * @param {{ batch: number, epochs: number, rate: number }} settings
 */
export function trainValueCritic(base, offline, settings, seed, onProgress) {
  const rand = random(seed, 71);
  const { trajectories } = offline;
  // the prompt of the answer stays, so that the last question has a token after it
  const dialogues = trajectories.map(({ turns }, i) => messagesOf(taskOf(offline, i), turns, true).slice(0, -1));
  const lengths = dialogues.map(tokenCount);
  const batches = batchIndices(lengths, settings.batch, settings.epochs, rand);

  const trainer = new Trainer(withValueHead(base));
  const curve = batches.map((members, i) => {
    const batch = padBatch(members.map((m) => dialogues[m]));
    const outcomes = Float32Array.from(members, (m) => Number(trajectories[m].reward === 1));
    const { loss, accuracy } = trainer.step(
      batch,
      (logits) => outcomeLoss(logits, batch, outcomes),
      schedule(i, batches.length, settings.rate),
    );
    onProgress(i + 1, batches.length);
    return { loss, accuracy };
  });
  return { params: trainer.finish(), curve };
}

/** The loss, its gradient with respect to the logits, and the share of turns whose value predicts the outcome. */
function outcomeLoss(logits, batch, outcomes) {
  const columns = questionEnds(batch).map((row) => row * shape.vocab + token.value);
  const { trajectoryOffsets } = batch;
  const valueLogits = Float32Array.from(columns, (i) => logits[i]);
  const { loss, values, gradValueLogits } = native.binaryValueLoss({ valueLogits, trajectoryOffsets, outcomes });
  const gradLogits = new Float32Array(logits.length);
  columns.forEach((i, turn) => {
    gradLogits[i] = gradValueLogits[turn];
  });
  let right = 0;
  outcomes.forEach((outcome, k) => {
    for (let t = trajectoryOffsets[k]; t < trajectoryOffsets[k + 1]; t++)
      right += Number(values[t] > 0.5 === outcome > 0.5);
  });
  return { loss, gradLogits, accuracy: right / values.length };
}
