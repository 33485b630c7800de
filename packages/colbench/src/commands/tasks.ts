/** `tasks`: synthesizes backend tasks from seed texts. */
import { PartialFile } from '../benchmark/partial.js';
import { writeRecords } from '../benchmark/records.js';
import { checkTask, synthesizeTask, taskId } from '../benchmark/synthesis.js';
import type { Command, CommandInput } from '../command.js';
import { UsageError } from '../errors.js';
import { syntheticTasks } from '../frontend/tasks.js';
import { hashValue } from '../hash.js';
import { Progress } from '../progress.js';
import { onePositional, textOf, Values } from '../values.js';
import { endpointOf } from './endpoints.js';
import { checkKindOptions, taskOf, taskOption } from './frontend.js';
import { concurrencyOf, groupsOf, limitOptions, limitUsage, mapConcurrently, sandboxOf } from './shared.js';

/** Tasks that are written before the next ones start; an interrupted run loses at most these. */
const tasksAtOnce = 32;

const usage = `colbench tasks SEEDS --out FILE --endpoint URL --endpoint-model NAME [options]
colbench tasks --task frontend --synthetic N --out FILE [--seed N] [--split train|test]
  A model writes a task from each line of SEEDS, a text file: the request, the hidden function, ten calls. The function runs
  twice on the calls in the sandbox; a task is kept if no call fails, both runs agree, and results are distinct. The same
  command resumes an interrupted run. With --task frontend, the tasks are drawn from this package's templates of pages.

  --task backend|frontend    (backend)
  --synthetic N              frontend tasks
  --seed N                   of the draws (0)
  --split train|test         of the templates of one part only (both, with a field split)
  --endpoint URL             of OpenAI's chat completions API
  --endpoint-temperature X   --endpoint-key-env NAME
  --timeout-seconds N        per attempt of a request (120)
  --attempts N               per request (6)
  --per-seed N               tasks of each seed (1)
  --tries N                  replies for one task; the model is told what was wrong (3)
  --distinct N               distinct results at least (2)
${limitUsage}
`;

const texts = [
  'out',
  'endpoint',
  'endpoint-model',
  'endpoint-temperature',
  'endpoint-key-env',
  'timeout-seconds',
  'attempts',
  'per-seed',
  'tries',
  'distinct',
  'synthetic',
  'seed',
  'split',
];

export const command: Command = {
  name: 'tasks',
  summary: 'tasks that a model writes, checked in the sandbox',
  usage,
  options: {
    ...Object.fromEntries(texts.map((name) => [name, { type: 'string' as const }])),
    ...taskOption,
    ...limitOptions,
  },
  run: writeTasks,
};

async function writeTasks(input: CommandInput): Promise<Record<string, unknown>> {
  const { progress, signal } = input;
  const values = new Values('tasks', input.values);
  const kind = taskOf(values);
  checkKindOptions(values, kind, ['synthetic', 'seed', 'split'], 'frontend');
  if (kind === 'frontend') return await writeSynthetic(input, values);
  const file = onePositional(input, 'tasks', 'file');
  const out = values.outFile();
  const url = values.required('endpoint');
  const concurrency = concurrencyOf(values);
  const { complete, settings } = endpointOf(values, 'endpoint', url, concurrency);
  const copies = values.number('per-seed', 1, 1, 1e6);
  const tries = values.number('tries', 3, 1, 100);
  const distinct = values.number('distinct', 2, 1, 10);
  const seeds = textOf(file, 'SEEDS')
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (seeds.length === 0) throw new UsageError(`${file} has no seed: a line of text for each task`);
  const jobs = seeds.flatMap((seed) => Array.from({ length: copies }, (_, copy) => ({ seed, copy })));

  const { wall, limits } = await sandboxOf(values, progress, signal);
  const rejected: Record<string, number> = {};
  const write = async ({ seed, copy }: (typeof jobs)[number]) => {
    const task = await synthesizeTask(seed, complete, (each) => checkTask(wall, each, { limits, signal }, distinct), {
      tries,
      signal,
      onRejection: ({ reason }) => {
        rejected[reason] = (rejected[reason] ?? 0) + 1;
      },
    });
    return { id: taskId(seed, copy), seed, task };
  };

  const partial = await PartialFile.open(out, hashValue([settings, seeds, copies, tries, distinct]), tasksAtOnce);
  const bar = new Progress('Tasks', progress);
  let done = partial.done;
  for await (const each of groupsOf(jobs.slice(done), tasksAtOnce)) {
    const written = [];
    for await (const result of mapConcurrently(each, concurrency, write)) written.push(result);
    signal.throwIfAborted();
    // A seed without a task keeps its line, so that a resumed run counts it.
    await partial.add(written.map(({ id, seed, task }) => ({ id, seed, ...task })));
    done += each.length;
    bar.update(done, jobs.length);
  }
  bar.finish('done');
  const count = await partial.finish((record) => 'ground_truth' in record);
  return { tasks: count, seedsWithoutTask: jobs.length - count, rejectedReplies: rejected };
}

async function writeSynthetic({ positionals }: CommandInput, values: Values): Promise<Record<string, unknown>> {
  if (positionals.length > 0) throw new UsageError('tasks --task frontend reads no file');
  checkKindOptions(values, 'frontend', [...Object.keys(limitOptions), ...texts.slice(1, -3)], 'backend');
  values.required('synthetic');
  const count = values.number('synthetic', 1, 1, 1e5);
  const split = values.text('split') === undefined ? undefined : values.choice('split', ['train', 'test']);
  const out = values.outFile();
  const tasks = syntheticTasks(count, values.number('seed', 0, 0, 2 ** 32 - 1), split);
  await writeRecords(out, tasks, () => {});
  return { tasks: count, templates: new Set(tasks.map(({ template }) => template)).size };
}
