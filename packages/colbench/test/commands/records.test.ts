/** `evaluate`, `pairs`, `rank`, `tasks` and `view`, and what all commands share. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { bestOf } from '../../src/benchmark/best-of.ts';
import { cli, summaryOf } from '../helpers/cli.ts';
import { endpoint } from '../helpers/endpoint.ts';
import { linesOf, PACKAGE, testFolder, writeLines } from '../helpers/files.ts';
import { modelFolder } from '../helpers/model-folder.ts';

const folder = testFolder('commands');
const sample = join(PACKAGE, 'sample');
const dialogues = join(sample, 'dialogues.jsonl');
const path = (name: string) => join(folder, name);

describe('the command line', () => {
  it('prints its help', async () => {
    expect(await cli(['--help'])).toMatchObject({
      code: 0,
      stdout: expect.stringMatching(/evaluate[\s\S]*score[\s\S]*run/),
    });
    expect((await cli([])).code).toBe(2);
    const help = await cli(['rank', '--help']);
    expect(help).toMatchObject({ code: 0, stdout: expect.stringMatching(/^colbench rank[\s\S]*--seed[\s\S]*--json/) });
  });

  it.each<[string[], RegExp]>([
    [['dance'], /There is no command "dance"/],
    [['evaluate'], /needs one file/],
    [['evaluate', 'a', 'b'], /needs one file/],
    [['evaluate', 'a', '--colour'], /--colour/],
    [['pairs', 'a', '--samples', '3'], /--samples/],
    [['pairs', 'a'], /pairs needs --out/],
    [['pairs', 'a', '--out', 'b', '--as', 'me'], /paper or released for --as but received me/],
    [['rank', 'a', '--out', 'b', '--as', 'released', '--pairs', '2'], /--as or --pairs, not both/],
    [['rank', 'a', '--out', 'b', '--rule', 'best-worst', '--pairs', '2'], /one pair/],
    [['evaluate', 'a', '--concurrency', '1.5'], /whole number.*--concurrency but received 1\.5/],
    [['evaluate', 'a', '--best-of', 'x'], /--best-of but received x/],
  ])('refuses %j', async (args, message) => {
    const { code, stderr, stdout } = await cli(args);
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr.split('\n')[0]).toMatch(message);
  });

  it('ends with 1 and the code of an error, and with 130 after an abort', async () => {
    const bad = writeLines(path('bad.jsonl'), [{ task: 1 }]);
    const failed = await cli(['pairs', bad, '--out', path('x')]);
    expect(failed).toMatchObject({ code: 1, stderr: expect.stringMatching(/^ERR_RECORD: 1 invalid lines/m) });
    expect((await cli(['pairs', bad, '--out', path('x')], AbortSignal.abort())).code).toBe(130);
  });
});

describe('files and folders of a command line', () => {
  const model = modelFolder(path('model'));
  const models = ['--model', model];
  const out = ['--out', path('never')];
  const parties = ['--agent', 'http://127.0.0.1:1', '--agent-model', 'm'];
  const run = { tasks: 'dialogues.jsonl', testTasks: 'dialogues.jsonl' };
  const configOf = (name: string, change: object) => {
    const file = path(`${name}.json`);
    writeFileSync(file, JSON.stringify({ model: 'model', ...run, converse: { human: 'script.json' }, ...change }));
    return file;
  };
  writeLines(path('dialogues.jsonl'), linesOf(dialogues));
  writeFileSync(path('script.json'), '{"topics": []}');

  /** Command lines with a place for a path, and what the path is called. */
  const inputs: [(file: string) => string[], string][] = [
    [(file) => ['tasks', file, ...out, '--endpoint', 'http://127.0.0.1:1', '--endpoint-model', 'm'], 'SEEDS'],
    [(file) => ['converse', file, ...out, ...parties, '--human', path('script.json')], 'TASKS'],
    [(file) => ['converse', dialogues, ...out, ...parties, '--human', file], '--human'],
    ...['agent-prompt', 'human-prompt'].map((name): [(file: string) => string[], string] => [
      (file) => {
        const prompts = { 'agent-prompt': dialogues, 'human-prompt': dialogues, [name]: file };
        const given = Object.entries(prompts).flatMap(([option, value]) => [`--${option}`, value]);
        return [
          'converse',
          dialogues,
          ...out,
          ...parties,
          '--human',
          'http://127.0.0.1:1',
          '--as',
          'released',
          ...given,
        ];
      },
      `--${name}`,
    ]),
    [(file) => ['evaluate', file], 'DIALOGUES'],
    [(file) => ['pairs', file, ...out], 'DIALOGUES'],
    [(file) => ['train-critic', file, ...out, ...models], 'PAIRS'],
    [(file) => ['train-policy', file, ...out, ...models], 'TURN_PAIRS'],
    [(file) => ['train-sft', file, ...out, ...models], 'DIALOGUES'],
    [(file) => ['train-dpo', file, ...out, ...models], 'PAIRS'],
    [(file) => ['train-grpo', file, ...out, ...models], 'DIALOGUES'],
    [(file) => ['train-critic', dialogues, ...out, ...models, '--c-template', file], '--c-template'],
    [(file) => ['candidates', file, ...out, ...models], 'DIALOGUES'],
    [(file) => ['candidates', dialogues, ...out, ...models, '--chat-template', file], '--chat-template'],
    [(file) => ['score', file, ...out, '--critic', model, '--reference', model], 'CANDIDATES'],
    [(file) => ['rank', file, ...out], 'CANDIDATES'],
    [(file) => ['run', file, ...out], 'RUN.json'],
    [(file) => ['run', configOf('a', { tasks: file }), ...out], 'tasks of RUN.json'],
    [(file) => ['run', configOf('b', { testTasks: file }), ...out], 'testTasks of RUN.json'],
    [
      (file) => ['run', configOf('c', { 'train-critic': { 'c-template': file } }), ...out],
      'train-critic.c-template of RUN.json',
    ],
  ];

  it.each(inputs.map(([args, name]) => [name, args('x')[0]!, args] as const))(
    'are named where %s of %s is missing or of the other kind, before anything is written',
    async (name, _, args) => {
      for (const [file, reason] of [
        [path('none'), `${path('none')} does not exist: check the path`],
        [folder, `${folder} is a folder`],
      ] as const) {
        const { code, stdout, stderr } = await cli(args(file));
        expect([code, stdout, stderr]).toEqual([1, '', `ERR_INPUT: Expected a file for ${name}, but ${reason}\n`]);
      }
      expect(existsSync(path('never'))).toBe(false);
    },
  );

  it('are named where a folder is missing or a file', async () => {
    const refused = async (...args: string[]) => (await cli(args)).stderr;
    expect(await refused('merge', path('none'), ...out)).toMatch(
      /^ERR_INPUT: Expected a folder for FOLDER, but .*none/,
    );
    expect(await refused('merge', dialogues, ...out)).toMatch(/jsonl is no folder$/m);
    expect(await refused('view', path('none'), ...out)).toMatch(
      /^ERR_INPUT: Expected a file for RUN\|FILE, but .*none/,
    );
    expect(await refused('run', configOf('d', { model: 'none' }), ...out)).toMatch(
      /^ERR_INPUT: Expected a folder for model of RUN\.json, but .*none does not exist/,
    );
    const scores = ['score', dialogues, ...out, '--critic', model, '--reference'];
    expect(await refused(...scores, path('none'))).toMatch(
      /^ERR_MODEL: Expected a model folder for --reference but received .*none: it does not exist/,
    );
    expect(await refused('rank', 'none.jsonl', ...out)).toMatch(/check the path, seen from \//);
  });

  it('are named where --out cannot be written', async () => {
    for (const args of [
      ['tasks', dialogues, '--endpoint', 'x', '--endpoint-model', 'm'],
      ['converse', dialogues, ...parties, '--human', path('script.json')],
      ['evaluate', dialogues],
      ['pairs', dialogues],
      ['candidates', dialogues, ...models],
      ['score', dialogues, '--critic', model, '--reference', model],
      ['rank', dialogues],
      ['view', dialogues],
    ]) {
      const missing = await cli([...args, '--out', path('none/x.jsonl')]);
      expect(missing.stderr).toBe(
        `ERR_OUT: --out ${path('none/x.jsonl')} cannot be written: ${path('none')} does not exist\n`,
      );
      const isFolder = await cli([...args, '--out', folder]);
      expect(isFolder.stderr).toMatch(/^ERR_OUT: Expected a file for --out but received the folder/);
    }
  });
});

