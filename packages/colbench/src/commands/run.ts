/** `run`: all stages of one or more methods, from tasks to a table. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import type { Command, CommandInput } from '../command.js';
import { CommandError, UsageError } from '../errors.js';
import { writeWhole } from '../files.js';
import { checkPaths, readConfig } from '../run/config.js';
import { estimateStage } from '../run/estimate.js';
import { Run } from '../run/execute.js';
import { planStages } from '../run/stages.js';
import { tableText } from '../summary.js';
import { onePositional, Values } from '../values.js';

const usage = `colbench run RUN.json [--out FOLDER] [--dry]
  Runs the stages of the methods in RUN.json: converse, evaluate, pairs, train-critic, candidates, score, rank,
  train-policy, and converse and evaluate on the test tasks. Each has a folder in FOLDER (RUN.json without .json). Finished
  stages are skipped, an unfinished one goes on, one with other settings is an error. table.json and table.md have a row
  for each method.

  {
    "model": "FOLDER", "tasks": "train.jsonl", "testTasks": "test.jsonl",
    "methods": ["zero-shot", "sft", "dpo", "sweet", "sweet-without-c", "sweet-sum"],
    "all": {"device": "cuda"},
    "converse": {"human": "script.json", "samples": 3},
    "train-critic": {"epochs": 4}
  }

  "offline" makes the dialogues and pairs alone, without test tasks, and without a model where converse has an agent. With
  "all": {"task": "frontend"}, the tasks are pages, and view.html is written too, the page of view.
  These methods are the default. There are also "grpo" and "gigpo", which learn from the rewards of the dialogues of each
  task: converse needs several samples.

  A section for each stage has the options of its command: converse, evaluate, pairs, train-sft, train-dpo, train-critic,
  candidates, score, rank, train-policy, train-grpo and train-gigpo (both of train-grpo), test-converse (by default as
  converse, one sample), test-evaluate. "all" has options for every command that takes them. Paths are relative to RUN.json.

  --dry                      lists the stages, what exists, and the records, steps and tokens to come
`;

/** @param find the command of a name; a command that is loaded when it is used */
export const runCommand = (find: (name: string) => Promise<Command | undefined>): Command => ({
  name: 'run',
  summary: 'all stages of SWEET-RL and its baselines, with a table',
  usage,
  options: { out: { type: 'string' }, dry: { type: 'boolean' } },
  run: (input) => runStages(input, find),
});

// The table of the commands has this module, which it loads when it is used.
export const command = runCommand(async (name) => (await import('./table.js')).findCommand(name));

async function runStages(
  input: CommandInput,
  find: (name: string) => Promise<Command | undefined>,
): Promise<Record<string, unknown>> {
  const { progress, signal } = input;
  const values = new Values('run', input.values);
  const file = onePositional(input, 'run', 'file');
  const folder = values.text('out') ?? file.replace(/\.json$/, '');
  if (folder === file) throw new UsageError(`run needs --out, since ${file} does not end in .json`);
  const config = readConfig(file);
  const { stages, tests } = await planStages(config, find);
  checkPaths(config);
  const run = new Run(folder, stages);
  if (values.flag('dry')) {
    const estimates = [];
    for (const stage of stages) estimates.push(await estimateStage(run, stage, config.model));
    return { folder, stages: estimates };
  }

  mkdirSync(folder, { recursive: true });
  let computed = 0;
  for (const stage of stages) {
    const command = await find(stage.command);
    if (command === undefined) throw new CommandError('ERR_STAGE', `There is no command ${stage.command}`);
    computed += Number(await run.execute(stage, command, progress, signal));
    signal.throwIfAborted();
  }
  const table = Object.entries(tests).map(([method, stage]) => {
    const { answers, testsPassed, success, cosine } = run.fileOf(stage)?.summary ?? {};
    return { method, dialogues: answers, ...(cosine === undefined ? { testsPassed, success } : { cosine }) };
  });
  writeWhole(join(folder, 'table.json'), `${JSON.stringify(table, null, 2)}\n`);
  writeWhole(join(folder, 'table.md'), `\`\`\`text\n${tableText(table)}\n\`\`\`\n`);
  const summary = { folder, stages: stages.length, computed, table };
  if (config.all.task !== 'frontend') return summary;
  const out = join(folder, 'view.html');
  const view = await find('view');
  await view?.run({ positionals: [run.folder], values: { out }, progress, signal });
  return { ...summary, page: out };
}
