/** A folder with all that `colbench run` needs: the test model, tasks, a simulated user, RUN.json. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { writeWhole } from '../files.js';
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
