import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { makeTinyModel } from '../../src/tiny/folder.js';
import { scriptedDialogue, tinyTasks } from '../../src/tiny/tasks.js';
import { ChatTokenizer } from '../../src/tokens/chat.js';
import type { TrainingSequence } from '../../src/trainer/batches.js';
import { type Rollout, readGroups, turnAdvantagesOf } from '../../src/trainer/groups.js';
import type { GroupLoss } from '../../src/trainer/heads.js';

const clip = { clipLow: 0.2, clipHigh: 0.2, reduction: 'sequence-mean-token-mean', klCoef: 0 } as const;
const grpo: GroupLoss = { method: 'grpo', scale: 'group', gamma: null, stepCoef: null, ...clip };
const gigpo: GroupLoss = { method: 'gigpo', scale: 'none', gamma: 0.5, stepCoef: 1, ...clip };

const rollout = (task: string, reward: number, ids: number[], ...turns: [number, number][]): Rollout => ({
  ...{ task, reward },
  sequence: { id: '', ids: Int32Array.from(ids), turns: turns.map(([start, end]) => ({ start, end })) },
});

/** Tasks that are mixed; the first turns of a task begin in one state, and the second ones of its first two dialogues. */
const rollouts: Rollout[] = [
  rollout('a', 1, [1, 2, 9, 3, 4, 4], [2, 3], [4, 6]),
  rollout('b', 0.5, [1, 2, 8], [2, 3]),
  rollout('a', 0, [1, 2, 9, 3, 7], [2, 3], [4, 5]),
  rollout('b', 0.5, [1, 2, 9, 3, 8], [2, 3], [4, 5]),
  rollout('a', 0.5, [1, 2, 8, 8, 8], [2, 5]),
  rollout('c', 1, [1, 2, 3], [2, 3]),
];

function expectClose(actual: readonly Float64Array[], expected: readonly (readonly number[])[]): void {
  expect(actual.map(({ length }) => length)).toEqual(expected.map(({ length }) => length));
  const [all, wanted] = [actual.flatMap((each) => [...each]), expected.flat()];
  for (const [i, value] of all.entries()) expect(value, `turn ${i}`).toBeCloseTo(wanted[i]!, 12);
}

describe('turnAdvantagesOf', () => {
  it('grpo compares the outcomes of a task, at every turn', () => {
    const a = 0.5 / (0.5 + 1e-6);
    expectClose(turnAdvantagesOf(rollouts, grpo), [[a, a], [0], [-a, -a], [0, 0], [0], [0]]);
    expectClose(turnAdvantagesOf(rollouts, { ...grpo, scale: 'none' }), [
      [0.5, 0.5],
      [0],
      [-0.5, -0.5],
      [0, 0],
      [0],
      [0],
    ]);
  });

  it('gigpo adds the discounted outcomes of the turns in one state', () => {
    // Returns at the first state of a: 0.5, 0, 0.5, at the second 1, 0. Of b: 0.5, 0.25.
    const expected = [[1 / 2 + 1 / 6, 1 / 2 + 1 / 2], [1 / 8], [-1 / 2 - 1 / 3, -1], [-1 / 8, 0], [1 / 6], [0]];
    expectClose(turnAdvantagesOf(rollouts, gigpo), expected);
    const twice = [[1 / 2 + 1 / 3, 3 / 2], [1 / 4], [-1 / 2 - 2 / 3, -3 / 2], [-1 / 4, 0], [1 / 3], [0]];
    expectClose(turnAdvantagesOf(rollouts, { ...gigpo, stepCoef: 2 }), twice);
    const outcome = turnAdvantagesOf(rollouts, { ...gigpo, stepCoef: 0 });
    expectClose(outcome, [[0.5, 0.5], [0], [-0.5, -0.5], [0, 0], [0], [0]]);
    // Divided by the deviation of the group: sqrt(1/12) and sqrt(1/2) at the states of a, sqrt(1/32) at that of b.
    const scaled = turnAdvantagesOf(rollouts, { ...gigpo, scale: 'group' });
    const [e, first, second] = [0.5 / (0.5 + 1e-6), Math.sqrt(1 / 12) + 1e-6, Math.sqrt(1 / 2) + 1e-6];
    const b = 1 / 8 / (Math.sqrt(1 / 32) + 1e-6);
    expectClose(scaled, [
      [e + 1 / 6 / first, e + 1 / 2 / second],
      [b],
      [-e - 1 / 3 / first, -e - 1 / 2 / second],
      [-b, 0],
      [1 / 6 / first],
      [0],
    ]);
  });

  it('does not depend on the order of dialogues', () => {
    const order = [4, 2, 5, 0, 3, 1];
    for (const loss of [grpo, gigpo]) {
      const whole = turnAdvantagesOf(rollouts, loss);
      const permuted = turnAdvantagesOf(
        order.map((k) => rollouts[k]!),
        loss,
      );
      expectClose(
        permuted,
        order.map((k) => [...whole[k]!]),
      );
    }
  });

  it('takes the parts of a dialogue that do not attend to each other for its states', () => {
    const parts = (ids: number[], reward: number): Rollout => {
      const sequence: TrainingSequence = {
        ...{ id: '', ids: Int32Array.from(ids), starts: [3] },
        turns: [
          { start: 2, end: 3 },
          { start: 5, end: 6 },
        ],
      };
      return { task: 'a', reward, sequence };
    };
    // The second parts have the same prompt, the first ones do not.
    const advantages = turnAdvantagesOf([parts([1, 2, 9, 1, 5, 4], 1), parts([1, 3, 9, 1, 5, 6], 0)], gigpo);
    expectClose(advantages, [
      [0.5, 1],
      [-0.5, -1],
    ]);
  });
});

