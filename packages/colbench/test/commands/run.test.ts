/** `run` with commands that only write files: what runs, what is skipped, what differs. */
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { beforeEach, expect, it } from 'vitest';
import type { Command, CommandInput } from '../../src/command.ts';
import { command as pairs } from '../../src/commands/pairs.ts';
import { command as rank } from '../../src/commands/rank.ts';
import { runCommand } from '../../src/commands/run.ts';
import { runWith } from '../helpers/cli.ts';
import { linesOf, testFolder, writeLines } from '../helpers/files.ts';
import { modelFolder } from '../helpers/model-folder.ts';

const folder = testFolder('run');
const model = modelFolder(join(folder, 'model'));
const task = (name: string) => ({
  problem_description: name,
  ground_truth: 'def f(x): return x',
  test_cases: ['f(1)'],
});
writeLines(join(folder, 'train.jsonl'), [task('a'), task('b')]);
writeLines(join(folder, 'test.jsonl'), [task('c')]);
writeFileSync(join(folder, 'script.json'), '{"topics": []}');

/** The names and inputs of the commands that ran. */
let ran: { name: string; input: string; values: CommandInput['values'] }[] = [];
let failing: string | undefined;
beforeEach(() => {
  ran = [];
  failing = undefined;
});

const text = (...names: string[]) => Object.fromEntries(names.map((name) => [name, { type: 'string' as const }]));
const flag = (...names: string[]) => Object.fromEntries(names.map((name) => [name, { type: 'boolean' as const }]));

function stub(name: string, options: Command['options'], write: (input: CommandInput, out: string) => object): Command {
  const run = async (input: CommandInput) => {
    ran.push({ name, input: input.positionals[0]!, values: input.values });
    if (failing === name) throw new Error('it failed');
    return write(input, input.values.out as string) as Record<string, unknown>;
  };
  return {
    name,
    summary: '',
    usage: '',
    options: { out: { type: 'string' }, device: { type: 'string' }, ...options },
    run,
  };
}

const dialogue = (name: string, reward: number) => ({
  task: task(name),
  dialogue_history: [
    { role: 'user', content: name },
    { role: 'assistant', content: `answer ${reward}` },
  ],
  answer: 'x',
  reward,
});
/** The reward of a method's dialogues on the test tasks, by the folder of its model. */
const rewardOf = (agent: string) =>
  agent === model ? 0.25 : agent.includes('sft') ? 0.5 : agent.includes('dpo') ? 0.6 : 1;
const train = (name: string) =>
  stub(
    name,
    { ...text('model', 'normalization', 'epochs', 'batch', 'save-every', 'method', 'gamma'), ...flag('without-c') },
    (input, out) => {
      modelFolder(out);
      writeFileSync(
        join(out, 'model.safetensors'),
        JSON.stringify([name, input.values.normalization, input.values['without-c']]),
      );
      return { steps: 2 };
    },
  );

const commands: Command[] = [
  pairs,
  rank,
  stub('converse', text('agent', 'human', 'samples', 'concurrency', 'agent-model', 'seed'), ({ values }, out) => {
    const test = out.includes('test-converse');
    const reward = rewardOf(values.agent as string);
    writeLines(out, test ? [dialogue('c', reward)] : [dialogue('a', 1), dialogue('a', 0), dialogue('b', 0.5)]);
    return { dialogues: 1 };
  }),
  stub('evaluate', text('as', 'best-of'), ({ positionals }, out) => {
    const lines = linesOf(positionals[0]!);
    writeLines(out, lines);
    const rewards = lines.map(({ reward }) => reward as number);
    const mean = rewards.reduce((sum, reward) => sum + reward, 0) / rewards.length;
    return { answers: rewards.length, testsPassed: mean, success: rewards.filter((reward) => reward === 1).length };
  }),
  train('train-sft'),
  train('train-dpo'),
  train('train-critic'),
  train('train-policy'),
  train('train-grpo'),
  stub('candidates', text('model', 'agent', 'n', 'fraction', 'max-tokens'), (_, out) => {
    writeLines(out, [{ task: task('a'), input: [{ role: 'user', content: 'a' }], candidates: ['1', '2'] }]);
    return {};
  }),
  stub('score', { ...text('critic', 'reference', 'reduction'), ...flag('without-c') }, ({ positionals }, out) => {
    writeLines(
      out,
      linesOf(positionals[0]!).map((line) => ({ ...line, scores: [0, 1] })),
    );
    return {};
  }),
];
const find = async (name: string) => commands.find((command) => command.name === name);

