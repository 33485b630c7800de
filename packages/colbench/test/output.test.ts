/** Summaries, progress, hashes. */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { hashFile, hashFolder, hashValue } from '../src/hash.ts';
import { duration, Progress } from '../src/progress.ts';
import { summaryText, tableText } from '../src/summary.ts';
import { textStream } from './helpers/cli.ts';
import { testFolder } from './helpers/files.ts';
import { modelFolder } from './helpers/model-folder.ts';

afterEach(() => {
  vi.useRealTimers();
});

it('a summary has a line for each entry, and a table for rows', () => {
  const rows = [
    { method: 'sft', success: 0.123456789 },
    { method: 'sweet', more: null },
  ];
  expect(summaryText({ pairs: 3, kinds: { a: 1, b: 2 }, none: {}, list: ['x', 'y'], rows })).toBe(
    'pairs  3\nkinds  a 1, b 2\nnone   none\nlist   x, y\nmethod  success   more\nsft     0.123457  -\nsweet   -         -\n',
  );
  expect(tableText([{ a: 1 }])).toBe('a\n1');
});

describe('progress', () => {
  function draw(isTTY: boolean) {
    vi.useFakeTimers({ toFake: ['performance'] });
    const { stream, text } = textStream();
    Object.assign(stream, { isTTY });
    const bar = new Progress('Critic', stream);
    bar.update(1, 4);
    vi.advanceTimersByTime(30_000);
    bar.update(1, 4, { tokens: 60_000, note: 'loss 0.5' });
    bar.finish('done');
    return text();
  }

  it('is a bar on a terminal', () => {
    const parts = draw(true).split('\r\x1b[2K');
    expect(parts).toHaveLength(3);
    expect(parts[1]).toMatch(/^Critic +\u2588{6}\u2591{18} 1\/4 {2}2000 tokens\/s {2}1 min 30 s left {2}loss 0\.5$/);
    expect(parts[2]).toMatch(/^Critic +done\n$/);
  });

  it('is lines elsewhere', () => {
    expect(draw(false)).toMatch(/^Critic +1\/4 {2}2000 tokens\/s {2}1 min 30 s left {2}loss 0\.5\nCritic +done\n$/);
  });

  it('names durations', () => {
    expect([1.2, 61, 3600 * 2.5].map(duration)).toEqual(['2 s', '1 min 1 s', '2 h 30 min']);
  });
});

describe('the hash of a model folder', () => {
  it('depends on weights, configuration and template, not on the state of a training', async () => {
    const folder = testFolder('hash');
    const [a, b] = [modelFolder(join(folder, 'a')), modelFolder(join(folder, 'b'))];
    writeFileSync(join(b, 'model.safetensors'), a);
    expect(await hashFolder(a)).toBe(await hashFolder(b));
    writeFileSync(join(b, 'state.json'), '{}');
    writeFileSync(join(b, 'optimizer.safetensors'), 'x');
    writeFileSync(join(b, 'reference.safetensors'), 'x');
    expect(await hashFolder(a)).toBe(await hashFolder(b));
    for (const [name, value] of [
      ['model.safetensors', 'other'],
      ['adapter_model.safetensors', 'x'],
      ['model-00001-of-00002.safetensors', 'x'],
      ['chat_template.jinja', 'x'],
      ['config.json', '{}'],
    ] as const) {
      const before = await hashFolder(b);
      writeFileSync(join(b, name), value);
      expect([name, (await hashFolder(b)) === before]).toEqual([name, false]);
    }
    expect(await hashFile(join(a, 'config.json'))).toMatch(/^[0-9a-f]{16}$/);
    expect(hashValue({ a: 1 })).not.toBe(hashValue({ a: 2 }));
  });
});
