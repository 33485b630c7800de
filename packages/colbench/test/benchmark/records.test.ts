/** sweet-rl-colbench reads and writes records: every invalid line is reported, and no valid line is lost. */
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gunzipSync, gzipSync } from 'node:zlib';
import { afterAll, describe, expect, it } from 'vitest';
import { duplicateKey } from '../../src/benchmark/json.ts';
import { checkedDialogue, readDialogues, readTasks, writeRecords } from '../../src/index.ts';

const folder = mkdtempSync(join(tmpdir(), 'colbench-records-'));
afterAll(() => rmSync(folder, { recursive: true }));

let files = 0;
function fileOf(content: string | Uint8Array, ending = 'jsonl'): string {
  const file = join(folder, `${files++}.${ending}`);
  writeFileSync(file, content);
  return file;
}

const task = (name: string, more = {}) => ({
  problem_description: `problem ${name}`,
  ground_truth: `def f(x):\n    return '${name} \u00e9 \u{1f600} \u2028'`,
  test_cases: ['f(1)', 'f("}{][,:\\"")'],
  ...more,
});
const line = (name: string, more = {}) => JSON.stringify(task(name, more));
const dialogue = (more = {}) => ({
  task: task('a'),
  dialogue_history: [
    { role: 'user', content: 'problem a' },
    { role: 'assistant', content: 'q?', input: 'prompt', output: 'q?' },
    { role: 'user', content: 'r' },
    { role: 'assistant', content: 'I WANT TO ANSWER: 1', input: [{ role: 'user', content: 'p' }], output: 'x' },
  ],
  answer: '1',
  reward: 0.3,
  ...more,
});

const noFault = (fault: object) => expect.fail(JSON.stringify(fault));

async function allOf<T>(items: AsyncIterable<{ record: T }>): Promise<T[]> {
  const records: T[] = [];
  for await (const { record } of items) records.push(record);
  return records;
}

/** The names of the valid tasks with their lines, and the faults. */
async function read(file: string, options: { maxLineBytes?: number } = {}) {
  const faults: string[] = [];
  const good: string[] = [];
  for await (const { record, line } of readTasks(file, {
    ...options,
    onFault: (fault) => {
      expect(fault.file).toBe(file);
      faults.push(`${fault.line}: ${fault.fault}`);
    },
  })) {
    good.push(`${line} ${record.problem_description.replace('problem ', '')}`);
  }
  return { good, faults };
}

