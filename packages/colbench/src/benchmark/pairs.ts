/** Preference pairs, by the rules of the paper and of its released code. */

import { samplePairs, trajectoryPairs } from 'sweet-rl';
import { type Dialogue, kindOf, type Prompt, RecordError, type TaskKind } from './records.js';

export type Source = 'paper' | 'released';

/** Dialogues per task that the released code uses. */
const releasedDialogues = 3;

/** Frontend pairs differ by at least this reward, in the paper and in its released code. */
export const frontendDifference = 0.1;

/** Equal for dialogues of one task. */
export const taskKey = ({ task: { problem_description, ground_truth } }: Pick<Dialogue, 'task'>) =>
  JSON.stringify([problem_description, ground_truth]);

/**
 * Pairs of dialogues of one task, which train the critic.
 *
 * 'paper': each better dialogue over each worse one. 'released': of the first three dialogues of a task, the first of
 * the best over each worse one, if the best solved the task. Frontend design, both: all pairs whose rewards differ by at
 * least 0.1.
 * @param dialogues in any order
 * @returns indices into `dialogues`, task by task as they first appear
 */
export function dialoguePairs(
  dialogues: readonly Pick<Dialogue, 'task' | 'reward'>[],
  source: Source,
): { chosen: number; rejected: number }[] {
  const kind = commonKind(dialogues);
  const groups = groupsOf(dialogues, source, kind);
  const order = groups.flat();
  const taskOffsets = new Int32Array(groups.length + 1);
  groups.forEach((group, k) => {
    taskOffsets[k + 1] = (taskOffsets[k] as number) + group.length;
  });
  const rewards = Float64Array.from(order, (i) => (dialogues[i] as Dialogue).reward);
  const { chosen, rejected } = trajectoryPairs({
    rewards,
    taskOffsets,
    ...(kind === 'frontend'
      ? { rule: 'threshold', minDifference: frontendDifference }
      : // All pairs with different rewards.
        source === 'released'
        ? { rule: 'best-vs-worse' }
        : { rule: 'threshold', minDifference: 0 }),
  });
  return Array.from(chosen, (winner, p) => ({
    chosen: order[winner] as number,
    rejected: order[rejected[p] as number] as number,
  }));
}

/** The kind of all dialogues. @throws RecordError where there are both */
function commonKind(dialogues: readonly Pick<Dialogue, 'task'>[]): TaskKind {
  const kinds = new Set(dialogues.map(({ task }) => kindOf(task)));
  if (kinds.size > 1) throw new RecordError('Expected dialogues of one kind of task but received backend and frontend');
  return [...kinds][0] ?? 'backend';
}

/** The indices of the dialogues of each task that the rule looks at. */
function groupsOf(dialogues: readonly Pick<Dialogue, 'task' | 'reward'>[], source: Source, kind: TaskKind): number[][] {
  const tasks: Map<string, number[]> = new Map();
  dialogues.forEach((dialogue, i) => {
    const key = taskKey(dialogue);
    const known = tasks.get(key);
    if (known === undefined) tasks.set(key, [i]);
    else known.push(i);
  });
  const isCut = source === 'released' && kind === 'backend';
  return [...tasks.values()].map((group) => (isCut ? group.slice(0, releasedDialogues) : group));
}

/**
 * The pairs that are left out because their dialogues have the same reward: any two of a task; with 'released', the first best of a
 * solved task and another one. Frontend design: any two of a task whose rewards differ by less than 0.1.
 */
export function tiedPairs(dialogues: readonly Pick<Dialogue, 'task' | 'reward'>[], source: Source): number {
  const kind = commonKind(dialogues);
  const groups = groupsOf(dialogues, source, kind);
  if (kind === 'frontend') {
    const all = groups.reduce((sum, { length }) => sum + (length * (length - 1)) / 2, 0);
    return all - dialoguePairs(dialogues, source).length;
  }
  let ties = 0;
  for (const group of groups) {
    const counts = new Map<number, number>();
    for (const i of group) {
      const { reward } = dialogues[i] as Dialogue;
      counts.set(reward, (counts.get(reward) ?? 0) + 1);
    }
    if (source === 'released') ties += Math.max(0, (counts.get(1) ?? 0) - 1);
    else for (const count of counts.values()) ties += (count * (count - 1)) / 2;
  }
  return ties;
}

/** A state of a dialogue: candidates for the next assistant message. Other fields are kept. */
export interface CandidateRecord {
  /** The agent's prompt. */
  input: Prompt;
  candidates: string[];
  /** The token ids of each candidate, with the end token where it was generated. */
  tokens?: number[][];
  /** Why each candidate ended. */
  stop?: ('stop' | 'length')[];
}

/** Candidates with the critic's score of each. */
export interface Candidates extends CandidateRecord {
  scores: number[];
}

/** A pair of candidates at one state. */
export interface TurnPair {
  input: Prompt;
  chosen: string;
  rejected: string;
  /** Of the chosen and of the rejected candidate. */
  tokens?: [number[], number[]];
  scores: [number, number];
}

/** The scores of a state. Equal candidates have the score of the first: the rounding of log-probs must not prefer one of them. */
function scoresOf({ candidates, tokens, stop, scores }: Candidates): number[] {
  const first = new Map<string, number>();
  return candidates.map((text, i) => {
    const key = JSON.stringify(tokens?.[i] ?? [text, stop?.[i]]);
    const score = first.get(key) ?? (scores[i] as number);
    first.set(key, score);
    return score;
  });
}

/**
 * Pairs of candidates at one state, which train the policy, by `samplePairs`. Pairs of equal scores or equal
 * candidates are dropped and counted.
 * @returns the pairs, and the number of states without one, by reason
 */
export function rankedPairs(
  states: readonly Candidates[],
  options: { rule: 'halves' | 'best-worst'; numPairs: number; seed: number },
) {
  const candidateOffsets = new Int32Array(states.length + 1);
  states.forEach(({ candidates }, s) => {
    candidateOffsets[s + 1] = (candidateOffsets[s] as number) + candidates.length;
  });
  const scores = Float64Array.from(states.flatMap(scoresOf));
  const { rule, numPairs, seed } = options;
  const { chosen, rejected, droppedTies, skipped } = samplePairs({ scores, candidateOffsets, rule, numPairs, seed });
  let state = 0;
  const pairs = Array.from(chosen, (winner, p): TurnPair => {
    // Pairs come state by state.
    while (winner >= (candidateOffsets[state + 1] as number)) state += 1;
    const { input, candidates, tokens, scores: own } = states[state] as Candidates;
    const first = candidateOffsets[state] as number;
    const [c, r] = [winner - first, (rejected[p] as number) - first];
    return {
      input,
      chosen: candidates[c] as string,
      rejected: candidates[r] as string,
      ...(tokens && { tokens: [tokens[c] as number[], tokens[r] as number[]] }),
      scores: [own[c] as number, own[r] as number],
    };
  });
  return { pairs, droppedTies, skipped };
}
