/** Preference pairs, by the rules of the paper and of its released code. */

import { samplePairs, trajectoryPairs } from 'sweet-rl';
import type { Dialogue, Prompt } from './records.js';

export type Source = 'paper' | 'released';

/** Dialogues per task that the released code uses. */
const releasedDialogues = 3;
/** Pairs that the released code samples per turn; the paper samples one. */
const releasedDraws = 4;

/** Equal for dialogues of one task. */
const taskKey = ({ task: { problem_description, ground_truth } }: Dialogue) =>
  JSON.stringify([problem_description, ground_truth]);

/**
 * Pairs of dialogues of one task, which train the critic.
 *
 * 'paper': each better dialogue over each worse one. 'released': of the first three dialogues of a task, the first of
 * the best over each worse one, if the best solved the task.
 * @param dialogues in any order
 * @returns indices into `dialogues`, task by task as they first appear
 */
export function dialoguePairs(
  dialogues: readonly Pick<Dialogue, 'task' | 'reward'>[],
  source: Source,
): { chosen: number; rejected: number }[] {
  const tasks: Map<string, number[]> = new Map();
  dialogues.forEach((dialogue, i) => {
    const key = taskKey(dialogue as Dialogue);
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
    taskOffsets[k + 1] = (taskOffsets[k] as number) + group.length;
  });
  const rewards = Float64Array.from(order, (i) => (dialogues[i] as Dialogue).reward);
  const { chosen, rejected } = trajectoryPairs({
    rewards,
    taskOffsets,
    // All pairs with different rewards.
    ...(source === 'released' ? { rule: 'best-vs-worse' } : { rule: 'threshold', minDifference: 0 }),
  });
  return Array.from(chosen, (winner, p) => ({
    chosen: order[winner] as number,
    rejected: order[rejected[p] as number] as number,
  }));
}

/** A state of a dialogue: candidates for the next assistant message, and the critic's score of each. */
export interface Candidates {
  /** The agent's prompt. */
  input: Prompt;
  candidates: string[];
  scores: number[];
}

/**
 * Pairs of messages at one state, which train the policy: one from the upper half over one from the lower half.
 * 'paper': one pair per state. 'released': four samples with replacement. Pairs of equal scores are dropped and
 * counted.
 */
export function messagePairs(
  states: readonly Candidates[],
  source: Source,
  seed: number,
): { pairs: { state: number; chosen: string; rejected: string }[]; droppedTies: number } {
  const candidateOffsets = new Int32Array(states.length + 1);
  states.forEach(({ candidates }, s) => {
    candidateOffsets[s + 1] = (candidateOffsets[s] as number) + candidates.length;
  });
  const scores = Float64Array.from(states.flatMap((state) => state.scores));
  const numPairs = source === 'released' ? releasedDraws : 1;
  const { chosen, rejected, droppedTies } = samplePairs({ scores, candidateOffsets, numPairs, seed });
  const messages = states.flatMap(({ candidates }, state) => candidates.map((text) => ({ state, text })));
  const pairs = Array.from(chosen, (winner, p) => {
    const [better, worse] = [messages[winner], messages[rejected[p] as number]];
    if (better === undefined || worse === undefined) throw new RangeError('Expected pairs of candidates');
    return { state: better.state, chosen: better.text, rejected: worse.text };
  });
  return { pairs, droppedTies };
}
