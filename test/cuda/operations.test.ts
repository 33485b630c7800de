/** What the operations do with device buffers beyond what they do with arrays: places, results, repeated runs. */
import { mkdirSync, mkdtempSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  backends,
  criticUpdate,
  DeviceBuffer,
  linearLogps,
  mergeVocabParallelStats,
  peakWorkingMemory,
  policyUpdate,
  tokenLogps,
  tokenLogpsBackward,
  trajectoryPreferenceLoss,
  trlMetrics,
  turnAdvantages,
  turnAdvantagesBackward,
  vocabParallelStats,
} from 'sweet-rl';
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest';
import { randomPairs, randomStructure } from '../helpers/batches.ts';
import { expectClose, specified } from '../helpers/compare.ts';
import { thrownBy } from '../helpers/errors.ts';
import { resultOf } from '../helpers/processes.ts';
import { Random } from '../helpers/random.ts';
import { report, reset, setSeed } from './emulated.ts';

afterEach(reset);

const random = new Random(5);
const V = 37;
const structure = randomStructure(random, 5, 3, 6);
const N = structure.mask.length;
const host = {
  logits: Float32Array.from(random.normals(N * V, 2)),
  labels: random.integers(N, 0, V),
  mask: structure.mask,
  refLogps: Float32Array.from(random.normals(N)),
  turnOffsets: structure.turnOffsets,
  trajectoryOffsets: structure.trajectoryOffsets,
  ...randomPairs(random, 5, 7),
};

type OnDevice<T> = { [K in keyof T]: DeviceBuffer };

function ofTurns<T extends { trajectoryOffsets: unknown }>({ trajectoryOffsets: _, ...others }: T) {
  return others;
}

function uploaded<T extends Record<string, Parameters<typeof DeviceBuffer.from>[0]>>(
  arrays: T,
  device = 0,
): OnDevice<T> {
  return Object.fromEntries(
    Object.entries(arrays).map(([name, array]) => [name, DeviceBuffer.from(array, { device })]),
  ) as OnDevice<T>;
}

describe('shards of a vocabulary', () => {
  it('may be on a device and on the host, and be merged on either', () => {
    const { labels, mask } = host;
    const half = (vocabOffset: number, vocabSize: number) => {
      const logits = Float32Array.from({ length: N * vocabSize }, (_, at) => {
        return host.logits[Math.floor(at / vocabSize) * V + vocabOffset + (at % vocabSize)]!;
      });
      return [
        { logits, labels, mask },
        { vocabOffset, totalVocab: V, entropy: true },
      ] as const;
    };
    const [first, firstShard] = half(0, 20);
    const [second, secondShard] = half(20, V - 20);
    const onDevice = vocabParallelStats({ ...uploaded(first), ...firstShard }).stats.toArray() as Float64Array;
    const onHost = vocabParallelStats({ ...second, ...secondShard }).stats;
    expect([onDevice[6]! > 0, onDevice[6]]).toEqual([true, onHost[6]]); // the checksums of labels and mask
    const all = Float64Array.of(...onHost, ...onDevice);
    const expected = tokenLogps({ logits: host.logits, labels, mask, entropy: true });
    const merged = mergeVocabParallelStats({ stats: all, labels, mask, entropy: true });
    const there = mergeVocabParallelStats({ ...uploaded({ stats: all, labels, mask }), entropy: true });
    for (const name of ['logps', 'lse', 'entropy'] as const) {
      expectClose(name, merged[name]!, expected[name]!, specified);
      expectClose(name, there[name]!.toArray() as Float32Array, expected[name]!, specified);
    }
  });
});

