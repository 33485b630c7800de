/** Pairs, critic, candidates, scores and turn pairs of frontend dialogues with the small test model. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { syntheticTasks } from '../../src/frontend/tasks.ts';
import { summaryOf } from '../helpers/cli.ts';
import { linesOf, testFolder, writeLines } from '../helpers/files.ts';

const folder = testFolder('e2e-frontend');
const file = (name: string) => join(folder, name);
const python = ['python3', '/usr/bin/python3'].find((name) => spawnSync(name, ['-c', 'import torch']).status === 0);

it.runIf(python !== undefined)('trains a critic on pages and ranks candidates by it', async () => {
  const dialogues = syntheticTasks(2, 1).flatMap((task) =>
    [0.2, 0.9].map((reward) => ({
      ...{ task, answer: '<html>x</html>', reward },
      dialogue_history: [
        { role: 'user', content: task.problem_description },
        { role: 'assistant', content: reward > 0.5 ? 'Which colours?' : '<html>x</html>' },
        { role: 'user', content: 'Blue.' },
        { role: 'assistant', content: 'I WANT TO ANSWER: <html>y</html>' },
      ],
    })),
  );
  const given = writeLines(file('dialogues.jsonl'), dialogues);
  const [kind, speed] = [
    ['--task', 'frontend'],
    ['--trainer-python', python as string, '--threads', '1'],
  ];
  const model = file('model');
  await summaryOf(['tiny', model, '--small']);
  expect(await summaryOf(['pairs', given, ...kind, '--out', file('pairs.jsonl')])).toMatchObject({ pairs: 2 });
  const training = ['--model', model, '--steps', '1', '--batch', '2', ...speed];
  await summaryOf(['train-critic', file('pairs.jsonl'), '--out', file('critic'), ...training]);
  const sampled = ['--n', '3', '--max-tokens', '8', '--fraction', '0.5', ...speed];
  const states = ['candidates', given, ...kind, '--model', model, '--out', file('candidates.jsonl'), ...sampled];
  expect(await summaryOf(states)).toMatchObject({ states: 4, candidates: 12, leftOut: 0 });
  // The prompt has the frontend instructions, never the page.
  const [first] = linesOf(file('candidates.jsonl'));
  expect(first.input[0].content).toMatch(/^You design web pages/);
  expect(JSON.stringify(first.input)).not.toContain('<!doctype');
  const models = ['--critic', file('critic'), '--reference', model, ...speed];
  await summaryOf(['score', file('candidates.jsonl'), ...kind, ...models, '--out', file('scored.jsonl')]);
  for (const { scores } of linesOf(file('scored.jsonl'))) expect(scores.every(Number.isFinite)).toBe(true);
  await summaryOf(['rank', file('scored.jsonl'), '--out', file('ranked.jsonl')]);
  const view = ['view', file('scored.jsonl'), file('ranked.jsonl'), '--out', file('view.html'), '--without-pictures'];
  expect(await summaryOf(view)).toMatchObject({ files: 2, pictures: 0 });
});
