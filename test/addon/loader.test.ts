/** Where the addon comes from, what is said where it is missing, and the command line that helps then. */
import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { installedProject, PREBUILT } from '../helpers/installed.ts';

const withAddon = installedProject({ addon: true });
const without = installedProject({ addon: false });
const broken = installedProject({ addon: 'no binary at all' });
afterAll(() => {
  for (const { remove } of [withAddon, without, broken]) remove();
});

function node(folder: string, args: string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, args, {
    cwd: folder,
    encoding: 'utf8',
    env: { ...process.env, SWEET_RL_BACKEND: undefined, SWEET_RL_NO_FALLBACK: '1', ...env },
  });
  return { status, stdout, stderr };
}

const cli = ({ folder }: { folder: string }, ...args: string[]) =>
  node(folder, [join('node_modules', 'sweet-rl', 'dist', 'cli.js'), ...args]);

const IMPORT = ['--input-type=module', '--eval', "import { threads } from 'sweet-rl'; console.log(threads() > 0);"];
const REQUIRE = ['--eval', "console.log(require('sweet-rl').threads() > 0);"];

describe('the addon', () => {
  it.each([
    ['import', IMPORT],
    ['require', REQUIRE],
  ])('is the prebuilt one where there is no other: %s', (_, program) => {
    expect(node(withAddon.folder, program)).toEqual({ status: 0, stdout: 'true\n', stderr: '' });
  });

  it.each([
    ['missing', without, {}],
    ['for another libc', withAddon, { LIBC: 'musl' }],
    ['not a binary', broken, {}],
  ])('%s: says on what system, and names the two commands that help', (_, { folder }, env) => {
    for (const program of [IMPORT, REQUIRE]) {
      const { status, stderr } = node(folder, program, env);
      expect(status).toBe(1);
      expect(stderr).toContain("code: 'ERR_ADDON'");
      expect(stderr).toContain(`${process.platform}-${process.arch} (glibc) with Node-API ${process.versions.napi}`);
      expect(stderr).toContain('npx sweet-rl build');
      expect(stderr).toContain('npx sweet-rl info');
      expect(stderr).toContain('[cause]');
    }
  });
});

describe('WebAssembly', () => {
  const FALLBACK = { SWEET_RL_NO_FALLBACK: undefined };
  const NAME = (program: string[]) =>
    program.map((each) =>
      each.replace('threads() > 0', 'backends().find((b) => b.active).name').replace('{ threads }', '{ backends }'),
    );
  const BACKEND = [
    '--eval',
    "console.log(require('sweet-rl').backends().find(({ active }) => active).name); require('sweet-rl').threads();",
  ];

  it.each([
    ['missing', without, {}],
    ['for another libc', withAddon, { LIBC: 'musl' }],
    ['not a binary', broken, {}],
  ])('takes the place of an addon that is %s, with one warning that says what to do', (_, { folder }, env) => {
    for (const program of [BACKEND, NAME(IMPORT)]) {
      const { status, stdout, stderr } = node(folder, program, { ...FALLBACK, ...env });
      expect({ status, stdout }).toEqual({ status: 0, stdout: 'wasm\n' });
      expect(stderr.match(/SWEET_RL_FALLBACK/g)).toHaveLength(1);
      expect(stderr).toMatch(/\[SWEET_RL_FALLBACK\] SweetWarning: sweet-rl has no native addon that loads on/);
      expect(stderr).toMatch(/npx sweet-rl build .*SWEET_RL_BACKEND=wasm .*SWEET_RL_NO_FALLBACK=1/s);
    }
  });

  it('is what SWEET_RL_BACKEND=wasm selects, without a warning and before the addon', () => {
    for (const { folder } of [withAddon, without]) {
      const env = { ...FALLBACK, SWEET_RL_BACKEND: 'wasm' };
      expect(node(folder, BACKEND, env)).toEqual({ status: 0, stdout: 'wasm\n', stderr: '' });
    }
  });

  it('is the entry sweet-rl/wasm, whatever there is', () => {
    const entry = (program: string[]) => program.map((each) => each.replace("'sweet-rl'", "'sweet-rl/wasm'"));
    for (const program of [BACKEND, NAME(IMPORT)]) {
      const { folder } = withAddon;
      const text = entry(program).map((each) => each.replaceAll("require('sweet-rl')", "require('sweet-rl/wasm')"));
      expect(node(folder, text)).toEqual({ status: 0, stdout: 'wasm\n', stderr: '' });
    }
  });

  it('is missing as well: the error is that of the addon', () => {
    const { folder, remove } = installedProject({ addon: false, wasm: false });
    try {
      const { status, stderr } = node(folder, REQUIRE, FALLBACK);
      expect(status).toBe(1);
      expect(stderr).toContain("code: 'ERR_ADDON'");
      expect(node(folder, REQUIRE, { SWEET_RL_BACKEND: 'wasm' }).stderr).toMatch(/code: 'ERR_BACKEND'/);
    } finally {
      remove();
    }
  });

  it('info says so, why, and why it is slower', () => {
    const { stdout, status } = node(
      without.folder,
      [join('node_modules', 'sweet-rl', 'dist', 'cli.js'), 'info'],
      FALLBACK,
    );
    expect(status).toBe(0);
    expect(stdout).toMatch(/^addon +.*dist-wasm\/sweet-rl\.wasm$/m);
    expect(stdout).toMatch(/^tried +No native build was found/m);
    expect(stdout).toMatch(/^backend +wasm$/m);
    expect(stdout).toMatch(/^wasm +available, slower than native code: one thread/m);
    expect(cli(withAddon, 'info').stdout).toMatch(/^wasm +not available: the native addon is loaded, which is faster/m);
  });
});

