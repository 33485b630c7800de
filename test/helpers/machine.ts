/** Runs tests on every backend that this machine has, and gives the process back as it was. */
import { backends, setThreads, threads, useBackend } from 'sweet-rl';
import { afterAll, beforeAll, describe } from 'vitest';

export type BackendName = Parameters<typeof useBackend>[0];

export const availableBackends: BackendName[] = backends()
  .filter(({ name, available }) => available && name !== 'cuda') // which takes device buffers alone
  .map((backend) => backend.name);

export const THREAD_COUNTS = [1, 2, 3, 8];

export function forEachBackend(tests: (backend: BackendName) => void): void {
  describe.each(availableBackends)('%s', (backend) => {
    let before: BackendName;
    beforeAll(() => {
      before = activeBackend();
      useBackend(backend);
    });
    afterAll(() => useBackend(before));
    tests(backend);
  });
}

export function activeBackend(): BackendName {
  return backends().find((backend) => backend.active)!.name;
}

/** The results of `compute` under each thread count. */
export function underThreadCounts<T>(compute: () => T): { count: number; result: T }[] {
  const before = threads();
  try {
    return THREAD_COUNTS.map((count) => {
      setThreads(count);
      return { count, result: compute() };
    });
  } finally {
    setThreads(before);
  }
}
