// How a program of JavaScript runs on each platform here, on Linux with glibc on x64.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fetched, requireTools, TOOLS } from '../../scripts/cross-tools.js';

const QEMU = { 'qemu-aarch64-static': 'qemu-user-static' };
const WINE = ['/usr/lib/wine/wine64', '/usr/bin/wine64'];

/** The program that runs this. */
export const NATIVE = { how: () => `Node ${process.versions.node}`, command: () => [process.execPath] };

/** By platform: what runs it, in words, and the command and environment for a program and its arguments. */
export const RUNTIMES = {
  'linux-x64-glibc': NATIVE,
  'win32-x64': {
    how: () => 'Node 20 for Windows under wine',
    command: () => {
      requireTools('win32-x64', { [WINE.find(existsSync) ?? WINE[0]]: 'wine64' });
      return [WINE.find(existsSync), fetched('node win32-x64')];
    },
    env: () => ({
      WINEPREFIX: join(TOOLS, 'wine'),
      WINEDEBUG: '-all',
      WINEDLLOVERRIDES: 'mscoree,mshtml=',
      // A new prefix says that it is Windows 7.
      NODE_SKIP_PLATFORM_CHECK: '1',
    }),
  },
  'linux-x64-musl': {
    how: () => "bun's musl build, musl's loader of Debian",
    command: () => {
      requireTools('linux-x64-musl', { '/lib/ld-musl-x86_64.so.1': 'musl' });
      return [fetched('bun linux-x64-musl')];
    },
    env: () => ({ LD_LIBRARY_PATH: muslLibraries('x86_64', '/', 'ld-linux-x86-64.so.2') }),
  },
  'linux-arm64-glibc': {
    how: () => 'Node 20 under qemu-user',
    command: () => {
      requireTools('linux-arm64-glibc', { ...QEMU, '/usr/aarch64-linux-gnu/lib/libc.so.6': 'libc6-arm64-cross' });
      return ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu', fetched('node linux-arm64')];
    },
  },
  'linux-arm64-musl': {
    how: () => "bun's musl build under qemu-user",
    command: () => {
      requireTools('linux-arm64-musl', QEMU);
      const system = arm64System();
      const loader = 'ld-linux-aarch64.so.1';
      const libraries = muslLibraries('aarch64', system, loader);
      const settings = { LD_LIBRARY_PATH: libraries, LD_PRELOAD: loader };
      const passed = Object.entries(settings).flatMap(([name, value]) => ['-E', `${name}=${value}`]);
      return ['qemu-aarch64-static', '-L', system, ...passed, fetched('bun linux-arm64-musl')];
    },
  },
};

/** Runs a program to its end: its exit status and what it printed. Output goes through files: node.exe under wine dies of pipes. */
export function runOn(platform, args, folder, cwd) {
  const { command, env } = RUNTIMES[platform];
  const [program, ...before] = command();
  const paths = ['out', 'err'].map((name) => join(folder, `${platform}.${name}`));
  const [out, err] = paths.map((path) => openSync(path, 'w'));
  const { status, signal } = spawnSync(program, [...before, ...args], {
    cwd,
    stdio: ['ignore', out, err],
    // node-gyp-build would take a build of the clone before the prebuilt binary.
    env: { ...process.env, ...env?.(), PREBUILDS_ONLY: '1', SWEET_RL_NO_FALLBACK: '1' },
  });
  const [stdout, stderr] = paths.map((path) => readFileSync(path, 'utf8'));
  return { status: status ?? signal, stdout, stderr };
}

/** libstdc++ and libgcc for glibc, and under the name of glibc's loader what they need beyond musl. */
function muslLibraries(cpu, system, loader) {
  const folder = join(TOOLS, `libraries-${cpu}-musl`);
  if (existsSync(join(folder, loader))) return folder;
  mkdirSync(folder, { recursive: true });
  const libraries = { 'libstdc++.so.6': 'usr/lib', 'libgcc_s.so.1': 'lib' };
  for (const [name, where] of Object.entries(libraries)) {
    copyFileSync(join(system, where, `${cpu}-linux-gnu`, name), join(folder, name));
  }
  const shim = join(import.meta.dirname, 'glibc_shim.c');
  command(fetched('zig'), ['cc', '-target', `${cpu}-linux-musl`, '-O1', '-shared', '-o', join(folder, loader), shim]);
  return folder;
}

/** Debian's musl and libstdc++ for arm64, unpacked beside the system, which stays as it is. */
function arm64System() {
  const folder = join(TOOLS, 'debian-arm64');
  const system = join(folder, 'system');
  if (existsSync(join(system, 'lib', 'ld-musl-aarch64.so.1'))) return system;
  rmSync(folder, { recursive: true, force: true });
  for (const part of ['lists/partial', 'cache/archives/partial', 'system'])
    mkdirSync(join(folder, part), { recursive: true });
  const state = { 'Dir::State': folder, 'Dir::State::status': '/dev/null', 'Dir::Cache': join(folder, 'cache') };
  const settings = { 'APT::Architecture': 'arm64', 'APT::Architectures': 'arm64', ...state };
  const options = Object.entries(settings).flatMap(([name, value]) => ['-o', `${name}=${value}`]);
  command('apt-get', [...options, '-qq', 'update']);
  const packages = ['musl', 'libstdc++6', 'libgcc-s1'];
  command('apt-get', [...options, '-qq', 'download', ...packages], join(folder, 'cache'));
  command('sh', ['-c', `for package in *.deb; do dpkg-deb -x "$package" ../system; done`], join(folder, 'cache'));
  return system;
}

function command(program, args, cwd) {
  const { status, error } = spawnSync(program, args, { cwd, stdio: ['ignore', 'inherit', 'inherit'] });
  if (status !== 0) throw new Error(`${program} ${args[0]} ended with ${error?.message ?? status}`);
}
