/** `score`: the golden scores, c, the released rule. */
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { scoreOf } from '../../src/benchmark/score.ts';
import { scoreCommand } from '../../src/commands/score.ts';
import type { Sequence } from '../../src/model.ts';
import { TextTokenizer } from '../../src/tokens/index.ts';
import { runWith, textStream } from '../helpers/cli.ts';
import { linesOf, testFolder, writeLines } from '../helpers/files.ts';
import { BEGIN, EOT, modelFolder, tokenizerConfig, tokenizerJson } from '../helpers/model-folder.ts';
import { stubModels } from '../helpers/stub-model.ts';

const folder = testFolder('score');
const critic = modelFolder(join(folder, 'critic'));
const reference = modelFolder(join(folder, 'reference'));
const text = new TextTokenizer(tokenizerJson, tokenizerConfig);

/** Log-probs of content and end token. */
const golden = {
  critic: { header: [0, 0, 0, 0], content: [-0.5, -0.4, -0.6], end: -0.05 },
  reference: { content: [-0.7, -0.6, -0.9], end: -0.1 },
};
const scores = {
  content: 0.233333333333333,
  'content+end': 0.1875,
  cut: 0.519047619047619,
  released: 0.360714285714286,
};

describe('the golden scores', () => {
  const cut = { content: golden.reference.content };
  it.each([
    ['content only', 'content', golden.reference, scores.content],
    ['content and end token, the default', 'content+end', golden.reference, scores['content+end']],
    ['released, a reference without the end token', 'released', cut, scores.cut],
    ['released, a reference with it', 'released', golden.reference, scores.released],
  ] as const)('%s', (_, tokens, ofReference, expected) => {
    expect(scoreOf(golden.critic, ofReference, { reduction: 'mean', tokens })).toBeCloseTo(expected, 14);
  });

  it('sum', () => {
    const rule = { reduction: 'sum', tokens: 'content+end' } as const;
    expect(scoreOf(golden.critic, golden.reference, rule)).toBeCloseTo(-1.55 + 2.3, 14);
  });

  it('the released score favours short candidates', () => {
    const of = (tokens: number, advantage: number, rule: 'content' | 'released') =>
      scoreOf(
        { header: [0, 0, 0, 0], content: new Array(tokens).fill(-0.5 + advantage) },
        { content: new Array(tokens).fill(-0.5) },
        { reduction: 'mean', tokens: rule },
      );
    expect([of(8, 0, 'content'), of(100, 0.1, 'content')]).toEqual([0, expect.closeTo(0.1, 12)]);
    expect([of(8, 0, 'released'), of(100, 0.1, 'released')]).toEqual([
      expect.closeTo(0.166667, 6),
      expect.closeTo(0.115385, 6),
    ]);
  });
});

const task = { problem_description: 'p', ground_truth: 'def f(x): return x', test_cases: ['f(1)'] };
const input = [
  { role: 'system', content: 'Rules.' },
  { role: 'user', content: 'p' },
];
// Three tokens of content each; the second candidate was cut before its end token.
const state = { task, input, candidates: ['xyz', 'xyz'], stop: ['stop', 'length'] };
const file = writeLines(join(folder, 'candidates.jsonl'), [state, state]);

/** The golden log-probs of a sequence: zeros for headers, then content, and the end token if it is there. */
const logps = ({ ids, turns }: Sequence, path: string) => {
  const { content, end } = path === critic ? golden.critic : golden.reference;
  const [{ start, end: last }] = turns as [{ start: number; end: number }];
  const ended = ids[last - 1] === EOT;
  const header = last - start - content.length - Number(ended);
  return [...new Array(header).fill(0), ...content, ...(ended ? [end] : [])];
};

async function score(values: Record<string, string | boolean> = {}, path = file) {
  const { openModel, state: seen } = stubModels({ logps });
  const out = join(folder, 'scored.jsonl');
  const { summary } = await runWith(scoreCommand(openModel), [path], { out, critic, reference, ...values });
  expect(seen.open).toBe(0);
  return {
    summary,
    scores: linesOf(out).map((each) => each.scores as number[]),
    sequences: seen.sequences,
    opened: seen.opened,
  };
}
const shown = ({ ids }: Sequence) => text.decode(ids);

