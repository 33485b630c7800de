/** examples/colbench: conversations, simulated users, the journal, pairs, and the command line. */
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../../test/helpers/processes.ts';
import { Random } from '../../../test/helpers/random.ts';
import { parseArguments } from '../arguments.js';
import {
  answerOf,
  converse,
  cutReply,
  dialoguePairs,
  Journal,
  messagePairs,
  modelHuman,
  scriptedHuman,
} from '../index.js';
import { namespaces } from './bubblewrap.ts';

const EXAMPLE = join(ROOT, 'examples', 'colbench');
const folder = mkdtempSync(join(tmpdir(), 'colbench-conversation-'));
afterAll(() => rmSync(folder, { recursive: true }));

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
    const script = JSON.parse(readFileSync(join(EXAMPLE, 'sample', 'script.json'), 'utf8'));
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

  it('of messages: one of the upper half over one of the lower, one or four per state', () => {
    const random = new Random(5);
    const states = Array.from({ length: 40 }, (_, s) => ({
      input: `state ${s}`,
      candidates: Array.from({ length: 16 }, (_, i) => `${s}.${i}`),
      scores: Array.from(random.integers(16, 0, 5)),
    }));
    for (const [source, draws] of [
      ['paper', 1],
      ['released', 4],
    ] as const) {
      const { pairs, droppedTies } = messagePairs(states, source, 3);
      expect(pairs.length + droppedTies).toBe(40 * draws);
      expect(messagePairs(states, source, 3).pairs).toEqual(pairs);
      for (const { state, chosen, rejected } of pairs) {
        const { candidates, scores } = states[state]!;
        const score = (text: string) => scores[candidates.indexOf(text)]!;
        expect(score(chosen)).toBeGreaterThan(score(rejected));
        const middle = scores.toSorted((a, b) => b - a)[8]!;
        expect(score(chosen)).toBeGreaterThanOrEqual(middle);
      }
    }
  });
});

