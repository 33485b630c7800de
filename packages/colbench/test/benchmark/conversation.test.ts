/** sweet-rl-colbench: conversations, simulated users, the journal, pairs. */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Random } from '../../../../test/helpers/random.ts';
import {
  answerOf,
  converse,
  cutReply,
  dialoguePairs,
  Journal,
  modelHuman,
  rankedPairs,
  scriptedHuman,
} from '../../src/index.ts';
import { PACKAGE, testFolder } from '../helpers/files.ts';

const folder = testFolder('conversation');

const task = {
  problem_description: 'Write a function f(x).',
  ground_truth: 'def f(x):\n    return x * 2  # HIDDEN',
  test_cases: ['f(1)', 'f(2)'],
};
const ask = (text: string) => () => text;

describe('a conversation', () => {
  it('continues until the agent answers, and records prompts and outputs', async () => {
    const replies = ['What does it do?', 'Gladly.\nI WANT TO ANSWER: def f(x): return 2 * x\nI WANT TO ANSWER: no'];
    const seen: unknown[] = [];
    const result = await converse(task, {
      agent: (messages) => {
        seen.push(messages);
        return replies[seen.length - 1]!;
      },
      human: (given, dialogue) => {
        expect(given).toBe(task);
        expect(dialogue.at(-1)).toMatchObject({ role: 'assistant', content: replies[0] });
        return 'It doubles.';
      },
    });
    expect(result.answer).toBe('def f(x): return 2 * x\nI WANT TO ANSWER: no');
    expect(result.dialogue_history).toEqual([
      { role: 'user', content: task.problem_description },
      { role: 'assistant', content: replies[0], input: seen[0], output: replies[0] },
      { role: 'user', content: 'It doubles.' },
      { role: 'assistant', content: replies[1], input: seen[1], output: replies[1] },
    ]);
    expect(JSON.stringify(seen)).not.toContain('HIDDEN');
    expect(seen[1]).toMatchObject([
      { role: 'system' },
      { role: 'user' },
      { role: 'assistant' },
      { role: 'user', content: 'It doubles.' },
    ]);
  });

  it('has at most ten turns; the last is the answer, with or without the marker', async () => {
    for (const last of ['just code', 'I WANT TO ANSWER: just code']) {
      const prompts: string[] = [];
      const { answer, dialogue_history } = await converse(task, {
        agent: (messages) => {
          prompts.push(messages.at(-1)!.content);
          return prompts.length < 10 ? 'and?' : last;
        },
        human: ask('well'),
      });
      expect(answer).toBe('just code');
      expect(dialogue_history).toHaveLength(20);
      expect(prompts).toHaveLength(10);
      expect(prompts.slice(1, 9).every((prompt) => prompt === 'well')).toBe(true);
      expect(prompts[9]).toMatch(/^well\n\nThis is your last message.*I WANT TO ANSWER:/);
      expect(dialogue_history[18]!.content).toBe('well');
    }
  });

  it('cuts a reply at 400 code points', async () => {
    expect(cutReply('x'.repeat(400))).toBe('x'.repeat(400));
    expect(cutReply('x'.repeat(401))).toBe('x'.repeat(400));
    expect(cutReply('\u{1f600}'.repeat(400))).toBe('\u{1f600}'.repeat(400));
    expect(cutReply(`${'x'.repeat(399)}\u{1f600}\u{1f600}`)).toBe(`${'x'.repeat(399)}\u{1f600}`);
    const { dialogue_history } = await converse(task, {
      agent: (messages) => (messages.length > 3 ? 'I WANT TO ANSWER:' : '?'),
      human: ask('y'.repeat(999)),
    });
    expect(dialogue_history[2]!.content).toBe('y'.repeat(400));
  });

  it('finds the exact marker anywhere in a message', () => {
    expect(answerOf('I WANT TO ANSWER: x ')).toBe('x');
    expect(answerOf('Thanks! I WANT TO ANSWER:x')).toBe('x');
    expect(answerOf('I WANT TO ANSWER:')).toBe('');
    expect(answerOf('i want to answer: x')).toBeUndefined();
    expect(answerOf('I WANT TO ANSWER x')).toBeUndefined();
  });

  it('throws on failures, wrong types and aborts', async () => {
    const agent = ask('?');
    await expect(converse(task, { agent: () => Promise.reject(new Error('down')), human: ask('') })).rejects.toThrow(
      'down',
    );
    await expect(converse(task, { agent, human: () => 3 as never })).rejects.toThrow(/string from the human/);
    await expect(converse(task, { agent: () => undefined as never, human: ask('') })).rejects.toThrow(/from the agent/);
    const controller = new AbortController();
    const human = () => {
      controller.abort(new Error('enough'));
      return 'x';
    };
    await expect(converse(task, { agent, human, signal: controller.signal })).rejects.toThrow('enough');
  });
});

