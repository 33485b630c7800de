/**
 * Keeps a policy able to answer. Preference pairs compare questions only, but one network asks and answers: trained on
 * pairs alone, it forgets how to write programs from replies. So every second step on pairs is followed by a likelihood
 * step on the base agent's own answers, right or wrong.
 */
import { padBatch, tokenCount } from '../batch.js';
import { messagesOf } from '../dialogue.js';
import { negativeLogLikelihood } from '../nll.js';
import { taskOf } from './offline.js';

const size = 8;

export class Anchor {
  #batches = [];
  #next = 0;
  #steps = 0;

  /** @param {import('./offline.js').Offline} offline @param {import('../random.js').Random} rand */
  constructor(offline, rand) {
    const dialogues = offline.trajectories.map(({ turns }, i) => {
      const messages = messagesOf(taskOf(offline, i), turns, false);
      const prompt = messages.slice(0, -1).flatMap(({ tokens }) => tokens);
      return [{ tokens: prompt, agent: false }, messages[messages.length - 1]];
    });
    dialogues.sort((a, b) => tokenCount(a) - tokenCount(b));
    for (let i = 0; i + size <= dialogues.length; i += size) this.#batches.push(dialogues.slice(i, i + size));
    rand.shuffle(this.#batches);
  }

  /** After a step on pairs. @param {import('../trainer.js').Trainer} trainer @param {number} rate */
  step(trainer, rate) {
    if (this.#steps++ % 2 === 0) return;
    const batch = padBatch(this.#batches[this.#next++ % this.#batches.length]);
    trainer.step(batch, (logits) => negativeLogLikelihood(logits, batch), rate);
  }
}
