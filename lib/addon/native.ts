// The addon, loaded and typed. Operations are called by `invoke` and `start` alone: elsewhere their arguments have names.

import { expected, rangeError, SweetError, typeError } from '../errors.js';
import { gemmLibrary, whyNoCuda } from './cuda.js';
import { variable } from './environment.js';
import type { Fault } from './faults.js';
import { type LoadedNative, loadNative } from './load.js';
import { type AsyncOperation, encode, type Operations, type Returns } from './operations.js';
import { SLOWER } from './wasm-native.js';

type Done = (fault: Fault | undefined) => void;

type NativeOperations = {
  [K in keyof Operations]: (...args: readonly unknown[]) => Returns<Fault>[K];
} & {
  /**
   * The async form; the last argument is a `Done`. Returns the number of the call, until `Done` is called. Arrays of an
   * ArrayBuffer of up to `copiedBytes` are copied: inputs at the start; results back, where there is no fault, at the end.
   */
  [K in AsyncOperation as `${K}Async`]: (...args: readonly unknown[]) => number;
} & {
  /** Ends an async call, waiting or running, soon; its fault is then 'cancelled'. */
  cancel(call: number): void;
  readonly copiedBytes: number;
};

/** One set of kernels, and whether it can be used here. */
export interface Backend {
  name: 'avx512bf16' | 'avx512' | 'avx2' | 'neon' | 'portable' | 'wasm' | 'cuda';
  available: boolean;
  active: boolean;
  reason?: string;
  /** Of the gradients of the logits in the backward pass of bfloat16 linear heads, where a call gives no `precision`. */
  precision?: 'float32' | 'storage';
  /** Of 'cuda', where it is available: what computes the matrix products of linear heads, and why not cuBLASLt. */
  products?: string;
  /** Of 'wasm': why it is slower. */
  note?: string;
}

/** The failed step, with the error number of the system and the size found. */
export interface ShmFault {
  step: 'create' | 'open' | 'allocate' | 'size' | 'map' | 'buffer';
  errno: number;
  bytes: number;
}

/** A mapping: its number is for shmClose. */
export interface OpenedShm {
  buffer: ArrayBuffer;
  number: number;
}

export interface Native extends NativeOperations {
  backends(): Backend[];
  useBackend(name: string): boolean;
  /** CPUs of the affinity mask, of the quota (Infinity without one), and the smaller of both; `root` is '' but in tests. */
  cpus(root: string): { affinity: number; quota: number; usable: number };
  threads(): number;
  setThreads(n: number): void;
  /** bytes 0 maps all of it; maxBytes is the largest size of an ArrayBuffer. */
  shmOpen(options: { name: string; bytes: number; create: boolean; maxBytes: number }): OpenedShm | ShmFault;
  /** Whether the memory is unmapped now. */
  shmClose(opened: OpenedShm): boolean;
  /** 0 or the error number of the system. */
  shmUnlink(name: string): number;
  isShm(buffer: ArrayBuffer): boolean;
  /**
   * Writes three numbers for each array: which shared memory it views, and the range of its bytes there; 0 and its addresses
   * for other memory. Arrays share memory where the first number is the same and the ranges overlap.
   */
  addresses(to: Float64Array, ...arrays: readonly (ArrayBufferView | undefined)[]): void;
}

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
