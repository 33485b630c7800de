// The native functions, typed. They take their arguments in a fixed order, in the groups below, which binding/args.cc
// reads in the same order.
import { products, whyNoCuda } from './cuda.js';
import { expected, type Fault, rangeError, SweetError, typeError } from './errors.js';
import { type Loaded, libc, load } from './load-native.cjs';

/** A typed array, or the device buffer that stands for it. */
type View = ArrayBufferView | undefined;

/** logits, dtype, rows, vocab, stride, temperature */
export type LogitsHeadArgs = readonly [View, number, number, number, number, number];
/** hidden, weight, bias, dtype, rows, vocab, width, temperature, chunkBytes */
export type LinearHeadArgs = readonly [View, View, View, number, number, number, number, number, number];
/** whether it is linear, then the head */
export type HeadArgs = readonly [false, ...LogitsHeadArgs] | readonly [true, ...LinearHeadArgs];
/** labels, whether they are 64-bit, mask, ignoreIndex */
export type LabelArgs = readonly [View, boolean, View, number];
/** vocabOffset, totalVocab */
export type ShardArgs = readonly [number, number];
/** gradHidden, gradWeight, gradBias, accumulate */
export type LinearGradientArgs = readonly [View, View, View, boolean];
/** gradLogits, or undefined and the gradients of a linear head */
export type GradientArgs = readonly [View, ...LinearGradientArgs];
/** tokens, mask, turnOffsets, mean, allowEmptyTurns */
export type TurnArgs = readonly [number, View, View, boolean, boolean];
/** tokens, mask, turnOffsets, trajectoryOffsets, chosen, rejected, pairWeights */
export type BatchArgs = readonly [number, View, View, View, View, View, View];
/** normalization, allowEmptyTurns, lossType, beta, labelSmoothing, pairDenominator, nllCoef, nllDenominator */
export type PreferenceOptionArgs = readonly [number, boolean, number, number, number, number, number, number];
/** scalars, pairLosses, margins, chosenRewards, rejectedRewards, turnAdvantages, gradLogps */
export type PreferenceOutArgs = readonly [View, View, View, View, View, View, View];
/** refLogps, or undefined and the reference's head */
export type ReferenceArgs = readonly [View] | readonly [undefined, ...HeadArgs];

type Status = Fault | undefined;

/** One set of kernels, and whether it can be used here. */
export interface Backend {
  name: 'avx512bf16' | 'avx512' | 'avx2' | 'neon' | 'portable' | 'cuda';
  available: boolean;
  active: boolean;
  reason?: string;
  /** Of 'cuda', where it is available: what computes the matrix products of linear heads, and why not cuBLASLt. */
  products?: string;
}

/** What the operations over the vocabulary take, each of which may run now or later. */
export interface OperationArgs {
  /** ..., logps, lse, entropy */
  tokenLogps: readonly [...LogitsHeadArgs, ...LabelArgs, View, View, View];
  /** ..., lse, gradLogps, gradLogits */
  tokenLogpsBackward: readonly [...LogitsHeadArgs, ...ShardArgs, ...LabelArgs, View, View, View];
  linearLogps: readonly [...LinearHeadArgs, ...LabelArgs, View, View, View];
  /** ..., lse, gradLogps, the gradients */
  linearLogpsBackward: readonly [...LinearHeadArgs, ...ShardArgs, ...LabelArgs, View, View, ...LinearGradientArgs];
  /** ..., entropy, partials */
  partials: readonly [...HeadArgs, ...ShardArgs, ...LabelArgs, boolean, View];
  criticUpdate: UpdateArgs;
  policyUpdate: UpdateArgs;
}

type Operations = {
  [K in keyof OperationArgs]: (...args: OperationArgs[K]) => Status;
} & {
  /** The same, later: then calls `done`. Returns the call's number. */
  [K in keyof OperationArgs as `${K}Async`]: (...args: readonly [...OperationArgs[K], Done]) => number;
};

type Done = (status: Status) => void;

