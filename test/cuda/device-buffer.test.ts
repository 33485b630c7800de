/** DeviceBuffer: memory in and out, its end, and what is refused. */
import { Worker } from 'node:worker_threads';
import { backends, CudaError, DeviceBuffer, type HostArray, SweetError, tokenLogps, useBackend } from 'sweet-rl';
import { afterEach, describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';
import { resultOf } from '../helpers/processes.ts';
import { failCall, liveObjects, report, reset } from './emulated.ts';

const OUT_OF_MEMORY = 2;

afterEach(reset);

const ARRAYS: [string, HostArray, 'bfloat16' | 'float16' | undefined][] = [
  ['float32', Float32Array.of(1.5, -0, Number.NaN, Infinity), undefined],
  ['bfloat16', Uint16Array.of(1, 2, 65535), 'bfloat16'],
  ['float16', Uint16Array.of(1, 2, 65535), 'float16'],
  ['float64', Float64Array.of(1.5, -0, Number.NaN, 5e-324), undefined],
  ['int32', Int32Array.of(-1, 2 ** 31 - 1), undefined],
  ['int64', BigInt64Array.of(-1n, 2n ** 62n), undefined],
  ['uint8', Uint8Array.of(0, 255, 7), undefined],
  ['float32', new Float32Array(0), undefined],
  // Larger than a page of pinned memory, and no multiple of it.
  ['uint8', Uint8Array.from({ length: 9_000_001 }, (_, i) => i % 251), undefined],
];

describe('copies', () => {
  it.each(ARRAYS)('brings back %s', async (dtype, array, given) => {
    const options = given === undefined ? {} : { dtype: given };
    for (const buffer of [DeviceBuffer.from(array, options), await DeviceBuffer.fromAsync(array, options)]) {
      expect(buffer).toMatchObject({ dtype, length: array.length, byteLength: array.byteLength, device: 0 });
      for (const back of [buffer.toArray(), await buffer.toArrayAsync()]) {
        expect(back.constructor).toBe(array.constructor);
        expect(Buffer.from(back.buffer).equals(Buffer.from(array.buffer))).toBe(true);
      }
      buffer.dispose();
    }
  });

  it('reads views at an offset and of shared memory', () => {
    const shared = new Float32Array(new SharedArrayBuffer(40), 8, 5);
    shared.set([1, 2, 3, 4, 5]);
    using buffer = DeviceBuffer.from(shared);
    expect(buffer.toArray()).toEqual(Float32Array.of(1, 2, 3, 4, 5));
  });

  it('takes what the array held at the call, whatever happens to it afterwards', async () => {
    const array = Float32Array.of(1, 2, 3);
    const promise = DeviceBuffer.fromAsync(array);
    structuredClone(array.buffer, { transfer: [array.buffer] });
    using buffer = await promise;
    expect(buffer.toArray()).toEqual(Float32Array.of(1, 2, 3));
  });

  it('goes on while the buffer is disposed', async () => {
    const before = liveObjects();
    const buffer = DeviceBuffer.from(new Uint8Array(9_000_000).fill(3));
    const promise = buffer.toArrayAsync();
    buffer.dispose();
    expect((await promise).length).toBe(9_000_000);
    expect(liveObjects()).toBeLessThanOrEqual(before + 8); // what copies keep for each other
  });

  it('uses any device', () => {
    using buffer = DeviceBuffer.from(Int32Array.of(4, 5), { device: 1 });
    expect(buffer.device).toBe(1);
    expect(buffer.toArray()).toEqual(Int32Array.of(4, 5));
  });
});

describe('the end', () => {
  it('frees memory by dispose, once, and by a using declaration', () => {
    DeviceBuffer.from(Float32Array.of(1)).dispose(); // whatever the first copy keeps
    const before = liveObjects();
    const buffer = DeviceBuffer.allocate('float32', 100);
    expect(liveObjects()).toBe(before + 1);
    buffer.dispose();
    buffer.dispose();
    expect(buffer).toMatchObject({ disposed: true, length: 0, byteLength: 0 });
    {
      using _ = DeviceBuffer.allocate('int32', 3);
    }
    expect(liveObjects()).toBe(before);
  });

  it('refuses a disposed buffer, naming it', () => {
    const logits = DeviceBuffer.from(new Float32Array(4));
    const labels = DeviceBuffer.from(new Int32Array(2));
    logits.dispose();
    expect(thrownBy(() => logits.toArray())).toMatchObject({ code: 'ERR_DISPOSED' });
    expect(thrownBy(() => tokenLogps({ logits, labels }))).toMatchObject({
      code: 'ERR_DISPOSED',
      message: 'Expected a live DeviceBuffer for logits but received one that was disposed',
    });
  });

  it('is found by the collector, which is told of the memory and so comes by itself', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { DeviceBuffer } from 'sweet-rl';
      const emulator = createRequire(import.meta.url)(process.env.SWEET_RL_CUDA);
      const kept = DeviceBuffer.allocate('uint8', 1000);
      for (let i = 0; i < 50; i++) {
        DeviceBuffer.allocate('uint8', 2 ** 24);
        await new Promise(setImmediate);
      }
      console.log(JSON.stringify({ live: emulator.liveObjects(), kept: kept.length }));`;
    const { live, kept } = resultOf<Record<string, number>>(program);
    expect(kept).toBe(1000);
    expect(live).toBeLessThan(40);
  });

  it('of a worker thread frees what it had', async () => {
    const code = `
      const { DeviceBuffer, tokenLogps } = require('sweet-rl');
      const { parentPort } = require('node:worker_threads');
      const logits = DeviceBuffer.from(new Float32Array([1, 2, 3, 4]));
      const labels = DeviceBuffer.from(new Int32Array([1, 0]));
      parentPort.postMessage(tokenLogps({ logits, labels }).logps.toArray());`;
    const run = () =>
      new Promise((done, failed) => {
        let answer: unknown;
        const worker = new Worker(code, { eval: true });
        worker.on('message', (message) => {
          answer = message;
        });
        worker.on('error', failed);
        worker.on('exit', () => done(answer));
      });
    await run();
    const before = liveObjects();
    const answers = await Promise.all([run(), run(), run()]);
    const logps = Float32Array.of(Math.log(1 / (1 + Math.exp(-1))), Math.log(1 / (1 + Math.E)));
    for (const answer of answers) expect((answer as Float32Array)[0]).toBeCloseTo(logps[0]!, 6);
    expect(liveObjects()).toBeLessThanOrEqual(before + 12); // pinned pages that copies keep for each other
  });
});

describe('a part', () => {
  it('is read to its end though its parent is disposed meanwhile', async () => {
    const buffer = DeviceBuffer.from(new Uint8Array(9_000_000).fill(3));
    const promise = buffer.subarray(1_000_000).toArrayAsync();
    buffer.dispose();
    const array = (await promise) as Uint8Array;
    expect(array.length).toBe(8_000_000);
    expect(array.every((byte) => byte === 3)).toBe(true);
  });

  it('keeps its parent from the collector', () => {
    const program = `
      import { DeviceBuffer } from 'sweet-rl';
      const part = (() => DeviceBuffer.from(Float32Array.of(1, 2, 3)).subarray(1))();
      for (let i = 0; i < 50; i++) {
        DeviceBuffer.allocate('uint8', 2 ** 24);
        await new Promise(setImmediate);
      }
      console.log(JSON.stringify([...part.toArray()]));`;
    expect(resultOf(program)).toEqual([2, 3]);
  });
});

describe('errors', () => {
  it.each<[string, () => unknown, string, RegExp]>([
    ['no array', () => DeviceBuffer.from('x' as never), 'ERR_ARG_TYPE', /for array but received "x"/],
    [
      'a class that has no place',
      () => DeviceBuffer.from(new Int16Array(2) as never),
      'ERR_ARG_TYPE',
      /Int16Array\(2\)/,
    ],
    [
      '16 bits without a dtype',
      () => DeviceBuffer.from(new Uint16Array(2)),
      'ERR_ARG_TYPE',
      /'bfloat16' or 'float16'.*dtype/,
    ],
    [
      'a dtype that contradicts',
      () => DeviceBuffer.from(new Int32Array(2), { dtype: 'float16' }),
      'ERR_ARG_TYPE',
      /'int32'/,
    ],
    [
      'an option that is none',
      () => DeviceBuffer.from(new Int32Array(2), { dytpe: 1 } as never),
      'ERR_UNKNOWN_OPTION',
      /dytpe/,
    ],
    [
      'a device that is not there',
      () => DeviceBuffer.from(new Int32Array(2), { device: 2 }),
      'ERR_ARG_VALUE',
      /from 0 to 1 for device.*2/,
    ],
    ['no dtype', () => DeviceBuffer.allocate(undefined as never, 2), 'ERR_ARG_TYPE', /dtype/],
    ['a wrong dtype', () => DeviceBuffer.allocate('int16' as never, 2), 'ERR_ARG_VALUE', /dtype.*"int16"/],
    ['no length', () => DeviceBuffer.allocate('int32', undefined as never), 'ERR_ARG_TYPE', /length/],
    ['a broken length', () => DeviceBuffer.allocate('int32', 1.5), 'ERR_ARG_VALUE', /length.*1.5/],
  ])('refuses %s', (_name, action, code, message) => {
    expect(thrownBy(action)).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('names the call, the number and the name of an error of CUDA', () => {
    failCall(3, OUT_OF_MEMORY); // after two cudaSetDevice
    const error = thrownBy(() => DeviceBuffer.allocate('float32', 8));
    expect(error).toBeInstanceOf(CudaError);
    expect(error).toBeInstanceOf(SweetError);
    expect(error).toMatchObject({
      code: 'ERR_CUDA',
      operation: 'cudaMalloc',
      cudaName: 'cudaErrorMemoryAllocation',
      cudaCode: OUT_OF_MEMORY,
      sticky: false,
      message: 'cudaMalloc failed with cudaErrorMemoryAllocation (2): out of memory',
    });
  });

  it('is found whichever call fails, leaks nothing, and leaves the device in order', () => {
    using logits = DeviceBuffer.from(Float32Array.of(1, 2, 3, 4));
    using labels = DeviceBuffer.from(Int32Array.of(1, 0));
    using logps = DeviceBuffer.from(Float32Array.of(7, 7));
    using lse = DeviceBuffer.from(Float32Array.of(7, 7));
    const call = () => tokenLogps({ logits, labels, out: { logps, lse } });
    call();
    const before = liveObjects();
    const failed = new Set<string>();
    for (let n = 1; n <= 30; n++) {
      failCall(n, OUT_OF_MEMORY);
      try {
        call();
      } catch (error) {
        expect(error).toMatchObject({ code: 'ERR_CUDA', cudaCode: OUT_OF_MEMORY, sticky: false });
        failed.add((error as CudaError).operation);
      }
      reset();
      expect(liveObjects()).toBeLessThanOrEqual(before); // fewer where the collector was at work
    }
    expect([...failed]).toEqual(
      expect.arrayContaining([
        'cudaSetDevice',
        'cudaMallocFromPoolAsync',
        'segment_stats_kernel',
        'finish_rows_kernel',
        'cudaStreamSynchronize',
      ]),
    );
    call();
    expect((logps.toArray() as Float32Array)[0]).toBeCloseTo(-0.3133, 4);
    expect(report()).toBe('');
  });
});

describe('backends', () => {
  const cuda = () => backends().find(({ name }) => name === 'cuda');

  it('has cuda where there is a device, never as the active one', () => {
    expect(cuda()).toEqual({
      name: 'cuda',
      available: true,
      active: false,
      precision: 'storage',
      products: expect.stringMatching(/^(cuBLASLt \d|kernels of sweet-rl)/),
    });
    expect(thrownBy(() => useBackend('cuda'))).toMatchObject({
      code: 'ERR_BACKEND',
      message: expect.stringMatching(/DeviceBuffers use it automatically/),
    });
  });

  it('says why where there is none', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { backends, DeviceBuffer } from 'sweet-rl';
      createRequire(import.meta.url)(process.env.SWEET_RL_CUDA).setDevices(0);
      let error;
      try { DeviceBuffer.allocate('int32', 1); } catch ({ code, message }) { error = { code, message }; }
      console.log(JSON.stringify({ backend: backends().at(-1), error }));`;
    const reason = 'no NVIDIA driver was found';
    expect(resultOf(program)).toEqual({
      backend: { name: 'cuda', available: false, active: false, reason, precision: 'storage' },
      error: { code: 'ERR_BACKEND', message: `The backend 'cuda' cannot be used here: ${reason}` },
    });
  });

  it.each([
    ['/nowhere/sweet_rl_cuda.node', /^sweet-rl-cuda cannot be loaded: /],
    ['node:path', /^sweet-rl-cuda undefined does not match sweet-rl /],
  ])('says what is wrong with %s', (SWEET_RL_CUDA, reason) => {
    const program = "import { backends } from 'sweet-rl'; console.log(JSON.stringify(backends().at(-1)));";
    expect(resultOf<{ reason: string }>(program, { env: { SWEET_RL_CUDA } }).reason).toMatch(reason);
  });
});
