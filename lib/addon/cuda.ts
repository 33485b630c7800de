// The addon of sweet-rl-cuda, typed, and loaded on first use.

import { SweetError } from '../errors.js';
import { check, type Fault } from './faults.js';
import { load } from './load-cuda.cjs';
import type { AsyncOperation, DeviceOperation, Returns } from './operations.js';

type Status = Fault | undefined;

/** What the driver knows of an address; begin and bytes only of device memory. */
export interface Location {
  kind: 'none' | 'host' | 'device';
  device: number;
  begin: bigint;
  bytes: number;
}

/** The shape of a new DeviceBuffer. */
interface Shape {
  length: number;
  bytesPerElement: number;
  device: number;
}

type DeviceOperations = {
  [K in DeviceOperation]: (...args: readonly unknown[]) => Returns<Fault>[K];
} & {
  [K in AsyncOperation as `${K}Async`]: (...args: readonly unknown[]) => number;
};

/** The operations on device memory, and device memory, which belongs to a DeviceBuffer. */
export interface Cuda extends DeviceOperations {
  cancel(call: number): void;
  /** For each device the reason why it cannot be used, or ''; or the reason why there is none. */
  devices(): string[] | string;
  useDevice(device: number): Status;
  /** What computes matrix products: cuBLASLt and its file, or our own kernels and where cuBLASLt was looked for. */
  gemmLibrary(): string;
  /** The most bytes of working memory of one operation since the last call of this function. */
  takePeakScratch(): number;
  /** Returns the memory that is kept for later operations to the driver: its bytes. */
  freeCached(): number | Fault;
  allocate(buffer: object, shape: Shape): Status;
  /** Memory of another library. */
  view(buffer: object, memory: Shape & { ptr: bigint }): Status;
  part(buffer: object, of: Shape & { parent: object; byteOffset: number }): Status;
  openShared(buffer: object, memory: Shape & { handle: Uint8Array; byteOffset: number }): Status;
  /** Fills the handle; returns the address at which its memory begins. */
  share(buffer: object, handle: Uint8Array): bigint | Fault;
  locate(ptr: bigint): Location | Fault;
  address(buffer: object): bigint;
  /** Work that any thread starts on this device from now on waits for what the foreign stream was given so far. */
  follow(stream: bigint): Status;
  setZero(buffer: object): Status;
  dispose(buffer: object): void;
  write(buffer: object, array: ArrayBufferView): Status;
  read(buffer: object, array: ArrayBufferView, fromByte: number): Status;
  writeAsync(buffer: object, array: ArrayBufferView): Promise<Status>;
  readAsync(buffer: object, array: ArrayBufferView): Promise<Status>;
}

let loaded: ReturnType<typeof load> | undefined;
let refusals: string[] | undefined;

/** The reason why CUDA cannot be used here; undefined where it can. */
export function whyNoCuda(): string | undefined {
  if (refusals !== undefined) return undefined;
  loaded ??= load();
  if (loaded.reason !== undefined) return loaded.reason;
  const found = (loaded.addon as Cuda).devices();
  if (typeof found === 'string') return found;
  if (!found.includes('')) return found.join('; ');
  refusals = found;
  return undefined;
}

/** For each device the reason why it cannot be used; '' for at least one, which can. */
export function deviceRefusals(): string[] {
  const reason = whyNoCuda();
  if (reason !== undefined) throw new SweetError('ERR_BACKEND', `The backend 'cuda' cannot be used here: ${reason}`);
  return refusals as string[];
}

/** What computes the matrix products of linear heads, after whyNoCuda() found no reason. */
export function gemmLibrary(): string {
  return (loaded as { addon: Cuda }).addon.gemmLibrary();
}

/** The addon, after deviceRefusals() returned: the calls of this thread use that device from here on. */
export function cudaOn(device: number): Cuda {
  const { addon } = loaded as { addon: Cuda };
  check(addon.useDevice(device));
  return addon;
}
