/** Scripted conversations in Chromium, from tasks to the page of the run, and the tiny model's critic on their pairs. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { openRenderer } from '../../src/frontend/render/renderer.ts';
import { cli, summaryOf } from '../helpers/cli.ts';
import { linesOf, testFolder, writeLines } from '../helpers/files.ts';

const folder = testFolder('frontend-browser');
const file = (name: string) => join(folder, name);

describe('a run of scripted conversations', () => {
  it('makes dialogues whose pages grow more alike, rewards, pairs and a page', async () => {
    await summaryOf(['tasks', '--task', 'frontend', '--synthetic', '2', '--seed', '4', '--out', file('tasks.jsonl')]);
    const run = {
      ...{ tasks: 'tasks.jsonl', methods: ['offline'], all: { task: 'frontend', 'page-seconds': 120 } },
      converse: { agent: 'scripted', human: 'scripted', samples: 2 },
    };
    writeLines(file('RUN.json'), [run]);
    const { table, page } = await summaryOf(['run', file('RUN.json')]);
    expect(table).toEqual([{ method: 'offline', dialogues: 4, cosine: expect.any(Number) }]);
    const dialogues = linesOf(join(folder, 'RUN/evaluate/dialogues.jsonl'));
    const held = linesOf(join(folder, 'RUN/converse/dialogues.jsonl'));
    // The same page has the same picture, in another browser too.
    expect(dialogues.map(({ reward }) => reward)).toEqual(held.map(({ reward }) => reward));
    for (const first of [0, 2]) expect(dialogues[first + 1].reward).toBeGreaterThan(dialogues[first].reward);
    const shown = readFileSync(page as string, 'utf8');
    expect(shown.match(/<img alt="the page" src="data:image\/png;base64,/g)!.length).toBeGreaterThan(8);
    // The truth itself is worth 1; a truth without an answer, 0 or less than any page.
    const [{ task }] = dialogues;
    const answers = [task.ground_truth, 'none'].map((answer) => ({ task, answer }));
    const rated = [
      'evaluate',
      writeLines(file('answers.jsonl'), answers),
      '--task',
      'frontend',
      '--out',
      file('r.jsonl'),
    ];
    expect(await summaryOf(rated)).toMatchObject({ answers: 2, withoutPage: 1, withProblems: 0 });
    const [whole, none] = linesOf(file('r.jsonl'));
    expect(whole.reward).toBe(1);
    expect(none.reward).toBeLessThan(dialogues[0].reward);
  });

  it('has a view that a browser shows: hostile text is text', async () => {
    const task = { problem_description: '<h1 style="font-size:77px">big</h1>', ground_truth: '<html>red</html>' };
    const dialogue_history = [{ role: 'assistant', content: '</pre><p style="font-size:77px">broken</p>' }];
    const records = writeLines(file('hostile.jsonl'), [{ task, dialogue_history, answer: '', reward: 0 }]);
    const out = file('hostile.html');
    expect(await summaryOf(['view', records, '--out', out])).toMatchObject({ pictures: 1 });
    const renderer = await openRenderer({ seconds: 120 });
    try {
      // Everything is open, as after a click.
      const opened = readFileSync(out, 'utf8').replaceAll('<details>', '<details open>');
      const rendering = await renderer.render(opened);
      if ('failure' in rendering) throw new Error(rendering.failure);
      const { elements, problems } = rendering;
      expect(problems).toEqual([]);
      expect(elements.some(({ fontSize }) => fontSize === 77)).toBe(false);
      expect(elements.map(({ text }) => text).join(' ')).toContain('<h1 style="font-size:77px">big</h1>');
      expect(elements.filter(({ tag }) => tag === 'img').every(({ width }) => width > 100)).toBe(true);
      expect(elements.filter(({ tag }) => tag === 'img')).toHaveLength(1);
    } finally {
      await renderer.close();
    }
  });

  it('reports a task whose page has no picture', async () => {
    const big = `<html>${'x'.repeat(5 * 2 ** 20)}</html>`;
    const answers = [{ task: { problem_description: 'p', ground_truth: big }, answer: '<html>1</html>' }];
    const { code, stderr } = await cli(['evaluate', writeLines(file('big.jsonl'), answers), '--task', 'frontend']);
    expect([code, stderr]).toEqual([1, expect.stringMatching(/line 1: The page of the task has no picture: .*bytes/)]);
  });
});
