/** A folder with all that `colbench run` needs: the test model, tasks, a simulated user, RUN.json. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../files.js';
import { syntheticTasks } from '../frontend/tasks.js';
import { splitTasks, type TinyTask, tinyScript } from './tasks.js';

/** Sizes for minutes on two cores; the rates are those of a small model, 1,000 times the paper's. */
const training = { 'learning-rate': 2e-4, steps: 24 };
const run = {
  model: 'model',
  tasks: 'train.jsonl',
  testTasks: 'test.jsonl',
  methods: ['zero-shot', 'dpo', 'sweet'],
  all: { 'max-tokens': 96 },
  converse: { human: 'script.json', samples: 2 },
  candidates: { n: 8, fraction: 0.3 },
  'train-dpo': training,
  'train-critic': training,
  'train-policy': training,
};

/** Writes the files beside `folder`/model. */
export function writeExample(folder: string): void {
  mkdirSync(folder, { recursive: true });
  const lines = (tasks: readonly TinyTask[]) => tasks.map(({ task }) => `${JSON.stringify(task)}\n`).join('');
  const { seen, heldOut } = splitTasks();
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  writeWhole(join(folder, 'train.jsonl'), lines(seen));
  writeWhole(join(folder, 'test.jsonl'), lines(heldOut));
  writeWhole(join(folder, 'script.json'), json(tinyScript()));
  writeWhole(join(folder, 'RUN.json'), json(run));
}

/** Scripted conversations about synthetic pages, for a run without a model. */
const frontendRun = {
  tasks: 'tasks.jsonl',
  methods: ['offline'],
  all: { task: 'frontend' },
  converse: { agent: 'scripted', human: 'scripted', samples: 3 },
};

/** Writes tasks.jsonl and RUN.json. */
export function writeFrontendExample(folder: string, seed: number): Record<string, unknown> {
  mkdirSync(folder, { recursive: true });
  const tasks = syntheticTasks(20, seed);
  writeWhole(join(folder, 'tasks.jsonl'), tasks.map((task) => `${JSON.stringify(task)}\n`).join(''));
  writeWhole(join(folder, 'RUN.json'), `${JSON.stringify(frontendRun, null, 2)}\n`);
  return { folder, tasks: tasks.length };
}
