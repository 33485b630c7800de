import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const dist = fileURLToPath(new URL('./dist/', import.meta.url));

export default defineConfig({
  // The tests see what users see: the built package under its names.
  resolve: {
    alias: [
      { find: /^sweet-rl$/, replacement: `${dist}index.js` },
      { find: /^sweet-rl\/(jax|tfjs)$/, replacement: `${dist}adapters/$1.js` },
      { find: /^sweet-rl\/(shm|safetensors)$/, replacement: `${dist}io/$1.js` },
      { find: /^sweet-rl\/objectives$/, replacement: `${dist}objectives/index.js` },
      { find: /^sweet-rl\/wasm$/, replacement: fileURLToPath(new URL('./dist-wasm/index.js', import.meta.url)) },
      { find: /^sweet-rl\/static$/, replacement: `${dist}static.js` },
    ],
  },
  test: {
    include: ['test/*/*.test.ts'],
    exclude: ['test/cuda/**', 'test/vectors/**'],
    testTimeout: 60_000,
    maxWorkers: '100%',
  },
});
