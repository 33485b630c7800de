// Loads the addon, else the WebAssembly module. load-wasm-only.ts takes the place of this file in dist-wasm/.

import { SweetError } from '../errors.js';
import type { Native } from './interface.js';
import { libc, load } from './load-native.cjs';
import { file, read } from './load-wasm.cjs';
import { nativeOf } from './wasm-native.js';

export interface LoadedNative {
  native: Native;
  /** Undefined for the addon of a bundle. */
  file: string | undefined;
  /** Why WebAssembly was loaded. */
  fallback?: Error;
}

export function loadNative(): LoadedNative {
  if (process.env.SWEET_RL_BACKEND === 'wasm') return loadWasm('SWEET_RL_BACKEND is wasm');
  try {
    const { addon, file } = load();
    return { native: addon as Native, file };
  } catch (cause) {
    const permission = process.permission !== undefined;
    const error = new SweetError('ERR_ADDON', permission ? NO_PERMISSION : whyNoAddon(), { cause });
    if (!['', '0', undefined].includes(process.env.SWEET_RL_NO_FALLBACK)) throw error;
    return { ...loadFallback(error), fallback: error };
  }
}

/** The WebAssembly module, with a warning; throws `error` where it cannot be loaded either. */
function loadFallback(error: SweetError): LoadedNative {
  let loaded: LoadedNative;
  try {
    loaded = loadWasm('no native addon loads here');
  } catch {
    throw error;
  }
  process.emitWarning(`${error.message}\n${INSTEAD}`, { type: 'SweetWarning', code: 'SWEET_RL_FALLBACK' });
  return loaded;
}

const INSTEAD = `It uses WebAssembly instead, which is slower: one thread, vectors of 128 bits.
  SWEET_RL_BACKEND=wasm    selects WebAssembly, without this warning
  SWEET_RL_NO_FALLBACK=1   makes this an error`;

function loadWasm(why: string): LoadedNative {
  try {
    return { native: nativeOf(read(), why), file };
  } catch (cause) {
    const reason = `${file} cannot be loaded: ${(cause as Error).message}`;
    throw new SweetError('ERR_BACKEND', `The backend 'wasm' cannot be used here: ${reason}`, { cause });
  }
}

const NO_PERMISSION = `Node's permission model does not let sweet-rl load its native addon: start Node with --allow-addons,
and with an --allow-fs-read that includes the folder of the package.`;

function whyNoAddon(): string {
  const { platform, arch, versions } = process;
  const system = `${platform}-${arch}${platform === 'linux' ? ` (${libc() ?? 'unknown libc'})` : ''}`;
  return `sweet-rl has no native addon that loads on ${system} with Node-API ${versions.napi ?? 'unknown'}.
  npx sweet-rl build   compiles it, with CMake and a C++17 compiler
  npx sweet-rl info    prints what this system is and what was tried
In a bundle, the addon is found in one of two ways (docs/guide/install.md has a line for each bundler):
  exclude sweet-rl     serverExternalPackages: ['sweet-rl'] in Next.js, externals of the other bundlers
  sweet-rl/static      the entry to bundle instead, with a bundler that copies .node files`;
}
