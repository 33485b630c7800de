import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  // The tests see what users see: the built package under its name.
  resolve: { alias: { 'sweet-rl': fileURLToPath(new URL('./dist/index.js', import.meta.url)) } },
  test: { include: ['test/*.test.ts'], testTimeout: 60_000 },
});
