/** The simulated users, the judge and the view of frontend tasks, with a renderer of the test's own. */
import { join } from 'node:path';
import { PNG } from 'pngjs';
import { describe, expect, it } from 'vitest';
import { endpointCompletions } from '../../src/benchmark/endpoint.ts';
import type { FrontendTask } from '../../src/benchmark/records.ts';
import { differences, hexOf } from '../../src/frontend/differences.ts';
import { scriptedHuman, visionHuman } from '../../src/frontend/human.ts';
import { Pages } from '../../src/frontend/pages.ts';
import { openEmbedding } from '../../src/frontend/similarity/index.ts';
import type { LaidOutElement, Renderer } from '../../src/frontend/types.ts';
import { page as viewPage } from '../../src/view/page.ts';
import { cli } from '../helpers/cli.ts';
import { endpoint } from '../helpers/endpoint.ts';
import { testFolder, writeLines } from '../helpers/files.ts';

const folder = testFolder('frontend-human');
const pngOf = (color: number[]) => {
  const png = new PNG({ width: 64, height: 48 });
  for (let at = 0; at < png.data.length; at += 4) png.data.set([...color, 255], at);
  return PNG.sync.write(png);
};
const element = (more: Partial<LaidOutElement>): LaidOutElement => ({
  ...{ tag: 'p', text: '', x: 0, y: 0, width: 1280, height: 40, color: 'rgb(0, 0, 0)' },
  ...{ background: 'rgba(0, 0, 0, 0)', fontSize: 16, ...more },
});
const layout = (elements: LaidOutElement[], height = 1000) => ({ width: 1280, height, elements });

/** Draws the colour that a page is named after. */
const rendered: string[] = [];
const colors: Record<string, number[]> = { red: [255, 0, 0], green: [0, 255, 0], black: [0, 0, 0] };
const renderer: Renderer = {
  async render(html) {
    rendered.push(html);
    const name = Object.keys(colors).find((each) => html.includes(each));
    if (name === undefined) return { failure: 'No picture within 20 s', problems: ['Did not load the script x'] };
    return { png: pngOf(colors[name]!), ...layout([element({ text: name })]), problems: [] };
  },
  close: async () => {},
};
const pages = new Pages(renderer, await openEmbedding('default'), new AbortController().signal);
const task: FrontendTask = { problem_description: 'p', ground_truth: '<html>red</html>' };
const dialogue = (...contents: string[]) => [
  { role: 'user', content: 'p' },
  ...contents.map((content) => ({ role: 'assistant', content })),
];

describe('a vision model', () => {
  it('gets the instructions and both pictures in one stateless message', async () => {
    const { url, requests } = await endpoint(() => 'reply');
    const complete = endpointCompletions({ baseUrl: url, model: 'm', temperature: 0 });
    const human = visionHuman(complete, pages, 'INSTRUCTIONS');
    expect(await human(task, dialogue('<html>green</html>', 'earlier text'), {})).toBe('reply');
    await human(task, dialogue('What colour?'), {});
    await human(task, dialogue('<html>hangs</html>'), {});
    const urlOf = (color: string) => `data:image/png;base64,${pngOf(colors[color]!).toString('base64')}`;
    const [shown, none, broken] = requests.map(({ messages }) => messages) as unknown as {
      role: string;
      content: { type: string; text?: string; image_url?: { url: string } }[];
    }[][];
    expect(requests[0]).toMatchObject({ model: 'm', temperature: 0 });
    expect(shown).toHaveLength(1);
    expect(shown![0]!.role).toBe('user');
    expect(shown![0]!.content.map(({ text, image_url }) => text ?? image_url?.url)).toEqual([
      ...['INSTRUCTIONS', "The designer's page:", urlOf('green')],
      ...['The page that you have in mind:', urlOf('red')],
    ]);
    expect(JSON.stringify(shown)).not.toContain('earlier text');
    expect(none![0]!.content.map(({ type }) => type)).toEqual(['text', 'text', 'text', 'image_url']);
    expect(none![0]!.content[1]!.text).toMatch(/no page/);
    expect(broken![0]!.content[1]!.text).toMatch(/cannot be shown/);
  });

  it('replies "No response." to a refused request as released, and fails otherwise', async () => {
    const { url } = await endpoint(() => ({ status: 400, text: 'too large' }));
    const complete = endpointCompletions({ baseUrl: url, model: 'm' });
    expect(await visionHuman(complete, pages, 'x', true)(task, dialogue('a'), {})).toBe('No response.');
    await expect(visionHuman(complete, pages, 'x')(task, dialogue('a'), {})).rejects.toThrow('400');
  });
});