describe('a fresh gradient', () => {
  const [rows, size, stride] = [3, 4, 10];
  const labels = Int32Array.of(1, 0, 3);
  const logits = Float32Array.from({ length: rows * stride }, (_, i) => Math.sin(i));
  const given = { labels, lse: new Float32Array(rows).fill(2), gradLogps: new Float32Array(rows).fill(1) };
  it.each([
    ['padding', {}],
    ['the columns of other shards', { totalVocab: stride }],
  ])('is 0 in %s, whatever the memory held', (_, shard) => {
    const layout = { vocabSize: size, rowStride: stride, ...shard };
    const onHost = tokenLogpsBackward({ ...given, ...layout, logits }).gradLogits;
    const call = { ...uploaded({ ...given, logits }), ...layout };
    for (let i = 0; i < 4; i++) {
      const used = Array.from({ length: 8 }, () => DeviceBuffer.from(new Float32Array(logits.length).fill(7)));
      for (const buffer of used) buffer.dispose();
      const { gradLogits } = tokenLogpsBackward(call as never) as unknown as { gradLogits: DeviceBuffer };
      const found = gradLogits.toArray() as Float32Array;
      expect(found.map((x, at) => (at % stride < size ? 0 : x))).toEqual(new Float32Array(logits.length));
      expectClose('gradLogits', found, onHost, specified);
    }
  });
});

describe('results', () => {
  it('are device buffers of the same device, scalars are numbers', () => {
    for (const device of [0, 1]) {
      const result = criticUpdate(uploaded(host, device));
      expectTypeOf(result.gradLogits).toEqualTypeOf<DeviceBuffer>();
      expectTypeOf(result.loss).toEqualTypeOf<number>();
      const { loss, preferenceLoss, nllLoss, accuracy, ...arrays } = result;
      for (const number of [loss, preferenceLoss, nllLoss, accuracy]) expect(number).toBeTypeOf('number');
      for (const buffer of Object.values(arrays)) {
        expect(buffer).toBeInstanceOf(DeviceBuffer);
        expect(buffer).toMatchObject({ dtype: 'float32', device });
      }
      expect(loss).toBeCloseTo(criticUpdate(host).loss, 5);
    }
  });

  it('feed the next operation', () => {
    const on = uploaded(host);
    const { logits, labels, mask, refLogps, turnOffsets } = on;
    const { logps, lse } = tokenLogps({ logits, labels, mask });
    const advantages = turnAdvantages({ logps, refLogps, mask, turnOffsets });
    const gradLogps = turnAdvantagesBackward({ gradAdvantages: advantages, mask, turnOffsets });
    const { gradLogits } = tokenLogpsBackward({ logits, labels, mask, lse, gradLogps });

    const rows = { logits: host.logits, labels: host.labels, mask: host.mask };
    const turns = { mask: host.mask, turnOffsets: host.turnOffsets };
    const forward = tokenLogps(rows);
    const gradAdvantages = turnAdvantages({ ...turns, logps: forward.logps, refLogps: host.refLogps });
    const gradients = turnAdvantagesBackward({ ...turns, gradAdvantages });
    const expected = tokenLogpsBackward({ ...rows, lse: forward.lse, gradLogps: gradients });
    expectClose('gradLogps', gradLogps.toArray() as Float32Array, gradients, specified);
    expectClose('gradLogits', gradLogits.toArray() as Float32Array, expected.gradLogits, specified);
  });

  it('have the metrics of TRL', () => {
    const ours = trlMetrics(criticUpdate(uploaded(host)));
    const expected = trlMetrics(criticUpdate(host));
    for (const name of Object.keys(expected) as (keyof typeof expected)[]) {
      expect(ours[name]).toBeCloseTo(expected[name], 5);
    }
  });

  it('go to the buffers of out, in place where asked', () => {
    const on = uploaded(host);
    const logps = DeviceBuffer.allocate('float32', N);
    const fresh = criticUpdate(on);
    const result = criticUpdate({ ...on, out: { logps, gradLogits: on.logits } });
    expect(result.logps).toBe(logps);
    expect(result.gradLogits).toBe(on.logits);
    expect(on.logits.toArray()).toEqual(fresh.gradLogits.toArray());
  });

  it('have the same bits on every run, in whatever order threads run', () => {
    const runs = [1, 2, 3, 4, 5].map((seed) => {
      setSeed(seed);
      const { trajectoryOffsets: _, ...ofTurns } = host;
      const { gradLogits, gradLogps, loss } = policyUpdate(uploaded(ofTurns));
      return { gradLogits: gradLogits.toArray(), gradLogps: gradLogps.toArray(), loss };
    });
    for (const run of runs) expect(run).toEqual(runs[0]);
    expect(report()).toBe('');
  });
});

