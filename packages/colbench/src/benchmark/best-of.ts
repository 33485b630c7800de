/** Best-of-k: the best of k samples of each task. */
import { CommandError } from '../errors.js';
import type { AnyTask } from './records.js';

/** A rated answer of a task. */
export interface Rated {
  task: AnyTask;
  reward: number;
}

/**
 * The mean over tasks of the best reward, and the share of tasks whose best is 1.
 *
 * @param rated k passes over the same n tasks, as the released code writes them (record j n + i is sample j of task i),
 *   or in any order k records of each task.
 * @throws CommandError ERR_BEST_OF where the records are neither.
 */
export function bestOf(rated: readonly Rated[], k: number) {
  const n = rated.length / k;
  if (!Number.isInteger(n) || n === 0) {
    const message = `Expected a multiple of ${k} records, ${k} for each task, but received ${rated.length}`;
    throw new CommandError('ERR_BEST_OF', message);
  }
  const description = (i: number) => (rated[i] as Rated).task.problem_description;
  const passes = rated.every((_, i) => description(i) === description(i % n));
  const groups = passes ? Array.from({ length: n }, (_, i) => rated.filter((_, at) => at % n === i)) : byTask(rated, k);
  const best = groups.map((group) => Math.max(...group.map(({ reward }) => reward)));
  return {
    k,
    tasks: best.length,
    reward: best.reduce((sum, reward) => sum + reward, 0) / best.length,
    success: best.filter((reward) => reward === 1).length / best.length,
  };
}

function byTask(rated: readonly Rated[], k: number): Rated[][] {
  const groups = new Map<string, Rated[]>();
  for (const each of rated) {
    const key = JSON.stringify([each.task.problem_description, each.task.ground_truth]);
    groups.set(key, [...(groups.get(key) ?? []), each]);
  }
  for (const group of groups.values()) {
    if (group.length === k) continue;
    const name = JSON.stringify(group[0]?.task.problem_description.slice(0, 60));
    throw new CommandError('ERR_BEST_OF', `Expected ${k} records of each task but received ${group.length} of ${name}`);
  }
  return [...groups.values()];
}
