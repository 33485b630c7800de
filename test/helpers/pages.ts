/** The pages of the documentation: their blocks of code, and what those print. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from './processes.ts';

export interface Block {
  language: string;
  code: string;
}

const guide = readdirSync(join(ROOT, 'docs', 'guide'))
  .filter((name) => name.endsWith('.md'))
  .map((name) => `docs/guide/${name}`);

const examples = ['adapters', 'pytorch', 'systems'].map((name) => `examples/${name}/README.md`);
export const PAGES = ['README.md', ...examples, ...guide];

export function blocksOf(page: string): Block[] {
  const text = readFileSync(join(ROOT, page), 'utf8');
  return [...text.matchAll(/^```(\w*)\n(.*?)^```$/gms)].map(([, language, code]) => ({
    language: language!,
    code: code!,
  }));
}

const MARK = '\u0001';

/** Runs a page's blocks of JavaScript as the one program that they are; what each of them printed. */
export function printedBy(blocks: Block[]): string[] {
  const program = blocks.map(({ code }) => `${code}\nconsole.log('${MARK}');`).join('\n');
  // Where jax-js and TensorFlow.js are installed as well.
  const cwd = join(ROOT, 'examples', 'adapters');
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', program], {
    cwd,
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`the page's program ended with ${status}:\n${stderr}`);
  return stdout.split(`${MARK}\n`).slice(0, -1);
}
