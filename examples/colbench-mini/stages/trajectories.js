/**
 * Training on pairs of trajectories. SWEET-RL's critic is the base agent's network with privileged information; its
 * log-prob ratio to the base agent is the advantage of a turn. Multi-turn DPO trains the policy itself in the same way.
 */

import { batchIndices, logpsOf, padBatch, spreadLogps, tokenCount } from '../batch.js';
import { messagesOf } from '../dialogue.js';
import { shape } from '../model.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { schedule, Trainer } from '../trainer.js';
import { Anchor } from './anchor.js';
import { taskOf } from './offline.js';

/**
 * All methods compare questions only. The answer is forced: next to the hidden function it would reveal the outcome to
 * the critic, and a policy trained against wrong answers after too few questions forgets how to answer.
 */
function questionsOf(task, turns, withHidden) {
  const messages = messagesOf(task, turns, withHidden);
  return messages.slice(0, -2);
}

/**
 * @typedef {object} PairSettings
 * @property {number} pairsPerBatch
 * @property {number} epochs
 * @property {number} rate
 * @property {number} beta
 * @property {number} nllCoef
 */

/**
 * @param {import('../model.js').Params} base
 * @param {import('./offline.js').Offline} offline
 * @param {import('../methods.js').Method} method by trajectories: the policy itself is trained, and has to answer
 * @param {PairSettings} settings
 */
export function trainOnTrajectories(base, offline, method, settings, seed, onProgress) {
  const { trajectories, chosen, rejected } = offline;
  const rand = random(seed, 31);
  const dialogues = Array.from(chosen).flatMap((_, pair) =>
    [chosen[pair], rejected[pair]].map((index) =>
      questionsOf(taskOf(offline, index), trajectories[index].turns, method.withHidden),
    ),
  );
  const lengths = Array.from(chosen, (_, p) =>
    Math.max(tokenCount(dialogues[2 * p]), tokenCount(dialogues[2 * p + 1])),
  );
  const batches = batchIndices(lengths, settings.pairsPerBatch, settings.epochs, rand);
  // a reference log-prob costs about a quarter of a training step
  const total = dialogues.length / 4 + batches.length * settings.pairsPerBatch;
  const refLogps = logpsOf(base, dialogues, (done) => onProgress(done / 4, total));

  const trainer = new Trainer(base);
  const anchor = method.by === 'trajectories' ? new Anchor(offline, rand) : undefined;
  const curve = batches.map((pairs, i) => {
    const members = [...pairs.map((p) => 2 * p), ...pairs.map((p) => 2 * p + 1)];
    const batch = padBatch(members.map((m) => dialogues[m]));
    const reference = spreadLogps(
      batch,
      members.map((m) => refLogps[m]),
    );
    const rate = schedule(i, batches.length, settings.rate);
    const { accuracy, preferenceLoss } = trainer.step(
      batch,
      (logits) =>
        native.criticUpdate({
          logits,
          vocabSize: shape.vocab,
          labels: batch.labels,
          refLogps: reference,
          turnOffsets: batch.turnOffsets,
          trajectoryOffsets: batch.trajectoryOffsets,
          chosen: Int32Array.from(pairs.keys()),
          rejected: Int32Array.from(pairs.keys(), (p) => p + pairs.length),
          beta: settings.beta,
          normalization: method.normalization,
          nllCoef: settings.nllCoef,
        }),
      rate,
    );
    anchor?.step(trainer, rate);
    onProgress(dialogues.length / 4 + (i + 1) * settings.pairsPerBatch, total);
    return { loss: preferenceLoss, accuracy };
  });
  return { params: trainer.finish(), curve };
}
