/** Evaluation on tasks with unseen functions, with sampled and with greedy tokens. */
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
 * One episode per task, so that episodes are independent. All agents get the same tasks and random numbers.
 * @param {'validation' | 'test'} split
 * @returns {Promise<{ sampled: Score & { entropy: number }, greedy: Score }>} entropy: of the tokens of sampled
 *   questions, in nats
 */
export async function evaluate(params, executor, split, { sampled, greedy }, seed, onProgress) {
  const total = sampled + greedy;
  const tasks = await makeTasks(executor, split, Math.max(sampled, greedy), seed);
  const play = (count, isGreedy, before) =>
    playEpisodes(params, executor, tasks.slice(0, count), {
      perTask: 1,
      greedy: isGreedy,
      seed: seed + 1000003,
      onProgress: (done) => onProgress(before + done, total),
    });
  const scoreOf = (episodes) => {
    const rewards = episodes.map(({ reward }) => reward);
    return {
      success: share(rewards.filter((reward) => reward === 1).length, rewards.length),
      tests: mean(rewards),
      behaviour: behaviour(tasks, episodes),
    };
  };
  const dialogues = await play(sampled, false, 0);
  const questions = dialogues
    .slice(0, entropyDialogues)
    .map(({ turns }, i) => messagesOf(tasks[i], turns, false).slice(0, -2));
  return {
    sampled: { ...scoreOf(dialogues), entropy: entropyOf(params, questions) },
    greedy: scoreOf(await play(greedy, true, sampled)),
  };
}
