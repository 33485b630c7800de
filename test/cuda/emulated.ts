/** The controls of the emulator in the addon that SWEET_RL_CUDA names. */
import { createRequire } from 'node:module';

interface Emulator {
  setSeed(seed: number): void;
  failCall(n: number, error: number): void;
  report(): string;
  reset(): void;
  liveObjects(): number;
}

const path = process.env.SWEET_RL_CUDA;
if (path === undefined) throw new Error('SWEET_RL_CUDA must name an addon: npm run test:cuda');

/** The addon; on a GPU it has no controls, and the tests of the operations need none. */
const addon = createRequire(import.meta.url)(path) as Emulator;

export const { failCall, report, reset, liveObjects } = addon;
export const setSeed = addon.setSeed ?? (() => {});
