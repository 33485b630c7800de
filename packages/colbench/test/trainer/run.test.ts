import { type ChildProcess, spawn } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { readSafetensors } from 'sweet-rl/safetensors';
import { beforeAll, describe, expect, it } from 'vitest';
import { tinyDialogues } from '../../src/tiny/tasks.js';
import { distance, python, readJson, sharedMemory, temporaryFolder } from './helpers.js';

/** The built command line: a process that can be killed. */
const MAIN = fileURLToPath(new URL('../../dist/main.js', import.meta.url));

interface Ended {
  code: number | null;
  signal: string | null;
  stdout: string;
  stderr: string;
}

function start(...args: string[]): { child: ChildProcess; ended: Promise<Ended> } {
  const child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
  const text = { stdout: '', stderr: '' };
  for (const name of ['stdout', 'stderr'] as const) child[name]?.on('data', (data) => (text[name] += data));
  const ended = new Promise<Ended>((resolve) => {
    child.on('close', (code, signal) => resolve({ code, signal, ...text }));
  });
  return { child, ended };
}

async function succeed(...args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await start(...args, '--json').ended;
  expect(code, stderr).toBe(0);
  return JSON.parse(stdout);
}

/** A file of /proc; empty where the process has ended, at any moment. */
function textOf(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Process ids of the children of a process. */
const childrenOf = (pid: number): number[] =>
  textOf(`/proc/${pid}/task/${pid}/children`).split(' ').filter(Boolean).map(Number);

const descendantsOf = (pid: number): number[] => childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);

const isAlive = (pid: number) => {
  const stat = textOf(`/proc/${pid}/stat`);
  return stat !== '' && !/\) Z /.test(stat);
};

async function until(what: () => boolean): Promise<void> {
  while (!what()) await setTimeout(5);
}

const linesOf = (path: string) => (existsSync(path) ? readFileSync(path, 'utf8').split('\n').length - 1 : 0);

const weights = (folder: string) => readFileSync(join(folder, 'model.safetensors'));

