// The addon of sweet-rl-cuda, typed, loaded when something first asks for it.
import { check, type Fault, SweetError } from './errors.js';
import { load } from './load-cuda.cjs';
import type { Native } from './native.js';

type Status = Fault | undefined;

/** What the driver knows of an address; begin and bytes only of device memory. */
export interface Location {
  kind: 'none' | 'host' | 'device';
  device: number;
  begin: bigint;
  bytes: number;
}

/** The operations on device memory, and that memory, which belongs to an object of JavaScript. */
export interface Cuda extends Omit<Native, 'pin' | 'firstNotFinite' | keyof Machine> {
  /** How many devices there are, or why there is none. */
  devices(): number | string;
  useDevice(device: number): Status;
  /** What computes matrix products: cuBLASLt and its file, or kernels of ours and where it was looked for. */
  products(): string;
  /** The most bytes of working memory of one operation, of those since this was last asked. */
  takePeakScratch(): number;
  allocate(owner: object, length: number, bytesPerElement: number, device: number): Status;
  /** Somebody else's memory. */
  view(owner: object, ptr: bigint, length: number, bytesPerElement: number, device: number): Status;
  part(owner: object, whole: object, fromByte: number, length: number, bytesPerElement: number): Status;
  openShared(
    owner: object,
    handle: Uint8Array,
    fromByte: number,
    length: number,
    bytesPerElement: number,
    device: number,
  ): Status;
  /** Fills the handle; where its memory begins. */
  share(owner: object, handle: Uint8Array): bigint | Fault;
  locate(ptr: bigint): Location | Fault;
  address(owner: object): bigint;
  /** This device's next work, of any thread, comes after what this foreign stream has been given. */
  follow(stream: bigint): Status;
  setZero(owner: object): Status;
  dispose(owner: object): void;
  /** Even if it is disposed, the memory stays until it is let go of. */
  hold(owner: object): void;
  letGo(owner: object): void;
  write(owner: object, array: ArrayBufferView): Status;
  read(owner: object, array: ArrayBufferView, fromByte: number): Status;
  writeAsync(owner: object, array: ArrayBufferView): Promise<Status>;
  readAsync(owner: object, array: ArrayBufferView): Promise<Status>;
}

type Machine = Pick<Native, 'backends' | 'useBackend' | 'threads' | 'setThreads'>;

let loaded: ReturnType<typeof load> | undefined;
let devices: number | undefined;

/** Why CUDA cannot be used here; undefined where it can. */
export function whyNoCuda(): string | undefined {
  if (devices !== undefined) return undefined;
  loaded ??= load();
  if (loaded.reason !== undefined) return loaded.reason;
  const found = (loaded.addon as Cuda).devices();
  if (typeof found === 'string') return found;
  devices = found;
  return undefined;
}

/** How many devices there are, at least one. */
export function deviceCount(): number {
  const reason = whyNoCuda();
  if (reason !== undefined) throw new SweetError('ERR_BACKEND', `The backend 'cuda' cannot be used here: ${reason}`);
  return devices as number;
}

/** What computes the matrix products of linear heads, once whyNoCuda() has found no reason. */
export function products(): string {
  return (loaded as { addon: Cuda }).addon.products();
}

/** The addon, once deviceCount() has answered: its calls of this thread work on that device from here on. */
export function cudaOn(device: number): Cuda {
  const { addon } = loaded as { addon: Cuda };
  check(addon.useDevice(device));
  return addon;
}
