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
if (path === undefined) throw new Error('SWEET_RL_CUDA must name an addon on the emulator: npm run test:cuda');

export const { setSeed, failCall, report, reset, liveObjects } = createRequire(import.meta.url)(path) as Emulator;