describe('readGroups', () => {
  const folder = mkdtempSync(join(tmpdir(), 'colbench-groups-'));
  afterAll(() => rmSync(folder, { recursive: true }));
  makeTinyModel(join(folder, 'tiny'), { small: true, seed: 1 });
  const tokenizer = ChatTokenizer.load(join(folder, 'tiny'));
  const write = (records: readonly unknown[]) => {
    writeFileSync(join(folder, 'dialogues.jsonl'), records.map((each) => `${JSON.stringify(each)}\n`).join(''));
    return join(folder, 'dialogues.jsonl');
  };
  const faults: string[] = [];
  const options = {
    ...{ tokenizer, dialogue: { maxLength: 2000 } },
    onFault: ({ fault }: { fault: string }) => faults.push(fault),
  };
  const [first, second, third] = tinyTasks();
  const [careful, vain, guesses] = [
    scriptedDialogue(first!, 'careful'),
    scriptedDialogue(first!, 'vain'),
    scriptedDialogue(first!, 'guesses'),
  ];
  const equal = [scriptedDialogue(second!, 'careful'), scriptedDialogue(second!, 'vain')];
  const single = scriptedDialogue(third!, 'careful');

  it('leaves out and counts dialogues without an advantage', async () => {
    const file = write([careful, equal[0], guesses, single, equal[1]]);
    const counts = { groups: 3, equalGroups: 1, leftOut: 0, truncated: 0 };
    const { items, ...rest } = await readGroups(file, grpo, options);
    expect(rest).toEqual({ ...counts, withoutAdvantage: 3 });
    expect(items.map(({ reward, advantages }) => [reward, advantages?.length])).toEqual([
      [1, 3],
      [0, 2],
    ]);
    // The shorter of two dialogues that succeed has the larger return at the state that they share.
    const inStates = await readGroups(file, gigpo, options);
    expect(inStates).toMatchObject({ ...counts, withoutAdvantage: 1 });
    const [, short, , long] = inStates.items;
    expect([...short!.advantages!, ...long!.advantages!]).toEqual([1 / 16, 0, 0, -1 / 16, 0, 0, 0]);
  });

  it('takes equal dialogues for as many samples', async () => {
    const { items } = await readGroups(write([careful, guesses, careful]), grpo, options);
    expect(new Set(items.map(({ chosen }) => chosen.id)).size).toBe(3);
    expect([...items[0]!.chosen.ids]).toEqual([...items[2]!.chosen.ids]);
    expect(items[0]!.advantages).toEqual(items[2]!.advantages);
  });

  it('has the same advantages with --per-turn', async () => {
    const file = write([careful, vain, guesses]);
    const perTurn = { ...options, dialogue: { maxLength: 2000, perTurn: true } };
    const of = async (each: typeof options) => (await readGroups(file, gigpo, each)).items.map((x) => x.advantages);
    expect(await of(perTurn)).toEqual(await of(options));
  });

  it('leaves long dialogues out of the groups', async () => {
    const { items } = await readGroups(write([careful, vain, guesses]), grpo, options);
    const maxLength = items[1]!.chosen.ids.length - 1;
    const shorter = await readGroups(write([careful, vain, guesses]), grpo, { ...options, dialogue: { maxLength } });
    expect([shorter.leftOut, shorter.items.length]).toEqual([1, 2]);
    expect(shorter.items[0]!.advantages![0]).toBeCloseTo(Math.SQRT1_2, 5);
  });

  it('has nothing to train on without groups of different rewards', async () => {
    await expect(readGroups(write([...equal, single]), grpo, options)).rejects.toMatchObject({
      code: 'ERR_DATA',
      message: expect.stringMatching(
        /\(of 2 tasks, 1 have one dialogue and 1 equal rewards; 0 dialogues left out by --max-length\); converse --samples N/,
      ),
    });
    await expect(readGroups(write([]), gigpo, options)).rejects.toMatchObject({ code: 'ERR_DATA' });
    await expect(readGroups(write([{ ...careful, reward: 'x' }]), grpo, options)).rejects.toMatchObject({
      code: 'ERR_DATA',
    });
    expect(faults.splice(0)).toEqual([expect.stringMatching(/reward/)]);
  });
});
