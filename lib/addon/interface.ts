// The functions of the CPU's addon, and of the WebAssembly module in its place.
import type { Fault } from './faults.js';
import type { AsyncOperation, Operations, Returns } from './operations.js';

export type Done = (fault: Fault | undefined) => void;

export type NativeOperations = {
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
