// From a mutation, patterns in some files, to its mutants: the source with one place changed.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../helpers/programs.js';

/** Without comments and without the scalar references, which no result depends on; the other text stays in its place. */
function codeOf(source) {
  const blank = (text) => text.replace(/\S/g, ' ');
  return source
    .replace(/\/\/.*|\/\*[\s\S]*?\*\//g, blank)
    .replace(/^namespace sweet::reference \{[\s\S]*?^\}|^[\w:]+ reference::[\s\S]*?^\}/gm, blank);
}

/** A mutant for each match of each change in each file. */
export function mutantsOf({ fault, changes, places }) {
  return places.flatMap(([file, tests]) => {
    const source = readFileSync(join(ROOT, file), 'utf8');
    const code = codeOf(source);
    return changes.flatMap(([pattern, text]) =>
      [...code.matchAll(new RegExp(pattern, 'gm'))].map(({ index }) => {
        const here = new RegExp(pattern, 'my');
        here.lastIndex = index;
        const line = source.slice(0, index).split('\n').length;
        return { fault, file, line, tests: [tests].flat(), source, mutated: source.replace(here, text) };
      }),
    );
  });
}
