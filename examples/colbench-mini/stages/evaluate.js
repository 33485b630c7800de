/** Evaluation on tasks whose functions are in no training set, with sampled and with greedy tokens. */
import { behaviour } from '../dialogue.js';
import { playEpisodes } from '../episodes.js';
import { mean, share } from '../statistics.js';
import { makeTasks } from '../task.js';

/**
 * @typedef {object} Score
 * @property {import('../statistics.js').Estimate} success
 * @property {import('../statistics.js').Estimate} tests
 * @property {ReturnType<typeof behaviour>} behaviour
 */

/**
 * One episode a task, so that episodes are independent of each other; all agents get the same tasks.
 * @returns {Promise<{ sampled: Score, greedy: Score }>}
 */
export async function evaluate(params, executor, { sampled, greedy }, seed, onProgress) {
  const total = sampled + greedy;
  const tasks = await makeTasks(executor, 'test', Math.max(sampled, greedy), seed);
  const play = async (count, isGreedy, before) => {
    const chosen = tasks.slice(0, count);
    const episodes = await playEpisodes(params, executor, chosen, {
      perTask: 1,
      greedy: isGreedy,
      seed: seed + 1000003,
      onProgress: (done) => onProgress(before + done, total),
    });
    const rewards = episodes.map(({ reward }) => reward);
    return {
      success: share(rewards.filter((reward) => reward === 1).length, count),
      tests: mean(rewards),
      behaviour: behaviour(chosen, episodes),
    };
  };
  return { sampled: await play(sampled, false, 0), greedy: await play(greedy, true, sampled) };
}
