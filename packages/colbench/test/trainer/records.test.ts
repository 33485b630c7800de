import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeTinyModel } from '../../src/tiny/folder.js';
import { scriptedDialogue, tinyTasks } from '../../src/tiny/tasks.js';
import { ChatTokenizer } from '../../src/tokens/chat.js';
import { ownPrivileged } from '../../src/tokens/records.js';
import { type EncodeRecords, readTrainingItems } from '../../src/trainer/records.js';

const folder = mkdtempSync(join(tmpdir(), 'colbench-records-'));
afterAll(() => rmSync(folder, { recursive: true }));
makeTinyModel(join(folder, 'tiny'), { small: true, seed: 1 });
const tokenizer = ChatTokenizer.load(join(folder, 'tiny'));

const write = (name: string, records: readonly unknown[]) => {
  writeFileSync(join(folder, name), records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return join(folder, name);
};

const faults: string[] = [];
const options: EncodeRecords = {
  ...{ method: 'critic', tokenizer, dialogue: { maxLength: 2000 }, minReward: 1, wholePrompt: false },
  onFault: ({ fault }) => faults.push(fault),
};

/** The text of the scored tokens of each turn. */
const scored = ({ ids, turns }: { ids: Int32Array; turns: { start: number; end: number }[] }) =>
  turns.map(({ start, end }) => tokenizer.text.decode(ids.subarray(start, end)));

const tiny = tinyTasks()[3]!;
const { task, ...careful } = scriptedDialogue(tiny, 'careful');
const { task: _, ...guesses } = scriptedDialogue(tiny, 'guesses');

describe('readTrainingItems', () => {
  it('scores the contents of agent turns with their end tokens, and shares a dialogue of several pairs', async () => {
    const { task: __, ...vain } = scriptedDialogue(tiny, 'vain');
    const pairs = [guesses, vain].map((rejected) => ({ task, chosen: careful, rejected }));
    const { items } = await readTrainingItems(write('pairs.jsonl', pairs), options);
    expect(items).toHaveLength(2);
    expect(items[0]!.chosen).toBe(items[1]!.chosen);
    const contents = careful.dialogue_history.filter(({ role }) => role === 'assistant').map(({ content }) => content);
    expect(scored(items[0]!.chosen)).toEqual(contents.map((content) => `${content}<|eot_id|>`));
  });

  it('shows c to the critic alone', async () => {
    const file = write('pairs.jsonl', [{ task, chosen: careful, rejected: guesses }]);
    const text = async (more: Partial<EncodeRecords>) =>
      tokenizer.text.decode((await readTrainingItems(file, { ...options, ...more })).items[0]!.rejected!.ids);
    const c = `Hidden reference solution:\n${task.ground_truth}`;
    expect(await text({ dialogue: { maxLength: 2000, privileged: ownPrivileged } })).toContain(c);
    expect(await text({ method: 'dpo' })).not.toContain(c);
  });

  it('leaves long pairs out, and reports a file with nothing left', async () => {
    const file = write('pairs.jsonl', [{ task, chosen: careful, rejected: guesses }]);
    await expect(readTrainingItems(file, { ...options, dialogue: { maxLength: 20 } })).rejects.toMatchObject({
      ...{ code: 'ERR_DATA', message: expect.stringMatching(/nothing to train on \(1 left out by --max-length/) },
    });
  });

  it('makes one trajectory of the sequences of --per-turn', async () => {
    const file = write('pairs.jsonl', [{ task, chosen: careful, rejected: guesses }]);
    const perTurn = await readTrainingItems(file, { ...options, dialogue: { maxLength: 2000, perTurn: true } });
    const { chosen } = perTurn.items[0]!;
    expect(chosen.starts).toHaveLength(2);
    const whole = (await readTrainingItems(file, options)).items[0]!.chosen;
    expect(scored(chosen)).toEqual(scored(whole));
    expect(chosen.ids.length).toBeGreaterThan(whole.ids.length);
  });

  it('fine-tunes on dialogues of a sufficient reward', async () => {
    const file = write('dialogues.jsonl', [
      { task, ...careful },
      { task, ...guesses },
    ]);
    const { items, belowReward } = await readTrainingItems(file, { ...options, method: 'sft' });
    expect([items.length, belowReward, items[0]!.rejected]).toEqual([1, 1, undefined]);
  });

  it('trains the policy on the tokens of candidates, with the prompt as released', async () => {
    const input = [{ role: 'user', content: 'Please write f.' }];
    const ids = [tokenizer.encodeReply('Which type?'), tokenizer.encodeReply('def f')] as const;
    const file = write('turns.jsonl', [
      { input, chosen: 'Which type?', rejected: 'def f', tokens: ids, scores: [1, 0] },
      { input, chosen: 'Which type?', rejected: 'Why?' },
      { input, chosen: 'Why?', rejected: 'Why?' },
      { input, chosen: 'Which type?' },
      { input: [null], chosen: 'Which type?', rejected: 'Why?' },
      { input, chosen: 'Which type?', rejected: 'Why?', tokens: [[1], [1e300]] },
    ]);
    const { items, identical } = await readTrainingItems(file, { ...options, method: 'policy' });
    expect(identical).toBe(1);
    expect(faults.splice(0)).toEqual([
      expect.stringMatching(/strings for chosen and rejected/),
      expect.stringMatching(/messages with role and content for input/),
      expect.stringMatching(/two arrays of token ids/),
    ]);
    expect(items.map(({ rejected }) => scored(rejected!))).toEqual([['def f<|eot_id|>'], ['Why?<|eot_id|>']]);
    expect(items[0]!.chosen).toBe(items[1]!.chosen);
    const whole = await readTrainingItems(file, { ...options, method: 'policy', wholePrompt: true });
    const { ids: all, turns } = whole.items[0]!.chosen;
    expect(turns).toEqual([{ start: 1, end: all.length }]);
    // Both sides are cut on the right, where --as released permits long sequences.
    const maxLength = all.length - ids[0].length + 2;
    const short = { ...options, method: 'policy' as const, dialogue: { maxLength } };
    await expect(readTrainingItems(file, short)).rejects.toMatchObject({ code: 'ERR_DATA' });
    const cut = (await readTrainingItems(file, { ...short, wholePrompt: true })).items[0]!.chosen;
    expect([...cut.ids]).toEqual([...all.slice(0, maxLength - 1), tokenizer.endOfTurn]);
    expect(cut.turns).toEqual([{ start: 1, end: maxLength }]);
  });
});