export interface Native extends Operations {
  /** rows, shards, partials, ..., logps, lse, entropy */
  mergePartials(...args: readonly [number, number, View, ...LabelArgs, View, View, View]): Status;
  /** ..., logps, refLogps, advantages */
  turnAdvantages(...args: readonly [...TurnArgs, View, View, View]): Status;
  /** ..., gradAdvantages, gradLogps */
  turnAdvantagesBackward(...args: readonly [...TurnArgs, View, View]): Status;
  trajectoryPreference: PreferenceLoss;
  turnPreference: PreferenceLoss;
  /** data, dtype, rows, width, stride, mask, whether -inf is as good as finite; -1 or row * width + column */
  firstNotFinite(...args: readonly [View, number, number, number, number, View, boolean]): number;
  /** Ends a call that runs later or waits for it, soon; its status is then 'cancelled'. */
  cancel(number: number): void;
  /** Another buffer, which keeps the memory of both; undefined where the runtime does not let us. */
  pin(buffer: ArrayBuffer): ArrayBuffer | undefined;
  backends(): Backend[];
  useBackend(name: string): boolean;
  threads(): number;
  setThreads(n: number): void;
  /** name, bytes or 0 for all, whether to create it, the most bytes that a buffer may have */
  shmOpen(name: string, bytes: number, create: boolean, most: number): ArrayBuffer | ShmFault;
  shmClose(buffer: ArrayBuffer): void;
  /** 0 or the system's error number */
  shmUnlink(name: string): number;
}

/** The step that failed, with the system's error number and the size that there is. */
export interface ShmFault {
  step: 'create' | 'open' | 'allocate' | 'size' | 'map' | 'buffer';
  errno: number;
  bytes: number;
}

/** ..., logps, refLogps, the results */
type PreferenceLoss = (
  ...args: readonly [...BatchArgs, ...PreferenceOptionArgs, View, View, ...PreferenceOutArgs]
) => Status;

/** ..., logps, the results, the gradients */
type UpdateArgs = readonly [
  ...HeadArgs,
  ...LabelArgs,
  ...ReferenceArgs,
  ...BatchArgs,
  ...PreferenceOptionArgs,
  View,
  ...PreferenceOutArgs,
  ...GradientArgs,
];

function loadNative(): { native: Native; addonFile: string | undefined } {
  const { addon, file } = loaded();
  const native = addon as Native;
  const backend = process.env.SWEET_RL_BACKEND;
  if (backend) switchBackend(native, backend, 'SWEET_RL_BACKEND');
  const threads = process.env.SWEET_RL_THREADS;
  if (threads) native.setThreads(threadCount('SWEET_RL_THREADS', /^\d+$/.test(threads) ? Number(threads) : threads));
  return { native, addonFile: file };
}

function loaded(): Loaded {
  try {
    return load();
  } catch (cause) {
    const { platform, arch, versions } = process;
    const system = `${platform}-${arch}${platform === 'linux' ? ` (${libc() ?? 'unknown libc'})` : ''}`;
    throw new SweetError(
      'ERR_ADDON',
      `sweet-rl has no native addon that loads on ${system} with Node-API ${versions.napi ?? 'unknown'}.\n` +
        '  npx sweet-rl build   compiles it, with CMake and a C++17 compiler\n' +
        '  npx sweet-rl info    tells what this system is and what was tried',
      { cause },
    );
  }
}

/** `argument` names what asked for it, an argument or an environment variable. */
export function switchBackend(addon: Native, name: unknown, argument: string): void {
  const list = addon.backends();
  const names = [...list.map((backend) => backend.name), 'cuda'].map((each) => `'${each}'`).join(' | ');
  const wanted = name === 'cuda' ? cudaBackend() : list.find((backend) => backend.name === name);
  if (typeof name !== 'string') throw typeError('ERR_ARG_TYPE', expected(names, argument, name));
  if (wanted === undefined) throw rangeError('ERR_ARG_VALUE', expected(names, argument, name));
  if (name === 'cuda' || !addon.useBackend(name)) {
    const reason = wanted.reason ?? 'calls on device buffers use it by themselves, typed arrays need another one';
    throw new SweetError('ERR_BACKEND', `The backend '${name}' cannot be used here: ${reason}`);
  }
}

export function cudaBackend(): Backend {
  const reason = whyNoCuda();
  const state = { name: 'cuda', active: false } as const;
  if (reason !== undefined) return { ...state, available: false, reason };
  return { ...state, available: true, products: products() };
}

export function threadCount(argument: string, n: unknown): number {
  const rule = 'an integer from 1 to 256';
  if (typeof n !== 'number') throw typeError('ERR_ARG_TYPE', expected(rule, argument, n));
  if (!Number.isInteger(n) || n < 1 || n > 256) throw rangeError('ERR_ARG_VALUE', expected(rule, argument, n));
  return n;
}

/** The addon, and the file that it is. */
export const { native, addonFile } = loadNative();