describe('the scripted user', () => {
  it('names the largest differences first', () => {
    const box = (x: number) => element({ tag: 'div', x, y: 100, width: 300, height: 200 });
    const truth = layout([
      element({ tag: 'body', height: 1000, background: 'rgb(16, 32, 48)' }),
      element({ tag: 'h1', text: 'Say "hello"', fontSize: 40, color: 'rgb(255, 0, 0)' }),
      ...[box(0), box(320), box(640)],
    ]);
    expect(differences(truth, truth)).toEqual([]);
    const [background, columns, text] = differences(layout([box(0)]), truth);
    expect(background).toBe('The background of most of the page should be #102030.');
    expect(columns).toBe('There should be 3 columns, not 1.');
    expect(text).toBe('I miss the text "Say \\"hello\\"" (40 px, #ff0000).');
    const change = (more: Partial<LaidOutElement>) =>
      layout(truth.elements.map((each) => (each.tag === 'h1' ? { ...each, ...more } : each)));
    expect(differences(change({ fontSize: 20 }), truth)).toEqual(['The text "Say \\"hello\\"" should have 40 px.']);
    expect(differences(change({ color: 'rgb(0, 0, 0)' }), truth)).toEqual([
      'The text "Say \\"hello\\"" should be #ff0000.',
    ]);
    expect(differences({ ...truth, height: 500 }, truth)).toContain('The page should be 1000 px high, not 500.');
  });

  it('reads colours as browsers compute them', () => {
    expect(['rgb(1, 2, 255)', 'rgba(16, 16, 16, 0.5)', 'rgba(0, 0, 0, 0)', ''].map(hexOf)).toEqual([
      ...['#0102ff', '#101010', undefined, undefined],
    ]);
  });

  it('looks at the last page of the agent', async () => {
    const human = scriptedHuman(pages);
    expect(await human(task, dialogue('hm'), {})).toMatch(/no page yet/);
    expect(await human(task, dialogue('<html>hangs</html>'), {})).toMatch(/cannot see/);
    expect(await human(task, dialogue('<html>green</html>'), {})).toBe('I miss the text "red" (16 px, #000000).');
    expect(await human(task, dialogue('<html>green</html>', '<html>red</html>'), {})).toBe('It looks as I want it.');
  });
});

describe('the reward', () => {
  const reward = async (answer: string, truth = 'red') =>
    pages.evaluate({ task: { ...task, ground_truth: `<html>${truth}</html>` }, answer });

  it('is 1 for equal pictures; no page and no picture count as black', async () => {
    expect(await reward('<html>red</html>')).toEqual({ reward: 1, page: true });
    const black = await reward('<html>black</html>');
    const failed = { failure: 'No picture within 20 s', problems: ['Did not load the script x'] };
    expect(black.reward).toBeLessThan(1);
    expect((await reward('no page')).page).toBe(false);
    expect(await reward('<html>hangs</html>')).toEqual({ ...(await reward('nothing')), page: true, ...failed });
  });

  it("is an error where the page of the task has no picture, which is not the agent's failure", async () => {
    await expect(reward('<html>red</html>', 'hangs')).rejects.toMatchObject({ code: 'ERR_TRUTH' });
  });

  it('renders a page once', async () => {
    const before = rendered.length;
    await reward('<html>once: green</html>');
    await reward('<html>once: green</html>');
    expect(rendered.length - before).toBe(1);
  });
});