describe('the simulated user', () => {
  it('as a model sees the ground truth, and the agent in the role of user', async () => {
    let asked: { role: string; content: string }[] = [];
    const human = modelHuman((messages) => {
      asked = messages;
      return 'reply';
    });
    const dialogue = [
      { role: 'user', content: 'p' },
      { role: 'assistant', content: 'q' },
    ];
    expect(await human(task, dialogue, {})).toBe('reply');
    expect(asked.map(({ role }) => role)).toEqual(['system', 'assistant', 'user']);
    expect(asked[0]!.content).toContain(task.ground_truth);
  });

  it('as a script answers each topic once, and nothing else', async () => {
    const script = JSON.parse(readFileSync(join(PACKAGE, 'sample', 'script.json'), 'utf8'));
    const human = scriptedHuman({ ...script, again: 'again', unknown: 'unsure' });
    const parcel = { ...task, problem_description: 'what a parcel costs' };
    const dialogue: { role: string; content: string }[] = [{ role: 'user', content: 'x' }];
    const replies = [];
    for (const content of ['Which COUNTRY?', 'the weather?', 'where to?', 'how heavy?', 'how to sort?']) {
      dialogue.push({ role: 'assistant', content });
      const reply = await human(parcel, dialogue, {});
      dialogue.push({ role: 'user', content: reply });
      replies.push(reply);
    }
    expect(replies).toEqual([script.topics[0].reply, 'unsure', 'again', script.topics[1].reply, 'unsure']);
  });
});

const record = (name: string, reward: number, more = {}) => ({
  task: { ...task, problem_description: name },
  dialogue_history: [{ role: 'user', content: name }],
  answer: '',
  reward,
  ...more,
});

describe('the journal', () => {
  it('keeps finished dialogues, drops a partial line, and resumes', async () => {
    const file = join(folder, 'journal.jsonl');
    const faults: object[] = [];
    const open = (run = 'r') => Journal.open(file, run, (fault) => faults.push(fault));
    const first = await open();
    await Promise.all([first.add('a', record('a', 0)), first.add('b', record('b', 1))]);
    await expect(first.add('c', record('c', Number.NaN))).rejects.toMatchObject({ code: 'ERR_RECORD' });
    await first.close();
    const whole = readFileSync(file, 'utf8');
    writeFileSync(file, whole + whole.slice(0, 40));
    const second = await open();
    expect([...second.done]).toEqual(['a', 'b']);
    expect(faults).toEqual([{ file, line: 0, fault: expect.stringMatching(/unfinished line of 40 bytes/) }]);
    await second.add('c', record('c', 0.5));
    await second.close();
    const third = await open();
    const rewards = [];
    for await (const { reward } of third.entries(expect.fail as never)) rewards.push(reward);
    await third.close();
    expect([[...third.done], rewards]).toEqual([
      ['a', 'b', 'c'],
      [0, 1, 0.5],
    ]);
    await expect(open('other')).rejects.toMatchObject({
      code: 'ERR_JOURNAL',
      message: expect.stringMatching(/line 1/),
    });
    expect(readFileSync(file, 'utf8').startsWith(whole)).toBe(true);
  });
});

describe('pairs', () => {
  const rewards: [string, number][] = [
    ['a', 0.5],
    ['b', 1],
    ['a', 1],
    ['a', 0.5],
    ['b', 0.9],
    ['a', 0],
    ['c', 0.9],
    ['c', 0.1],
    ['b', 1],
    ['d', 1],
  ];
  const dialogues = rewards.map(([name, reward]) => record(name, reward));
  const shown = (pairs: { chosen: number; rejected: number }[]) =>
    pairs.map(({ chosen, rejected }) => `${chosen} over ${rejected}`).sort();

  it('of dialogues by the paper: each better over each worse one of a task', () => {
    const expected = rewards.flatMap(([name, reward], i) =>
      rewards.flatMap(([other, less], j) => (name === other && reward > less ? [`${i} over ${j}`] : [])),
    );
    expect(shown(dialoguePairs(dialogues, 'paper'))).toEqual(expected.sort());
  });

  it('of dialogues by the released code: the first best of three, if it solved the task', () => {
    expect(shown(dialoguePairs(dialogues, 'released'))).toEqual(['1 over 4', '2 over 0', '2 over 3']);
    expect(dialoguePairs([], 'released')).toEqual([]);
  });

  it('of messages: none of two equal candidates, whose scores differ by rounding', () => {
    const state = { input: 'p', candidates: ['a', 'a'], scores: [0.1, 0.1000001] };
    const options = { rule: 'halves', numPairs: 1, seed: 1 } as const;
    expect(rankedPairs([state], options).pairs).toEqual([]);
    expect(rankedPairs([{ ...state, stop: ['stop', 'length'] }], options).pairs).toHaveLength(1);
    const tokens = [[1, 2], [3]];
    expect(rankedPairs([{ ...state, tokens }], options).pairs).toHaveLength(1);
  });

  it('of messages: one of the upper half over one of the lower, one or four per state', () => {
    const random = new Random(5);
    const states = Array.from({ length: 40 }, (_, s) => ({
      input: `state ${s}`,
      candidates: Array.from({ length: 16 }, (_, i) => `${s}.${i}`),
      scores: Array.from(random.integers(16, 0, 5)),
    }));
    for (const numPairs of [1, 4]) {
      const options = { rule: 'halves', numPairs, seed: 3 } as const;
      const { pairs, droppedTies } = rankedPairs(states, options);
      expect(pairs.length + droppedTies).toBe(40 * numPairs);
      expect(rankedPairs(states, options).pairs).toEqual(pairs);
      for (const { input, chosen, rejected, scores: both } of pairs) {
        const { candidates, scores } = states[Number(input.slice(6))]!;
        const score = (text: string) => scores[candidates.indexOf(text)]!;
        expect(both).toEqual([score(chosen), score(rejected)]);
        expect(score(chosen)).toBeGreaterThan(score(rejected));
        const middle = scores.toSorted((a, b) => b - a)[8]!;
        expect(score(chosen)).toBeGreaterThanOrEqual(middle);
      }
    }
  });
});
