/** Limits on what runs at once. */
import pLimit from 'p-limit';

/**
 * At most `concurrency` actions run at once; the others wait in the order of their calls.
 * @returns rejects at once if `signal` aborts while the action waits, which p-limit does not do; a running action has to watch the signal itself
 */
export function createLimiter(concurrency: number): <T>(action: () => Promise<T>, signal?: AbortSignal) => Promise<T> {
  if (!Number.isInteger(concurrency) || concurrency < 1) {
    throw new RangeError(`Expected a whole number from 1 on for concurrency but received ${concurrency}`);
  }
  const limit = pLimit(concurrency);
  return (action, signal) =>
    new Promise((resolve, reject) => {
      signal?.throwIfAborted();
      const abort = () => reject(signal?.reason);
      signal?.addEventListener('abort', abort, { once: true });
      const start = () => {
        signal?.removeEventListener('abort', abort);
        signal?.throwIfAborted();
        return action();
      };
      limit(start).then(resolve, reject);
    });
}

/**
 * Yields the result of `action` on each item, in the order of the items, and runs at most `concurrency` actions at
 * once. Reads no item earlier than it can start its action. Waits for the running actions when one fails or the reader
 * stops.
 */
export async function* mapInOrder<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  concurrency: number,
  action: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const running: Promise<R>[] = [];
  try {
    for await (const item of items) {
      const result = action(item);
      // The error is thrown where the result is awaited; until then it must not count as unhandled.
      result.catch(() => {});
      running.push(result);
      if (running.length >= concurrency) yield (await running.shift()) as R;
    }
    while (running.length > 0) yield (await running.shift()) as R;
  } finally {
    await Promise.allSettled(running);
  }
}
