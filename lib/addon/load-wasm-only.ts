// In place of load.ts in dist-wasm/, for browsers and all else that has no addons: the module is a part of the bundle.
import bytes from 'sweet-rl.wasm';
import type { LoadedNative } from './load.js';
import { nativeOf } from './wasm-native.js';

export const loadNative = (): LoadedNative => ({
  native: nativeOf(bytes, 'this is the WebAssembly build'),
  file: 'WebAssembly',
});
