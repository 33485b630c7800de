/** The published package: its exports, its two module systems, its tarball. */
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as sweetRl from 'sweet-rl';
import { afterAll, describe, expect, it } from 'vitest';
import { exportsOf } from '../helpers/exports.ts';
import { npm, ROOT, resultOf } from '../helpers/processes.ts';

/** Of a build that is up to date: those of lib/index.ts. */
const EXPORTS = exportsOf();

describe('exports', () => {
  it('are those of lib/index.ts', () => {
    expect(Object.keys(sweetRl).sort()).toEqual(EXPORTS);
    expect(sweetRl.IGNORE_INDEX).toBe(-100);
  });

  it('are the same from import and require, as are the numbers', () => {
    const program = (load: string) => `
      ${load}
      const update = sweetRl.criticUpdate({
        logits: Float32Array.from({ length: 30 }, (_, i) => Math.sin(i)), labels: Int32Array.of(0, 1, 2, 3, 4, 0),
        refLogps: new Float32Array(6).fill(-1), turnOffsets: Int32Array.of(0, 2, 3, 6),
        trajectoryOffsets: Int32Array.of(0, 1, 3), chosen: Int32Array.of(0), rejected: Int32Array.of(1),
      });
      const numbers = { ...update, gradLogits: Array.from(update.gradLogits), logps: Array.from(update.logps) };
      console.log(JSON.stringify({ names: Object.keys(sweetRl).sort(), numbers }));`;
    const imported = resultOf<{ names: string[] }>(program("import * as sweetRl from 'sweet-rl';"));
    const required = resultOf(program("const sweetRl = require('sweet-rl');"), { type: 'commonjs' });
    expect(imported.names.filter((name) => name !== 'default' && name !== 'module.exports')).toEqual(EXPORTS);
    expect(required).toEqual(imported);
  });

  it('share their classes between import and require', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { SweetError } from 'sweet-rl';
      const required = createRequire(process.cwd() + '/')('sweet-rl');
      const commonjs = createRequire(process.cwd() + '/')('./dist-cjs/index.js');
      console.log(JSON.stringify([required.SweetError === SweetError, commonjs.SweetError === SweetError]));`;
    expect(resultOf(program)).toEqual([true, true]);
  });

  it('share one state between import and require', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { setThreads } from 'sweet-rl';
      setThreads(3);
      console.log(createRequire(process.cwd() + '/')('sweet-rl').threads());`;
    expect(resultOf<number>(program)).toBe(3);
  });
});

