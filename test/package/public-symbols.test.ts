/** Every public symbol is documented and tested. `npm run docs` checks the types' comments. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as sweetRl from 'sweet-rl';
import * as jax from 'sweet-rl/jax';
import * as objectives from 'sweet-rl/objectives';
import * as safetensors from 'sweet-rl/safetensors';
import * as shm from 'sweet-rl/shm';
import * as tfjs from 'sweet-rl/tfjs';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';

const textsOf = (folder: string, ending: RegExp) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => ending.test(name))
    .map((name) => readFileSync(join(ROOT, folder, name), 'utf8'));

const sources = textsOf('lib', /\.c?ts$/);
const tests =
  textsOf('test', /(?<!public-symbols)\.test\.ts$/).join('\n') + textsOf('test/helpers', /\.ts$/).join('\n');

const symbols = [sweetRl, jax, tfjs, shm, safetensors, objectives].flatMap((module) =>
  Object.entries(module as Record<string, unknown>).map(([name, value]) => ({ name, value })),
);

/** The comment in front of a declaration, the first of its overloads. */
function commentOf(name: string): string {
  const declaration = new RegExp(
    `(/\\*\\*(?:(?!\\*/)[\\s\\S])*\\*/)\\nexport (?:async )?(?:function|class|const) ${name}\\b`,
  );
  return sources.map((text) => declaration.exec(text)?.[1]).find((comment) => comment !== undefined) ?? '';
}

const isFunction = (value: unknown) => typeof value === 'function' && !/^class /.test(String(value));

describe.each(symbols)('$name', ({ name, value }) => {
  it('is documented: a line, and for functions the rest', () => {
    const comment = commentOf(name);
    expect(comment).toMatch(/\/\*\*(\n \*)? \S.{15,}/);
    if (!isFunction(value)) return;
    expect(comment).toContain('@example');
    expect(comment).toMatch(/@returns|@param/);
    if ((value as () => unknown).length > 0) expect(comment).toMatch(/@param[\s\S]*@throws/);
  });

  it('is tested', () => {
    expect(tests).toMatch(new RegExp(`\\b${name}\\b`));
  });
});