describe('evaluate', () => {
  it('gives the rewards, and reports invalid lines', async () => {
    const file = path('answers.jsonl');
    writeFileSync(file, `${readFileSync(dialogues, 'utf8')}{"task": 1}\n`);
    const out = path('evaluated.jsonl.gz');
    const { code, stdout, stderr } = await cli(['evaluate', file, '--out', out, '--concurrency', '2', '--unsafe']);
    expect(stderr).toMatch(/answers\.jsonl, line 5: Expected an object for task/);
    expect(stdout).toBe('answers      4\ntestsPassed  0.45\nsuccess      0.25\ncalls        differs 22, agrees 18\n');
    expect(code).toBe(1);
    expect(linesOf(out).map(({ reward }) => reward)).toEqual(linesOf(dialogues).map(({ reward }) => reward));
    expect(linesOf(out)[1].calls[2]).toEqual({
      call: "shipping(0, 'DE')",
      verdict: 'differs',
      told: '5',
      expected: 'None',
    });
  });

  it('as released counts the answers with another reward, by cause', async () => {
    const test_cases = { a: 'f(1)', b: 'f(2)' };
    const of = (answer: string, ground_truth = 'def f(x): return x') => ({
      task: { problem_description: 'p', ground_truth, test_cases },
      answer,
    });
    const file = writeLines(path('released.jsonl'), [
      of('# exit(\ndef f(x): return x'),
      of('ONE = 1\ndef f(x): return ONE * x'),
      of('```py\ndef f(x): return x\n```'),
      of('def f(x): return None', 'def f(x): return None'),
      of('def f(x): return x'),
    ]);
    expect(await summaryOf(['evaluate', file, '--as', 'released', '--unsafe'])).toMatchObject({
      answers: 5,
      testsPassed: 0.2,
      answersWithoutTruth: 1,
      differsFromOurs: { substring: 1, namespace: 1, fence: 1, None: 1 },
    });
    expect((await cli(['evaluate', dialogues, '--as', 'released', '--unsafe'])).stderr).toMatch(
      /test_cases, as the released/,
    );
  });

  it('best-of-k of the released order and of any order, from stored rewards', async () => {
    const of = (name: string, reward?: number) => ({
      task: { problem_description: name, ground_truth: '', test_cases: ['1'] },
      answer: '',
      ...(reward !== undefined && { reward }),
    });
    const passes = [of('a', 0), of('b', 0.5), of('a', 1), of('b', 0.25), of('a', 0.5), of('b', 0)];
    const expected = { bestOf: { k: 3, tasks: 2, reward: 0.75, success: 0.5 }, answers: 6 };
    for (const order of [passes, passes.toSorted((x, y) => x.reward! - y.reward!)]) {
      const file = writeLines(path('passes.jsonl'), order);
      expect(await summaryOf(['evaluate', file, '--best-of', '3'])).toMatchObject(expected);
    }
    // One record lacks its reward: all are evaluated again, and the empty ground truth gives 1 for the call 1.
    const file = writeLines(path('unrated.jsonl'), [...passes.slice(0, 5), of('b')]);
    expect(await summaryOf(['evaluate', file, '--best-of', '3', '--unsafe'])).toMatchObject({ bestOf: { reward: 1 } });
    const rated = passes.map(({ task, reward }) => ({ task, reward: reward! }));
    expect(() => bestOf(rated, 4)).toThrow(/multiple of 4 records.*received 6/);
    expect(() => bestOf([...rated, rated[0]!, rated[0]!, rated[0]!], 3)).toThrow(
      /3 records of each task but received 6 of "a"/,
    );
    expect(() => bestOf([], 3)).toThrow(/received 0/);
  });
});