describe('the tarball', () => {
  const [{ files }] = JSON.parse(npm('pack', '--dry-run', '--json', '--ignore-scripts')) as [
    { files: { path: string; size: number }[] },
  ];
  const paths = files.map(({ path }) => path);
  const modules = readdirSync(join(ROOT, 'lib'), { recursive: true, encoding: 'utf8' }).filter(
    (path) => /\.c?ts$/.test(path) && !path.endsWith('.d.ts') && path !== 'cli.ts',
  );
  const compiled = (name: string) =>
    name.endsWith('.cts')
      ? [name.replace('.cts', '.cjs'), name.replace('.cts', '.d.cts')]
      : [name.replace('.ts', '.js'), name.replace('.ts', '.d.ts')];
  const sources = (folder: string) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
      .map((path) => `${folder}/${path}`)
      .filter((path) => /\.(h|cc|cpp|map)$/.test(path) && !/\/(cuda|wasm)\//.test(path));

  it('holds just what a user needs: the built modules, the sources of the addon, prebuilt binaries', () => {
    const expected = [
      ...[
        'package.json',
        'README.md',
        'LICENSE',
        'CMakeLists.txt',
        'dist/cli.js',
        'dist/cli.d.ts',
        'dist-cjs/package.json',
      ],
      ...['dist', 'dist-cjs'].flatMap((folder) => modules.flatMap(compiled).map((name) => `${folder}/${name}`)),
      ...sources('native'),
      ...sources('binding'),
    ];
    const wasm = paths.filter((path) => path.startsWith('dist-wasm/') && !path.includes('chunk-'));
    expect(wasm.sort()).toEqual(
      ['index.cjs', 'index.js', 'jax.js', 'sweet-rl.wasm', 'tfjs.js'].map((each) => `dist-wasm/${each}`),
    );
    const prebuilt = /^dist-wasm\/|^prebuilds\/(linux|darwin|win32)-(x64|arm64)\/sweet-rl(\.(glibc|musl))?\.node$/;
    expect(paths.filter((path) => !prebuilt.test(path)).sort()).toEqual(expected.sort());
  });

  it('unpacks to at most 6 MB on every platform', () => {
    const common = files.filter(({ path }) => !path.startsWith('prebuilds/'));
    const binaries = files.filter(({ path }) => path.startsWith('prebuilds/'));
    const sum = (list: typeof files) => list.reduce((total, { size }) => total + size, 0);
    expect(sum(common)).toBeLessThan(6e6);
    for (const { size } of binaries) expect(sum(common) + size).toBeLessThan(6e6);
  });

  it('runs nothing when it is installed', () => {
    const manifest = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    // npm would compile a package that holds a binding.gyp by itself.
    expect(paths.filter((path) => path.endsWith('.gyp'))).toEqual([]);
    expect(Object.keys(manifest.scripts)).not.toEqual(
      expect.arrayContaining([expect.stringMatching(/^(pre|post)?install$/)]),
    );
    expect(manifest.license).toBe('MIT');
    expect(Object.keys(manifest.dependencies)).toEqual(['node-gyp-build']);
  });
});

describe('a clone without binaries', () => {
  const clone = mkdtempSync(join(tmpdir(), 'sweet-rl-clone-'));
  afterAll(() => rmSync(clone, { recursive: true }));
  for (const path of [
    'lib',
    'scripts',
    'package.json',
    'tsconfig.json',
    'tsconfig.cjs.json',
    'CMakeLists.txt',
    'README.md',
  ]) {
    cpSync(join(ROOT, path), join(clone, path), { recursive: true });
  }
  symlinkSync(join(ROOT, 'node_modules'), join(clone, 'node_modules'));
  const run = (...args: string[]) => spawnSync('npm', args, { cwd: clone, encoding: 'utf8' });

  it('builds the TypeScript where npm prepares it, and its error says how to build the addon', () => {
    expect(run('run', 'prepare').status).toBe(0);
    for (const built of ['dist/index.js', 'dist-cjs/index.js', 'dist/io/safetensors.d.ts']) {
      expect(existsSync(join(clone, built)), built).toBe(true);
    }
    const { status, stderr } = spawnSync(process.execPath, ['--eval', "require('sweet-rl')"], {
      cwd: clone,
      encoding: 'utf8',
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/code: 'ERR_ADDON'/);
    expect(stderr).toMatch(/npx sweet-rl build/);
  }, 300_000);

  it('says what is missing where the development dependencies are left out', () => {
    const bare = mkdtempSync(join(tmpdir(), 'sweet-rl-bare-'));
    for (const path of ['scripts', 'package.json']) cpSync(join(ROOT, path), join(bare, path), { recursive: true });
    const { status, stderr } = spawnSync('npm', ['run', 'prepare'], { cwd: bare, encoding: 'utf8' });
    rmSync(bare, { recursive: true });
    expect(status).toBe(1);
    expect(stderr).toMatch(/TypeScript, a development dependency that is not installed\.\n +npm ci /);
  });

  it('is not packed', () => {
    const refused = run('pack', '--dry-run');
    expect(refused.status).not.toBe(0);
    expect(refused.stderr).toMatch(/npm pack needs the prebuilt binaries.*\n.*npm run build:prebuilds/);
    expect(run('pack', '--dry-run', '--ignore-scripts').status).toBe(0);
    mkdirSync(join(clone, 'prebuilds', 'linux-x64'), { recursive: true });
    writeFileSync(join(clone, 'prebuilds', 'linux-x64', 'sweet-rl.glibc.node'), '');
    expect(run('pack', '--dry-run').stderr).toMatch(/needs dist-wasm/);
    mkdirSync(join(clone, 'dist-wasm'));
    writeFileSync(join(clone, 'dist-wasm', 'index.js'), '');
    expect(run('pack', '--dry-run').status).toBe(0);
  }, 300_000);
});
