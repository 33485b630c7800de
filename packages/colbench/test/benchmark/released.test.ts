/** The released evaluator and its conversations. Every case was run on the released code; both columns are its rewards. */
import { describe, expect, it } from 'vitest';
import { checkedReleasedAnswer } from '../../src/benchmark/records.ts';
import { releasedProgramOf } from '../../src/benchmark/released.ts';
import {
  buildWall,
  type Chat,
  converse,
  EndpointError,
  Evaluator,
  releasedHuman,
  releasedRules,
} from '../../src/index.ts';

// Harmless answers: without a sandbox, a process takes a fifth of the time.
const wall = await buildWall({ bubblewrap: '/nonexistent', unsafe: true });
const patient = { callSeconds: 2, totalSeconds: 60 };
const evaluators = {
  released: new Evaluator({ wall, rules: 'released' }),
  own: new Evaluator({ wall, limits: patient }),
};

const truth = 'def f(x): return sorted(x)[len(x)//2]';
const calls = ['f([3,1,2])', 'f([1])', 'f([5,4])'];
const fence = '```';
const python = (program: string) => `${fence}python\n${program}\n${fence}`;
const body = 'return sorted(x)[len(x)//2]';
const wrong = 'def f(x): return -1';

interface Case {
  answer: string;
  released: number;
  own: number;
  truth?: string;
  calls?: string[];
}
const row = (name: string, answer: string, released: number, own = released, more: Partial<Case> = {}) =>
  [name, { answer, released, own, ...more }] as const;
const third = 2 / 3;

const cases: (readonly [string, Case])[] = [
  row('the truth itself', truth, 1),
  row('a lambda bound to f', 'f = lambda x: sorted(x)[len(x)//2]', 1),
  row('an import inside f', 'def f(x):\n    import math\n    return sorted(x)[math.floor(len(x)/2)]', 1),
  row('a helper nested in f', `def f(x):\n    def g(y): return sorted(y)\n    return g(x)[len(x)//2]`, 1),
  row('asserts that hold after it', `${truth}\nassert f([1]) == 1`, 1),
  row('a __main__ block', `${truth}\nif __name__ == '__main__':\n    print(f([1]))`, 1),
  row('a module-level import used in f', 'import math\ndef f(x): return sorted(x)[math.floor(len(x)/2)]', 0, 1),
  row('a module-level helper used in f', 'def g(x): return sorted(x)\ndef f(x): return g(x)[len(x)//2]', 0, 1),
  row('a module-level class used in f', 'class A:\n    two = 2\ndef f(x): return sorted(x)[len(x)//A.two]', 0, 1),
  row('a module-level constant used in f', 'TWO = 2\ndef f(x): return sorted(x)[len(x)//TWO]', 0, 1),
  row('a module-level constant as a default', 'TWO = 2\ndef f(x, two=TWO): return sorted(x)[len(x)//two]', 1),
  row('an import used in annotations only', `from typing import List\ndef f(x: List[int]) -> int: ${body}`, 1),
  row('an import used in decorators only', `import functools\n@functools.wraps(len)\ndef f(x): ${body}`, 1),
  row(
    'recursion',
    'def f(x):\n    if len(x) > 2: return f(sorted(x)[1:-1])\n    return sorted(x)[len(x)//2]',
    third,
    1,
  ),
  row('a forbidden text in a comment', `# no exit( here\n${truth}`, 0, 1),
  row('another one', `# import system\n${truth}`, 0, 1),
  row('a forbidden text in prose', `I do not use argparse.\n${python(truth)}`, 0, 1),
  row('print( in the body', `def f(x):\n    print(x)\n    ${body}`, 1),
  row('open( in a comment', `# open(\n${truth}`, 1),
  row('prose, python fence, prose', `Here:\n${python(truth)}\nThat is it.`, 1),
  row('a plain fence', `${fence}\n${truth}\n${fence}`, 1),
  row('an unclosed python fence', `${fence}python\n${truth}`, 1),
  row('two python fences, the right one first', `${python(truth)}\n${python(wrong)}`, 1),
  row('two python fences, the right one second', `${python(wrong)}\n${python(truth)}`, 0),
  row('a plain fence with a wrong program first', `${fence}\n${wrong}\n${fence}\n${python(truth)}`, 1, 0),
  row('the info string py', `${fence}py\n${truth}\n${fence}`, 0, 1),
  row('the info string Python', `${fence}Python\n${truth}\n${fence}`, 0, 1),
  row('prose without a fence', `Here is the function.\n${truth}`, 0),
  row('an indented program', `    ${truth}`, 0),
  row('a failing example call after it', `${truth}\nf(3)`, 0),
  row('a function under another name', `def g(x): ${body}`, 0),
  row('a syntax error', 'def f(x: return', 0),
  row('nothing', '', 0),
  row('No answer', 'No answer', 0),
  row('async def', `async def f(x): ${body}`, 0),
  row('float for int', 'def f(x): return float(sorted(x)[len(x)//2])', 1),
  row('True for 1', 'def f(x): return True', 1, 1, { truth: 'def f(x): return 1' }),
  row('sets in another order', 'def f(x): return {3, 1, 2}', 1, 1, { truth: 'def f(x): return {1, 2, 3}' }),
  row('str for int', 'def f(x): return str(sorted(x)[len(x)//2])', 0),
  row('tuple for list', 'def f(x): return (1, 2)', 0, 0, { truth: 'def f(x): return [1, 2]' }),
  row('NaN on both sides', 'def f(x): return float("nan")', 0, 1, { truth: 'def f(x): return float("nan")' }),
  row('raises on one call', 'def f(x):\n    if len(x) == 1: raise ValueError\n    return sorted(x)[len(x)//2]', third),
  row('an infinite loop on one call', `def f(x):\n    while len(x) == 1: pass\n    ${body}`, third),
  row('mutates its argument', 'def f(x):\n    x.sort()\n    return x[len(x)//2]', 1),
  row(
    'counts its calls',
    `N = [0]\ndef f(x, n=N):\n    n[0] += 1\n    return sorted(x)[len(x)//2] if n[0] == 1 else None`,
    1,
    1 / 3,
  ),
  row('uses signal without importing it', `def f(x):\n    signal.SIGALRM\n    ${body}`, 1, 0),
  row('None on both sides', 'def f(x): return None', 0, 1, { truth: 'def f(x): return None' }),
  row('a truth with a module-level import', truth, 0, 1, {
    truth: 'import math\ndef f(x): return sorted(x)[math.floor(len(x)/2)]',
  }),
  row('a truth with a helper', truth, 0, 1, { truth: 'def g(x): return sorted(x)\ndef f(x): return g(x)[len(x)//2]' }),
  row('a truth inside a fence', truth, 0, 0, { truth: python(truth) }),
  // The one deviation: truth and answer run in separate processes, so this is 0 in both modes instead of 1 and 0.
  row(
    'an object that equals everything',
    'def f(x):\n    class A:\n        def __eq__(a, b): return True\n    return A()',
    0,
  ),
  row(
    'truth and answer raise on one call',
    'def f(x):\n    if len(x) == 1: raise ValueError\n    return sorted(x)[len(x)//2]',
    third,
    third,
    { truth: 'def f(x):\n    if len(x) == 1: raise ValueError\n    return sorted(x)[len(x)//2]' },
  ),
  row('a call with a syntax error beside a good one', truth, 0.5, 0.5, { calls: ['f([1]', 'f([1])'] }),
];

