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
  const file = forOwnLibc(finder.path(root));
  return { addon: require(file), file };
}

/**
 * The finder recognizes musl by a file of Alpine, so that on other musl systems it finds the binary for glibc, which may crash
 * the process. Each lies beside the other.
 */
function forOwnLibc(file: string): string {
  const own = libc();
  const found = /\.(glibc|musl)\.node$/.exec(file);
  if (own === undefined || found === null || found[1] === own) return file;
  // Not put together from parts: Turbopack would take them for a pattern of files that it has to find.
  const sibling = file.replace(/\.(glibc|musl)\.node$/, `.${own}.node`);
  if (!fs.existsSync(sibling)) throw new Error(`${file} is for ${found[1]}, and there is no ${sibling}`);
  return sibling;
}

/** The C library of this process; undefined on other systems than Linux or where it is unknown. */
export function libc(): 'glibc' | 'musl' | undefined {
  if (process.platform !== 'linux') return undefined;
  const files = mappedFiles();
  // musl is one file, which is its loader too; glibc's are ld-linux-*.so.* and libc.so.6.
  if (/\/(ld-musl-[^/\s]*|libc\.musl-[^/\s]*|libc\.so)$/m.test(files)) return 'musl';
  return files === '' ? undefined : 'glibc';
}

/** The files that are mapped into this process, one a line; '' where the system does not tell. */
function mappedFiles(): string {
  try {
    return fs.readFileSync('/proc/self/maps', 'latin1');
  } catch {
    const report = process.report?.getReport() as { sharedObjects?: string[] } | undefined;
    return report?.sharedObjects?.join('\n') ?? '';
  }
}
