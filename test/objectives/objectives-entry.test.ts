/** The subpath sweet-rl/objectives: it loads where there is no addon and no Node, and its doc comments' examples are right. */
import { spawnSync } from 'node:child_process';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { createContext, runInContext } from 'node:vm';
import { build } from 'esbuild';
import * as objectives from 'sweet-rl/objectives';
import { afterAll, describe, expect, it } from 'vitest';
import { installedProject } from '../helpers/installed.ts';
import { ROOT } from '../helpers/processes.ts';

const functions = objectives as unknown as Record<string, (options: never) => unknown>;
const project = installedProject({ addon: false });
afterAll(project.remove);

const PROGRAM = `
  const { advantages } = groupAdvantages({ rewards: Float64Array.of(1, 0), groupIds: Int32Array.of(0, 0), scale: 'none' });
  console.log(...advantages, Object.keys(objectives).length);`;
const PRINTED = `0.5 -0.5 ${Object.keys(functions).length}\n`;

/** The files of dist/ that the entry imports, with what they import from elsewhere. */
function graphOf(entry: string) {
  const files = new Set<string>();
  const others = new Set<string>();
  const visit = (file: string) => {
    if (files.has(file)) return;
    files.add(file);
    const text = readFileSync(file, 'utf8').replace(/\/\*[\s\S]*?\*\//g, '');
    for (const [, specifier] of text.matchAll(/(?:from|import|require\()\s*\(?['"]([^'"]*)['"]/g)) {
      if (specifier!.startsWith('.')) visit(join(dirname(file), specifier!));
      else others.add(specifier!);
    }
  };
  visit(entry);
  return { files: [...files].map((file) => relative(join(ROOT, 'dist'), file)), others: [...others] };
}

describe('the module graph', () => {
  const { files, others } = graphOf(join(ROOT, 'dist', 'objectives', 'index.js'));

  it('has no addon, no package, no module of Node, no CommonJS', () => {
    expect(files.length).toBeGreaterThan(10);
    expect(
      files.filter((file) => !/^(objectives|args|data)\/[\w-]+\.js$|^(argument-errors|typed-arrays)\.js$/.test(file)),
    ).toEqual([]);
    expect(others).toEqual([]);
  });

  it('has no global of Node', () => {
    const texts = files.map((file) => readFileSync(join(ROOT, 'dist', file), 'utf8'));
    expect(texts.filter((text) => /\b(process|Buffer|require|__dirname|module\.exports)\b[.([]/.test(text))).toEqual(
      [],
    );
  });
});

describe('without an addon', () => {
  const run = (name: string, program: string) => {
    writeFileSync(join(project.folder, name), program);
    const env = { ...process.env, SWEET_RL_BACKEND: undefined, SWEET_RL_NO_FALLBACK: '1' };
    const { stdout, stderr } = spawnSync(process.execPath, [name], { cwd: project.folder, encoding: 'utf8', env });
    return stdout + stderr;
  };

  it('loads by import and by require, where the main entry does not', () => {
    const names = 'const { groupAdvantages } = objectives;';
    expect(run('a.mjs', `import * as objectives from 'sweet-rl/objectives';${names}${PROGRAM}`)).toBe(PRINTED);
    expect(run('a.cjs', `const objectives = { ...require('sweet-rl/objectives') };${names}${PROGRAM}`)).toBe(PRINTED);
    expect(run('b.mjs', "import 'sweet-rl';")).toContain('ERR_ADDON');
  });

  it('is bundled for a browser, and runs without anything of Node', async () => {
    const program = `import * as objectives from 'sweet-rl/objectives'; const { groupAdvantages } = objectives;${PROGRAM}`;
    writeFileSync(join(project.folder, 'main.js'), program);
    const { outputFiles } = await build({
      entryPoints: ['main.js'],
      absWorkingDir: project.folder,
      bundle: true,
      platform: 'browser',
      format: 'iife',
      write: false,
      logLevel: 'silent',
    });
    const printed: string[] = [];
    const console = { log: (...values: unknown[]) => printed.push(`${values.join(' ')}\n`) };
    runInContext(outputFiles[0]!.text, createContext({ console }));
    expect(printed).toEqual([PRINTED]);
  });
});

const sources = readdirSync(join(ROOT, 'lib', 'objectives')).map((name) =>
  readFileSync(join(ROOT, 'lib', 'objectives', name), 'utf8'),
);

/** The example in the comment of a function: its code, and what the comments at its end say of the variables. */
function exampleOf(name: string) {
  const declared = new RegExp(`/\\*\\*((?:(?!\\*/)[\\s\\S])*)\\*/\\nexport function ${name}\\b`);
  const comment = sources.map((text) => declared.exec(text)?.[1]).find((text) => text !== undefined)!;
  const code = comment.split('@example')[1]!.replace(/^ \* ?/gm, '');
  const said = [...code.matchAll(/(\w+) = (\[[^\]]*\]|-?[\d.]+)/g)].filter(({ index }) =>
    /\/\/[^\n]*$/.test(code.slice(0, index)),
  );
  return { code, said: said.map(([, variable, json]) => [variable!, JSON.parse(json!)] as const) };
}

it.each(Object.keys(functions))('the example of %s says what it gives', (name) => {
  const { code, said } = exampleOf(name);
  expect(said.length).toBeGreaterThan(0);
  const run = new Function(...Object.keys(functions), `${code}\nreturn { ${said.map(([key]) => key).join(', ')} };`);
  const rounded = (x: number) => Math.round(x * 1e4) / 1e4 + 0;
  for (const [key, value] of Object.entries(run(...Object.values(functions)) as Record<string, number | number[]>)) {
    const expected = said.find(([variable]) => variable === key)![1];
    expect([key, typeof value === 'number' ? rounded(value) : Array.from(value, rounded)]).toEqual([key, expected]);
  }
});