it('pairs dialogues by both rules, and counts tasks without a pair', async () => {
  const out = path('pairs.jsonl');
  expect(await summaryOf(['pairs', dialogues, '--out', out])).toEqual({
    pairs: 3,
    dialogues: 4,
    tasks: 2,
    tasksWithoutPair: 1,
    droppedTies: 0,
  });
  expect(linesOf(out).map(({ chosen, rejected }) => [chosen.reward, rejected.reward])).toEqual([
    [1, 0.3],
    [1, 0.2],
    [0.3, 0.2],
  ]);
  expect(await summaryOf(['pairs', dialogues, '--out', out, '--as', 'released'])).toMatchObject({ pairs: 2 });

  const [first] = linesOf(dialogues);
  const rewards = [1, 0.5, 1, 0.5, 0.5, 1];
  const tied = writeLines(
    path('tied.jsonl'),
    rewards.map((reward) => ({ ...first, reward })),
  );
  // Three of 1 and three of 0.5; of the first three, two of 1.
  expect(await summaryOf(['pairs', tied, '--out', out])).toMatchObject({ pairs: 9, droppedTies: 6 });
  expect(await summaryOf(['pairs', tied, '--out', out, '--as', 'released'])).toMatchObject({
    pairs: 1,
    droppedTies: 1,
  });
});

