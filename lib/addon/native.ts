// The addon, loaded and typed. Operations are called by `invoke` and `start` alone: elsewhere their arguments have names.

import { expected, rangeError, SweetError, typeError } from '../errors.js';
import { gemmLibrary, whyNoCuda } from './cuda.js';
import { variable } from './environment.js';
import type { Fault } from './faults.js';
import type { Backend, Done, Native, NativeOperations } from './interface.js';
import { type LoadedNative, loadNative } from './load.js';
import { type AsyncOperation, encode, type Operations, type Returns } from './operations.js';
import { SLOWER } from './wasm-native.js';

export type { Backend, Native, OpenedShm, ShmFault } from './interface.js';

/** An addon with the operations: that of the CPU, or of sweet-rl-cuda. */
export type Addon = Pick<Native, keyof NativeOperations>;

/** Runs an operation. */
export function invoke<K extends keyof Operations>(addon: Addon, name: K, call: Operations[K]): Returns<Fault>[K] {
  const operation = addon[name] as ((...args: readonly unknown[]) => Returns<Fault>[K]) | undefined;
  if (operation === undefined) throw staleAddon(name);
  return operation(...encode[name](call));
}

/** Starts the async form with encoded arguments; returns the number of the call. */
export function start(addon: Addon, name: AsyncOperation, args: readonly unknown[], done: Done): number {
  const operation = addon[`${name}Async`] as ((...args: readonly unknown[]) => number) | undefined;
  if (operation === undefined || addon.copiedBytes === undefined) throw staleAddon(`${name}Async`);
  return operation(...args, done);
}

/** The error of an addon that was built before this operation was added. */
function staleAddon(name: string): SweetError {
  return new SweetError(
    'ERR_ADDON',
    `The native addon has no operation '${name}': it was built from other sources than this version of sweet-rl.\n` +
      '  npx sweet-rl build   compiles it again; in a clone: npm run build, npm run build:cuda',
  );
}

function ready(): LoadedNative {
  const loaded = loadNative();
  const backend = variable('SWEET_RL_BACKEND');
  if (backend) switchBackend(loaded.native, backend, 'SWEET_RL_BACKEND');
  const threads = variable('SWEET_RL_THREADS');
  if (threads) {
    loaded.native.setThreads(threadCount('SWEET_RL_THREADS', /^\d+$/.test(threads) ? Number(threads) : threads));
  }
  return loaded;
}

/** `argument` is the name of the argument or the environment variable that asks for it. */
export function switchBackend(addon: Native, name: unknown, argument: string): void {
  const list = hostBackends(addon);
  const names = [...list.map((backend) => backend.name), 'cuda'].map((each) => `'${each}'`).join(' | ');
  const wanted = name === 'cuda' ? cudaBackend() : list.find((backend) => backend.name === name);
  if (typeof name !== 'string') throw typeError('ERR_ARG_TYPE', expected(names, argument, name));
  if (wanted === undefined) throw rangeError('ERR_ARG_VALUE', expected(names, argument, name));
  if (name === 'cuda' || !addon.useBackend(name)) {
    const reason = wanted.reason ?? 'DeviceBuffers use it automatically; select a CPU backend for typed arrays';
    throw new SweetError('ERR_BACKEND', `The backend '${name}' cannot be used here: ${reason}`);
  }
}

/** All but 'cuda'. The native addon has no 'wasm', and WebAssembly nothing else. */
export function hostBackends(addon: Native): Backend[] {
  const list = addon.backends();
  if (list.some(({ name }) => name === 'wasm')) return list;
  const reason = 'the native addon is loaded, which is faster; SWEET_RL_BACKEND=wasm at start selects WebAssembly';
  return [...list, { name: 'wasm', available: false, active: false, reason, note: SLOWER }];
}

export function cudaBackend(): Backend {
  const reason = whyNoCuda();
  const state = { name: 'cuda', active: false } as const;
  if (reason !== undefined) return { ...state, available: false, reason };
  return { ...state, available: true, products: gemmLibrary() };
}

export function threadCount(argument: string, n: unknown): number {
  const rule = 'an integer from 1 to 256';
  if (typeof n !== 'number') throw typeError('ERR_ARG_TYPE', expected(rule, argument, n));
  if (!Number.isInteger(n) || n < 1 || n > 256) throw rangeError('ERR_ARG_VALUE', expected(rule, argument, n));
  return n;
}

/** The addon or what takes its place, its file, and why it is not the addon. */
export const { native, file: addonFile, fallback } = ready();