describe('linear heads', () => {
  const H = 9;
  const { logits: _, ...batch } = host;
  const head = {
    hidden: Float32Array.from(random.normals(N * H)),
    weight: Float32Array.from(random.normals(V * H)),
    bias: Float32Array.from(random.normals(V)),
  };
  const toHost = (result: object) =>
    Object.fromEntries(
      Object.entries(result).map(([name, value]) => [name, value instanceof DeviceBuffer ? value.toArray() : value]),
    );

  it('take chunks of rows within the bytes asked for, to the same numbers', () => {
    const on = uploaded({ ...batch, ...head });
    peakWorkingMemory();
    const whole = toHost(criticUpdate(on));
    const most = peakWorkingMemory();
    expect(most).toBeGreaterThan(host.mask.filter((kept) => kept === 1).length * 4 * 64);
    for (const rows of [1, 3, 7]) {
      // Float32 logits in rows of 64, the hidden state and its gradient.
      const chunkBytes = rows * (4 * 64 + 8 * H);
      const chunked = toHost(criticUpdate({ ...on, chunkBytes }));
      expect(peakWorkingMemory()).toBeLessThan(most);
      for (const name of ['logps', 'gradHidden', 'gradWeight', 'gradBias']) {
        expectClose(name, chunked[name] as Float32Array, whole[name] as Float32Array, (x) => 1e-7 + 2e-6 * Math.abs(x));
      }
    }
    expect(peakWorkingMemory()).toBe(0);
  });

  it('have the numbers of the processor', () => {
    const ours = toHost(policyUpdate(uploaded({ ...ofTurns(batch), ...head })));
    const expected = policyUpdate({ ...ofTurns(batch), ...head });
    expect(ours.loss).toBeCloseTo(expected.loss, 5);
    for (const name of ['logps', 'gradHidden', 'gradWeight', 'gradBias'] as const) {
      expectClose(name, ours[name] as Float32Array, expected[name] as Float32Array, (x) => 2e-6 + 4e-6 * Math.abs(x));
    }
  });

  it('write nothing where a pair is wrong', () => {
    using chosen = DeviceBuffer.from(Int32Array.of(0, 9, 1, 1, 1, 1, 1));
    using gradWeight = DeviceBuffer.from(new Float32Array(V * H).fill(7));
    const on = uploaded({ ...batch, ...head });
    const call = () => criticUpdate({ ...on, chosen, out: { gradWeight } });
    expect(thrownBy(call)).toMatchObject({ code: 'ERR_PAIR' });
    expect(gradWeight.toArray()).toEqual(new Float32Array(V * H).fill(7));
  });

  it('say what computes their products', () => {
    const { products } = backends().find(({ name }) => name === 'cuda')!;
    expect(products).toMatch(process.env.SWEET_RL_CUBLASLT === 'none' ? /^kernels of sweet-rl/ : /^cuBLASLt \d+\.\d+/);
    const program = `
      import { backends, DeviceBuffer, linearLogps } from 'sweet-rl';
      const { products } = backends().find(({ name }) => name === 'cuda');
      const [hidden, weight] = [new Float32Array(2), new Float32Array(6)].map((array) => DeviceBuffer.from(array));
      const result = { products };
      try {
        result.logp = linearLogps({ hidden, weight, labels: DeviceBuffer.from(Int32Array.of(1)) }).logps.toArray()[0];
      } catch ({ code, message }) {
        Object.assign(result, { code, message });
      }
      console.log(JSON.stringify(result));`;
    const run = (env: Record<string, string>) => resultOf<Record<string, unknown>>(program, { env });
    const nowhere = { CUDA_HOME: '/nowhere/a', CUDA_PATH: '/nowhere/b', CONDA_PREFIX: '/nowhere/c', VIRTUAL_ENV: '' };
    const without = run({ SWEET_RL_CUBLASLT: '', ...nowhere });
    if (!String(without.products).startsWith('cuBLASLt')) {
      expect(without.products).toMatch(/pip install nvidia-cublas/);
      const places = ['', '/nowhere/a/lib64/', '/nowhere/b/lib64/', '/nowhere/c/lib/', '/usr/local/cuda/lib64/'];
      const files = places.flatMap((place) => [13, 12].map((version) => `${place}libcublasLt.so.${version}`));
      const tried = String(without.products).split('\n').slice(1);
      expect(tried.map((line) => line.trim().split(':')[0])).toEqual(files);
    }
    expect(without.logp).toBeCloseTo(-Math.log(3), 6);
    const reason = /SWEET_RL_CUBLASLT names no cuBLASLt that can be used:\n {2}/;
    for (const [file, fault] of [
      ['/nowhere/libcublasLt.so', '/nowhere/libcublasLt.so: cannot open shared object file'],
      [process.env.SWEET_RL_CUDA!, `${process.env.SWEET_RL_CUDA} has no cublasLtGetVersion`],
    ] as const) {
      const wrong = run({ SWEET_RL_CUBLASLT: file });
      expect(wrong).toMatchObject({ code: 'ERR_BACKEND', message: expect.stringMatching(reason) });
      expect(wrong.message).toContain(fault);
      expect(wrong.products).toMatch(reason);
    }
  });

  // As pip leaves it in a virtual environment, the newer version first.
  it.runIf(process.env.SWEET_RL_CUBLASLT?.startsWith('/'))('find cuBLASLt among the packages of VIRTUAL_ENV', () => {
    const environment = mkdtempSync(join(tmpdir(), 'sweet-rl-'));
    try {
      const packages = join(environment, 'lib', 'python3.12', 'site-packages', 'nvidia');
      const files = [
        join(packages, 'cu13', 'lib', 'libcublasLt.so.13'),
        join(packages, 'cublas', 'lib', 'libcublasLt.so.12'),
      ];
      const program = `
        import { backends } from 'sweet-rl';
        console.log(JSON.stringify(backends().find(({ name }) => name === 'cuda').products));`;
      const nowhere = { CUDA_HOME: '', CUDA_PATH: '', CONDA_PREFIX: '', LD_LIBRARY_PATH: '' };
      for (const file of files.toReversed()) {
        mkdirSync(dirname(file), { recursive: true });
        symlinkSync(process.env.SWEET_RL_CUBLASLT!, file);
        const env = { SWEET_RL_CUBLASLT: '', VIRTUAL_ENV: environment, ...nowhere };
        const products = resultOf<string>(program, { env });
        // On a machine with a cuBLASLt of its own that one comes first.
        if (!products.includes(environment)) expect(products).toMatch(/\((libcublasLt|\/usr\/local\/)/);
        else expect(products).toMatch(new RegExp(`^cuBLASLt \\d+\\.\\d+\\.\\d+ \\(${file}\\)$`));
      }
    } finally {
      rmSync(environment, { recursive: true });
    }
  });
});

describe('refuses', () => {
  const on = uploaded(host);

  it.each(Object.keys(host) as (keyof typeof host)[])('%s on the host beside others on the device', (name) => {
    const error = thrownBy(() => criticUpdate({ ...on, [name]: host[name] } as never));
    expect(error).toBeInstanceOf(TypeError);
    expect(error).toMatchObject({ code: 'ERR_DEVICE' });
  });

  it.each(Object.keys(host) as (keyof typeof host)[])('%s on the device beside others on the host', (name) => {
    expect(thrownBy(() => criticUpdate({ ...host, [name]: on[name] } as never))).toMatchObject({ code: 'ERR_DEVICE' });
  });

  it('two devices, naming both', () => {
    using labels = DeviceBuffer.from(host.labels, { device: 1 });
    const { logits } = on;
    expect(thrownBy(() => tokenLogps({ logits, labels }))).toMatchObject({
      code: 'ERR_DEVICE',
      message: 'Expected memory of device 0, where logits is, for labels but received memory of device 1',
    });
  });

  it('out elsewhere', () => {
    const { logits, labels } = on;
    const out = { logps: new Float32Array(N) };
    expect(thrownBy(() => tokenLogps({ logits, labels, out } as never))).toMatchObject({
      code: 'ERR_DEVICE',
      message: expect.stringContaining('for out.logps'),
    });
  });

  it('a wrong size, a wrong type, a buffer for two results', () => {
    const { logits, labels, refLogps, turnOffsets } = on;
    using short = DeviceBuffer.allocate('float32', N - 1);
    expect(thrownBy(() => turnAdvantages({ logps: short, refLogps, turnOffsets }))).toMatchObject({
      code: 'ERR_ARG_LENGTH',
      message: `Expected ${N - 1} elements for refLogps but received DeviceBuffer(${N})`,
    });
    expect(thrownBy(() => tokenLogps({ logits, labels: logits }))).toMatchObject({ code: 'ERR_ARG_TYPE' });
    expect(thrownBy(() => tokenLogps({ logits: labels, labels }))).toMatchObject({ code: 'ERR_ARG_TYPE' });
    expect(thrownBy(() => tokenLogps({ logits, labels, dtype: 'bfloat16' }))).toMatchObject({
      code: 'ERR_ARG_TYPE',
      message: expect.stringContaining('since logits is a DeviceBuffer of float32'),
    });
    const both = { logps: refLogps, lse: refLogps };
    expect(thrownBy(() => tokenLogps({ logits, labels, out: both }))).toMatchObject({ code: 'ERR_OVERLAP' });
  });

  it('bad values inside, and writes nothing', () => {
    using chosen = DeviceBuffer.from(Int32Array.of(0, 9, 1, 1, 1, 1, 1));
    using gradLogits = DeviceBuffer.from(new Float32Array(N * V).fill(7));
    expect(thrownBy(() => criticUpdate({ ...on, chosen, out: { gradLogits } }))).toMatchObject({
      code: 'ERR_PAIR',
      message: 'Expected the index of a trajectory, 0 to 4, for chosen[1] but received 9, in pair 1',
    });
    expect(gradLogits.toArray()).toEqual(new Float32Array(N * V).fill(7));
    using turnOffsets = DeviceBuffer.from(host.turnOffsets.map((at, t) => (t === 2 ? 10_000 : at)));
    expect(
      thrownBy(() =>
        turnAdvantagesBackward({
          gradAdvantages: DeviceBuffer.allocate('float32', turnOffsets.length - 1),
          turnOffsets,
        }),
      ),
    ).toMatchObject({
      code: 'ERR_OFFSETS',
      message: expect.stringContaining('10000 at index 2'),
    });
  });

  it('chunkBytes beside typed arrays, and what is no number of bytes', () => {
    const [hidden, weight] = [new Float32Array(N * 4), new Float32Array(V * 4)];
    expect(thrownBy(() => linearLogps({ hidden, weight, labels: host.labels, chunkBytes: 1000 }))).toMatchObject({
      code: 'ERR_UNKNOWN_OPTION',
      message: expect.stringContaining('chunkBytes'),
    });
    using onDevice = DeviceBuffer.from(hidden);
    using weightOnDevice = DeviceBuffer.from(weight);
    const call = { hidden: onDevice, weight: weightOnDevice, labels: on.labels };
    expect(thrownBy(() => linearLogps({ ...call, chunkBytes: 0 }))).toMatchObject({ code: 'ERR_ARG_VALUE' });
    expect(thrownBy(() => criticUpdate({ ...on, chunkBytes: 1000 } as never))).toMatchObject({
      code: 'ERR_UNKNOWN_OPTION',
    });
  });
});

it('takes results of trajectoryPreferenceLoss on', () => {
  const { refLogps, turnOffsets, trajectoryOffsets, chosen, rejected } = uploaded(host);
  const logps = DeviceBuffer.from(Float32Array.from(random.normals(N)));
  const result = trajectoryPreferenceLoss({ logps, refLogps, turnOffsets, trajectoryOffsets, chosen, rejected });
  expect(result.margins.length).toBe(7);
  expect(result.gradLogps.length).toBe(N);
});
