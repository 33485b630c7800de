/** `candidates` of a folder and of an endpoint, stopped and resumed. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { candidatesCommand } from '../../src/commands/candidates.ts';
import { ChatTokenizer, TextTokenizer } from '../../src/tokens/index.ts';
import { runWith } from '../helpers/cli.ts';
import { endpoint } from '../helpers/endpoint.ts';
import { linesOf, testFolder, writeLines } from '../helpers/files.ts';
import { EOT, modelFolder, tokenizerConfig, tokenizerJson } from '../helpers/model-folder.ts';
import { type Stub, stubModels } from '../helpers/stub-model.ts';

const folder = testFolder('candidates');
const model = modelFolder(join(folder, 'model'), undefined, { eos_token_id: [EOT, 7] });
const text = new TextTokenizer(tokenizerJson, tokenizerConfig);
const task = { problem_description: 'p', ground_truth: 'def f(x): return x', test_cases: ['f(1)'] };
const system = { role: 'system', content: 'Rules.' };
const user = { role: 'user', content: 'p' };
const dialogue = (name: string) => ({
  task,
  dialogue_history: [
    user,
    { role: 'assistant', content: `${name}?`, input: [system, user], output: `${name}?` },
    { role: 'user', content: 'r' },
    {
      role: 'assistant',
      content: 'a',
      input: [system, user, { role: 'assistant', content: `${name}?` }, { role: 'user', content: 'r' }],
    },
  ],
  answer: 'a',
  reward: 1,
});
const file = writeLines(
  join(folder, 'dialogues.jsonl'),
  Array.from({ length: 10 }, (_, i) => dialogue(`d${i}`)),
);

/** A candidate that depends on the prompt, the seed and its number. */
const sample: Stub['sample'] = (prompt, candidate, { seed }) =>
  candidate === 1
    ? { ids: [...text.encodePlain('cut')], stop: 'length' }
    : { ids: [...text.encodePlain(`${prompt.length} ${seed} ${candidate}`), EOT], stop: 'stop' };

const run = (stub: ReturnType<typeof stubModels>, values: Record<string, string>, signal?: AbortSignal) =>
  runWith(candidatesCommand(stub.openModel), [file], { model, n: '3', batch: '4', ...values }, signal);

it('samples n candidates at each turn, with tokens, reasons of the end and log-probs', async () => {
  const out = join(folder, 'a.jsonl.gz');
  const stub = stubModels({ sample });
  const { summary } = await run(stub, { out, seed: '5' });
  expect(summary).toEqual({ states: 20, candidates: 60, dialogues: 10, leftOut: 0 });
  expect([stub.state.batches, stub.state.open]).toEqual([[4, 4, 4, 4, 4], 0]);
  const lines = linesOf(out);
  expect(lines.map(({ id }) => id).slice(0, 3)).toEqual(['0/0', '0/1', '1/0']);
  const [first] = lines;
  expect(first.input).toEqual([system, user]);
  expect(first.task).toEqual(task);
  expect(first.candidates[1]).toBe('cut');
  expect(first.candidates[2]).toMatch(/^\d+ 5 2$/);
  expect(first.stop).toEqual(['stop', 'length', 'stop']);
  expect(first.tokens[0].at(-1)).toBe(EOT);
  expect(first.tokens[1]).toEqual([...text.encodePlain('cut')]);
  expect(first.referenceLogps.mean).toEqual([-0.5, -0.5, -0.5]);
  expect(first.referenceLogps.sum).toEqual(first.tokens.map((ids: number[]) => -0.5 * ids.length));
});

it('resumes an interrupted run with the group that is missing, with the same result', async () => {
  const whole = join(folder, 'whole.jsonl');
  await run(stubModels({ sample }), { out: whole });
  const out = join(folder, 'resumed.jsonl');
  const controller = new AbortController();
  let calls = 0;
  const stopping = stubModels({
    sample: (...all) => {
      // In the third group.
      if (++calls > 30) controller.abort(new Error('stop'));
      return sample!(...all);
    },
  });
  await expect(run(stopping, { out }, controller.signal)).rejects.toThrow('stop');
  expect(existsSync(out)).toBe(false);
  const partial = readFileSync(`${out}.partial`, 'utf8');
  expect(partial.split('\n')).toHaveLength(1 + 8 + 1);
  // A line that was cut by a crash, and one beyond the last whole group, are dropped.
  writeFileSync(`${out}.partial`, `${partial}${partial.split('\n')[1]}\n{"id": "cut`);
  const again = stubModels({ sample });
  await run(again, { out });
  expect(again.state.batches).toEqual([4, 4, 4]);
  expect(readFileSync(out, 'utf8')).toBe(readFileSync(whole, 'utf8'));
  expect(existsSync(`${out}.partial`)).toBe(false);

  writeFileSync(`${out}.partial`, partial);
  await expect(run(stubModels({ sample }), { out, seed: '1' })).rejects.toMatchObject({ code: 'ERR_PARTIAL' });
});

it('takes a part of the dialogues, and leaves out long prompts', async () => {
  const out = join(folder, 'part.jsonl');
  expect((await run(stubModels({ sample }), { out, as: 'released' })).summary).toMatchObject({
    states: 2,
    dialogues: 1,
  });
  const short = ChatTokenizer.load(model).encodePrompt('', [system, user]).length;
  const { summary } = await run(stubModels({ sample }), { out, 'max-length': String(short) });
  expect(summary).toMatchObject({ states: 10, leftOut: 10 });
  await expect(run(stubModels({ sample }), { out, fraction: '0.05' })).rejects.toMatchObject({ code: 'ERR_NO_STATES' });
});

it('samples from an endpoint with n and logprobs, and asks again where n is ignored', async () => {
  const { url, requests } = await endpoint(({ messages }) => ({
    choices: [0, 1].map((i) => ({
      message: { content: `${messages.at(-1)!.content} ${i}` },
      finish_reason: i === 0 ? 'stop' : 'length',
      logprobs: { content: [{ logprob: -1 }, { logprob: -2 }] },
    })),
  }));
  const out = join(folder, 'endpoint.jsonl');
  const stub = stubModels({ sample });
  const { summary } = await run(stub, { out, agent: url, 'agent-model': 'm', fraction: '0.1', concurrency: '2' });
  expect(summary).toMatchObject({ states: 2, candidates: 6 });
  expect(stub.state.opened).toEqual([]);
  expect(requests.map(({ n }) => n)).toEqual(expect.arrayContaining([3, 1]));
  expect(requests[0]).toMatchObject({ model: 'm', logprobs: true, temperature: 1, max_tokens: 1024 });
  const [first] = linesOf(out);
  expect(first.candidates).toEqual(['p 0', 'p 1', 'p 0']);
  expect(first.tokens[0]).toEqual([...text.encodePlain('p 0'), EOT]);
  expect(first.tokens[1]).toEqual([...text.encodePlain('p 1')]);
  expect(first.referenceLogps).toEqual({ mean: [-1.5, -1.5, -1.5], sum: [-3, -3, -3] });
});
