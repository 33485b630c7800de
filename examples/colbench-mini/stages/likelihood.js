/** Rejection fine-tuning: likelihood training of the base agent on its own successful dialogues. */
import { batchIndices, padBatch, tokenCount } from '../batch.js';
import { messagesOf } from '../dialogue.js';
import { negativeLogLikelihood } from '../nll.js';
import { random } from '../random.js';
import { schedule, Trainer } from '../trainer.js';
import { taskOf } from './offline.js';

/**
 * The loss covers all tokens of the agent, including the answer's.
 * @param {import('../model.js').Params} base
 * @param {import('./offline.js').Offline} offline
 * @param {{ batch: number, epochs: number, rate: number }} settings
 */
export function trainOnSuccesses(base, offline, settings, seed, onProgress) {
  const rand = random(seed, 61);
  const { trajectories } = offline;
  const dialogues = trajectories.flatMap(({ turns, reward }, i) =>
    reward === 1 ? [messagesOf(taskOf(offline, i), turns, false)] : [],
  );
  const lengths = dialogues.map(tokenCount);
  const batches = batchIndices(lengths, settings.batch, settings.epochs, rand);

  const trainer = new Trainer(base);
  const curve = batches.map((members, i) => {
    const batch = padBatch(members.map((m) => dialogues[m]));
    const { loss } = trainer.step(
      batch,
      (logits) => negativeLogLikelihood(logits, batch),
      schedule(i, batches.length, settings.rate),
    );
    onProgress(i + 1, batches.length);
    return { loss };
  });
  return { params: trainer.finish(), curve };
}
