/** Episodes: dialogues with the agent's sampled or greedy tokens, rewarded by executing its programs. */
import { maxAnswerTokens, maxQuestionTokens, mustAnswer, promptOf, userReply } from './dialogue.js';
import { token, topics } from './language.js';
import { random } from './random.js';
import { choose, Sampler } from './sampler.js';
import { rewardsOf } from './task.js';

/**
 * The agent's next action, as part of a sequence: a question ends with the topic that it names, an answer with <end>.
 * @param {Float32Array} logits the logits of its first token
 * @param {boolean} answering
 * @param {import('./random.js').Random} rand
 * @param {number} temperature 0 for greedy decoding
 * @param {(logits: Float32Array, token: number) => void} [onToken]
 * @returns {Generator<number, number[], import('./sampler.js').Prediction>} the tokens; the last one is not fed yet
 */
export function* act(logits, answering, rand, temperature, onToken) {
  const action = [];
  for (;;) {
    const next = choose(logits, rand, temperature);
    onToken?.(logits, next);
    action.push(next);
    const ended = answering ? next === token.end : topics.has(next);
    if (ended || action.length === (answering ? maxAnswerTokens : maxQuestionTokens)) return action;
    ({ logits } = yield next);
  }
}

function* episode(task, rand, temperature, turns) {
  let read = 0;
  for (;;) {
    const prompt = promptOf(task, turns, false);
    let prediction;
    for (; read < prompt.length; read++) prediction = yield prompt[read];
    const answering = mustAnswer(turns);
    const action = yield* act(prediction.logits, answering, rand, temperature);
    if (answering) {
      turns.push({ action });
      return;
    }
    turns.push({ action, reply: userReply(task, turns, action, rand) });
    read += action.length - 1;
  }
}

/**
 * `perTask` trajectories for each task, task by task.
 * @param {import('./model.js').Params} params
 * @param {import('./execute.js').Executor} executor
 * @param {import('./task.js').Task[]} tasks
 * @param {object} options
 * @param {number} options.perTask
 * @param {number} [options.temperature] 0 for greedy decoding
 * @param {number} options.seed
 * @param {(done: number, total: number) => void} options.onProgress
 * @returns {Promise<import('./dialogue.js').Trajectory[]>}
 */
export async function playEpisodes(params, executor, tasks, { perTask, temperature = 1, seed, onProgress }) {
  const sampler = new Sampler(params);
  const taskOfEpisode = tasks.flatMap((task) => new Array(perTask).fill(task));
  /** @type {import('./dialogue.js').Turn[][]} */
  const dialogues = taskOfEpisode.map(() => []);
  const queue = taskOfEpisode.map((task, i) => ({
    sequence: episode(task, random(seed, i), temperature, dialogues[i]),
  }));
  let done = 0;
  sampler.run(queue.reverse(), () => onProgress(++done, taskOfEpisode.length));
  sampler.dispose();
  const answers = dialogues.map((turns, i) => ({ task: taskOfEpisode[i], program: programOf(turns) }));
  const rewards = await rewardsOf(executor, answers);
  return dialogues.map((turns, i) => ({ turns, reward: rewards[i] }));
}

/** The program of the last turn, without the <end> after it. */
function programOf(turns) {
  const { action } = turns[turns.length - 1];
  return action[action.length - 1] === token.end ? action.slice(0, -1) : action;
}
