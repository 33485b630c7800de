#!/usr/bin/env node
// npx sweet-rl info | build
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { binaries, cpuFeatures } from './addon/binaries.js';
import { libc, root } from './addon/load-native.cjs';
import type { Backend } from './addon/native.js';
import { SweetError } from './errors.js';

interface Manifest {
  version: string;
  devDependencies: Record<string, string>;
}

const manifest = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as Manifest;

const USAGE = `sweet-rl ${manifest.version}

  npx sweet-rl info    version, system, CPU, backends, threads, CUDA; which binary is loaded, and why no other
  npx sweet-rl build   compiles the addon for this machine, with CMake and a C++17 compiler`;

async function info(): Promise<void> {
  const { versions, platform, arch } = process;
  const runtime = versions.bun
    ? `Bun ${versions.bun}`
    : versions.deno
      ? `Deno ${versions.deno}`
      : `Node ${versions.node}`;
  print('sweet-rl', manifest.version);
  print('package', root);
  print('runtime', `${runtime}, Node-API ${versions.napi ?? 'unknown'}`);
  print('system', [platform, arch, libc()].filter(Boolean).join(' '));
  print('CPU', cpuFeatures());
  try {
    await printMachine();
  } catch (error) {
    if (!(error instanceof SweetError)) throw error;
    print('addon', 'none');
    print('tried', triedOf(error));
    printBinaries(undefined);
    console.log(`\n${error.message}`);
    process.exitCode = 1;
  }
}

const triedOf = (error: Error): string => String((error.cause as Error | undefined)?.message ?? error.message).trim();

async function printMachine(): Promise<void> {
  const { addonFile, fallback, native } = await import('./addon/native.js');
  const { backends, threads } = await import('./runtime/machine.js');
  const all = backends();
  print('addon', addonFile ?? 'of a bundle');
  if (fallback !== undefined) print('tried', triedOf(fallback));
  print('backend', all.find(({ active }) => active)?.name ?? 'none');
  for (const { name, available, reason, note } of all) {
    print(name, available ? ['available', note].filter(Boolean).join(', ') : `not available: ${reason}`);
  }
  print('precision', precisionOf(all.find(({ active }) => active)));
  const { affinity, quota } = native.cpus('');
  print('CPUs', `${affinity} by affinity${Number.isFinite(quota) ? `, ${quota} by quota` : ''}`);
  print('threads', String(threads()));
  printBinaries(addonFile);
}

function printBinaries(loaded: string | undefined): void {
  for (const { file, state } of binaries(loaded)) print('binary', `${file}: ${state}`);
}

/** What the default of the active backend costs and gives: docs/guide/determinism.md has the measurement. */
function precisionOf(active: Backend | undefined): string {
  const text = {
    storage: 'gradients of the logits are rounded to bfloat16, errors of 1e-3; SWEET_RL_PRECISION=float32 avoids it',
    float32: 'gradients of the logits stay float32',
  }[active?.precision ?? 'float32'];
  return `bfloat16 linear heads: ${text}`;
}

function print(name: string, value: string): void {
  console.log(`${name.padEnd(12)}${value}`);
}

function build(): void {
  requireCommand('cmake', 'CMake 3.15 or later and a C++17 compiler');
  const tools = buildTools();
  const addonApi = path.dirname(tools.resolve('node-addon-api/package.json'));
  const cmakeJs = tools.resolve('cmake-js/bin/cmake-js');
  const where = ['--directory', root, '--out', path.join(root, 'build'), '--log-level', 'error'];
  run(process.execPath, [cmakeJs, 'configure', ...where, `--CDNODE_ADDON_API_DIR=${addonApi}`]);
  run(process.execPath, [cmakeJs, 'build', '--target', 'sweet_rl', ...where]);
  console.log(`\nBuilt in ${path.join(root, 'build', 'Release')}, which is used instead of a prebuilt binary.`);
}

/** cmake-js and node-addon-api of the project or the package, else installed from the registry into build/tools. */
function buildTools(): NodeJS.Require {
  const folder = path.join(root, 'build', 'tools');
  const places = [process.cwd(), root, folder].map((place) => createRequire(path.join(place, 'package.json')));
  const found = () => places.find((place) => ['cmake-js', 'node-addon-api'].every((name) => resolves(place, name)));
  const installed = found();
  if (installed !== undefined) return installed;

  const wanted = ['cmake-js', 'node-addon-api'].map((name) => `${name}@${manifest.devDependencies[name]}`);
  console.log(`Fetching ${wanted.join(' and ')} for the build`);
  const npm = process.platform === 'win32' ? 'npm.cmd' : 'npm';
  requireCommand(npm, `npm, or ${wanted.join(' and ')} in your project`);
  mkdirSync(folder, { recursive: true });
  run(npm, ['install', '--prefix', folder, '--no-save', '--ignore-scripts', ...wanted]);
  const fetched = found();
  if (fetched === undefined) throw new SweetError('ERR_BUILD', `${wanted.join(' and ')} could not be installed`);
  return fetched;
}

function resolves(place: NodeJS.Require, name: string): boolean {
  try {
    place.resolve(`${name}/package.json`);
    return true;
  } catch {
    return false;
  }
}

function requireCommand(command: string, what: string): void {
  const { status } = spawnSync(command, ['--version'], { shell: process.platform === 'win32' });
  if (status !== 0) throw new SweetError('ERR_BUILD', `The build needs ${what}: ${command} was not found`);
}

function run(command: string, args: string[]): void {
  const { status } = spawnSync(command, args, { stdio: 'inherit', shell: command.endsWith('.cmd') });
  if (status !== 0) throw new SweetError('ERR_BUILD', `${path.basename(command)} ${args[0]} ended with ${status}`);
}

const COMMANDS = new Map<string | undefined, () => void | Promise<void>>([
  ['--help', () => console.log(USAGE)],
  ['--version', () => console.log(manifest.version)],
  ['info', info],
  ['build', build],
]);

// The reader of a pipe may end first, like `head -1`: nothing is left to do then.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

try {
  const command = COMMANDS.get(process.argv[2]);
  if (command === undefined || process.argv.length > 3) {
    console.error(USAGE);
    process.exitCode = process.argv[2] === undefined ? 0 : 1;
  } else {
    await command();
  }
} catch (error) {
  if (!(error instanceof Error && 'code' in error)) throw error;
  console.error(error.message);
  process.exitCode = 1;
}
