/** Runs stages in order, from the cache if possible, otherwise with progress and timings. */
import { clock } from './native.js';
import { Progress } from './progress.js';

/**
 * @template Value
 * @typedef {object} Stage
 * @property {Value} value
 * @property {string} key hash of everything that the value depends on
 */
/** @typedef {{ title: string, seconds: number, nativeSeconds: number, nativeCalls: number, cached: boolean }} Timing */

export class Pipeline {
  #cache;
  #total;
  /** @type {Timing[]} */
  timings = [];

  /** @param {import('./cache.js').Cache} cache @param {number} total count of stages to come */
  constructor(cache, total) {
    this.#cache = cache;
    this.#total = total;
  }

  /**
   * @template Value
   * @param {string} title
   * @param {unknown} settings what the result depends on besides the code and the inputs
   * @param {Stage<any>[]} inputs the stages whose values `compute` uses
   * @param {(onProgress: (done: number, total: number) => void) => Value | Promise<Value>} compute
   * @param {(value: Value) => string} describe a line about the result
   * @returns {Promise<Stage<Value>>}
   */
  async stage(title, settings, inputs, compute, describe) {
    const key = this.#cache.key(title, settings, ...inputs.map((input) => input.key));
    const number = `[${this.timings.length + 1}/${this.#total}]`;
    const progress = new Progress(`${number} ${title}`);
    let cached = true;
    const { value, timing } = await this.#cache.get(key, async () => {
      cached = false;
      const before = { ...clock };
      const start = performance.now();
      const computed = await compute((done, total) => progress.update(done, total));
      const seconds = (performance.now() - start) / 1000;
      const nativeSeconds = clock.seconds - before.seconds;
      return { value: computed, timing: { title, seconds, nativeSeconds, nativeCalls: clock.calls - before.calls } };
    });
    this.timings.push({ ...timing, cached });
    const took = `${timing.seconds.toFixed(1)} s${cached ? ' (from an earlier run)' : ''}`;
    progress.finish(`${took.padStart(7)}  ${describe(value)}`);
    return { value, key };
  }
}