describe.skipIf(!python || process.platform !== 'linux')('training runs', () => {
  const folder = temporaryFolder();
  const at = (name: string) => join(folder, name);
  const critic = (out: string, ...more: string[]) => [
    ...['train-critic', at('pairs.jsonl'), '--model', at('tiny'), '--out', at(out), '--learning-rate', '3e-3'],
    ...['--batch', '3', '--steps', '8', '--save-every', '2', '--threads', '1', '--micro-tokens', '900', ...more],
  ];

  beforeAll(async () => {
    if (!python) return;
    mkdirSync(folder, { recursive: true });
    // 18 pairs: the second epoch begins after step 6 of 8.
    const lines = tinyDialogues(3, 5).map((dialogue) => `${JSON.stringify(dialogue)}\n`);
    writeFileSync(at('dialogues.jsonl'), lines.slice(0, 60).join(''));
    await succeed('tiny', at('tiny'), '--small');
    await succeed('pairs', at('dialogues.jsonl'), '--out', at('pairs.jsonl'));
  });

  it('continues after kills with the same bits', async () => {
    const summary = await succeed(...critic('whole'));
    expect(summary).toMatchObject({ steps: 8, finished: 'now' });
    expect(summary['rewards/margins']).toBeGreaterThan(0);

    // Killed during the reference pass or the first steps, between checkpoints, and after one; at last stopped by SIGINT
    // before it goes on, so that it makes one step.
    for (const [line, victim] of [
      [0, 'node'],
      [3, 'trainer'],
      [5, 'node'],
      [0, 'SIGINT'],
    ] as const) {
      const { child, ended } = start(...critic('killed'));
      await until(() => linesOf(at('killed/metrics.jsonl')) >= line && childrenOf(child.pid!).length > 0);
      const [trainer] = childrenOf(child.pid!);
      if (victim === 'SIGINT') child.kill('SIGINT');
      else process.kill(victim === 'node' ? child.pid! : trainer!, 'SIGKILL');
      const { code, signal, stderr } = await ended;
      if (victim === 'SIGINT') {
        // The step in progress ends and is kept.
        expect(code, stderr).toBe(130);
        const step = linesOf(at('killed/metrics.jsonl'));
        const newest = readdirSync(at('killed/checkpoints')).sort().at(-1);
        expect(readJson(at(`killed/checkpoints/${newest}/state.json`))).toMatchObject({ step, done: false });
      } else if (victim === 'node') expect(signal).toBe('SIGKILL');
      else {
        expect(code).toBe(1);
        expect(stderr).toMatch(/signal SIGKILL/);
      }
      await until(() => !isAlive(trainer!));
      expect(sharedMemory()).toEqual([]);
    }
    await succeed(...critic('killed'));
    expect(weights(at('killed')).equals(weights(at('whole')))).toBe(true);
    for (const name of ['metrics.jsonl', 'reference.safetensors', 'state.json', 'curves.svg']) {
      expect(readFileSync(at(`killed/${name}`), 'utf8')).toBe(readFileSync(at(`whole/${name}`), 'utf8'));
    }
    expect(readdirSync(at('killed')).sort()).toEqual(readdirSync(at('whole')).sort());
    expect(await succeed(...critic('killed'))).toMatchObject({ finished: 'before' });
    const other = await start(...critic('killed', '--beta', '0.2')).ended;
    expect(other.code).toBe(1);
    expect(other.stderr).toMatch(/beta: 0.1 there, 0.2 here/);
  });

  it('continues the training of train-grpo with the same bits', async () => {
    const gigpo = (out: string, ...more: string[]) => [
      ...['train-grpo', at('dialogues.jsonl'), '--model', at('tiny'), '--out', at(out), '--method', 'gigpo'],
      ...['--learning-rate', '3e-3', '--batch', '6', '--epochs', '2', '--steps', '5', '--save-every', '2'],
      ...['--threads', '1', '--micro-tokens', '900', '--kl', '0.04', ...more],
    ];
    const summary = await succeed(...gigpo('groups'));
    expect(summary).toMatchObject({ steps: 5, finished: 'now', groups: 20, leftOut: 0 });
    expect(summary.approx_kl).toBeGreaterThan(0);
    const { child, ended } = start(...gigpo('groups killed'));
    await until(() => linesOf(at('groups killed/metrics.jsonl')) >= 3);
    child.kill('SIGKILL');
    await ended;
    await succeed(...gigpo('groups killed'));
    expect(weights(at('groups killed')).equals(weights(at('groups')))).toBe(true);
    for (const name of ['metrics.jsonl', 'reference.safetensors', 'state.json', 'curves.svg']) {
      expect(readFileSync(at(`groups killed/${name}`), 'utf8')).toBe(readFileSync(at(`groups/${name}`), 'utf8'));
    }
    expect(await succeed(...gigpo('groups'))).toMatchObject({ finished: 'before' });
    const refused = async (...more: string[]) => (await start(...gigpo('groups', ...more)).ended).stderr;
    expect(await refused('--gamma', '0.9')).toMatch(/ERR_OTHER_RUN: .*gamma: 0.95 there, 0.9 here/);
    expect(await refused('--method', 'grpo')).toMatch(/method: gigpo there, grpo here/);
    // Another outcome of a dialogue is other data.
    const [line, ...lines] = readFileSync(at('dialogues.jsonl'), 'utf8').trim().split('\n');
    const record = JSON.parse(line!);
    writeFileSync(
      at('dialogues.jsonl'),
      [JSON.stringify({ ...record, reward: (record.reward + 0.5) / 2 }), ...lines].join('\n'),
    );
    expect(await refused()).toMatch(/data: /);
    writeFileSync(at('dialogues.jsonl'), [line, ...lines].map((each) => `${each}\n`).join(''));
  });

  it('ends all ranks with the error of the one that fails, and leaves nothing', async () => {
    const fails = async (kill: (node: number) => Promise<void>, ...more: string[]) => {
      const { child, ended } = start(...critic('two', '--processes', '2', ...more));
      const seen = new Set<number>();
      const watch = setInterval(() => {
        for (const pid of descendantsOf(child.pid!)) seen.add(pid);
      }, 5);
      await kill(child.pid!);
      const { code, stderr } = await ended;
      clearInterval(watch);
      expect(code, stderr).toBe(1);
      expect(seen.size).toBeGreaterThan(2);
      await until(() => ![...seen].some(isAlive));
      expect(sharedMemory()).toEqual([]);
      return stderr;
    };
    // The second rank's trainer does not start, while that of the first waits for it.
    const script = at('python');
    writeFileSync(
      script,
      `#!/bin/sh\n[ "$RANK$1" != "1-c" ] && [ "$RANK" = 1 ] && exec sh -c 'echo broken >&2; exit 3'\nexec ${python} "$@"\n`,
    );
    chmodSync(script, 0o755);
    expect(await fails(async () => {}, '--trainer-python', script)).toMatch(
      /ERR_RANK: Rank 1 ended with exit code 1:\n[\s\S]*exit code 3 during hello:\n\s*broken/,
    );
    // The second rank is killed in the middle of the training.
    const inMiddle = async (node: number) => {
      await until(() => linesOf(at('two/metrics.jsonl')) >= 2);
      const rank = childrenOf(node).find((pid) => textOf(`/proc/${pid}/cmdline`).includes('main.js'));
      process.kill(rank!, 'SIGKILL');
    };
    expect(await fails(inMiddle)).toMatch(/ERR_RANK: Rank 1 ended with signal SIGKILL/);
  });

  it('trains with two processes as with one, continued after that failure', async () => {
    await succeed(...critic('two', '--processes', '2'));
    const rows = (name: string) =>
      readFileSync(at(`${name}/metrics.jsonl`), 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line));
    for (const [k, row] of rows('two').entries()) {
      for (const [key, value] of Object.entries(row)) {
        // Model and reference are equal in the first step: rounding decides which score is larger.
        if (k === 0 && key === 'rewards/accuracies') continue;
        const other = rows('whole')[k][key];
        expect(Math.abs((value as number) - other), key).toBeLessThan(1e-5 + 1e-4 * Math.abs(other));
      }
    }
    const tensors = (name: string) => readSafetensors(at(`${name}/model.safetensors`)).tensors;
    expect(distance(tensors('two'), tensors('whole'))).toBeLessThan(1e-5);
  });
});
