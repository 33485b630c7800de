#!/usr/bin/env node
// What prebuildify runs in place of node-gyp: `rebuild --target=... --devdir=... --arch=...`, in the folder that gets the build.
// The addon speaks Node-API, so the target does not matter, and cmake-js downloads nothing.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const cmakeJs = createRequire(import.meta.url).resolve('cmake-js/bin/cmake-js');
const arch = process.env.PREBUILD_ARCH;
const glibc = process.platform === 'linux' && !existsSync('/etc/alpine-release');

const where = ['--directory', root, '--out', 'build', '--log-level', 'error'];
const definitions = glibc ? ['--CDSWEET_OLD_GLIBC=ON'] : [];
if (arch !== process.arch) definitions.push(`--CDCMAKE_TOOLCHAIN_FILE=${root}scripts/aarch64-linux-gnu.cmake`);
if (process.platform === 'win32') definitions.push('--toolset', 'ClangCL');

for (const command of [
  ['configure', ...where, ...definitions],
  ['build', '--target', 'sweet_rl', ...where],
]) {
  const { status } = spawnSync(process.execPath, [cmakeJs, ...command], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