function config(change: object = {}): string {
  const file = join(folder, 'RUN.json');
  const base = {
    model: 'model',
    tasks: 'train.jsonl',
    testTasks: 'test.jsonl',
    all: { device: 'cpu' },
    converse: { human: 'script.json', samples: 3 },
    'train-critic': { epochs: 2 },
  };
  writeFileSync(file, JSON.stringify({ ...base, ...change }));
  return file;
}
const run = async (file = config(), values: Record<string, string | boolean> = {}, signal?: AbortSignal) =>
  (await runWith(runCommand(find), [file], values, signal)).summary;
const out = join(folder, 'RUN');
const fresh = () => rmSync(out, { recursive: true, force: true });

it('runs shared stages once, and gives a row for each method; the second time nothing is computed', async () => {
  fresh();
  const first = await run();
  expect(first.table).toEqual([
    { method: 'zero-shot', dialogues: 1, testsPassed: 0.25, success: 0 },
    { method: 'sft', dialogues: 1, testsPassed: 0.5, success: 0 },
    { method: 'dpo', dialogues: 1, testsPassed: 0.6, success: 0 },
    ...['sweet', 'sweet-without-c', 'sweet-sum'].map((method) => ({
      method,
      dialogues: 1,
      testsPassed: 1,
      success: 1,
    })),
  ]);
  expect([first.stages, first.computed]).toEqual([30, 30]);
  const count = (name: string) => ran.filter((each) => each.name === name).length;
  expect(['converse', 'evaluate', 'candidates', 'train-critic', 'score', 'train-policy'].map(count)).toEqual([
    7, 7, 1, 3, 3, 3,
  ]);
  expect(JSON.parse(readFileSync(join(out, 'table.json'), 'utf8'))).toEqual(first.table);
  expect(readFileSync(join(out, 'table.md'), 'utf8')).toMatch(/sweet-sum +1 +1 +1/);

  const [offline, ...tests] = ran.filter(({ name }) => name === 'converse');
  expect(offline).toMatchObject({
    input: join(folder, 'train.jsonl'),
    values: { agent: model, samples: '3', device: 'cpu' },
  });
  expect(offline!.values.human).toBe(join(folder, 'script.json'));
  for (const { input, values } of tests)
    expect([input, values.samples]).toEqual([join(folder, 'test.jsonl'), undefined]);
  const critics = ran.filter(({ name }) => name === 'train-critic').map(({ values }) => values);
  expect(critics.map((values) => [values['without-c'], values.normalization, values.epochs])).toEqual([
    [undefined, undefined, '2'],
    [true, undefined, '2'],
    [undefined, 'sum', '2'],
  ]);
  const scores = ran.filter(({ name }) => name === 'score').map(({ values }) => values);
  expect(scores.map((values) => [values['without-c'], values.reduction])).toEqual([
    [undefined, undefined],
    [true, undefined],
    [undefined, 'sum'],
  ]);
  expect(scores[0]).toMatchObject({ critic: join(out, 'train-critic-sweet', 'model'), reference: model });

  ran = [];
  const second = await run();
  expect([second.computed, ran, second.table]).toEqual([0, [], first.table]);
});

