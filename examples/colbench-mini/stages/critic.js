/**
 * The critic: the base agent's network, shown the hidden function, trained on pairs of trajectories so that its
 * log-prob ratio to the base becomes the advantage of a turn.
 */
import { batchIndices, logpsOf, padBatch, spreadLogps, tokenCount } from '../batch.js';
import { messagesOf } from '../dialogue.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { schedule, Trainer } from '../trainer.js';

/**
 * Only the questions are scored. The answer is forced, and beside the hidden function it would give the outcome away:
 * the critic would compare programs instead of giving credit to what was asked.
 */
function questionsOf(task, turns, withHidden) {
  const messages = messagesOf(task, turns, withHidden);
  return messages.slice(0, -2);
}

/**
 * @param {import('../model.js').Params} base
 * @param {import('./offline.js').Offline} offline
 * @param {import('../settings.js').Method} method
 * @param {{ pairsPerBatch: number, epochs: number, rate: number, beta: number, nllCoef: number }} settings
 */
export function trainCritic(base, { tasks, trajectories, chosen, rejected }, method, settings, seed, onProgress) {
  const rand = random(seed, 31);
  const perTask = trajectories.length / tasks.length;
  const dialogues = Array.from(chosen).flatMap((_, pair) =>
    [chosen[pair], rejected[pair]].map((index) =>
      questionsOf(tasks[Math.floor(index / perTask)], trajectories[index].turns, method.withHidden),
    ),
  );
  const lengths = Array.from(chosen, (_, p) =>
    Math.max(tokenCount(dialogues[2 * p]), tokenCount(dialogues[2 * p + 1])),
  );
  const batches = [];
  for (let epoch = 0; epoch < settings.epochs; epoch++) {
    batches.push(...batchIndices(lengths, settings.pairsPerBatch, rand));
  }
  // a reference log-prob costs about a quarter of a training step
  const total = dialogues.length / 4 + batches.length * settings.pairsPerBatch;
  const refLogps = logpsOf(base, dialogues, (done) => onProgress(done / 4, total));

  const trainer = new Trainer(base);
  const curve = batches.map((pairs, i) => {
    const members = [...pairs.map((p) => 2 * p), ...pairs.map((p) => 2 * p + 1)];
    const batch = padBatch(members.map((m) => dialogues[m]));
    const reference = spreadLogps(
      batch,
      members.map((m) => refLogps[m]),
    );
    const { accuracy, preferenceLoss } = trainer.step(
      batch,
      (logits) =>
        native.criticUpdate({
          logits,
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
      schedule(i, batches.length, settings.rate),
    );
    onProgress(dialogues.length / 4 + (i + 1) * settings.pairsPerBatch, total);
    return { loss: preferenceLoss, accuracy };
  });
  return { params: trainer.finish(), curve };
}
