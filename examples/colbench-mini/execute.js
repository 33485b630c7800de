/**
 * Executes programs in a worker with limits on time and memory. A program that does not compile, throws, does not end
 * or exhausts the memory has no results. If it ends the worker, a new worker runs the remaining programs.
 */
import { Worker } from 'node:worker_threads';

const programSeconds = 1;
const memoryMegabytes = 128;

/** @typedef {{ source: string, calls: number[][] }} Job */
/** @typedef {(string | null)[]} Output JSON per call, null if the program returned nothing */

export class Executor {
  /** @type {Worker | undefined} */
  #worker;
  /** The index of the worker's current job. */
  #current = new Int32Array(new SharedArrayBuffer(4));

  /** @param {Job[]} jobs @returns {Promise<Output[]>} */
  async run(jobs) {
    const outputs = jobs.map(({ calls }) => calls.map(() => /** @type {string | null} */ (null)));
    let left = jobs.map((_, i) => i);
    while (left.length) {
      const { finished, killer } = await this.#attempt(left.map((i) => jobs[i]));
      finished.forEach((output, i) => {
        outputs[left[i]] = output;
      });
      left = left.filter((_, i) => i >= finished.length && i !== killer);
    }
    return outputs;
  }

  async close() {
    await this.#worker?.terminate();
    this.#worker = undefined;
  }

  /** The outputs so far, and the index of the job that ended the worker, or -1. */
  #attempt(jobs) {
    const worker = this.#worker ?? this.#start();
    this.#worker = worker;
    return new Promise((resolve) => {
      /** @type {Output[]} */
      const finished = [];
      let last = -1;
      Atomics.store(this.#current, 0, 0);
      const watchdog = setInterval(() => {
        const now = Atomics.load(this.#current, 0);
        if (now === last) worker.terminate();
        last = now;
      }, programSeconds * 1000);
      const onMessage = (batch) => {
        finished.push(...batch);
        if (finished.length === jobs.length) end(-1);
      };
      const onExit = () => end(Atomics.load(this.#current, 0));
      const end = (killer) => {
        clearInterval(watchdog);
        worker.off('message', onMessage).off('exit', onExit);
        resolve({ finished, killer });
      };
      worker.on('message', onMessage).on('exit', onExit);
      worker.postMessage(jobs);
    });
  }

  #start() {
    const worker = new Worker(new URL('./execute-worker.js', import.meta.url), {
      workerData: this.#current,
      env: {},
      resourceLimits: { maxOldGenerationSizeMb: memoryMegabytes, maxYoungGenerationSizeMb: memoryMegabytes / 8 },
    });
    worker.on('error', () => {}); // exhausted memory is also an error event; the exit after it is handled
    worker.on('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
    });
    return worker;
  }
}
