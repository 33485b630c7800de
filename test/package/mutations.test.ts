/** The lists of faults that `npm run mutate` and `npm run test:cuda:mutations` make on purpose. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { MUTATIONS as CUDA } from '../cuda/mutations.js';
import { broken, type Mutation } from '../helpers/mutations.js';
import { ROOT } from '../helpers/processes.ts';
import { MUTATIONS } from '../mutate/mutations.js';

const read = (...path: string[]) => readFileSync(join(ROOT, ...path), 'utf8');

const named = <M extends Mutation>(list: readonly M[]) =>
  list.map((mutation) => ({ mutation, name: `${mutation[0]}: ${mutation[1]}` }));

describe('every mutation', () => {
  it.each(named(MUTATIONS))('applies once to $name', ({ mutation }) => {
    const [file, , , , test] = mutation;
    const source = read(file);
    expect(broken(source, mutation)).not.toBe(source);
    expect(existsSync(join(ROOT, 'test', `${test}.test.ts`))).toBe(true);
  });

  it.each(named(CUDA))('applies once to native/cuda/$name', ({ mutation }) => {
    const source = read('native', 'cuda', mutation[0]);
    expect(broken(source, mutation)).not.toBe(source);
  });

  it('is in the table, which tells the test that found it', () => {
    const lines = read('test', 'mutations.md').split('\n').slice(6).filter(Boolean);
    const starts = MUTATIONS.map(([file, what]) => `| \`${file}\` | ${what} | test/`);
    for (const line of lines)
      expect(
        starts.filter((start) => line.startsWith(start)),
        line,
      ).toHaveLength(1);
    expect(lines).toHaveLength(MUTATIONS.length);
  });
});

it('that does not apply once is refused', () => {
  const mutation = ['a.cpp', 'a sign', 'x', 'y'] as const;
  expect(broken('a x b', mutation)).toBe('a y b');
  for (const source of ['a b', 'x x']) expect(() => broken(source, mutation)).toThrow('a.cpp');
});
