/** Dialogues in groups of one task, with the advantages of their turns over the group: GRPO and GiGPO. */
import { discountedReturns, groupAdvantages, stepGroupAdvantages } from 'sweet-rl/objectives';
import { taskKey } from '../benchmark/pairs.js';
import { readDialogues } from '../benchmark/records.js';
import { CommandError } from '../errors.js';
import type { TrainingItem, TrainingSequence } from './batches.js';
import type { GroupLoss } from './heads.js';
import { type EncodeRecords, encodeTrajectory } from './records.js';

/** A dialogue with its outcome. */
export interface Rollout {
  sequence: TrainingSequence;
  /** Equal for dialogues of one task. */
  task: string;
  reward: number;
}

/**
 * The advantages of the turns of each dialogue, [dialogues][turns].
 *
 *     grpo   A_E = (R - mean) / (deviation + 1e-6) over the dialogues of the task, at every turn; scale 'none' does not divide
 *     gigpo  A_E + stepCoef A_S,  A_S = G - mean of G over the turns of the task in the same state,  G = gamma^(turns that follow) R
 *
 * The state of a turn is the dialogue before it, as the model reads it. A group, or a state, that occurs once has no advantage; neither
 * has a group of equal outcomes.
 *
 * @see GRPO arXiv 2402.03300, GiGPO arXiv 2505.10978
 */
export function turnAdvantagesOf(
  rollouts: readonly Rollout[],
  { method, scale, gamma, stepCoef }: Pick<GroupLoss, 'method' | 'scale' | 'gamma' | 'stepCoef'>,
): Float64Array[] {
  const rewards = Float64Array.from(rollouts, ({ reward }) => reward);
  const groupIds = numbered(rollouts.map(({ task }) => task));
  if (method === 'grpo') {
    const { advantages } = groupAdvantages({ rewards, groupIds, scale });
    return rollouts.map(({ sequence: { turns } }, k) => new Float64Array(turns.length).fill(advantages[k] as number));
  }
  const trajectoryOffsets = new Int32Array(rollouts.length + 1);
  for (const [k, { sequence }] of rollouts.entries()) {
    trajectoryOffsets[k + 1] = (trajectoryOffsets[k] as number) + sequence.turns.length;
  }
  const outcomes = new Float64Array(trajectoryOffsets[rollouts.length] as number);
  for (const [k, { reward }] of rollouts.entries()) outcomes[(trajectoryOffsets[k + 1] as number) - 1] = reward;
  const { advantages } = stepGroupAdvantages({
    ...{ trajectoryOffsets, groupIds, episodeRewards: rewards, scale, stepCoef: stepCoef as number },
    returns: discountedReturns({ rewards: outcomes, trajectoryOffsets, gamma: gamma as number }).returns,
    observationIds: numbered(rollouts.flatMap(({ sequence }) => statesOf(sequence))),
  });
  return rollouts.map((_, k) => advantages.slice(trajectoryOffsets[k], trajectoryOffsets[k + 1]));
}

/** What the model has read before each turn: the tokens of its part up to the turn. */
function statesOf({ ids, turns, starts = [] }: TrainingSequence): string[] {
  return turns.map(({ start }) => ids.subarray(starts.findLast((each) => each <= start) ?? 0, start).join(' '));
}

/** A number for each different text, by first appearance. */
function numbered(texts: readonly string[]): Int32Array {
  const numbers = new Map<string, number>();
  return Int32Array.from(texts, (text) => {
    const number = numbers.get(text) ?? numbers.size;
    numbers.set(text, number);
    return number;
  });
}

export interface GroupedRecords {
  items: TrainingItem[];
  /** Tasks. */
  groups: number;
  /** Tasks whose dialogues, more than one, all have the same reward. */
  equalGroups: number;
  /** Dialogues without a gradient: the advantages of all of their turns are 0. */
  withoutAdvantage: number;
  /** Dialogues that are longer than the maximum; they are not in a group. */
  leftOut: number;
  /** Dialogues whose first turns were cut. */
  truncated: number;
}

/** Reads evaluated dialogues, several of each task. @throws CommandError ERR_DATA where no dialogue has an advantage */
export async function readGroups(
  file: string,
  loss: GroupLoss,
  options: Pick<EncodeRecords, 'tokenizer' | 'dialogue' | 'onFault'>,
): Promise<GroupedRecords> {
  const rollouts: Rollout[] = [];
  const counts = { leftOut: 0, truncated: 0 };
  for await (const { record, line } of readDialogues(file, options)) {
    const { task, dialogue_history: history, reward } = record;
    const { sequence, truncated } = encodeTrajectory(options, `${file}, line ${line}`, task, history);
    counts.truncated += truncated;
    if (sequence === undefined) counts.leftOut++;
    else rollouts.push({ sequence, task: taskKey(record), reward });
  }
  const rewardsOf = new Map<string, number[]>();
  for (const { task, reward } of rollouts) rewardsOf.set(task, [...(rewardsOf.get(task) ?? []), reward]);
  const groups = [...rewardsOf.values()];
  const singles = groups.filter(({ length }) => length === 1).length;
  const equalGroups = groups.filter((rewards) => rewards.length > 1 && new Set(rewards).size === 1).length;

  const advantages = rollouts.length === 0 ? [] : turnAdvantagesOf(rollouts, loss);
  const items = rollouts.flatMap(({ sequence, reward }, k): TrainingItem[] => {
    const ofTurns = advantages[k] as Float64Array;
    return ofTurns.some((advantage) => advantage !== 0) ? [{ chosen: sequence, advantages: ofTurns, reward }] : [];
  });
  if (items.length === 0) {
    const of = `of ${groups.length} tasks, ${singles} have one dialogue and ${equalGroups} equal rewards`;
    const help = 'converse --samples N holds N dialogues of each task';
    throw new CommandError(
      'ERR_DATA',
      `${file} has nothing to train on (${of}; ${counts.leftOut} dialogues left out by --max-length); ${help}`,
    );
  }
  return { items, groups: groups.length, equalGroups, withoutAdvantage: rollouts.length - items.length, ...counts };
}
