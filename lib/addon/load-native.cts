// The one place that loads the addon. CommonJS, so that both module systems share one copy of it.
import fs = require('node:fs');
import path = require('node:path');

const finder = require('node-gyp-build') as { path(root: string): string };

export interface Loaded {
  addon: unknown;
  /** Where it was loaded from; undefined where a bundle brought it. */
  file: string | undefined;
}

export const root: string = path.join(__dirname, '..', '..');

let bundled: (() => unknown) | undefined;

/** How a bundle requires the addon that it brings itself (static-addon.cts); undefined from it: none for this system. */
export function provide(addon: () => unknown): void {
  bundled = addon;
}

export function load(): Loaded {
  let bundleError: unknown;
  try {
    const addon = bundled?.();
    if (addon !== undefined) return { addon, file: undefined };
  } catch (error) {
    bundleError = error;
  }
  try {
    return find();
  } catch (error) {
    throw bundleError ?? error;
  }
}

function find(): Loaded {
  const file = finder.path(root);
  // The finder knows musl by a file of Alpine's; loaded under another musl, a binary for glibc may end the process.
  if (file.includes('.glibc.') && libc() === 'musl') throw new Error(`${file} is for glibc`);
  return { addon: require(file), file };
}

/** The C library of this process; undefined where that is no question or cannot be told. */
export function libc(): 'glibc' | 'musl' | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return fs.readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-') ? 'musl' : 'glibc';
  } catch {
    return undefined;
  }
}
