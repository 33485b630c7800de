/** Options of the training commands: what is refused before anything is read or written. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { makeTinyModel } from '../../src/tiny/folder.ts';
import { scriptedDialogue, tinyTasks } from '../../src/tiny/tasks.ts';
import { cli } from '../helpers/cli.ts';
import { testFolder, writeLines } from '../helpers/files.ts';

const folder = testFolder('train-options');
const path = (name: string) => join(folder, name);
makeTinyModel(path('model'), { small: true, seed: 1 });
const [first, second] = tinyTasks();
writeLines(path('dialogues.jsonl'), [scriptedDialogue(first!, 'careful'), scriptedDialogue(first!, 'guesses')]);
writeLines(path('equal.jsonl'), [scriptedDialogue(first!, 'careful'), scriptedDialogue(second!, 'careful')]);

const train = (...more: string[]) => cli(['train-grpo', ...more, '--model', path('model'), '--out', path('out')]);

describe('train-grpo', () => {
  it.each([
    [['--method', 'ppo'], /Expected grpo or gigpo for --method but received ppo/],
    [['--gamma', '0.9'], /--gamma needs --method gigpo/],
    [['--step-weight', '1', '--method', 'grpo'], /--step-weight needs --method gigpo/],
    [['--method', 'gigpo', '--gamma', '1.1'], /a number from 0 to 1 for --gamma but received 1.1/],
    [['--method', 'gigpo', '--step-weight=-1'], /a number from 0 to 1000000000 for --step-weight but received -1/],
    [['--clip-low', '2'], /a number from 0 to 1 for --clip-low but received 2/],
    [['--clip-high', 'x'], /for --clip-high but received x/],
    [['--kl=-0.1'], /for --kl but received -0.1/],
    [['--scale', 'batch'], /Expected group or none for --scale but received batch/],
    [['--reduction', 'mean'], /Expected sequence-mean-token-mean or .* for --reduction but received mean/],
    [['--beta', '0.1'], /--beta/],
    [['--lora-alpha', '4'], /--lora-alpha needs --lora/],
  ] as const)('refuses %j', async (options, message) => {
    const { code, stdout, stderr } = await train(path('dialogues.jsonl'), ...options.map((each) => each));
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toMatch(message);
    expect(existsSync(path('out'))).toBe(false);
  });

  it('needs dialogues of a task with different rewards', async () => {
    const { code, stderr } = await train(path('equal.jsonl'));
    expect(code).toBe(1);
    expect(stderr).toMatch(/^ERR_DATA: .*of 2 tasks, 2 have one dialogue and 0 equal rewards/);
    expect(existsSync(path('out'))).toBe(false);
  });
});