it('trains grpo and gigpo on the dialogues of the other methods', async () => {
  fresh();
  const methods = ['gigpo', 'dpo', 'zero-shot', 'grpo'];
  const { table, stages } = await run(config({ methods, 'train-grpo': { batch: 4 }, 'train-gigpo': { gamma: 0.9 } }));
  expect([(table as { method: string }[]).map(({ method }) => method), stages]).toEqual([
    ['zero-shot', 'dpo', 'grpo', 'gigpo'],
    2 + 1 + 3 + 2 * 4,
  ]);
  const trained = ran.filter(({ name }) => name === 'train-grpo');
  expect(trained.map(({ values: { method, batch, gamma, model: from } }) => [method, batch, gamma, from])).toEqual([
    ['grpo', '4', undefined, model],
    ['gigpo', undefined, '0.9', model],
  ]);
  for (const { input } of trained) expect(input).toBe(join(out, 'evaluate', 'dialogues.jsonl'));
  const agents = ran.flatMap(({ name, values }) => (name === 'converse' ? [values.agent] : []));
  expect(agents.slice(3)).toEqual([join(out, 'train-grpo', 'model'), join(out, 'train-gigpo', 'model')]);
  await expect(run(config({ methods: ['grpo'], 'train-grpo': { gamma: true } }))).rejects.toThrow(
    /Expected a string for train-grpo\.gamma/,
  );
  // One dialogue of each task has nothing to compare with: the run does not start.
  ran = [];
  for (const [method, converse] of [
    ['grpo', {}],
    ['gigpo', { samples: 1 }],
  ] as const) {
    await expect(run(config({ methods: [method], converse }))).rejects.toThrow(
      /converse\.samples must be 2 or more, not 1$/,
    );
  }
  expect(ran).toEqual([]);
});

it('goes on with the stage that failed or was interrupted', async () => {
  fresh();
  const file = config({ methods: ['sweet', 'zero-shot'] });
  failing = 'score';
  await expect(run(file)).rejects.toThrow(/^score-sweet: it failed/);
  failing = undefined;
  const stage = JSON.parse(readFileSync(join(out, 'score-sweet', 'stage.json'), 'utf8'));
  expect(stage).toMatchObject({ state: 'running', identity: { command: 'score' } });
  ran = [];
  // Options of speed alone are no other settings.
  const speed = { converse: { human: 'script.json', samples: 3, concurrency: 2 } };
  const resumed = await run(config({ methods: ['zero-shot', 'sweet'], ...speed }));
  // rank is not a stub.
  expect(ran.map(({ name }) => name)).toEqual(['score', 'train-policy', 'converse', 'evaluate']);
  expect(ran[2]!.values.concurrency).toBe('2');
  expect(resumed.table).toMatchObject([{ method: 'zero-shot' }, { method: 'sweet' }]);

  const controller = new AbortController();
  controller.abort(new Error('stop'));
  await expect(run(config({ methods: ['sft'] }), {}, controller.signal)).rejects.toThrow('stop');
});

it('does not take a stage for finished whose command returned after an interruption', async () => {
  fresh();
  const controller = new AbortController();
  const stopping = async (name: string) => {
    const command = await find(name);
    if (name !== 'train-sft' || command === undefined) return command;
    const run: Command['run'] = async (input) => {
      controller.abort(new Error('stop'));
      return command.run(input);
    };
    return { ...command, run };
  };
  const file = config({ methods: ['sft'] });
  await expect(runWith(runCommand(stopping), [file], {}, controller.signal)).rejects.toThrow('stop');
  expect(JSON.parse(readFileSync(join(out, 'train-sft', 'stage.json'), 'utf8')).state).toBe('running');
  ran = [];
  expect((await run(file)).computed).toBe(3);
  expect(ran.map(({ name }) => name)).toEqual(['train-sft', 'converse', 'evaluate']);
});

it('names the field in which a stage has other settings', async () => {
  fresh();
  const of = (change: object) => run(config({ methods: ['dpo'], ...change }));
  await of({});
  await expect(of({ converse: { human: 'script.json', samples: 4 } })).rejects.toMatchObject({
    code: 'ERR_STAGE',
    message: expect.stringMatching(
      /stage converse has other settings: the option samples was "3" and is "4".*remove .*RUN.converse$/,
    ),
  });
  await expect(of({ 'train-dpo': { batch: 4 } })).rejects.toThrow(/train-dpo .*option batch was not given and is "4"/);
  writeLines(join(folder, 'train.jsonl'), [task('a'), task('z')]);
  await expect(of({})).rejects.toThrow(/converse .*the input input was "\w+" and is "\w+"/);
  writeLines(join(folder, 'train.jsonl'), [task('a'), task('b')]);
  writeFileSync(join(model, 'model.safetensors'), 'other weights');
  await expect(of({})).rejects.toThrow(/converse .*the input agent was/);
  modelFolder(model);
  expect((await of({})).computed).toBe(0);
});

