// For bundlers: one literal require per binary, so that they find and copy the files (esbuild: the `copy` loader).
// load-native.cts calls them, and searches elsewhere where none fits.
import native = require('./load-native.cjs');

native.provide(() => {
  try {
    switch (`${process.platform}-${process.arch}-${native.libc() ?? 'none'}`) {
      case 'linux-x64-glibc':
        return require('../../prebuilds/linux-x64/sweet-rl.glibc.node');
      case 'linux-arm64-glibc':
        return require('../../prebuilds/linux-arm64/sweet-rl.glibc.node');
      case 'linux-x64-musl':
        return require('../../prebuilds/linux-x64/sweet-rl.musl.node');
      case 'linux-arm64-musl':
        return require('../../prebuilds/linux-arm64/sweet-rl.musl.node');
      case 'win32-x64-none':
        return require('../../prebuilds/win32-x64/sweet-rl.node');
      case 'win32-arm64-none':
        return require('../../prebuilds/win32-arm64/sweet-rl.node');
      case 'darwin-x64-none':
        return require('../../prebuilds/darwin-x64/sweet-rl.node');
      case 'darwin-arm64-none':
        return require('../../prebuilds/darwin-arm64/sweet-rl.node');
    }
    return undefined;
  } catch (error) {
    // biome-ignore lint/complexity/noUselessCatch: bundlers let a binary be missing only inside a try with a catch
    throw error;
  }
});