/** The command line as a user runs it. */
function command(args: string[], env: Record<string, string> = {}) {
  const child = spawn(process.execPath, [join(EXAMPLE, 'main.js'), ...args], {
    cwd: EXAMPLE,
    env: { ...process.env, ...env },
  });
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

const linesOf = (file: string) =>
  readFileSync(file, 'utf8')
    .trim()
    .split('\n')
    .map((text) => JSON.parse(text));

describe('the command line', () => {
  it('prints its help', async () => {
    const help = await command(['--help']).ended;
    expect([help.code, help.stdout]).toEqual([0, expect.stringMatching(/evaluate[\s\S]*converse[\s\S]*pairs/)]);
    const { code, stderr } = await command(['pairs', 'a']).ended;
    expect([code, stderr]).toEqual([2, expect.stringMatching(/^pairs needs --out\n\nColBench/)]);
  });

  it.each<[string[], RegExp]>([
    [['dance'], /no command "dance"/],
    [['evaluate'], /needs one file/],
    [['evaluate', 'a', 'b'], /needs one file/],
    [['evaluate', 'a', '--colour'], /--colour/],
    [['pairs', 'a', '--samples', '3'], /--samples/],
  ])('refuses %j', (args, message) => {
    expect(() => parseArguments(args)).toThrow(message);
  });

  it('checks numbers and choices', () => {
    const given = parseArguments([
      'evaluate',
      'a',
      '--call-seconds',
      'x',
      '--memory-mib',
      '1',
      '--concurrency',
      '1.5',
    ])!;
    expect(() => given.limits()).toThrow(/number from .* for --call-seconds but received x/);
    expect(() => given.number('memory-mib', 512, 64, 1e6)).toThrow(/--memory-mib but received 1$/);
    expect(() => given.number('concurrency', 1, 1, 9)).toThrow(/whole number.*--concurrency but received 1\.5/);
    expect(() => given.required('out')).toThrow(/evaluate needs --out/);
    const pairs = parseArguments(['pairs', 'a', '--as', 'me'])!;
    expect(() => pairs.choice('as', ['paper', 'released'])).toThrow(/paper or released for --as but received me/);
    expect(parseArguments([])).toBeUndefined();
  });

  it.runIf(namespaces)('evaluates the sample and reports invalid lines', async () => {
    const file = join(folder, 'answers.jsonl');
    writeFileSync(file, `${readFileSync(join(EXAMPLE, 'sample', 'dialogues.jsonl'), 'utf8')}{"task": 1}\n`);
    const out = join(folder, 'evaluated.jsonl');
    const { code, stdout, stderr } = await command(['evaluate', file, '--out', out, '--concurrency', '2']).ended;
    expect(stderr).toMatch(/answers\.jsonl, line 5: Expected an object for task/);
    expect(stdout).toMatch(/^answers +4\ntests passed +45\.0 %\nsuccess +25\.0 %\ncalls +differs 22, agrees 18\n$/);
    expect(code).toBe(1);
    const sample = linesOf(join(EXAMPLE, 'sample', 'dialogues.jsonl'));
    expect(linesOf(out).map(({ reward }) => reward)).toEqual(sample.map(({ reward }) => reward));
    expect(linesOf(out)[1].calls[2]).toEqual({
      call: "shipping(0, 'DE')",
      verdict: 'differs',
      told: '5',
      expected: 'None',
    });
  });

  it('makes pairs of the sample, and of candidates', async () => {
    const out = join(folder, 'pairs.jsonl');
    const made = await command(['pairs', 'sample/dialogues.jsonl', '--out', out]).ended;
    expect(made).toMatchObject({ code: 0, stdout: '3 pairs of 4 dialogues\n' });
    expect(linesOf(out).map(({ chosen, rejected }) => [chosen.reward, rejected.reward])).toEqual([
      [1, 0.3],
      [1, 0.2],
      [0.3, 0.2],
    ]);
    const candidates = join(folder, 'candidates.jsonl');
    writeFileSync(
      candidates,
      `${JSON.stringify({ input: 'p', candidates: ['a', 'b'], scores: [0, 1] })}\n{"scores": []}\n`,
    );
    const args = ['pairs', candidates, '--candidates', '--as', 'released', '--out', out];
    expect(await command(args).ended).toMatchObject({
      code: 1,
      stdout: '4 pairs of messages at 1 states, 0 ties dropped\n',
    });
    expect(linesOf(out)).toEqual(new Array(4).fill({ input: 'p', chosen: 'b', rejected: 'a' }));
  });

  it.runIf(namespaces)('converses with an endpoint, stops, and resumes', async () => {
    const tasks = linesOf(join(EXAMPLE, 'sample', 'tasks.jsonl')) as {
      problem_description: string;
      ground_truth: string;
    }[];
    let requests = 0;
    let broken = true;
    const server = createServer((request, response) => {
      let body = '';
      request.on('data', (chunk) => {
        body += chunk;
      });
      request.on('end', () => {
        requests += 1;
        const { messages } = JSON.parse(body) as { messages: { content: string }[] };
        const about = tasks.find(({ problem_description }) => messages[1]!.content === problem_description)!;
        if (broken && about === tasks[1]) return response.writeHead(401).end('no such key');
        const content = messages.length < 4 ? 'Which country?' : `I WANT TO ANSWER: ${about.ground_truth}`;
        return response.end(JSON.stringify({ choices: [{ message: { content } }] }));
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    const out = join(folder, 'offline.jsonl');
    const run = (...more: string[]) => {
      const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
      const parties = ['--agent-url', url, '--agent-model', 'stub', '--human-script', 'sample/script.json'];
      return command(['converse', 'sample/tasks.jsonl', '--out', out, ...parties, '--concurrency', '1', ...more]).ended;
    };
    try {
      const first = await run('--samples', '2');
      expect([first.code, first.stderr]).toEqual([
        1,
        expect.stringMatching(/401: no such key[\s\S]*resumes with the rest/),
      ]);
      expect(linesOf(out)).toHaveLength(2);
      broken = false;
      const before = requests;
      const second = await run('--samples', '2');
      expect(second).toMatchObject({ code: 0, stdout: expect.stringMatching(/dialogues +4\ntests passed +100\.0 %/) });
      expect(requests - before).toBe(4);
      const lines = linesOf(out);
      expect(new Set(lines.map(({ id }) => id)).size).toBe(4);
      for (const { reward, dialogue_history } of lines) expect([reward, dialogue_history.length]).toEqual([1, 4]);
      expect(lines[0].dialogue_history[2].content).toMatch(/^5 within Germany/);
      const other = await run('--samples', '2', '--agent-temperature', '0.5');
      expect([other.code, other.stderr]).toEqual([1, expect.stringMatching(/other settings/)]);
    } finally {
      server.close();
    }
  });
});