it('ranks candidates, drops ties, and counts states without a pair', async () => {
  const state = { input: 'p', candidates: ['a', 'b'], tokens: [[1], [2, 3]], scores: [0, 1] };
  const states = [state, { ...state, scores: [1, 1] }, { input: 'q', candidates: ['a'], scores: [0] }];
  const file = writeLines(path('scored.jsonl'), states);
  const out = path('ranked.jsonl');
  expect(await summaryOf(['rank', file, '--out', out, '--as', 'released'])).toEqual({
    pairs: 4,
    states: 3,
    droppedTies: 4,
    statesWithoutPair: { alone: 1, tied: 1 },
  });
  const pair = { input: 'p', chosen: 'b', rejected: 'a', tokens: [[2, 3], [1]], scores: [1, 0] };
  expect(linesOf(out)).toEqual(new Array(4).fill(pair));
  expect(await summaryOf(['rank', file, '--out', out, '--rule', 'best-worst'])).toMatchObject({
    pairs: 1,
    droppedTies: 1,
  });
  expect(linesOf(out)).toEqual([pair]);
});

it.each<[object, RegExp]>([
  [{ scores: [0] }, /Expected 2 numbers for scores but received an array of 1/],
  [{ scores: [0, '1'] }, /Expected 2 numbers for scores but received a string at index 1/],
  [{ candidates: ['a', 1] }, /Expected strings for candidates but received a number at index 1/],
  [{ tokens: [[1]] }, /Expected 2 arrays of token ids for tokens but received an array of 1/],
  [{ tokens: [[1], [-1]] }, /token ids for tokens but received an array of 1 at index 1/],
  [{ stop: 'stop' }, /Expected 2 of 'stop' and 'length' for stop but received a string/],
  [{ stop: ['stop', 1] }, /for stop but received a number at index 1/],
  [{ referenceLogps: [0, 1] }, /Expected an object for referenceLogps but received an array of 2/],
  [{ referenceLogps: { mean: [0, 1] } }, /Expected 2 numbers for referenceLogps\.sum but received none/],
  [{ referenceLogps: { mean: [0, null], sum: [0, 1] } }, /for referenceLogps\.mean but received null at index 1/],
  [{ input: [] }, /text or messages for input but received an array of 0/],
  [{ input: [{ role: 'tool', content: 'p' }] }, /assistant, agent for input\[0\]\.role but received "tool"/],
])('rank refuses a line with %j', async (change, message) => {
  const state = { input: 'p', candidates: ['a', 'b'], scores: [0, 1] };
  const file = writeLines(path('hostile.jsonl'), [{ ...state, ...change }]);
  const { code, stderr } = await cli(['rank', file, '--out', path('hostile-out.jsonl')]);
  expect(code).toBe(1);
  expect(stderr).toMatch(message);
});

