/** What differs between systems and not between instruction sets: threads, workers, the C library's exp and log. */
import { join } from 'node:path';
import { Worker } from 'node:worker_threads';
import * as namespace from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectSameBits } from '../helpers/compare.ts';
import { callCases, largeCall } from '../helpers/later.js';
import { forEachBackend } from '../helpers/machine.ts';
import { ROOT } from '../helpers/processes.ts';
import { DTYPES } from '../helpers/storage.ts';

type Results = Record<string, Float32Array | Uint16Array | number>;
const sweetRl = namespace as unknown as Record<string, (options: object) => Results | Promise<Results>>;

forEachBackend(() => {
  describe.each(DTYPES)('async calls on %s', (dtype) => {
    it.each(callCases(dtype))('$title: the bits of the sync call', async ({ name, options }) => {
      const expected = (await sweetRl[name]!(options())) as Results;
      const ours = (await sweetRl[`${name}Async`]!(options())) as Results;
      expect(Object.keys(ours)).toEqual(Object.keys(expected));
      for (const [key, value] of Object.entries(expected)) {
        if (ArrayBuffer.isView(value)) expectSameBits(key, ours[key] as Float32Array, value as Float32Array);
        else expect(ours[key], key).toEqual(value);
      }
    });
  });
});

it('computes losses with the same rounding on every thread', async () => {
  // Where exp and log are x87 code, whose precision is a setting of each thread, about 50 of these 200 differ.
  const [N, V] = [4, 1000];
  let different = 0;
  for (let k = 0; k < 200; k++) {
    const options = {
      logits: Float32Array.from({ length: N * V }, (_, i) => Math.sin((i + k * 7919) * 12.9898) * 4),
      labels: Int32Array.of(1, 2, 3, 4),
      refLogps: Float32Array.of(-7 - k / 50, -8, -6, -7.5),
      turnOffsets: Int32Array.of(0, 2, 4),
      trajectoryOffsets: Int32Array.of(0, 1, 2),
      chosen: Int32Array.of(0),
      rejected: Int32Array.of(1),
    };
    const { loss } = await namespace.criticUpdateAsync(options);
    if (namespace.criticUpdate(options).loss !== loss) different++;
  }
  expect(different).toBe(0);
});

it('ends an async call whose signal is aborted', async () => {
  const { name, options } = largeCall('linearLogps');
  const controller = new AbortController();
  const call = sweetRl[`${name}Async`]!({ ...options(), signal: controller.signal });
  controller.abort();
  await expect(call).rejects.toMatchObject({ name: 'AbortError' });
});

const PROGRAM = `
const { parentPort } = require('node:worker_threads');
const sweetRl = require(${JSON.stringify(join(ROOT, 'dist-cjs', 'index.js'))});
sweetRl.setThreads(2);
const [N, V] = [64, 32003];
const batch = { logits: new Float32Array(N * V).fill(0.5), labels: new Int32Array(N).fill(3) };
(async () => {
  for (let i = 0; i < 3; i++) {
    const { logps } = sweetRl.tokenLogps(batch);
    parentPort.postMessage([logps[0], (await sweetRl.tokenLogpsAsync(batch)).logps[N - 1]]);
  }
})();`;

interface Ended {
  messages: number[][];
  code: number;
}

/** Runs a worker to its end; `stop` ends it at its first message. */
function runWorker(code: string, stop: boolean): Promise<Ended> {
  return new Promise((resolve, reject) => {
    const messages: number[][] = [];
    const worker = new Worker(code, { eval: true });
    worker.on('error', reject);
    worker.on('message', (message) => {
      messages.push(message);
      if (stop) void worker.terminate();
    });
    worker.on('exit', (exit) => resolve({ messages, code: exit }));
  });
}

describe('workers', () => {
  // The addon's threads outlive the worker that loaded it: its code must stay mapped.
  it('load the addon, compute and end, one after the other', async () => {
    for (let k = 0; k < 3; k++) {
      const { messages } = await runWorker(PROGRAM, false);
      expect(messages).toHaveLength(3);
      for (const logps of messages.flat()) expect(logps).toBeCloseTo(-Math.log(32003), 5);
    }
  });

  it('may be terminated between their calls', async () => {
    const { messages } = await runWorker(`${PROGRAM}\nsetInterval(() => {}, 1000);`, true);
    expect(messages.length).toBeGreaterThan(0);
    const logits = Float32Array.of(0, 1, 2, 3);
    expect(namespace.tokenLogps({ logits, labels: Int32Array.of(3) }).logps[0]).toBeCloseTo(-0.4401897, 5);
  });
});
