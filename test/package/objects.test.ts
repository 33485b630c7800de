import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';

const build = fileURLToPath(new URL('../../build/CMakeFiles/', import.meta.url));
const objects = (existsSync(build) ? readdirSync(build, { recursive: true, encoding: 'utf8' }) : []).filter((path) =>
  /^sweet_kernels_.*\.o$/.test(path),
);

// A weak symbol may be merged with another object's, and the copy that stays may hold instructions that an old processor
// does not have.
describe('the kernels of one instruction set', () => {
  it.runIf(objects.length > 0).each(objects)('share no code with other objects: %s', (path) => {
    const symbols = execFileSync('nm', ['-C', build + path], { encoding: 'utf8' }).split('\n');
    expect(symbols.filter((line) => / [WVu] /.test(line))).toEqual([]);
    const entries = symbols.filter((line) => / T /.test(line));
    expect(entries.length).toBeGreaterThan(0);
    for (const entry of entries) expect(entry).toMatch(/sweet::\w+(portable|avx2|avx512|avx512bf16|neon)\(/);
  });
});

// The prebuilt binaries themselves are checked where they are built (npm run build:prebuilds); here, that the check sees.
describe('check-symbols', () => {
  const check = (file: string) =>
    spawnSync(process.execPath, ['scripts/check-symbols.js', file], { cwd: ROOT, encoding: 'utf8' });
  const addon = 'build/Release/sweet_rl.node';

  it.runIf(existsSync(`${ROOT}/${addon}`) && process.platform === 'linux')(
    'finds what a development build shows',
    () => {
      const { status, stderr } = check(addon);
      expect(status).toBe(1);
      expect(stderr).toMatch(/sweet_rl\.node is not stripped/);
    },
  );

  it.runIf(process.platform === 'linux')('finds what is needed and what is shown', () => {
    const folder = mkdtempSync(join(tmpdir(), 'sweet-rl-'));
    const object = join(folder, 'foreign.node');
    const source =
      'int unheard_of(); extern "C" int napi_create_object(); int shown() { return unheard_of() + napi_create_object(); }';
    execFileSync('c++', ['-shared', '-fPIC', '-o', object, '-x', 'c++', '-'], { input: source });
    const { stderr } = check(object);
    rmSync(folder, { recursive: true });
    expect(stderr).toMatch(/needs _Z10unheard_ofv, which is no function of Node-API 8/);
    expect(stderr).toMatch(/shows _Z5shownv to the process/);
    expect(stderr).not.toMatch(/needs napi_create_object/);
  });
});