describe('tasks', () => {
  const test_cases = Array.from({ length: 10 }, (_, i) => `f(${i})`);
  const good = { problem_description: 'Write f(x).', ground_truth: 'def f(x): return x * 2', test_cases };
  const written = (change = {}) => `Here: ${JSON.stringify({ ...good, ...change })}`;

  it('keeps what runs twice with the same distinct results, and tells the model what was wrong', async () => {
    const replies: Record<string, string[]> = {
      right: [written()],
      raising: [written({ ground_truth: 'def f(x): return 1 // x' }), written()],
      random: [written({ ground_truth: 'import random\ndef f(x): return random.random()' }), written()],
      constant: [written({ ground_truth: 'def f(x): return 1' }), written()],
      hopeless: ['no', written({ test_cases: ['f(1)'] }), written({ problem_description: 'Write it.' })],
    };
    const { url, requests } = await endpoint(({ messages }) => {
      const seed = Object.keys(replies).find((name) => messages[0]!.content.includes(`Topic: ${name}`))!;
      return replies[seed]!.shift()!;
    });
    const seeds = path('seeds.txt');
    writeFileSync(seeds, `${Object.keys(replies).join('\n\n')}\n`);
    const out = path('tasks.jsonl');
    const args = [
      'tasks',
      seeds,
      '--out',
      out,
      '--endpoint',
      url,
      '--endpoint-model',
      'm',
      '--unsafe',
      '--concurrency',
      '2',
    ];
    expect(await summaryOf(args)).toEqual({
      tasks: 4,
      seedsWithoutTask: 1,
      rejectedReplies: {
        raises: 1,
        'not deterministic': 1,
        'same results': 1,
        'not JSON': 1,
        'wrong fields': 1,
        'name missing': 1,
      },
    });
    expect(linesOf(out).map(({ seed }) => seed)).toEqual(['right', 'raising', 'random', 'constant']);
    expect(linesOf(out)[0]).toMatchObject(good);
    const corrections = requests
      .map(({ messages }) => messages[0]!.content)
      .filter((text) => text.includes('not usable'));
    expect(corrections.some((text) => text.includes('f(0) fails: ZeroDivisionError'))).toBe(true);
    expect(existsSync(`${out}.partial`)).toBe(false);
  });
});

describe('view', () => {
  it('writes one page with everything escaped', async () => {
    const attack = '</pre><script>alert(1)</script><img src=x onerror="alert(2)">\'&';
    const run = path('run');
    const { mkdirSync } = await import('node:fs');
    mkdirSync(join(run, 'train-critic'), { recursive: true });
    writeFileSync(join(run, 'table.json'), JSON.stringify([{ method: attack, success: 0.123456 }]));
    const dialogue = {
      task: { problem_description: attack, ground_truth: attack, test_cases: [attack] },
      dialogue_history: [{ role: attack, content: attack }],
      answer: attack,
      reward: 0.5,
      calls: [{ call: attack, verdict: attack, told: attack, expected: attack }],
    };
    writeLines(join(run, 'dialogues.jsonl'), [dialogue, dialogue, dialogue]);
    writeLines(join(run, 'pairs.jsonl'), [{ task: dialogue.task, chosen: dialogue, rejected: dialogue }]);
    writeLines(join(run, 'ranked.jsonl'), [
      { input: [{ role: attack, content: attack }], chosen: attack, rejected: attack },
    ]);
    writeLines(join(run, 'scored.jsonl'), [{ input: attack, candidates: [attack, 'other'], scores: [0, 1] }]);
    const metrics = [1, 2, 3].map((step) => ({ step, loss: 1 / step, [attack]: step }));
    writeLines(join(run, 'train-critic', 'metrics.jsonl'), metrics);
    const out = path('page.html');
    expect(await summaryOf(['view', run, '--out', out, '--records', '2'])).toEqual({ page: out, files: 5, records: 8 });
    const page = readFileSync(out, 'utf8');
    expect(page).not.toMatch(/<script|<img|onerror="/);
    expect(page).toContain(
      '&lt;/pre&gt;&lt;script&gt;alert(1)&lt;/script&gt;&lt;img src=x onerror=&quot;alert(2)&quot;&gt;&#39;&amp;',
    );
    expect(page).toContain('2 of 3 records');
    expect(page.match(/<polyline points="[\d. ,]+"/g)).toHaveLength(2);
    const tags = [...page.matchAll(/<\/?([a-z0-9]+)/g)].map(([, name]) => name);
    const open = (name: string) => tags.filter((tag) => tag === name).length;
    for (const name of ['details', 'table', 'div', 'pre', 'td', 'tr'])
      expect([name, open(name) % 2]).toEqual([name, 0]);
    expect(await cli(['view', '--out', out])).toMatchObject({ code: 2 });
  });
});
