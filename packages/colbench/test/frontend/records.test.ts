/** Frontend records and conversations, against the facts of the released data: hostile messages and wrong tasks included. */
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { converse } from '../../src/benchmark/converse.ts';
import { dialoguePairs, tiedPairs } from '../../src/benchmark/pairs.ts';
import {
  checkedAnyTask,
  checkedDialogue,
  checkedFrontendAnswer,
  checkedTask,
  type FrontendTask,
} from '../../src/benchmark/records.ts';
import { answerPage, frontendRules, lastPage, maxReply, pageOf } from '../../src/frontend/conversation.ts';
import { scriptedDesigner } from '../../src/frontend/designer.ts';
import { syntheticTasks } from '../../src/frontend/tasks.ts';
import { cli, summaryOf } from '../helpers/cli.ts';
import { linesOf, testFolder, writeLines } from '../helpers/files.ts';
import { modelFolder } from '../helpers/model-folder.ts';

const folder = testFolder('frontend');
const task: FrontendTask = { problem_description: 'A page, please.', ground_truth: '<html><body>SECRET</body></html>' };
const backend = { problem_description: 'f', ground_truth: 'def f(): return 1', test_cases: ['f()'] };
const history = [
  { role: 'user', content: 'A page, please.' },
  { role: 'agent', content: 'First <html>1</html>' },
  { role: 'user', content: '<html>of the user</html>' },
  { role: 'assistant', content: 'Second <body>2</body>' },
];

describe('the page of a message', () => {
  it.each([
    ['<html><body>1</body></html>', '<html><body>1</body></html>'],
    ['a <body>1</body> b <html lang="en">2</html> c <html>3</html>', '<html lang="en">2</html>'],
    ['<HTML>1</Html >', '<HTML>1</Html >'],
    ['```html\n<!doctype html>\n<html\n>x</html>\n```', '<html\n>x</html>'],
    ['<html>open <body class="a">1</body>', '<body class="a">1</body>'],
    ['<html>1<html>2</html>3</html>', '<html>1<html>2</html>'],
    ['<body>1', undefined],
    ['</html><html>', undefined],
    ['<html </html>', undefined],
    ['<htmlx>1</htmlx> <bodyguard>2</bodyguard>', undefined],
    ['no page', undefined],
    ['', undefined],
  ])('of %j is %j', (message, page) => expect(pageOf(message)).toBe(page));

  it('is found in huge messages in linear time', () => {
    const many = 300_000;
    expect(pageOf('<html '.repeat(many))).toBeUndefined();
    expect(pageOf('<html>'.repeat(many))).toBeUndefined();
    expect(pageOf(`<html>${'</html '.repeat(many)}`)).toBeUndefined();
    const page = `<html>${'x'.repeat(20 * many)}</html>`;
    expect(pageOf(`${'<body> '.repeat(many)}${page}`)).toBe(page);
  });

  it('is the last one of the agent; a path of a picture is no page', () => {
    expect(lastPage(history)).toBe('<body>2</body>');
    expect(answerPage({ task, answer: 'pictures/17.png', dialogue_history: history })).toBe('<body>2</body>');
    expect(answerPage({ task, answer: '<html>3</html>', dialogue_history: history })).toBe('<html>3</html>');
    expect(answerPage({ task, answer: 'pictures/17.png' })).toBeUndefined();
  });
});

describe('a conversation', () => {
  it('replaces the answer by each page and ends at the marker', async () => {
    const said = ['What colour?', '<html>1</html>', 'And <body>2</body>', 'I WANT TO ANSWER: as above'];
    let turn = 0;
    const replies: number[] = [];
    const { answer, dialogue_history } = await converse(task, {
      agent: (messages) => {
        expect(JSON.stringify(messages)).not.toContain('SECRET');
        return said[turn++]!;
      },
      human: (_, dialogue) => {
        replies.push(dialogue.length);
        return 'y'.repeat(2000);
      },
      rules: frontendRules(),
    });
    expect(answer).toBe('<body>2</body>');
    expect(replies).toEqual([2, 4, 6]);
    expect(dialogue_history[2]!.content).toBe('y'.repeat(1000));
    expect(maxReply).toBe(1000);
  });

  it('has at most ten turns; without a page the answer is empty', async () => {
    const last: string[] = [];
    const { answer, dialogue_history } = await converse(task, {
      agent: (messages) => {
        last.push(messages.at(-1)!.content);
        return '<html>never closed';
      },
      human: () => 'no',
      rules: frontendRules(),
    });
    expect(answer).toBe('');
    expect(dialogue_history.filter(({ role }) => role === 'assistant')).toHaveLength(10);
    expect(last[9]).toMatch(/^no\n\nThis is your last message/);
    const released = frontendRules('SYSTEM').prompt([{ role: 'user', content: 'x' }], true);
    expect(released).toEqual([
      { role: 'system', content: 'SYSTEM' },
      { role: 'user', content: 'x' },
    ]);
  });
});

