// The functions of the addon over the WebAssembly module: typed arrays are copied into its memory and results back. Uses
// nothing of Node.

import { SweetError } from '../errors.js';
import { typedArrayBuffer, typedArrayBytes, typedArrayLength, typedArrayOffset } from '../typed-arrays.js';
import type { Fault } from './faults.js';
import type { Backend, Native } from './interface.js';
import { ASYNC_OPERATIONS, encode, FAULTS, type Operations, type View } from './operations.js';

/** See binding/wasm/module.cc. Addresses are signed here. */
interface Module {
  memory: { readonly buffer: ArrayBuffer };
  _initialize(): void;
  allocate(bytes: number): number;
  release(address: number): void;
  call(operation: number, args: number): number;
  status(): number;
}

/** Of a WebAssembly engine; TypeScript declares it for browsers alone. */
declare const WebAssembly: {
  Module: new (bytes: Uint8Array) => object;
  Instance: new (module: object, imports: object) => { exports: unknown };
};

const NAMES = Object.keys(encode) as (keyof Operations)[];
const ALIGNMENT = 64;
const aligned = (bytes: number): number => Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;

const MEMORY_FAULT: Fault = { code: 'memory', index: 0, value: 0 };
const CANCELLED: Fault = { code: 'cancelled', index: 0, value: 0 };

/** What `backends()` says of 'wasm'. */
export const SLOWER = 'slower than native code: one thread, vectors of 128 bits without FMA, arrays are copied';

function bytesOf(array: ArrayBufferView) {
  const from = typedArrayOffset.call(array);
  return { buffer: typedArrayBuffer.call(array), from, to: from + typedArrayBytes.call(array) };
}

function bytesAt(array: View): Uint8Array {
  const { buffer, from, to } = bytesOf(array);
  return new Uint8Array(buffer, from, to - from);
}

/** An array of a call, and where its copy is from the begin of the call's block. */
interface Placed {
  array: View;
  offset: number;
  bytes: number;
}

/** One block in the module's memory: the arguments, as binding/wasm/args.h reads them, and after them the arrays. */
class Call {
  private readonly slots: number[] = [];
  /** By the index of the slot that has its address. Arrays of exactly the same memory have one copy. */
  private readonly arrays = new Map<number, Placed>();
  private readonly block: number;

  constructor(
    private readonly module: Module,
    private readonly operation: keyof Operations,
    args: readonly unknown[],
  ) {
    for (const arg of args) this.add(arg);
    let bytes = aligned(this.slots.length * 8);
    const offset = bytes;
    for (const placed of new Set(this.arrays.values())) {
      placed.offset = bytes;
      bytes += aligned(placed.bytes);
    }
    this.block = module.allocate(bytes) >>> 0;
    if (this.block === 0) return;
    for (const [slot, placed] of this.arrays) this.slots[slot] = this.block + placed.offset;
    new Float64Array(module.memory.buffer, this.block, offset / 8).set(this.slots);
    for (const placed of new Set(this.arrays.values())) this.memoryOf(placed).set(bytesAt(placed.array));
  }

  private add(arg: unknown): void {
    const { slots, arrays } = this;
    if (typeof arg === 'number' || typeof arg === 'boolean') {
      slots.push(Number(arg));
    } else if (ArrayBuffer.isView(arg)) {
      const array = arg as View;
      const { buffer, from, to } = bytesOf(array);
      const known = [...arrays.values()].find((each) => {
        const other = bytesOf(each.array);
        return other.buffer === buffer && other.from === from && other.to === to;
      });
      arrays.set(slots.length, known ?? { array, offset: 0, bytes: to - from });
      slots.push(0, typedArrayLength.call(array));
    } else {
      slots.push(0, arg === undefined ? 0 : -1); // what is no array is refused
    }
  }

  private memoryOf({ offset, bytes }: Placed): Uint8Array {
    return new Uint8Array(this.module.memory.buffer, this.block + offset, bytes);
  }

  /** Runs the operation once; copies results back where there is no fault. */
  run(): number | Fault | undefined {
    const { module, block, operation } = this;
    if (block === 0) return MEMORY_FAULT;
    try {
      const result = module.call(NAMES.indexOf(operation), block);
      if (!Number.isNaN(result)) return result;
      const [code, index, value] = new Float64Array(module.memory.buffer, module.status() >>> 0, 3);
      if (code !== 0) return { code: FAULTS[(code as number) - 1], index, value } as Fault;
      const written = new Float64Array(module.memory.buffer, block, this.slots.length);
      for (const [slot, placed] of this.arrays) {
        if (written[slot] === 1) bytesAt(placed.array).set(this.memoryOf(placed));
      }
      return undefined;
    } finally {
      this.release();
    }
  }

  release(): void {
    this.module.release(this.block);
  }
}

/** `why`: the reason why there is no native addon, for the other backends and shared memory. */
export function nativeOf(bytes: Uint8Array, why: string): Native {
  const module = new WebAssembly.Instance(new WebAssembly.Module(bytes), {}).exports as Module;
  module._initialize();

  const sync = NAMES.map((name) => [name, (...args: readonly unknown[]) => new Call(module, name, args).run()]);

  // An async call copies its arrays at once, and runs on this thread in a later turn of the event loop.
  const waiting = new Map<number, { cancelled: boolean }>();
  let lastNumber = 0;
  const later = ASYNC_OPERATIONS.map((name) => [
    `${name}Async`,
    (...args: readonly unknown[]): number => {
      const done = args.at(-1) as (fault: Fault | undefined) => void;
      const call = new Call(module, name, args.slice(0, -1));
      const number = ++lastNumber;
      const state = { cancelled: false };
      waiting.set(number, state);
      setTimeout(() => {
        waiting.delete(number);
        if (!state.cancelled) return done(call.run() as Fault | undefined);
        call.release();
        done(CANCELLED);
      });
      return number;
    },
  ]);

  const memories = new WeakMap<object, number>();
  let lastMemory = 0;
  const noSharedMemory = (): never => {
    throw new SweetError('ERR_ADDON', `Shared memory needs the native addon: ${why}`);
  };
  const others = ['avx512bf16', 'avx512', 'avx2', 'neon', 'portable'] as const;

  return {
    ...Object.fromEntries([...sync, ...later]),
    copiedBytes: Number.POSITIVE_INFINITY,
    cancel(number: number): void {
      const state = waiting.get(number);
      if (state !== undefined) state.cancelled = true;
    },
    backends: (): Backend[] => [
      ...others.map((name) => ({ name, available: false, active: false, reason: `needs the native addon: ${why}` })),
      { name: 'wasm', available: true, active: true, note: SLOWER },
    ],
    useBackend: (name: string) => name === 'wasm',
    cpus: () => ({ affinity: 1, quota: Number.POSITIVE_INFINITY, usable: 1 }),
    threads: () => 1,
    setThreads() {},
    shmOpen: noSharedMemory,
    shmClose: noSharedMemory,
    shmUnlink: noSharedMemory,
    isShm: () => false,
    addresses(to: Float64Array, ...arrays: readonly (ArrayBufferView | undefined)[]): void {
      for (const [i, array] of arrays.entries()) {
        const { buffer, from, to: end } = array === undefined ? { buffer: to, from: 0, to: 0 } : bytesOf(array);
        const memory = memories.get(buffer) ?? ++lastMemory;
        memories.set(buffer, memory);
        to.set([memory, from, end], 3 * i);
      }
    },
  } as Native;
}
