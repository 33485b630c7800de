// For bundlers: one literal require for each binary, so that esbuild's `copy` loader and its like find and copy them. When
// they are called, and what is done where there is none, is load-native.cts's to decide.
import native = require('./load-native.cjs');

native.provide(() => {
  try {
    switch (`${process.platform}-${process.arch}-${native.libc() ?? 'none'}`) {
      case 'linux-x64-glibc':
        return require('../../prebuilds/linux-x64/sweet-rl.glibc.node');
      case 'linux-arm64-glibc':
        return require('../../prebuilds/linux-arm64/sweet-rl.glibc.node');
    }
    return undefined;
  } catch (error) {
    // biome-ignore lint/complexity/noUselessCatch: bundlers let a binary be missing only inside a try with a catch
    throw error;
  }
});