describe.concurrent('evaluate', () => {
  it.each(cases)('%s', async (_, { answer, released, own, truth: ground_truth = truth, calls: test_cases = calls }) => {
    const task = { problem_description: 'p', ground_truth, test_cases };
    expect((await evaluators.released.evaluate(task, answer)).reward).toBeCloseTo(released, 12);
    expect((await evaluators.own.evaluate(task, answer)).reward).toBeCloseTo(own, 12);
  });
});

it('takes test cases as an object with at least one call', () => {
  const of = (test_cases: unknown) => ({
    task: { problem_description: 'p', ground_truth: truth, test_cases },
    answer: '',
  });
  expect(() => checkedReleasedAnswer(of(['f(1)']))).toThrow(/object for task\.test_cases.*released.*array of 1/);
  expect(() => checkedReleasedAnswer(of({}))).toThrow(/at least one call/);
  expect(checkedReleasedAnswer(of({ a: 'f(1)' })).task.test_cases).toEqual(['f(1)']);
});

it('strips nothing from a program', () => {
  expect(releasedProgramOf(python(' x'))).toBe('\n x\n');
  expect(releasedProgramOf(`a${fence}b${fence}c`)).toBe('b');
  expect(releasedProgramOf('a')).toBe('a');
});

describe('a conversation', () => {
  const task = { problem_description: 'PROBLEM', ground_truth: 'HIDDEN $&', test_cases: ['f(1)'] };
  const rules = releasedRules('Agent. {dialogue_history}');

  it('shows the text between the first and the second OUTPUT:, and records up to the second', async () => {
    const replies = ['think OUTPUT: q? OUTPUT: rest', 'OUTPUT: sure I WANT TO ANSWER: a I WANT TO ANSWER: b'];
    const prompts: unknown[] = [];
    const { dialogue_history, answer } = await converse(task, {
      agent: (messages) => {
        prompts.push(messages);
        return replies[prompts.length - 1]!;
      },
      human: (_, dialogue) => `heard${dialogue.at(-1)!.content}`,
      rules,
    });
    expect(answer).toBe(' a ');
    expect(dialogue_history[1]).toMatchObject({ content: ' q? ', output: 'think OUTPUT: q? ' });
    expect(dialogue_history[2]!.content).toBe('heard q? ');
    expect(prompts[0]).toEqual([
      { role: 'system', content: 'Agent. {dialogue_history}' },
      { role: 'user', content: 'PROBLEM' },
    ]);
  });

  it('takes the whole last message without a marker, and says nothing before it', async () => {
    let last = '';
    const agent: Chat = (messages) => {
      last = messages.at(-1)!.content;
      return messages.length === 20 ? ' code ' : '?';
    };
    const { answer } = await converse(task, { agent, human: () => 'reply', rules });
    expect([answer, last]).toEqual([' code ', 'reply']);
  });

  it('has a stateless simulated user, which answers a refused request by "No response."', async () => {
    const asked: unknown[] = [];
    const template = '<{problem_description}|{hidden_information}|{dialogue_history}|{other}>';
    const human = releasedHuman((messages) => {
      asked.push(messages);
      return 'ok';
    }, template);
    const dialogue = [
      { role: 'user', content: 'PROBLEM' },
      { role: 'assistant', content: 'q?' },
    ];
    expect(await human(task, dialogue, {})).toBe('ok');
    expect(asked).toEqual([
      [
        { role: 'system', content: 'You are a helpful assistant.' },
        { role: 'user', content: '<PROBLEM|HIDDEN $&|user:PROBLEM\n\n\n\nagent:q?\n\n\n\nagent:|{other}>' },
      ],
    ]);
    const failing = (status: number) =>
      releasedHuman(() => Promise.reject(new EndpointError('no', { status })), template)(task, dialogue, {});
    expect(await failing(400)).toBe('No response.');
    await expect(failing(401)).rejects.toThrow('no');
  });
});
