/** Files that are written group by group: what is on disk, and what another run finds. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { PartialFile } from '../../src/benchmark/partial.ts';
import { testFolder } from '../helpers/files.ts';

const folder = testFolder('partial');

it('has no file before the first group', async () => {
  const target = join(folder, 'none');
  await PartialFile.open(target, 'a', 2);
  expect(existsSync(`${target}.partial`)).toBe(false);
  const empty = await PartialFile.open(target, 'b', 2);
  expect(await empty.finish()).toBe(0);
  expect(readFileSync(target, 'utf8')).toBe('');
});

it('goes on after the last whole group, and refuses the groups of another run', async () => {
  const target = join(folder, 'groups');
  const first = await PartialFile.open(target, 'a', 2);
  await first.add([{ x: 1 }, { x: 2 }]);
  writeFileSync(`${target}.partial`, '{"x":3}\n', { flag: 'a' });
  await expect(PartialFile.open(target, 'b', 2)).rejects.toMatchObject({ code: 'ERR_PARTIAL' });
  const again = await PartialFile.open(target, 'a', 2);
  expect(again.done).toBe(2);
  await again.add([{ x: 4 }, { x: 5 }]);
  expect(await again.finish()).toBe(4);
  expect(readFileSync(target, 'utf8')).toBe('{"x":1}\n{"x":2}\n{"x":4}\n{"x":5}\n');
  expect(existsSync(`${target}.partial`)).toBe(false);
});

it('replaces a file without a group', async () => {
  const target = join(folder, 'header');
  writeFileSync(`${target}.partial`, '{"run":"a"}\n{"x":1}\n');
  expect((await PartialFile.open(target, 'b', 2)).done).toBe(0);
  expect(existsSync(`${target}.partial`)).toBe(false);
});
