// In place of load-cuda.cts in dist-wasm/.
import type { Loaded } from './load-cuda.cjs';

export const load = (): Loaded => ({ reason: 'this is the WebAssembly build' });