describe('the view', () => {
  const hostile = '</pre><script>alert(1)</script><html>red "quoted"</html>';

  it('shows pages side by side and hostile text as text', () => {
    const record = {
      ...{ task: { ...task, problem_description: '<img src=x onerror=alert(1)>' }, reward: 0.5, answer: '' },
      ...{ dialogue_history: dialogue(hostile), problems: ['<b>went</b> away'] },
    };
    const shown = new Map([
      ['<html>red "quoted"</html>', { png: pngOf(colors.red!) }],
      [task.ground_truth, { failure: '<i>late</i>' }],
    ]);
    const text = viewPage('<title>', [], [{ name: 'd.jsonl', records: [record], total: 1 }], shown);
    expect(text.match(/<img [^>]*>/g)).toEqual(
      Array(2).fill(`<img alt="the page" src="data:image/png;base64,${pngOf(colors.red!).toString('base64')}">`),
    );
    expect(text).not.toMatch(/<script|<i>|<b>went|<img src=x/);
    expect(text).toContain('no picture: &lt;i&gt;late&lt;/i&gt;');
    expect(text).toContain('&lt;script&gt;alert(1)&lt;/script&gt;[page]');
  });

  it('shows candidates and pairs with their pages, and no pages of backend tasks', () => {
    const records = [
      { task, candidates: ['<html>red</html>', 'what?', '<html>green</html>'], scores: [0.5, 0.1, 0.9], input: 'x' },
      { task, chosen: { answer: '<html>red</html>', reward: 1 }, rejected: { answer: '', reward: 0 } },
    ];
    const shown = new Map(['red', 'green'].map((name) => [`<html>${name}</html>`, { png: pngOf(colors[name]!) }]));
    const text = viewPage('t', [], [{ name: 'c.jsonl', records, total: 2 }], shown);
    expect(text.match(/<img /g)).toHaveLength(4);
    expect(text).toMatch(/<th>score 0\.9<\/th><th>score 0\.1<\/th><th>reference<\/th>/);
    expect(text).toMatch(/<th>chosen<\/th><th>rejected<\/th><th>reference<\/th>.*<p>no page<\/p>/s);
    const backend = { ...records[1], task: { ...task, test_cases: ['f()'] } };
    expect(viewPage('t', [], [{ name: 'p', records: [backend], total: 1 }], shown)).not.toContain('<img');
  });
});

describe('without Chromium', () => {
  const record = { task, dialogue_history: dialogue('<html>red</html>'), answer: '<html>red</html>', reward: 1 };
  const file = writeLines(join(folder, 'dialogues.jsonl'), [record]);
  const tasks = writeLines(join(folder, 'tasks.jsonl'), [task]);
  const [out, missing] = [join(folder, 'out'), '/nowhere/chromium'];

  it('the error says what to install', async () => {
    const scripted = ['--agent', 'scripted', '--human', 'scripted', '--task', 'frontend', '--out', out];
    for (const args of [
      ['evaluate', file, '--task', 'frontend'],
      ['converse', tasks, ...scripted],
      ['view', file, '--out', `${out}.html`],
    ]) {
      const { code, stderr } = await cli([...args, '--chromium', missing]);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/ERR_BROWSER.*apt-get install chromium/)]);
    }
  });

  it('stored rewards, pairs and a view of texts need none', async () => {
    const none = ['--chromium', missing];
    for (const args of [
      ['evaluate', file, '--task', 'frontend', '--best-of', '1', ...none],
      ['pairs', file, '--task', 'frontend', '--out', out],
      ['view', file, '--out', `${out}.html`, '--without-pictures', ...none],
    ]) {
      expect(await cli(args)).toMatchObject({ code: 0 });
    }
  });
});
