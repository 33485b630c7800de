// Loads the addon. CommonJS, so that both module systems share one copy of it.
import fs = require('node:fs');
import path = require('node:path');

const finder = require('node-gyp-build') as { path(root: string): string };

export interface Loaded {
  addon: unknown;
  /** Where it was loaded from; undefined for the addon of a bundle. */
  file: string | undefined;
}

/** Of the package; a bundle may have no __dirname, and then finds no addon. */
export const root: string = typeof __dirname === 'undefined' ? process.cwd() : path.join(__dirname, '..', '..');

let bundled: (() => unknown) | undefined;

/** Sets how a bundle requires its addon (static-addon.cts), which is undefined where it has none for this system. */
export function provide(addon: () => unknown): void {
  bundled = addon;
}

export function load(): Loaded {
  let bundleError: unknown;
  try {
    const addon = bundled?.() as { backends?: unknown } | undefined;
    if (typeof addon?.backends === 'function') return { addon, file: undefined };
    // For example the name of the copied file.
    if (addon !== undefined) throw new Error(`the bundler replaced the .node file by ${String(addon).slice(0, 80)}`);
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
  // The finder recognizes musl by a file of Alpine; on another musl system, loading a binary for glibc may crash the
  // process.
  if (file.includes('.glibc.') && libc() === 'musl') throw new Error(`${file} is for glibc`);
  return { addon: require(file), file };
}

/** The C library of this process; undefined on other systems than Linux or where it is unknown. */
export function libc(): 'glibc' | 'musl' | undefined {
  if (process.platform !== 'linux') return undefined;
  try {
    return fs.readFileSync('/proc/self/maps', 'latin1').includes('/ld-musl-') ? 'musl' : 'glibc';
  } catch {
    return undefined;
  }
}
