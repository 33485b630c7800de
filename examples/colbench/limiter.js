/** So many at once, the rest in the order in which they came. */

export class Limiter {
  #free;
  /** @type {(() => void)[]} */
  #waiting = [];

  /** @param {number} most */
  constructor(most) {
    if (!Number.isInteger(most) || most < 1) {
      throw new RangeError(`Expected a whole number from 1 on for concurrency but received ${most}`);
    }
    this.#free = most;
  }

  /**
   * @template T
   * @param {() => Promise<T>} action
   * @param {AbortSignal} [signal] ends the waiting
   * @returns {Promise<T>}
   */
  async run(action, signal) {
    signal?.throwIfAborted();
    if (this.#free > 0) this.#free -= 1;
    else await this.#turn(signal);
    try {
      return await action();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free += 1;
      else next();
    }
  }

  /** @param {AbortSignal | undefined} signal @returns {Promise<void>} */
  #turn(signal) {
    return new Promise((resolve, reject) => {
      const go = () => {
        signal?.removeEventListener('abort', abort);
        resolve();
      };
      const abort = () => {
        this.#waiting.splice(this.#waiting.indexOf(go), 1);
        reject(signal?.reason);
      };
      signal?.addEventListener('abort', abort, { once: true });
      this.#waiting.push(go);
    });
  }
}

/**
 * The results of an action on each item, in the items' order, with so many under way at once; no more items are read than that.
 * @template T, R
 * @param {AsyncIterable<T> | Iterable<T>} items
 * @param {number} most
 * @param {(item: T) => Promise<R>} action
 * @returns {AsyncGenerator<R>}
 */
export async function* mapInOrder(items, most, action) {
  /** @type {Promise<R>[]} */
  const underWay = [];
  try {
    for await (const item of items) {
      const result = action(item);
      // Whoever waits for it sees the error; until then it is no unhandled one.
      result.catch(() => {});
      underWay.push(result);
      if (underWay.length >= most) yield/** @type {R} */ (await underWay.shift());
    }
    while (underWay.length > 0) yield/** @type {R} */ (await underWay.shift());
  } finally {
    await Promise.allSettled(underWay);
  }
}