describe('records', () => {
  it('tell the two tasks apart and name the wrong one', () => {
    expect(checkedAnyTask(task)).toEqual(task);
    expect(checkedAnyTask(backend)).toEqual(backend);
    expect(() => checkedTask(task)).toThrow(/received a frontend task.*--task frontend/);
    expect(() => checkedAnyTask(backend, '', 'frontend')).toThrow(/received a backend task.*--task backend/);
    expect(() => checkedAnyTask({ ...task, ground_truth: 'def f(): "<html>"' }, '', 'frontend')).toThrow(/begins with/);
    expect(() => checkedAnyTask({ ...task, ground_truth: 'def f(): "<html>"' })).toThrow(/test_cases/);
    for (const wrong of [undefined, 3, ['<html></html>'], { html: '' }]) {
      expect(() => checkedAnyTask({ ...task, ground_truth: wrong }, '', 'frontend')).toThrow(/string for ground_truth/);
    }
  });

  it('allow a negative cosine, for frontend tasks only', () => {
    const record = { task, dialogue_history: history, answer: '', reward: -0.5 };
    expect(checkedDialogue(record).reward).toBe(-0.5);
    expect(() => checkedDialogue({ ...record, task: backend })).toThrow(/from 0 to 1/);
    for (const reward of [-1.1, 1.1, null, '1', undefined]) {
      expect(() => checkedDialogue({ ...record, reward })).toThrow(/from -1 to 1/);
    }
    expect(() => checkedFrontendAnswer({ task, answer: '', dialogue_history: {} })).toThrow(/array/);
    expect(() => checkedFrontendAnswer({ task, answer: { path: 'x.png' } })).toThrow(/string for answer/);
  });

  it('of the wrong task end every command with a named error', async () => {
    const pages = writeLines(join(folder, 'pages.jsonl'), [{ task, dialogue_history: history, answer: '', reward: 0 }]);
    const programs = writeLines(join(folder, 'programs.jsonl'), [
      { task: backend, dialogue_history: history, answer: '', reward: 0 },
    ]);
    const [out, model] = [join(folder, 'out.jsonl'), modelFolder(join(folder, 'model'))];
    const wrong = [
      ['pairs', pages, '--out', out],
      ['pairs', programs, '--out', out, '--task', 'frontend'],
      // Stored rewards: neither a sandbox nor Chromium is needed.
      ['evaluate', pages, '--best-of', '1'],
      ['evaluate', programs, '--best-of', '1', '--task', 'frontend'],
      ['candidates', pages, '--model', model, '--out', out],
      ['candidates', programs, '--model', model, '--out', out, '--task', 'frontend'],
    ];
    for (const args of wrong) {
      const { code, stderr } = await cli(args);
      expect([code, stderr]).toEqual([1, expect.stringMatching(/line 1: Expected a (backend|frontend) task but/)]);
      expect(stderr).toMatch(/ERR_RECORD|ERR_BEST_OF|ERR_NO_STATES/);
    }
    for (const [args, message] of [
      [['evaluate', pages, '--task', 'frontend', '--unsafe'], /--unsafe needs --task backend/],
      [['evaluate', programs, '--chromium', 'x'], /--chromium needs --task frontend/],
      [['evaluate', pages, '--task', 'frontend', '--as', 'released'], /no --as released/],
      [['evaluate', pages, '--task', 'design'], /backend or frontend/],
      [['tasks', '--task', 'frontend', '--out', out], /needs --synthetic/],
      [['tasks', '--task', 'frontend', '--out', out, '--synthetic', '3', '--tries', '2'], /--tries needs/],
      [['tasks', pages, '--out', out, '--seed', '3'], /--seed needs --task frontend/],
    ] as const) {
      expect(await cli([...args])).toMatchObject({ code: 2, stderr: expect.stringMatching(message) });
    }
  });
});

