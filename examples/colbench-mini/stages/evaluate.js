/** Evaluation on tasks with unseen functions: tokens sampled at temperature 1 and at lower ones, and greedy tokens. */
import { entropyOf } from '../batch.js';
import { behaviour, messagesOf } from '../dialogue.js';
import { playEpisodes } from '../episodes.js';
import { mean, share } from '../statistics.js';
import { makeTasks } from '../task.js';

/** The entropy is averaged over so many dialogues. */
const entropyDialogues = 320;

/**
 * @typedef {object} Score
 * @property {import('../statistics.js').Estimate} success
 * @property {import('../statistics.js').Estimate} tests
 * @property {ReturnType<typeof behaviour>} behaviour
 */

/**
 * @typedef {object} Evaluation counts of episodes
 * @property {number} sampled
 * @property {number} greedy
 * @property {number} [cooler] at each of the temperatures between
 */

/** Temperatures between sampled and greedy decoding. */
const coolerTemperatures = [0.7, 0.5, 0.3];

/**
 * One episode per task, so that episodes are independent. All agents get the same tasks and random numbers.
 * @param {'validation' | 'test'} split
 * @param {Evaluation} counts
 * @returns {Promise<{ sampled: Score & { entropy: number }, greedy: Score, cooler: Record<string,
 *   import('../statistics.js').Estimate> }>} entropy: of the tokens of sampled questions, in nats; cooler: success by
 *   temperature
 */
export async function evaluate(params, executor, split, { sampled, greedy, cooler = 0 }, seed, onProgress) {
  const temperatures = cooler > 0 ? coolerTemperatures : [];
  const total = sampled + greedy + cooler * temperatures.length;
  const tasks = await makeTasks(executor, split, Math.max(sampled, greedy, cooler), seed);
  let played = 0;
  const play = (count, temperature) =>
    playEpisodes(params, executor, tasks.slice(0, count), {
      perTask: 1,
      temperature,
      seed: seed + 1000003,
      onProgress: () => onProgress(++played, total),
    });
  const successOf = (episodes) => share(episodes.filter(({ reward }) => reward === 1).length, episodes.length);
  const scoreOf = (episodes) => ({
    success: successOf(episodes),
    tests: mean(episodes.map(({ reward }) => reward)),
    behaviour: behaviour(tasks, episodes),
  });
  const dialogues = await play(sampled, 1);
  const questions = dialogues
    .slice(0, entropyDialogues)
    .map(({ turns }, i) => messagesOf(tasks[i], turns, false).slice(0, -2));
  const entropy = entropyOf(params, questions);
  const atGreedy = scoreOf(await play(greedy, 0));
  const byTemperature = [];
  for (const temperature of temperatures) byTemperature.push([temperature, successOf(await play(cooler, temperature))]);
  return { sampled: { ...scoreOf(dialogues), entropy }, greedy: atGreedy, cooler: Object.fromEntries(byTemperature) };
}
