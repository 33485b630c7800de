// The platforms that have a prebuilt binary: where it lies in prebuilds/, and what builds it on Linux with glibc on x64.
//   file       as node-gyp-build looks for it: <platform>-<arch>/<name>[.<libc>].node
//   tools      programs or files of the cross compiler, by the Debian package that has them
//   zig        the compiler is zig, of npm, for its C and C++ libraries of other systems
import { readFileSync } from 'node:fs';

const LLVM = { 'llvm-ar-19': 'llvm-19', 'llvm-strip-19': 'llvm-19' };
const LLD = { 'ld.lld-19': 'lld-19' };
const MINGW = {
  'clang++-19': 'clang-19',
  '/usr/x86_64-w64-mingw32/include/windows.h': 'mingw-w64-x86-64-dev',
  'x86_64-w64-mingw32-g++-posix': 'g++-mingw-w64-x86-64-posix',
};
const ARM64 = { 'aarch64-linux-gnu-g++': 'g++-aarch64-linux-gnu' };

export const PLATFORMS = {
  'linux-x64-glibc': { file: 'linux-x64/sweet-rl.glibc.node', tools: {}, strip: ['strip'] },
  'linux-arm64-glibc': { file: 'linux-arm64/sweet-rl.glibc.node', tools: ARM64, strip: ['aarch64-linux-gnu-strip'] },
  'linux-x64-musl': {
    file: 'linux-x64/sweet-rl.musl.node',
    tools: LLVM,
    zig: 'x86_64-linux-musl',
    strip: ['llvm-strip-19'],
  },
  'linux-arm64-musl': {
    file: 'linux-arm64/sweet-rl.musl.node',
    tools: LLVM,
    zig: 'aarch64-linux-musl',
    strip: ['llvm-strip-19'],
  },
  'win32-x64': { file: 'win32-x64/sweet-rl.node', tools: { ...LLVM, ...LLD, ...MINGW }, strip: ['llvm-strip-19'] },
  'win32-arm64': {
    file: 'win32-arm64/sweet-rl.node',
    tools: { ...LLVM, ...LLD },
    zig: 'aarch64-windows-gnu',
    strip: ['llvm-strip-19'],
  },
  // The linker strips and signs.
  'darwin-x64': { file: 'darwin-x64/sweet-rl.node', tools: { ...LLVM, ...LLD }, zig: 'x86_64-macos.11.0' },
  'darwin-arm64': { file: 'darwin-arm64/sweet-rl.node', tools: { ...LLVM, ...LLD }, zig: 'aarch64-macos.11.0' },
};

/** The platform that runs this, by its name in PLATFORMS; another system has none there. */
export function hostPlatform() {
  const { platform, arch } = process;
  if (platform !== 'linux') return `${platform}-${arch}`;
  const musl = readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-');
  return `linux-${arch}-${musl ? 'musl' : 'glibc'}`;
}
