/** What the operations do with device buffers beyond what they do with arrays: places, results, repeated runs. */
import {
  criticUpdate,
  DeviceBuffer,
  linearLogps,
  policyUpdate,
  tokenLogps,
  tokenLogpsBackward,
  trajectoryPreferenceLoss,
  trlMetrics,
  turnAdvantages,
  turnAdvantagesBackward,
} from 'sweet-rl';
import { afterEach, describe, expect, expectTypeOf, it } from 'vitest';
import { randomPairs, randomStructure } from '../helpers/batches.ts';
import { expectClose, specified } from '../helpers/compare.ts';
import { thrownBy } from '../helpers/errors.ts';
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

function uploaded<T extends Record<string, Parameters<typeof DeviceBuffer.from>[0]>>(
  arrays: T,
  device = 0,
): OnDevice<T> {
  return Object.fromEntries(
    Object.entries(arrays).map(([name, array]) => [name, DeviceBuffer.from(array, { device })]),
  ) as OnDevice<T>;
}

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
      message: 'Expected the index of a unit for chosen[1] but received 9, in pair 1',
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

  it('linear heads, for now', () => {
    using hidden = DeviceBuffer.allocate('float32', N * 4);
    using weight = DeviceBuffer.allocate('float32', V * 4);
    expect(thrownBy(() => linearLogps({ hidden, weight, labels: on.labels } as never))).toMatchObject({
      code: 'ERR_DEVICE',
      message: expect.stringContaining('linear heads do not run on devices yet'),
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
