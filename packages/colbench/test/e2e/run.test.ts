/** `tiny --small` and `run` with all methods, two steps each, killed once; the second time nothing is computed. */
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { expect, it } from 'vitest';
import { methods as known } from '../../src/run/config.ts';
import { endpoint } from '../helpers/endpoint.ts';
import { linesOf, PACKAGE, testFolder, writeLines } from '../helpers/files.ts';

/** All that train or test a model. */
const methods = known.filter((method) => method !== 'offline');
const folder = testFolder('e2e');
const main = join(PACKAGE, 'dist', 'main.js');
const python = ['python3', '/usr/bin/python3'].find((name) => spawnSync(name, ['-c', 'import torch']).status === 0);

const colbench = (...args: string[]) =>
  new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    const child = spawn(process.execPath, [main, ...args], { cwd: folder });
    let [stdout, stderr] = ['', ''];
    child.stdout.on('data', (chunk) => {
      stdout += chunk;
    });
    child.stderr.on('data', (chunk) => {
      stderr += chunk;
    });
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });

it.runIf(python !== undefined && existsSync(join(PACKAGE, 'trainer.py')))('runs all methods on 12 tasks', async () => {
  const sample = linesOf(join(PACKAGE, 'sample', 'tasks.jsonl'));
  const tasks = Array.from({ length: 12 }, (_, i) => {
    const task = sample[i % sample.length];
    return { ...task, problem_description: `${task.problem_description} (${i})` };
  });
  writeLines(join(folder, 'train.jsonl'), tasks);
  writeLines(join(folder, 'test.jsonl'), tasks.slice(0, 2));
  // An agent that is right every other time: a model with random weights never is.
  const asked = new Map<string, number>();
  const { url } = await endpoint(({ messages }) => {
    const problem = messages[1]!.content;
    if (messages.length < 4) return 'Which country?';
    const count = (asked.get(problem) ?? 0) + 1;
    asked.set(problem, count);
    const { ground_truth } = tasks.find(({ problem_description }) => problem_description === problem)!;
    const wrong = 'def shipping(weight, country): return 5\ndef summarize(orders): return []';
    return `I WANT TO ANSWER: ${count % 2 === 0 ? ground_truth : wrong}`;
  });
  expect((await colbench('tiny', 'model', '--small')).code).toBe(0);
  const script = join(PACKAGE, 'sample', 'script.json');
  const run = {
    model: 'model',
    tasks: 'train.jsonl',
    testTasks: 'test.jsonl',
    methods,
    all: { 'trainer-python': python, threads: 1, steps: 2, unsafe: true, 'max-tokens': 24, concurrency: 2 },
    converse: { agent: url, 'agent-model': 'stub', human: script, samples: 2 },
    ...Object.fromEntries(
      ['sft', 'dpo', 'critic', 'policy', 'grpo', 'gigpo'].map((name) => [`train-${name}`, { batch: 2 }]),
    ),
    candidates: { n: 4, fraction: 0.25 },
  };
  writeFileSync(join(folder, 'RUN.json'), JSON.stringify(run));
  // Killed in a training and started again, it goes on: finished stages stay.
  const killed = spawn(process.execPath, [main, 'run', 'RUN.json'], { cwd: folder, stdio: 'ignore' });
  const ended = new Promise((resolve) => killed.on('close', resolve));
  while (!existsSync(join(folder, 'RUN', 'train-sft', 'stage.json'))) await setTimeout(20);
  killed.kill('SIGKILL');
  await ended;
  const finished = readdirSync(join(folder, 'RUN')).filter((name) => {
    const file = join(folder, 'RUN', name, 'stage.json');
    return existsSync(file) && JSON.parse(readFileSync(file, 'utf8')).state === 'finished';
  });
  expect(finished).toEqual(expect.arrayContaining(['converse', 'evaluate', 'pairs', 'candidates']));
  expect(finished).not.toContain('train-sft');
  const first = await colbench('run', 'RUN.json', '--json');
  expect(first.code, first.stderr).toBe(0);
  const summary = JSON.parse(first.stdout);
  expect(summary).toMatchObject({ stages: 36, computed: 36 - finished.length });
  expect(summary.table.map(({ method }: { method: string }) => method)).toEqual([...methods]);
  for (const row of summary.table) expect(row).toMatchObject({ dialogues: 2, testsPassed: expect.any(Number) });
  const scored = linesOf(join(folder, 'RUN', 'score-sweet', 'score.jsonl'));
  expect(scored.flatMap(({ scores }) => scores).every(Number.isFinite)).toBe(true);

  for (const method of ['grpo', 'gigpo']) {
    const lines = linesOf(join(folder, 'RUN', `train-${method}`, 'model', 'metrics.jsonl'));
    // One of the two dialogues of each task is right.
    expect(lines.map(({ step }) => step)).toEqual([1, 2]);
    for (const { reward, grad_norm } of lines)
      expect([reward >= 0 && reward <= 1, grad_norm > 0]).toEqual([true, true]);
  }

  const second = JSON.parse((await colbench('run', 'RUN.json', '--json')).stdout);
  expect(second).toEqual({ ...summary, computed: 0 });
  expect((await colbench('view', 'RUN', '--out', 'RUN.html')).code).toBe(0);
  expect(readFileSync(join(folder, 'RUN.html'), 'utf8')).toMatch(/train-critic-sweet\/model\/metrics\.jsonl/);
});
