// Builds prebuilds/<platform>-<arch>/sweet-rl[.<libc>].node and checks what they need of a system.
//   npm run build:prebuilds [-- x64 arm64]      on Linux both by default, elsewhere the machine's own
// The 64-bit Arm one is cross-compiled and needs Debian's g++-aarch64-linux-gnu.
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import prebuildify from 'prebuildify';

const root = fileURLToPath(new URL('..', import.meta.url));
const { platform, arch: host } = process;
const musl = platform === 'linux' && existsSync('/etc/alpine-release');
const cross = platform === 'linux' && !musl && host === 'x64';
const given = process.argv.slice(2);

for (const arch of given.length > 0 ? given : cross ? ['x64', 'arm64'] : [host]) {
  console.log(`-- ${platform}-${arch}`);
  if (arch !== host) requireCrossCompiler(arch);
  // prebuildify moves away what it finds under build/Release of its folder: not the folder that a clone runs from.
  const folder = join(root, 'build', 'prebuilds', `${platform}-${arch}`);
  rmSync(join(root, 'prebuilds', `${platform}-${arch}`), { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  await promisify(prebuildify)({
    name: 'sweet-rl',
    arch,
    napi: true,
    strip: true,
    stripBin: arch === host ? 'strip' : 'aarch64-linux-gnu-strip',
    tagLibc: platform === 'linux' && (musl ? 'musl' : 'glibc'),
    nodeGyp: join(root, 'scripts', platform === 'win32' ? 'prebuild-shim.cmd' : 'prebuild-shim.js'),
    cwd: folder,
    out: root,
  });
}

if (platform === 'linux' && !musl) {
  const check = spawnSync(process.execPath, [join(root, 'scripts', 'check-symbols.js')], { stdio: 'inherit' });
  process.exit(check.status ?? 1);
}

function requireCrossCompiler(arch) {
  if (!cross || arch !== 'arm64') throw new Error(`On ${platform}-${host} no ${arch} can be built`);
  if (spawnSync('aarch64-linux-gnu-g++', ['--version']).status !== 0) {
    throw new Error('The arm64 prebuild needs a cross compiler: apt-get install g++-aarch64-linux-gnu');
  }
}