describe('the command', () => {
  it('scores content and end token, both models with c', async () => {
    const { summary, scores: got, sequences, opened } = await score();
    expect(summary).toEqual({ states: 2, candidates: 4, leftOut: 0 });
    expect(got).toEqual(
      new Array(2).fill([expect.closeTo(scores['content+end'], 6), expect.closeTo(scores.content, 6)]),
    );
    expect(opened).toEqual([critic, reference]);
    expect(sequences).toHaveLength(8);
    for (const sequence of sequences) {
      expect(shown(sequence)).toContain(
        `system<|end_header_id|>\n\nHidden reference solution:\n${task.ground_truth}\n\nRules.`,
      );
    }
    expect(shown(sequences[0]!)).toMatch(/assistant<\|end_header_id\|>\n\nxyz<\|eot_id\|>$/);
    expect(shown(sequences[1]!)).toMatch(/\n\nxyz$/);
  });

  it('without c, by sums, and over the content only', async () => {
    const without = await score({ 'without-c': true });
    expect(without.sequences.some((sequence) => shown(sequence).includes('Hidden'))).toBe(false);
    const sum = await score({ reduction: 'sum' });
    expect(sum.scores[0]).toEqual([expect.closeTo(0.75, 6), expect.closeTo(0.7, 6)]);
    const content = await score({ 'content-only': true });
    expect(content.scores[0]).toEqual([expect.closeTo(scores.content, 6), expect.closeTo(scores.content, 6)]);
  });

  it('as released: header and content with c in front against the reference as sampled, without c', async () => {
    const { summary, scores: got, sequences } = await score({ as: 'released' });
    expect(got[0]).toEqual([expect.closeTo(scores.released, 6), expect.closeTo(scores.cut, 6)]);
    expect(summary.referenceLogps).toBe('computed');
    const c = `In light that the final answer is: ${task.ground_truth}.`;
    expect(shown(sequences[0]!).startsWith(`<|begin_of_text|>${c}<|begin_of_text|>`)).toBe(true);
    expect(shown(sequences[4]!).startsWith('<|begin_of_text|><|start_header_id|>system')).toBe(true);
    expect(sequences[4]!.ids.filter((id) => id === BEGIN)).toHaveLength(1);

    const stored = writeLines(join(folder, 'stored.jsonl'), [
      { ...state, referenceLogps: { mean: [-0.575, -2.2 / 3], sum: [-2.3, -2.2] } },
    ]);
    const again = await score({ as: 'released' }, stored);
    expect(again.scores[0]).toEqual(got[0]!.map((each) => expect.closeTo(each, 6)));
    expect([again.opened, again.summary.referenceLogps]).toEqual([[critic], 'of the sampling']);
  });

  it('takes the tokens of the candidates where they are given', async () => {
    const ids = [...text.encodePlain('abc'), EOT];
    const given = writeLines(join(folder, 'tokens.jsonl'), [{ ...state, tokens: [ids, ids.slice(0, 3)] }]);
    const { sequences } = await score({}, given);
    expect(shown(sequences[0]!)).toMatch(/abc<\|eot_id\|>$/);
    expect(shown(sequences[1]!)).toMatch(/abc$/);
  });

  it('resumes an interrupted pass with the states that are missing', async () => {
    const many = writeLines(join(folder, 'many.jsonl'), new Array(20).fill(state));
    const out = join(folder, 'resumed.jsonl');
    const values = { out, critic, reference };
    const controller = new AbortController();
    let count = 0;
    const stopping = stubModels({
      logps: (sequence, path) => {
        // In the second group of 8 states of 2 candidates.
        if (++count === 20) controller.abort(new Error('stop'));
        return logps(sequence, path);
      },
    });
    const run = (stub: ReturnType<typeof stubModels>, signal?: AbortSignal) =>
      runWith(scoreCommand(stub.openModel), [many], values, signal);
    await expect(run(stopping, controller.signal)).rejects.toThrow('stop');
    const rest = stubModels({ logps });
    expect((await run(rest)).summary).toMatchObject({ states: 20 });
    // The critic's first two groups are kept.
    expect(rest.state.sequences).toHaveLength(2 * (4 + 20));
    expect(linesOf(out)).toHaveLength(20);
    expect(readdirSync(folder).filter((name) => name.includes('partial'))).toEqual([]);
  });

  it('leaves out states that are too long, and refuses scores that are not finite', async () => {
    expect((await score({ 'max-length': '20' })).summary).toEqual({ states: 0, candidates: 0, leftOut: 2 });
    const { openModel } = stubModels({ logps: (sequence, path) => logps(sequence, path).map(() => Number.NaN) });
    const values = { out: join(folder, 'nan.jsonl'), critic, reference };
    await expect(runWith(scoreCommand(openModel), [file], values)).rejects.toMatchObject({ code: 'ERR_NONFINITE' });
  });

  it.each([
    [{ input: 'a rendered prompt' }, /Expected messages for input/],
    [{ tokens: [[1e300], [1]] }, /token ids for tokens/],
    [{ stop: ['end', 'stop'] }, /'stop' and 'length' for stop/],
    [{ candidates: [null, 'a'] }, /strings for candidates/],
    [{ tokens: [[], [1]] }, /candidate 0 has no token/],
  ])('refuses a record with %j', async (change, message) => {
    const bad = writeLines(join(folder, 'hostile.jsonl'), [{ ...state, ...change }]);
    const { openModel } = stubModels({ logps });
    const { stream, text: shown } = textStream();
    const values = { out: join(folder, 'hostile-out.jsonl'), critic, reference };
    const input = { positionals: [bad], values, progress: stream, signal: new AbortController().signal };
    const error = await scoreCommand(openModel)
      .run(input)
      .catch((each: Error) => each);
    expect(error).toMatchObject({ code: 'ERR_RECORD' });
    expect(`${shown()}${(error as Error).message}`).toMatch(message);
  });

  it('refuses options that exclude each other, and folders that are none', async () => {
    await expect(score({ as: 'released', 'without-c': true })).rejects.toThrow(/leave out --without-c/);
    await expect(score({ critic: folder })).rejects.toMatchObject({ code: 'ERR_MODEL' });
    await expect(
      score({}, writeLines(join(folder, 'bad.jsonl'), [{ ...state, task: undefined }])),
    ).rejects.toMatchObject({
      code: 'ERR_RECORD',
    });
  });
});