it('dry, lists the stages, what exists, and what is to come', async () => {
  fresh();
  const before = await run(config({ methods: ['dpo'] }), { dry: true });
  const states = (summary: Record<string, unknown>) =>
    (summary.stages as { stage: string; state: string }[]).map(({ stage, state }) => `${stage} ${state}`);
  expect(states(before)).toEqual(
    ['converse', 'evaluate', 'pairs', 'train-dpo', 'test-converse-dpo', 'test-evaluate-dpo'].map(
      (name) => `${name} to do`,
    ),
  );
  expect((before.stages as object[])[0]).toMatchObject({ records: 2 });
  expect(existsSync(out)).toBe(false);
  failing = 'train-dpo';
  await run(config({ methods: ['dpo', 'sweet'], candidates: { n: 4, 'max-tokens': 10 } })).catch(() => {});
  const after = await run(config({ methods: ['dpo', 'sweet'], candidates: { n: 4, 'max-tokens': 10 } }), { dry: true });
  expect(states(after).slice(0, 5)).toEqual([
    'converse finished',
    'evaluate finished',
    'pairs finished',
    'candidates finished',
    'train-dpo unfinished',
  ]);
  const byName = Object.fromEntries((after.stages as { stage: string }[]).map((stage) => [stage.stage, stage]));
  expect(byName['train-dpo']).toMatchObject({ records: 1, steps: 4, tokens: expect.any(Number) });
  expect(byName['score-sweet']).toMatchObject({ records: 1, state: 'to do' });
  rmSync(join(out, 'candidates'), { recursive: true });
  const again = await run(config({ methods: ['sweet'], candidates: { n: 4, 'max-tokens': 10 } }), { dry: true });
  const candidates = (again.stages as { stage: string }[]).find(({ stage }) => stage === 'candidates');
  expect(candidates).toMatchObject({ records: 3, tokens: 3 * 4 * 10 });
});

it('takes an endpoint as the agent of the offline data', async () => {
  fresh();
  const converse = { human: 'script.json', agent: 'http://127.0.0.1:1/v1', 'agent-model': 'm' };
  await run(config({ methods: ['sft'], converse }));
  expect(ran[0]!.values.agent).toBe('http://127.0.0.1:1/v1');
  expect(ran.find(({ name, values }) => name === 'converse' && String(values.out).includes('test'))!.values.agent).toBe(
    join(out, 'train-sft', 'model'),
  );
});

it('refuses unknown fields, methods, options and types', async () => {
  const refused = (change: object) => run(config(change)).catch((error: Error) => error.message);
  expect(await refused({ testing: {} })).toMatch(/unknown field "testing"; known are model, tasks/);
  expect(await refused({ methods: ['ppo'] })).toMatch(/no method "ppo"; known are zero-shot/);
  expect(await refused({ methods: [] })).toMatch(/list of names for methods/);
  expect(await refused({ model: 3 })).toMatch(/path for model in .*received 3/);
  expect(await refused({ score: { n: 3 } })).toMatch(/score has no option "n"/);
  expect(await refused({ score: { 'without-c': 'yes' } })).toMatch(
    /Expected a boolean for score\.without-c but received "yes"/,
  );
  expect(await refused({ pairs: { as: null } })).toMatch(/pairs\.as but received null/);
  expect(await refused({ tasks: 'none.jsonl' })).toMatch(/none\.jsonl does not exist/);
  const other = join(dirname(config()), 'config');
  mkdirSync(other, { recursive: true });
  expect(await run(other).catch((error: Error) => error.message)).toMatch(/needs --out/);
});
