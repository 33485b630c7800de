/** Objects that are no DeviceBuffer but look like one: every use is a TypeError with a code, with or without CUDA. */
import { createRequire } from 'node:module';
import { DeviceBuffer, filteredNll, tokenLogps, trlMetrics, turnAdvantages } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';

const Constructor = DeviceBuffer as unknown as new (...args: unknown[]) => DeviceBuffer;
const inherited = () => Object.create(DeviceBuffer.prototype) as DeviceBuffer;
const expectCoded = (call: () => unknown) => {
  const error = thrownBy(call);
  expect(error).toBeInstanceOf(TypeError);
  expect(error.code, error.message).toBe('ERR_ARG_TYPE');
};

describe('a new DeviceBuffer', () => {
  const shape = { dtype: 'float32', length: 2, device: 0 };
  class Derived extends Constructor {}
  const common = createRequire(import.meta.url)('../../dist-cjs/index.js') as { DeviceBuffer: typeof Constructor };

  it.each<[what: string, call: () => unknown]>([
    ['without arguments', () => new Constructor()],
    ['with a shape', () => new Constructor(shape, () => undefined)],
    ['with a symbol', () => new Constructor(Symbol('a call of this module'), shape, () => undefined)],
    ['of a derived class', () => new Derived()],
    ['of the CommonJS module', () => new common.DeviceBuffer()],
  ])('%s is refused, and the message says what makes one', (_, call) => {
    expectCoded(call);
    expect(call).toThrow(/DeviceBuffer\.allocate\(\), from\(\), view\(\) or fromIpc\(\)/);
  });
});

describe('an object that inherits from the prototype', () => {
  const [logits, labels, two] = [new Float32Array(8), Int32Array.of(0, 1), new Float32Array(2)];
  const turns = { logps: two, refLogps: two, turnOffsets: Int32Array.of(0, 2) };
  const { refLogps: _, ...rest } = turns;
  const trajectories = { ...rest, trajectoryOffsets: Int32Array.of(0, 1), rewards: two };

  it.each<[what: string, call: (it: never) => unknown]>([
    ['logits', (it) => tokenLogps({ logits: it, labels })],
    ['labels', (it) => tokenLogps({ logits, labels: it })],
    ['mask', (it) => tokenLogps({ logits, labels, mask: it })],
    ['the data of a tensor', (it) => tokenLogps({ logits: { data: it, dims: [2, 4] }, labels })],
    ['a result', (it) => tokenLogps({ logits, labels, out: { logps: it } })],
    ['logps', (it) => turnAdvantages({ ...turns, logps: it })],
    ['logps of a function on the host', (it) => filteredNll({ ...trajectories, logps: it } as never)],
    ['a metric', (it) => trlMetrics({ margins: it } as never)],
    ['the source of a copy', (it) => DeviceBuffer.from(it)],
    ['the handle of a memory', (it) => DeviceBuffer.fromIpc({ handle: it, byteLength: 8, dtype: 'float32' })],
  ])('as %s is refused', (_, call) => {
    expectCoded(() => call(inherited() as never));
    expectCoded(() => call(new Proxy(inherited(), {}) as never));
  });

  it.each<[what: string, use: (it: DeviceBuffer) => unknown]>([
    ['length', (it) => it.length],
    ['byteLength', (it) => it.byteLength],
    ['ptr', (it) => it.ptr],
    ['disposed', (it) => it.disposed],
    ['dispose()', (it) => it.dispose()],
    ['subarray()', (it) => it.subarray()],
    ['ipcHandle()', (it) => it.ipcHandle()],
    ['toArray()', (it) => it.toArray()],
  ])('has no %s', (_, use) => {
    expectCoded(() => use(inherited()));
  });

  it('cannot be read by toArrayAsync()', async () => {
    await expect(inherited().toArrayAsync()).rejects.toMatchObject({ code: 'ERR_ARG_TYPE' });
  });
});
