/** `pairs`: preference pairs of dialogues of one task, which train the critic. */
import { dialoguePairs, taskKey, tiedPairs } from '../benchmark/pairs.js';
import { type Dialogue, readDialogues, writeRecords } from '../benchmark/records.js';
import type { Command, CommandInput } from '../command.js';
import { checkInput, onePositional, Values } from '../values.js';
import { taskOf, taskOption, taskUsage } from './frontend.js';
import { all, Faults } from './shared.js';

const usage = `colbench pairs DIALOGUES --out FILE [--as paper|released]
  Preference pairs of dialogues of one task. A line of --out has task, chosen and rejected. Pairs of equal
  rewards are dropped and counted. With --task frontend, rewards that differ by less than 0.1 count as equal.

${taskUsage}
  --as paper                 each better dialogue of a task over each worse one (default)
  --as released              of the first three dialogues of a task, the first best over each worse one, if the best
                             solved the task; with --task frontend the same as paper
`;

export const command: Command = {
  name: 'pairs',
  summary: 'preference pairs of dialogues, for the critic',
  usage,
  options: { out: { type: 'string' }, as: { type: 'string' }, ...taskOption },
  run: makePairs,
};

async function makePairs(input: CommandInput): Promise<Record<string, unknown>> {
  const values = new Values('pairs', input.values);
  const file = onePositional(input, 'pairs', 'file');
  const out = values.outFile();
  const source = values.choice('as', ['paper', 'released']);
  checkInput(file, 'DIALOGUES');
  const faults = new Faults(input.progress);
  const dialogues = await all(readDialogues(file, { onFault: faults.report }, taskOf(values)));
  const pairs = dialoguePairs(dialogues, source);
  const side = (i: number) => {
    const { task: _, ...rest } = dialogues[i] as Dialogue;
    return rest;
  };
  function* lines() {
    for (const { chosen, rejected } of pairs) {
      yield { task: dialogues[chosen]?.task, chosen: side(chosen), rejected: side(rejected) };
    }
  }
  await writeRecords(out, lines(), () => {});
  const tasks = new Set(dialogues.map(taskKey)).size;
  const paired = new Set(pairs.map(({ chosen }) => taskKey(dialogues[chosen] as Dialogue))).size;
  return faults.checked({
    ...{ pairs: pairs.length, dialogues: dialogues.length, tasks, tasksWithoutPair: tasks - paired },
    droppedTies: tiedPairs(dialogues, source),
  });
}
