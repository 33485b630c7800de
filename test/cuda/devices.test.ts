/** Which devices can be used, and the memory that a process keeps on them. */
import { type CudaError, DeviceBuffer, freeCachedMemory, linearLogps, peakWorkingMemory } from 'sweet-rl';
import { afterEach, describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';
import { resultOf } from '../helpers/processes.ts';
import { failCall, liveObjects, pools, report, reset } from './emulated.ts';

afterEach(reset);

/** Runs a program after the devices are set: their compute capability, times ten, and whether they support pools. */
const resultOn = <T>(devices: (readonly [capability: number, pools: boolean])[], program: string) =>
  resultOf<T>(`
    import { createRequire } from 'node:module';
    import * as sweet from 'sweet-rl';
    const emulator = createRequire(import.meta.url)(process.env.SWEET_RL_CUDA);
    for (const [device, abilities] of ${JSON.stringify(devices)}.entries()) emulator.setDevice(device, ...abilities);
    const { DeviceBuffer, tokenLogps } = sweet;
    const caught = (action) => {
      try { return action(); } catch ({ name, code, message }) { return { name, code, message }; }
    };
    const logps = (options) => {
      const [logits, labels] = [Float32Array.of(1, 2, 3, 4), Int32Array.of(1, 0)].map((a) => DeviceBuffer.from(a, options));
      const result = tokenLogps({ logits, vocabSize: 2, labels }).logps;
      return { device: result.device, logps: [...result.toArray()] };
    };
    ${program}`);

const LOGPS = [-0.31326165795326233, -1.3132617473602295].map((value) => expect.closeTo(value, 6));

/** Why a device of that capability is refused. */
const refusal = (device: number, capability: string) =>
  `device ${device} (emulated) has compute capability ${capability}, and this build of sweet-rl-cuda needs 8.0 or newer`;

describe('a device below compute capability 8.0', () => {
  it('is not available, with its name and capability as the reason', () => {
    const program = `
      const error = caught(() => DeviceBuffer.allocate('int32', 1));
      const codes = [sweet.peakWorkingMemory, sweet.freeCachedMemory].map((call) => caught(call).code);
      console.log(JSON.stringify({ backend: sweet.backends().at(-1), error, codes }));`;
    const reason = `${refusal(0, '7.5')}; ${refusal(1, '6.1')}`;
    expect(
      resultOn(
        [
          [75, true],
          [61, true],
        ],
        program,
      ),
    ).toEqual({
      backend: { name: 'cuda', available: false, active: false, reason, precision: 'storage' },
      error: {
        name: 'SweetError',
        code: 'ERR_BACKEND',
        message: `The backend 'cuda' cannot be used here: ${reason}`,
      },
      codes: ['ERR_BACKEND', 'ERR_BACKEND'],
    });
  });

  it.each([
    [
      0,
      1,
      [
        [75, true],
        [80, true],
      ],
    ],
    [
      1,
      0,
      [
        [90, true],
        [75, true],
      ],
    ],
  ] as const)('is refused by its number, device %i, where another can be used', (refused, usable, devices) => {
    const program = `
      const memory = { device: ${refused}, byteLength: 4, dtype: 'int32' };
      const errors = [
        () => DeviceBuffer.allocate('int32', 1, { device: ${refused} }),
        () => DeviceBuffer.from(Int32Array.of(1), { device: ${refused} }),
        () => DeviceBuffer.view({ ...memory, ptr: 4096n }),
        () => DeviceBuffer.fromIpc({ ...memory, handle: new Uint8Array(64) }),
      ].map(caught);
      const peak = sweet.peakWorkingMemory();
      console.log(JSON.stringify({ available: sweet.backends().at(-1).available, errors, peak, result: logps({}) }));`;
    const message = `Expected ${usable} for device but received ${refused}: ${refusal(refused, '7.5')}`;
    const { errors, ...rest } = resultOn<{ errors: object[] }>([...devices], program);
    for (const error of errors) expect(error).toEqual({ name: 'RangeError', code: 'ERR_ARG_VALUE', message });
    expect(errors).toHaveLength(4);
    expect(rest).toEqual({ available: true, peak: 0, result: { device: usable, logps: LOGPS } });
  });

  it('is not one of 8.0, 8.9, 9.0 or 12.0', () => {
    const program = `console.log(JSON.stringify([0, 1].map((device) => logps({ device }))));`;
    for (const devices of [
      [
        [80, true],
        [89, true],
      ],
      [
        [90, true],
        [120, true],
      ],
    ] as const) {
      expect(resultOn([...devices], program)).toEqual([0, 1].map((device) => ({ device, logps: LOGPS })));
    }
  });
});

describe('working memory', () => {
  const [N, V, H] = [64, 300, 8];
  const wave = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i));
  const labels = Int32Array.from({ length: N }, (_, i) => (7 * i) % V);
  const KEPT = 5 * 2 ** 28;
  const ours = (device: number) => pools().find((pool) => pool.device === device && !pool.isDefault);

  function head(device: number) {
    using hidden = DeviceBuffer.from(wave(N * H), { device });
    using weight = DeviceBuffer.from(wave(V * H), { device });
    using given = DeviceBuffer.from(labels, { device });
    const { logps } = linearLogps({ hidden, weight, vocabSize: V, hiddenSize: H, labels: given });
    using result = logps as unknown as DeviceBuffer;
    return result.toArray();
  }

  it('is of a pool of this package, with a bound, and the default pools are left alone', () => {
    peakWorkingMemory();
    const logps = head(0);
    const peak = peakWorkingMemory();
    expect(logps).toEqual(head(1));
    for (const device of [0, 1]) {
      expect(ours(device)).toMatchObject({ threshold: KEPT, used: expect.any(Number) });
      expect(ours(device)!.reserved).toBeGreaterThanOrEqual(peak);
    }
    expect(pools().filter((pool) => pool.isDefault)).toEqual(
      [0, 1].map((device) => ({ device, isDefault: true, threshold: 0, used: 0, reserved: 0 })),
    );
    expect(pools()).toHaveLength(4);
  });

  it('is returned by freeCachedMemory, of all devices, and allocated again by the next call', () => {
    const first = head(0);
    head(1);
    const kept = ours(0)!.reserved + ours(1)!.reserved;
    expect(kept).toBeGreaterThan(0);
    expect(freeCachedMemory()).toBe(kept);
    for (const device of [0, 1]) expect(ours(device)).toMatchObject({ used: 0, reserved: 0 });
    expect(freeCachedMemory()).toBe(0);
    expect(head(0)).toEqual(first);
    expect(ours(0)!.reserved).toBeGreaterThan(0);
    expect(report()).toBe('');
  });

  it('leaves DeviceBuffers alone', () => {
    using buffer = DeviceBuffer.from(wave(100));
    const before = liveObjects();
    freeCachedMemory();
    expect(liveObjects()).toBe(before);
    expect(buffer.toArray()).toEqual(wave(100));
  });

  it('is reported where CUDA cannot return it', () => {
    head(0);
    const failed = [1, 2, 3, 4, 5, 6].map((n) => {
      failCall(n, 999);
      const error = thrownBy(freeCachedMemory) as CudaError;
      reset();
      expect(error).toMatchObject({ code: 'ERR_CUDA', cudaName: 'cudaErrorUnknown' });
      return error.operation;
    });
    const [get, trim] = ['cudaMemPoolGetAttribute', 'cudaMemPoolTrimTo'];
    expect(failed).toEqual(['cudaSetDevice', get, 'cudaSetDevice', 'cudaDeviceSynchronize', trim, get]);
    freeCachedMemory();
    expect(ours(0)).toMatchObject({ used: 0, reserved: 0 });
  });

  it('is returned when the last thread with the addon ends', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { once } from 'node:events';
      import { Worker } from 'node:worker_threads';
      const code = \`
        const { DeviceBuffer, tokenLogps } = require('sweet-rl');
        const emulator = require(process.env.SWEET_RL_CUDA);
        const [logits, labels] = [new Float32Array(4), new Int32Array(2)].map((array) => DeviceBuffer.from(array));
        const reserved = () => emulator.pools().filter((pool) => !pool.isDefault).map((pool) => pool.reserved > 0);
        const before = reserved();
        tokenLogps({ logits, vocabSize: 2, labels });
        require('node:worker_threads').parentPort.postMessage([before, reserved()]);\`;
      const seen = [];
      for (let i = 0; i < 2; i++) {
        const worker = new Worker(code, { eval: true, execArgv: [] });
        worker.on('message', (message) => seen.push(message));
        await once(worker, 'exit');
      }
      console.log(JSON.stringify(seen));`;
    expect(resultOf(program)).toEqual([
      [[], [true]],
      [[false], [true]],
    ]);
  });

  it('is freed at once where the device does not support pools, with the same results', () => {
    const program = `
      const wave = (length) => Float32Array.from({ length }, (_, i) => Math.sin(i));
      const head = (device) => {
        const [hidden, weight, labels, gradLogps] = [
          wave(${N * H}), wave(${V * H}), Int32Array.from({ length: ${N} }, (_, i) => (7 * i) % ${V}), wave(${N}),
        ].map((array) => DeviceBuffer.from(array, { device }));
        const options = { hidden, weight, vocabSize: ${V}, hiddenSize: ${H}, labels };
        const { logps, lse } = sweet.linearLogps(options);
        const grads = sweet.linearLogpsBackward({ ...options, lse, gradLogps });
        const results = [logps, ...Object.values(grads)];
        const numbers = results.flatMap((buffer) => [...buffer.toArray()]);
        for (const buffer of [hidden, weight, labels, gradLogps, lse, ...results]) buffer.dispose();
        return numbers;
      };
      const without = head(1);
      const live = emulator.liveObjects();
      head(1);
      const more = emulator.liveObjects() - live;
      const pools = emulator.pools().filter(({ isDefault }) => !isDefault);
      const freed = sweet.freeCachedMemory();
      sweet.peakWorkingMemory();
      head(1);
      const peak = sweet.peakWorkingMemory();
      const same = JSON.stringify(head(0)) === JSON.stringify(without);
      console.log(JSON.stringify({ pools, more, freed, peak, same, numbers: without.length, report: emulator.report() }));`;
    const { peak, ...rest } = resultOn<{ peak: number }>(
      [
        [80, true],
        [80, false],
      ],
      program,
    );
    expect(peak).toBeGreaterThan(4 * N * V);
    expect(rest).toEqual({ pools: [], more: 0, freed: 0, same: true, numbers: N + N * H + V * H, report: '' });
  });
});
