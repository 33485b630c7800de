import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import base from '../../vitest.config.ts';

/** All stages with a model on the CPU, which takes minutes: npm run test:colbench:e2e */
export default defineConfig({
  ...base,
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: { ...base.test, include: ['test/e2e/*.test.ts'], testTimeout: 1_200_000 },
});
