/** The base agent: behaviour cloning of demonstrators that waste turns but answer as the replies say. */
import { padBatch, tokenCount } from '../batch.js';
import { demonstrate, messagesOf } from '../dialogue.js';
import { initialParams } from '../model.js';
import { negativeLogLikelihood } from '../nll.js';
import { random } from '../random.js';
import { drawTasks } from '../task.js';
import { schedule, Trainer } from '../trainer.js';

/**
 * Half of the demonstrations begin with the hidden function, so that the critic can start from the base agent. The loss
 * covers all tokens, including the user's: predicting replies teaches what they mean.
 */
function* demonstrationBatches(seed, size, window = 16) {
  const rand = random(seed, 21);
  const tasks = drawTasks('train', rand);
  for (;;) {
    const dialogues = Array.from({ length: size * window }, () => {
      const task = tasks.next().value;
      const tokens = messagesOf(task, demonstrate(task, rand), rand.next() < 0.5).flatMap((m) => m.tokens);
      return [
        { tokens: tokens.slice(0, 1), agent: false },
        { tokens: tokens.slice(1), agent: true },
      ];
    }).sort((a, b) => tokenCount(a) - tokenCount(b));
    const batches = Array.from({ length: window }, (_, i) => dialogues.slice(i * size, (i + 1) * size));
    yield* rand.shuffle(batches).map(padBatch);
  }
}

/**
 * @param {{ seed: number, steps: number, batch: number, rate: number, width: number }} settings
 * @param {(done: number, total: number) => void} onProgress
 */
export function trainBase({ seed, steps, batch: size, rate, width }, onProgress) {
  const trainer = new Trainer(initialParams(seed, width));
  const batches = demonstrationBatches(seed, size);
  const curve = [];
  for (let i = 0; i < steps; i++) {
    const batch = batches.next().value;
    const { loss } = trainer.step(
      batch,
      (logits) => negativeLogLikelihood(logits, batch),
      schedule(i, steps, rate, 100),
    );
    curve.push(loss);
    onProgress(i + 1, steps);
  }
  return { params: trainer.finish(), curve };
}
