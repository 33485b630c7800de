/** The faults that `npm run mutate` puts into the sources: whether each can be put in, and the table of them. */
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';
import { mutantsOf } from '../mutate/mutants.js';
import { MUTATIONS } from '../mutate/mutations.js';

/** How many more brackets of a kind open than close: a fault that does not compile is none. */
const brackets = (text: string) => ['()', '[]', '{}'].map(([a, b]) => text.split(a!).length - text.split(b!).length);

describe.each(MUTATIONS)('the mutation "$fault"', (mutation) => {
  it('applies to each of its files', () => {
    for (const place of mutation.places) {
      expect(mutantsOf({ ...mutation, places: [place] }), place[0]).not.toEqual([]);
    }
  });

  it('has no change that applies nowhere, or changes nothing', () => {
    for (const change of mutation.changes) {
      const mutants = mutantsOf({ ...mutation, changes: [change] });
      expect(mutants, String(change[0])).not.toEqual([]);
      for (const { file, source, mutated } of mutants) {
        expect(mutated, file).not.toBe(source);
        expect(brackets(mutated), file).toEqual(brackets(source));
      }
    }
  });

  it('names tests that exist', () => {
    for (const test of mutation.places.flatMap(([, tests]) => tests)) {
      const [name] = test.split(': ');
      expect(/^check_(plain|asan|races)$/.test(name!) || existsSync(join(ROOT, 'test', `${name}.test.ts`)), test).toBe(
        true,
      );
    }
  });
});

it('the table has them (vitest -u writes it)', async () => {
  const rows = MUTATIONS.map((mutation) => {
    const files = mutation.places.map(([file]) => `\`${file}\``);
    const tests = new Set(mutation.places.flatMap(([, tests]) => tests));
    return `| ${mutation.fault} | ${mutantsOf(mutation).length} | ${files.join(' ')} | ${[...tests].join(', ')} |`;
  });
  const text = `# Mutations

Faults that \`npm run mutate\` puts into the sources, one place at a time, and the tests of which one must fail: files below
\`test/\`, and on the emulator of CUDA the programs of \`test/native\`. \`test/mutate/mutations.js\` has their patterns.

| fault | places | in | found by |
|---|---|---|---|
${rows.join('\n')}
`;
  await expect(text).toMatchFileSnapshot('../mutations.md');
});

it('comments are not changed', () => {
  for (const { source, mutated } of MUTATIONS.flatMap(mutantsOf)) {
    const changed = source.split('\n').find((line, i) => line !== mutated.split('\n')[i]);
    expect(changed).not.toMatch(/^\s*(\/\/|\* |\/\*)/);
  }
});