describe('pairs', () => {
  it('are all that differ by at least 0.1, in both modes', async () => {
    const rewards = [0.7, 0.8, 0.75, 0.9, -0.2];
    const dialogues = rewards.map((reward) => ({ task, reward }));
    // By hand: 0.7 < 0.8 (0.1), 0.9, > -0.2; 0.8 < 0.9; 0.75 < 0.9; and all over -0.2.
    const expected = [
      [1, 0],
      [3, 0],
      [0, 4],
      [3, 1],
      [1, 4],
      [3, 2],
      [2, 4],
      [3, 4],
    ];
    for (const source of ['paper', 'released'] as const) {
      const pairs = dialoguePairs(dialogues, source).map(({ chosen, rejected }) => [chosen, rejected]);
      expect(pairs.sort()).toEqual([...expected].sort());
      expect(tiedPairs(dialogues, source)).toBe(2);
    }
    expect(() =>
      dialoguePairs(
        [
          { task, reward: 0 },
          { task: backend, reward: 1 },
        ],
        'paper',
      ),
    ).toThrow(/one kind/);
    const records = rewards.map((reward) => ({ task, dialogue_history: history, answer: '', reward }));
    const file = writeLines(join(folder, 'rated.jsonl'), records);
    const out = join(folder, 'pairs.jsonl');
    expect(await summaryOf(['pairs', file, '--task', 'frontend', '--out', out])).toMatchObject({
      ...{ pairs: 8, tasks: 1, tasksWithoutPair: 0, droppedTies: 2 },
    });
    // Both sides are objects with their dialogues.
    expect(linesOf(out)[0]).toMatchObject({ task, chosen: { dialogue_history: history }, rejected: { answer: '' } });
  });
});

describe('synthetic tasks', () => {
  it('are distinct, the same for a seed, and split by template', () => {
    const tasks = syntheticTasks(300, 7);
    expect(new Set(tasks.map(({ ground_truth }) => ground_truth)).size).toBe(300);
    expect(syntheticTasks(300, 7)).toEqual(tasks);
    expect(syntheticTasks(40, 7)).toEqual(tasks.slice(0, 40));
    expect(syntheticTasks(40, 8)).not.toEqual(tasks.slice(0, 40));
    const templates = (split: 'train' | 'test') =>
      new Set(syntheticTasks(100, 1, split).map(({ template }) => template));
    expect([...templates('train')].filter((name) => templates('test').has(name))).toEqual([]);
    expect([templates('train').size, templates('test').size]).toEqual([5, 2]);
    for (const each of tasks) expect(checkedAnyTask(each, '', 'frontend')).toEqual(each);
  });

  it('have descriptions without the names, colours and layout of the page', () => {
    for (const { problem_description, ground_truth } of syntheticTasks(200, 3)) {
      const title = /<title>(.*)<\/title>/.exec(ground_truth)![1]!;
      expect(problem_description).not.toContain(title);
      expect(problem_description).not.toMatch(/#|column|px|html|colou?r/i);
    }
  });

  it('are written by the command', async () => {
    const out = join(folder, 'tasks.jsonl');
    const args = ['tasks', '--task', 'frontend', '--synthetic', '21', '--seed', '5', '--split', 'test', '--out', out];
    expect(await summaryOf(args)).toEqual({ tasks: 21, templates: 2 });
    expect(linesOf(out)).toEqual(syntheticTasks(21, 5, 'test'));
  });
});

describe('the scripted designer', () => {
  it('escapes what the user quotes', async () => {
    const hostile = '</p><script>"x"</script>';
    const reply = `I miss the text ${JSON.stringify(hostile)} (40 px, #ff0000). There should be 3 columns, not 1.`;
    const page = pageOf(await scriptedDesigner(2)([{ role: 'user', content: reply }], {}))!;
    expect(page).toContain('&lt;/p&gt;&lt;script&gt;&quot;x&quot;');
    expect(page).toContain('repeat(3,1fr)');
    expect(page).not.toContain('<script>');
  });
});
