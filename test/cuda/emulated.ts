/** The controls of the emulator in the addon that SWEET_RL_CUDA names. */
import { createRequire } from 'node:module';

interface Emulator {
  setSeed(seed: number): void;
  failCall(n: number, error: number): void;
  report(): string;
  reset(): void;
  liveObjects(): number;
  /** The memory pools of the process: the default one of each device, then the others. */
  pools(): { device: number; isDefault: boolean; threshold: number; used: number; reserved: number }[];
  /** Another library of this process: memory of a device (below 0: pinned), streams, copies that are put off. */
  foreignMemory(bytes: number, device: number): bigint;
  freeForeignMemory(ptr: bigint, pinned: boolean): void;
  foreignStream(device: number): bigint;
  endForeignStream(stream: bigint): void;
  foreignWrite(stream: bigint, ptr: bigint, bytes: Uint8Array): void;
  foreignRead(stream: bigint, ptr: bigint, bytes: Uint8Array): void;
}

const path = process.env.SWEET_RL_CUDA;
if (path === undefined) throw new Error('SWEET_RL_CUDA must name an addon: npm run test:cuda');

/** The addon; on a GPU it has no controls, and the tests of the operations need none. */
const addon = createRequire(import.meta.url)(path) as Emulator;

export const { failCall, report, reset, liveObjects, pools } = addon;
export const { foreignMemory, freeForeignMemory, foreignStream, endForeignStream, foreignWrite, foreignRead } = addon;
export const setSeed = addon.setSeed ?? (() => {});
