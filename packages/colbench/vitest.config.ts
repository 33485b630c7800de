import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import base from '../../vitest.config.ts';

/** Tests of the package, which import the built sweet-rl by its name: npm run test:examples */
export default defineConfig({
  ...base,
  root: fileURLToPath(new URL('.', import.meta.url)),
  test: { ...base.test, include: ['test/**/*.test.ts'], exclude: ['test/e2e/**'], testTimeout: 300_000 },
});