describe('reading', () => {
  it('accepts CRLF, a byte order mark, blank lines, and a missing last newline', async () => {
    const text = `\ufeff${line('a')}\r\n\r\n   \t\n${line('b')}\n\n${line('c')}`;
    expect(await read(fileOf(text))).toEqual({ good: ['1 a', '4 b', '6 c'], faults: [] });
    expect(await read(fileOf(''))).toEqual({ good: [], faults: [] });
    expect(await read(fileOf('\n\r\n'))).toEqual({ good: [], faults: [] });
  });

  it('reports every invalid line with its fault, and keeps all others', async () => {
    const faulty: [string | Uint8Array, RegExp][] = [
      ['{"problem_description": "cut o', /^invalid JSON/],
      [line('x').slice(0, -1), /^invalid JSON/],
      [`${line('x')} ${line('y')}`, /^invalid JSON/],
      ["{'problem_description': 1}", /^invalid JSON/],
      ['{"problem_description": "p", "reward": NaN}', /^invalid JSON.*NaN.*Python/],
      ['null', /Expected an object for a task but received null/],
      ['[1, 2]', /Expected an object for a task but received an array of 2/],
      ['"text"', /Expected an object for a task but received a string/],
      ['{}', /string for problem_description but received none/],
      [line('x', { problem_description: 3 }), /problem_description but received a number/],
      [line('x', { ground_truth: null }), /ground_truth but received null/],
      [line('x', { ground_truth: ['def f'] }), /ground_truth but received an array of 1/],
      [line('x', { test_cases: [] }), /at least one call for test_cases/],
      [line('x', { test_cases: 'f(1)' }), /test_cases but received a string/],
      [line('x', { test_cases: ['f(1)', 2] }), /test_cases\[1\] but received a number/],
      [line('x', { test_cases: ['f(1)', ' '] }), /test_cases\[1\]/],
      [`${line('x').slice(0, -1)}, "ground_truth": "other"}`, /duplicate key "ground_truth" in an object/],
      [
        Buffer.concat([Buffer.from('{"problem_description": "'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]),
        /^invalid UTF-8 at byte 25 /,
      ],
      [Buffer.from([0xc3]), /^invalid UTF-8/],
      ['\0', /^invalid JSON/],
    ];
    const lines = faulty.flatMap(([text], i) => [
      Buffer.from(`${line(`good ${i}`)}\n`),
      Buffer.from(text),
      Buffer.from('\n'),
    ]);
    const { good, faults } = await read(fileOf(Buffer.concat([...lines, Buffer.from(line('end'))])));
    expect(good).toEqual([...faulty.map((_, i) => `${2 * i + 1} good ${i}`), `${2 * faulty.length + 1} end`]);
    expect(faults).toHaveLength(faulty.length);
    faulty.forEach(([, rule], i) => {
      const [number, fault] = /^(\d+): ([\s\S]*)$/.exec(faults[i]!)!.slice(1);
      expect(Number(number)).toBe(2 * i + 2);
      expect(fault).toMatch(rule);
    });
  });

  it('limits the length of a line and continues after it', async () => {
    const long = line('long', { ground_truth: 'x'.repeat(3e6) });
    const file = fileOf(`${line('a')}\n${long}\n${line('b')}\n${long}`);
    const { good, faults } = await read(file, { maxLineBytes: 1e6 });
    expect(good).toEqual(['1 a', '3 b']);
    expect(faults).toEqual([
      `2: the line has ${long.length} bytes, more than 1000000`,
      `4: the line has ${long.length} bytes, more than 1000000`,
    ]);
    expect((await read(file)).good).toEqual(['1 a', '2 long', '3 b', '4 long']);
  });

  it('reads lines and characters that cross the chunks of the file', async () => {
    const names = Array.from({ length: 400 }, (_, i) => `${i} ${'\u00e9\u{1f600}'.repeat(1 + ((i * 37) % 900))}`);
    const { good, faults } = await read(fileOf(names.map((name) => line(name)).join('\n')));
    expect([good, faults]).toEqual([names.map((name, i) => `${i + 1} ${name}`), []]);
  });

  it('keeps other fields, and accepts test cases as an object', async () => {
    const file = fileOf(line('a', { id: 7, test_cases: { test1: 'f(1)', test2: 'f(2)' } }));
    const [record] = await allOf(readTasks(file, { onFault: noFault }));
    expect(record).toMatchObject({ id: 7, test_cases: ['f(1)', 'f(2)'] });
  });

  it('decompresses gzip, and reports a truncated file after its valid lines', async () => {
    const names = Array.from({ length: 3000 }, (_, i) => `${i} ${(i * 7919) % 1000003}`);
    const packed = gzipSync(names.map((name) => `${line(name)}\n`).join(''));
    const whole = await read(fileOf(packed, 'jsonl.gz'));
    expect([whole.good.length, whole.faults]).toEqual([3000, []]);
    const cut = await read(fileOf(packed.subarray(0, packed.length - 2000), 'jsonl.gz'));
    expect(cut.good.length).toBeGreaterThan(1000);
    expect(cut.good).toEqual(whole.good.slice(0, cut.good.length));
    expect(cut.faults).toEqual([expect.stringMatching(/^\d+: the gzip stream is truncated or corrupt/)]);
    const none = await read(fileOf('plain text', 'jsonl.gz'));
    expect([none.good, none.faults.length]).toEqual([[], 1]);
  });

  it('throws for a missing file, and stops when the reader does', async () => {
    await expect(read(join(folder, 'none'))).rejects.toMatchObject({ code: 'ENOENT' });
    await expect(read(join(folder, 'none.gz'))).rejects.toMatchObject({ code: 'ENOENT' });
    for (const ending of ['jsonl', 'jsonl.gz']) {
      const text = `${line('a')}\n`.repeat(20_000);
      const file = fileOf(ending === 'jsonl' ? text : gzipSync(text), ending);
      for await (const { line } of readTasks(file, { onFault: noFault })) if (line === 3) break;
    }
  });

  it('checks dialogues', async () => {
    const faulty: [object, RegExp][] = [
      [{ task: 'name' }, /object for task/],
      [{ task: task('a', { ground_truth: 1 }) }, /task\.ground_truth/],
      [{ answer: null }, /answer but received null/],
      [{ reward: '1' }, /reward but received a string/],
      [{ reward: 1.5 }, /from 0 to 1 for reward but received 1\.5/],
      [{ reward: undefined }, /reward but received none/],
      [{ dialogue_history: {} }, /array for dialogue_history/],
      [{ dialogue_history: [{ role: 'user' }] }, /dialogue_history\[0\]\.content/],
      [{ dialogue_history: ['text'] }, /dialogue_history\[0\]/],
      [{ dialogue_history: [{ role: 'a', content: 'b', output: 1 }] }, /\[0\]\.output/],
      [{ dialogue_history: [{ role: 'a', content: 'b', input: 1 }] }, /\[0\]\.input/],
      [{ dialogue_history: [{ role: 'a', content: 'b', input: [{ role: 'user' }] }] }, /\[0\]\.input\[0\]\.content/],
    ];
    const lines = [dialogue(), ...faulty.map(([change]) => dialogue(change)), dialogue({ reward: 1 })];
    const faults: string[] = [];
    const rewards: number[] = [];
    const file = fileOf(lines.map((each) => JSON.stringify(each)).join('\n'));
    for await (const { record } of readDialogues(file, { onFault: ({ fault }) => faults.push(fault) })) {
      rewards.push(record.reward);
    }
    expect(rewards).toEqual([0.3, 1]);
    expect(faults).toHaveLength(faulty.length);
    for (const [i, [, rule]] of faulty.entries()) expect(faults[i]).toMatch(rule);
  });
});

it.each([
  ['{"a": 1, "a": 2}', 'a'],
  ['{"a": {"b": 1}, "b": {"a": 1}}', undefined],
  ['[{"a": 1}, {"a": 1}]', undefined],
  ['{"a": ["b", "b", {"c": [1, 2]}], "c": "a"}', undefined],
  ['{"a": "x\\\\", "\\u0061": 1}', 'a'],
  ['{"a\\"": 1, "a": 2, "a\\"": 3}', 'a"'],
  ['{"": 1, "x": [{"": 2, "": 3}]}', ''],
  ['{"__proto__": 1, "__proto__": 2}', '__proto__'],
  ['"a"', undefined],
  ['{"k": "{\\"k\\": 1, \\"k\\": 2}"}', undefined],
])('finds the duplicate key: %s', (text, key) => {
  JSON.parse(text);
  expect(duplicateKey(text)).toBe(key);
});

describe('writing', () => {
  it.each(['jsonl', 'jsonl.gz'])('reads back what it wrote: %s', async (ending) => {
    const file = join(folder, `written.${ending}`);
    const records = [dialogue(), dialogue({ answer: '\ud800 \u2028 \0 "', reward: 1, more: { a: [null] } })];
    expect(await writeRecords(file, records, checkedDialogue)).toBe(2);
    expect(await allOf(readDialogues(file, { onFault: noFault }))).toEqual(records);
    const text = ending === 'jsonl' ? readFileSync(file) : gunzipSync(readFileSync(file));
    expect(text.toString('utf8').split('\n')).toHaveLength(3);
  });

  it('keeps two writers of one file apart, and the permissions of the file', async () => {
    const file = fileOf('of before');
    chmodSync(file, 0o600);
    const planted = join(folder, 'planted');
    writeFileSync(planted, 'of others');
    symlinkSync(planted, `${file}.part`);
    const records = [0, 1].map((reward) => Array.from({ length: 100 }, () => dialogue({ reward })));
    expect(await Promise.all(records.map((each) => writeRecords(file, each, checkedDialogue)))).toEqual([100, 100]);
    const read = await allOf(readDialogues(file, { onFault: noFault }));
    expect(read).toEqual(records[read[0]!.reward]);
    expect(statSync(file).mode & 0o777).toBe(0o600);
    expect(readFileSync(planted, 'utf8')).toBe('of others');
    for (const each of [planted, `${file}.part`]) rmSync(each);
  });

  it('is the only way in which package and examples write a file, the journal and partial files aside', () => {
    const own = /writeFile|writeSync|createWriteStream|rename(Sync)?\(/;
    const root = join(import.meta.dirname, '..', '..', '..', '..');
    const folders = [
      'examples/adapters',
      'examples/colbench-mini',
      'examples/colbench-mini/stages',
      'examples/pytorch',
    ];
    const sources = join(root, 'packages/colbench/src');
    const names = [
      ...folders.flatMap((name) => readdirSync(join(root, name)).map((file) => join(root, name, file))),
      ...readdirSync(sources, { recursive: true }).map((file) => join(sources, String(file))),
    ];
    const files = names.filter((file) => /\.(js|ts)$/.test(file) && file !== join(sources, 'files.ts'));
    expect(files.length).toBeGreaterThan(60);
    expect(files.filter((file) => own.test(readFileSync(file, 'utf8')))).toEqual([]);
  });

  it('refuses an invalid record, names it, and leaves no partial file', async () => {
    const file = join(folder, 'refused.jsonl');
    for (const reward of [Number.NaN, Infinity, -0.1, undefined]) {
      const records = [dialogue(), dialogue({ reward })];
      await expect(writeRecords(file, records, checkedDialogue)).rejects.toMatchObject({
        code: 'ERR_RECORD',
        message: expect.stringMatching(/reward.*record 1$/),
      });
    }
    writeFileSync(file, 'of before');
    await expect(writeRecords(file, [{}], checkedDialogue)).rejects.toThrow(/record 0/);
    expect(readFileSync(file, 'utf8')).toBe('of before');
    expect(readdirSync(folder).filter((name) => name.includes('.part'))).toEqual([]);
  });
});
