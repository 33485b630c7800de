import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';
import { default as base } from '../../vitest.config.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** The operations' own tests on device buffers, then what only CUDA has. */
export default defineConfig({
  root: here('../..'),
  resolve: base.resolve!,
  test: {
    testTimeout: 120_000,
    // Threads of the host are none of theirs; and gradients are compared with the oracle's, whose finite differences are
    // checked elsewhere.
    testNamePattern: /^(?!.*(number of threads|finite differences))/,
    projects: [
      {
        extends: true,
        test: { name: 'on device', include: ['test/ops/*.test.ts'], setupFiles: [here('./on-device.ts')] },
      },
      { extends: true, test: { name: 'device', include: ['test/cuda/*.test.ts'] } },
    ],
  },
});
