// For bundlers: one literal require for each binary, so that esbuild's `copy` loader and its like find and copy them. In a
// package or on a system without the binary the main loader looks on and tells what is missing.
import native = require('./load-native.cjs');

function addon(): unknown {
  try {
    switch (`${process.platform}-${process.arch}-${native.libc() ?? 'none'}`) {
      case 'linux-x64-glibc':
        return require('../prebuilds/linux-x64/sweet-rl.glibc.node');
      case 'linux-arm64-glibc':
        return require('../prebuilds/linux-arm64/sweet-rl.glibc.node');
    }
  } catch {}
  return undefined;
}

native.provide(addon());
