/** Preference pairs, by the rules of the paper and of its released code. */
import { samplePairs, trajectoryPairs } from 'sweet-rl';

/** @typedef {import('./records.js').Dialogue} Dialogue */
/** @typedef {'paper' | 'released'} Source */

/** Dialogues per task that the released code uses. */
const releasedDialogues = 3;
/** Pairs that the released code samples per turn; the paper samples one. */
const releasedDraws = 4;

/** Equal for dialogues of one task. @param {Dialogue} dialogue */
const taskKey = ({ task: { problem_description, ground_truth } }) =>
  JSON.stringify([problem_description, ground_truth]);

/**
 * Pairs of dialogues of one task, which train the critic.
 *
 * 'paper': each better dialogue over each worse one. 'released': of the first three dialogues of a task, the first of
 * the best over each worse one, if the best solved the task.
 * @param {readonly Pick<Dialogue, 'task' | 'reward'>[]} dialogues in any order
 * @param {Source} source
 * @returns {{ chosen: number, rejected: number }[]} indices into `dialogues`, task by task as they first appear
 */
export function dialoguePairs(dialogues, source) {
  /** @type {Map<string, number[]>} */
  const tasks = new Map();
  dialogues.forEach((dialogue, i) => {
    const key = taskKey(/** @type {Dialogue} */ (dialogue));
    const known = tasks.get(key);
    if (known === undefined) tasks.set(key, [i]);
    else known.push(i);
  });
  const groups = [...tasks.values()].map((group) =>
    source === 'released' ? group.slice(0, releasedDialogues) : group,
  );
  const order = groups.flat();
  const taskOffsets = new Int32Array(groups.length + 1);
  groups.forEach((group, k) => {
    taskOffsets[k + 1] = /** @type {number} */ (taskOffsets[k]) + group.length;
  });
  const rewards = Float64Array.from(order, (i) => /** @type {Dialogue} */ (dialogues[i]).reward);
  const { chosen, rejected } = trajectoryPairs({
    rewards,
    taskOffsets,
    // All pairs with different rewards.
    ...(source === 'released' ? { rule: 'best-vs-worse' } : { rule: 'threshold', minDifference: 0 }),
  });
  return Array.from(chosen, (winner, p) => ({
    chosen: /** @type {number} */ (order[winner]),
    rejected: /** @type {number} */ (order[/** @type {number} */ (rejected[p])]),
  }));
}

/**
 * A state of a dialogue: candidates for the next assistant message, and the critic's score of each.
 * @typedef {object} Candidates
 * @property {string | { role: string, content: string }[]} input the agent's prompt
 * @property {string[]} candidates
 * @property {number[]} scores
 */

/**
 * Pairs of messages at one state, which train the policy: one from the upper half over one from the lower half.
 * 'paper': one pair per state. 'released': four samples with replacement. Pairs of equal scores are dropped and
 * counted.
 * @param {readonly Candidates[]} states
 * @param {Source} source
 * @param {number} seed
 * @returns {{ pairs: { state: number, chosen: string, rejected: string }[], droppedTies: number }}
 */
export function messagePairs(states, source, seed) {
  const candidateOffsets = new Int32Array(states.length + 1);
  states.forEach(({ candidates }, s) => {
    candidateOffsets[s + 1] = /** @type {number} */ (candidateOffsets[s]) + candidates.length;
  });
  const scores = Float64Array.from(states.flatMap((state) => state.scores));
  const numPairs = source === 'released' ? releasedDraws : 1;
  const { chosen, rejected, droppedTies } = samplePairs({ scores, candidateOffsets, numPairs, seed });
  const messages = states.flatMap(({ candidates }, state) => candidates.map((text) => ({ state, text })));
  const pairs = Array.from(chosen, (winner, p) => {
    const [better, worse] = [messages[winner], messages[/** @type {number} */ (rejected[p])]];
    if (better === undefined || worse === undefined) throw new RangeError('Expected pairs of candidates');
    return { state: better.state, chosen: better.text, rejected: worse.text };
  });
  return { pairs, droppedTies };
}
