/** The table of docs/guide/errors.md has every code that the sources can throw, and no other. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';

const codesIn = (text: string, pattern: RegExp) => [...text.matchAll(pattern)].map(([, code]) => code!);

const sources = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' })
  .filter((name) => /\.c?ts$/.test(name))
  .map((name) => readFileSync(join(ROOT, 'lib', name), 'utf8'));
const rows = readFileSync(join(ROOT, 'docs', 'guide', 'errors.md'), 'utf8')
  .split('\n')
  .filter((line) => line.startsWith('| `ERR_'));

it('the guide lists every error code', () => {
  const thrown = new Set(sources.flatMap((text) => codesIn(text, /'(ERR_[A-Z_]+)'/g)));
  const listed = new Set(rows.flatMap((row) => codesIn(row.split('|')[1]!, /`(ERR_[A-Z_]+)`/g)));
  expect(thrown.size).toBeGreaterThan(20);
  expect([...listed].sort()).toEqual([...thrown].sort());
});