// The flag has lost its prefix in Node 23.5.
const PERMISSION = process.allowedNodeEnvironmentFlags.has('--permission')
  ? '--permission'
  : '--experimental-permission';

it("says what Node's permission model needs", () => {
  const flags = [PERMISSION, '--allow-fs-read=*'];
  for (const program of [IMPORT, REQUIRE]) {
    const { status, stderr } = node(withAddon.folder, [...flags, ...program]);
    expect(status).toBe(1);
    expect(stderr).toContain("code: 'ERR_ADDON'");
    expect(stderr).toMatch(/start Node with --allow-addons/);
    expect(node(withAddon.folder, [...flags, '--allow-addons', ...program])).toMatchObject({
      status: 0,
      stdout: 'true\n',
    });
  }
});

describe('on musl without the mark of Alpine', () => {
  // What a process reads about itself there: the loader of Alpine and others, musl's C library in Debian.
  const preloadOf = (line: string) => {
    const preload = join(withAddon.folder, 'musl.cjs');
    const code = `
      const fs = require('node:fs');
      const { readFileSync } = fs;
      const maps = ${JSON.stringify(`7f00-7f01 r-xp 0000 fe:01 9  /usr/bin/node\n${line}\n`)};
      fs.readFileSync = (path, ...rest) => path === '/proc/self/maps' ? maps : readFileSync(path, ...rest);`;
    writeFileSync(preload, code);
    return preload;
  };

  it.each([
    '7f01-7f02 r-xp 0000 fe:01 8  /lib/ld-musl-x86_64.so.1',
    '7f01-7f02 r-xp 0000 fe:01 8  /usr/lib/x86_64-linux-musl/libc.so',
  ])('the binary for glibc is not loaded: %s', (line) => {
    const preload = preloadOf(line);
    const { status, stderr } = node(withAddon.folder, ['--require', preload, ...REQUIRE]);
    expect(status).toBe(1);
    expect(stderr).toMatch(/no native addon that loads on \w+-\w+ \(musl\)/);
    expect(stderr).toMatch(/\[cause\]: Error: .*\.glibc\.node is for glibc/);
    expect(node(withAddon.folder, ['--require', preload, '--eval', "require('sweet-rl/static')"]).status).toBe(1);
  });

  it('the binary for musl is loaded', () => {
    const both = installedProject({ addon: true });
    const folder = join(both.folder, 'node_modules', 'sweet-rl', 'prebuilds');
    const glibc = join(folder, PREBUILT);
    // In this test the binary for musl is a file that no system loads: the error names it.
    writeFileSync(glibc.replace('.glibc.', '.musl.'), 'no binary');
    const preload = preloadOf('7f01-7f02 r-xp 0000 fe:01 8  /lib/ld-musl-x86_64.so.1');
    const { stderr } = node(both.folder, ['--require', preload, ...REQUIRE]);
    expect(stderr).toMatch(/\[cause\]: Error: .*\.musl\.node: (file too short|invalid ELF header)/);
    expect(node(both.folder, REQUIRE)).toEqual({ status: 0, stdout: 'true\n', stderr: '' });
    both.remove();
  });
});

describe('npx sweet-rl', () => {
  it('info tells the version, where the addon is from, the backends, CUDA and the threads', () => {
    const { status, stdout } = cli(withAddon, 'info');
    expect(status).toBe(0);
    expect(stdout).toMatch(/^sweet-rl +\d+\.\d+\.\d+$/m);
    expect(stdout).toMatch(new RegExp(`^addon +.*node_modules/sweet-rl/prebuilds/${PREBUILT}$`, 'm'));
    expect(stdout).toMatch(/^backend +(avx512bf16|avx512|avx2|neon|portable)$/m);
    expect(stdout).toMatch(/^portable +available$/m);
    expect(stdout).toMatch(/^cuda +(available|not available: .+)$/m);
    expect(stdout).toMatch(/^threads +\d+$/m);
    expect(stdout).toMatch(new RegExp(`^system +${process.platform} ${process.arch}( glibc| musl)?$`, 'm'));
    expect(stdout).toMatch(/^CPU +\S.*$/m);
    expect(stdout).toMatch(/^binary +build.Release.sweet_rl\.node: not there/m);
    expect(stdout).toMatch(new RegExp(`^binary +prebuilds/${PREBUILT}: loaded$`, 'm'));
    expect(stdout).toMatch(
      new RegExp(`^runtime +Node ${process.versions.node}, Node-API ${process.versions.napi}$`, 'm'),
    );
  });

  it('info tells what was tried where there is no addon', () => {
    const { status, stdout } = cli(without, 'info');
    expect(status).toBe(1);
    expect(stdout).toMatch(/^tried +No native build was found/m);
    expect(stdout).toContain('npx sweet-rl build');
  });

  it('build says what it needs where there is no CMake', () => {
    const { status, stderr } = node(without.folder, ['node_modules/sweet-rl/dist/cli.js', 'build'], {
      PATH: '/nowhere',
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^The build needs CMake .* C\+\+17 compiler/);
  });

  it('refuses other commands and further arguments', () => {
    for (const args of [['built'], ['info', '--json']]) {
      const { status, stderr } = cli(withAddon, ...args);
      expect(status).toBe(1);
      expect(stderr).toContain('npx sweet-rl build');
    }
  });
});
