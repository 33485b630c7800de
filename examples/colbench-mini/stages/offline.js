/** Offline data: the base agent's dialogues on training tasks, and the pairs of trajectories that train the critic. */
import { playEpisodes } from '../episodes.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { makeTasks } from '../task.js';

/**
 * @typedef {object} Offline
 * @property {import('../task.js').Task[]} tasks
 * @property {import('../dialogue.js').Trajectory[]} trajectories `perTask` for each task, task by task
 * @property {Int32Array} chosen successful trajectories
 * @property {Int32Array} rejected a worse trajectory of the same task for each
 */

/** The task of a trajectory. @param {Offline} offline @param {number} index of the trajectory */
export const taskOf = ({ tasks, trajectories }, index) =>
  tasks[Math.floor((index * tasks.length) / trajectories.length)];

/**
 * @param {import('../model.js').Params} base
 * @param {import('../execute.js').Executor} executor
 * @param {{ tasks: number, perTask: number, noise: number }} settings noise: label noise, the share of trajectories
 *   whose outcome is flipped
 * @returns {Promise<Offline>}
 */
export async function collectOffline(base, executor, { tasks: count, perTask, noise }, seed, onProgress) {
  const tasks = await makeTasks(executor, 'train', count, seed);
  const trajectories = await playEpisodes(base, executor, tasks, { perTask, seed, onProgress });
  const flips = random(seed, 35);
  for (const trajectory of trajectories) {
    if (flips.next() < noise) trajectory.reward = Number(trajectory.reward < 1);
  }
  const rewards = Float64Array.from(trajectories, ({ reward }) => reward);
  const taskOffsets = Int32Array.from({ length: count + 1 }, (_, i) => i * perTask);
  const { chosen, rejected } = native.trajectoryPairs({ rewards, taskOffsets, rule: 'best-vs-worse' });
  return { tasks, trajectories, chosen, rejected };
}
