/** The package in a folder of its own, as an install would leave it, with the built addon as its prebuilt binary. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './processes.ts';

export const PREBUILT = `${process.platform}-${process.arch}/sweet-rl.glibc.node`;

/**
 * An empty project with sweet-rl in node_modules; `addon`: without one, with the built one, or with these bytes; `wasm`: with
 * the WebAssembly module.
 */
export function installedProject({ addon, wasm = true }: { addon: boolean | string; wasm?: boolean }): {
  folder: string;
  remove: () => void;
} {
  const folder = mkdtempSync(join(tmpdir(), 'sweet-rl-'));
  const modules = join(folder, 'node_modules');
  const packed = join(modules, 'sweet-rl');
  for (const path of ['package.json', 'dist', 'dist-cjs', ...(wasm ? ['dist-wasm'] : [])])
    cpSync(join(ROOT, path), join(packed, path), { recursive: true });
  cpSync(join(ROOT, 'node_modules', 'node-gyp-build'), join(modules, 'node-gyp-build'), { recursive: true });
  const prebuilt = join(packed, 'prebuilds', PREBUILT);
  mkdirSync(join(prebuilt, '..'), { recursive: true });
  if (typeof addon === 'string') writeFileSync(prebuilt, addon);
  else if (addon) cpSync(join(ROOT, 'build', 'Release', 'sweet_rl.node'), prebuilt);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}
