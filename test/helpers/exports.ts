/** What lib/index.ts exports, by its text. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './processes.ts';

const lists = [
  ...readFileSync(join(ROOT, 'lib', 'index.ts'), 'utf8').matchAll(/^export \{([^}]*)\} from '\.\/([^']*)'/gm),
];

/** The names of the values, of those from files of lib/<folder> where it is given. */
export function exportsOf(folder = ''): string[] {
  const own = lists.filter(([, , file]) => folder === '' || file!.startsWith(`${folder}/`));
  return own
    .flatMap(([, names]) => names!.split(',').map((name) => name.trim()))
    .filter((name) => name !== '' && !name.startsWith('type '))
    .sort();
}
