/** The built command line as a process. `npm run build:colbench` makes it. */
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { endpoint } from './helpers/endpoint.ts';
import { linesOf, PACKAGE, testFolder } from './helpers/files.ts';

const folder = testFolder('main');
const main = join(PACKAGE, 'dist', 'main.js');

function start(...args: string[]) {
  const child = spawn(process.execPath, [main, ...args], { cwd: folder });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const ended = new Promise<{ code: number | null; stdout: string; stderr: string }>((resolve) => {
    child.on('close', (code) => resolve({ code, stdout, stderr }));
  });
  return { child, ended };
}

describe.runIf(existsSync(main) || process.env.CI)('colbench', () => {
  it('prints its help, and ends with the exit code of the command', async () => {
    const results = await Promise.all([
      start('--help').ended,
      start('evaluate', '--help').ended,
      start('evaluate').ended,
      start('evaluate', 'none.jsonl').ended,
    ]);
    expect(results.map(({ code }) => code)).toEqual([0, 0, 2, 1]);
    expect(results[1]!.stdout).toMatch(/^colbench evaluate/);
    expect(results[2]!.stderr).toMatch(/^evaluate needs one file\n\ncolbench evaluate/);
    expect(results[3]!.stderr).toMatch(/^ERR_INPUT: Expected a file for DIALOGUES/);
  });

  it('ends with 130 after SIGINT, and keeps what is finished', async () => {
    const sample = join(PACKAGE, 'sample');
    const [first] = linesOf(join(sample, 'tasks.jsonl'));
    let hanging = () => {};
    const hangs = new Promise<void>((resolve) => {
      hanging = resolve;
    });
    // The second task's conversation never gets a reply.
    const { url } = await endpoint(({ messages }) => {
      if (messages[1]!.content === first.problem_description) return 'I WANT TO ANSWER: no';
      hanging();
      return undefined;
    });
    const parties = ['--agent', url, '--agent-model', 'm', '--human', join(sample, 'script.json')];
    const out = join(folder, 'dialogues.jsonl');
    const run = ['converse', join(sample, 'tasks.jsonl'), '--out', out, ...parties, '--unsafe', '--concurrency', '1'];
    const { child, ended } = start(...run);
    // Where the command fails before, its own message is seen.
    await Promise.race([hangs, ended]);
    child.kill('SIGINT');
    expect(await ended).toMatchObject({ code: 130, stderr: expect.stringMatching(/Interrupted/) });
    expect(linesOf(out)).toHaveLength(1);
  });
});
