/** Parts of device buffers, views of memory that others own, and memory that two processes share. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import {
  CudaError,
  criticUpdate,
  criticUpdateAsync,
  DeviceBuffer,
  type DeviceDType,
  type HostArray,
  type IpcMemory,
  SweetError,
  tokenLogps,
  tokenLogpsBackward,
} from 'sweet-rl';
import { afterAll, afterEach, describe, expect, it } from 'vitest';
import { randomPairs, randomStructure } from '../helpers/batches.ts';
import { thrownBy } from '../helpers/errors.ts';
import { ROOT, resultOf } from '../helpers/processes.ts';
import { Random } from '../helpers/random.ts';
import {
  endForeignStream,
  failCall,
  foreignMemory,
  foreignRead,
  foreignStream,
  foreignWrite,
  freeForeignMemory,
  liveObjects,
  report,
  reset,
} from './emulated.ts';

const OUT_OF_MEMORY = 2;

const random = new Random(11);
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
type Name = keyof typeof host;
const names = Object.keys(host) as Name[];
const outSizes = { logps: N, gradLogits: N * V, gradLogps: N };

const DTYPES: Record<string, DeviceDType> = { Float32Array: 'float32', Int32Array: 'int32', Uint8Array: 'uint8' };
const dtypeOf = (array: HostArray): DeviceDType => DTYPES[array.constructor.name]!;
const bytesOf = (array: ArrayBufferView) => new Uint8Array(array.buffer, array.byteOffset, array.byteLength);

/** What one call gives, as arrays. */
function called(options: Record<string, unknown>) {
  const { loss, logps, gradLogits, gradLogps } = criticUpdate(options as never) as unknown as Record<
    string,
    DeviceBuffer
  >;
  return { loss, logps: logps!.toArray(), gradLogits: gradLogits!.toArray(), gradLogps: gradLogps!.toArray() };
}

const onDevice = () => Object.fromEntries(names.map((name) => [name, DeviceBuffer.from(host[name])]));
const expected = called(onDevice());

/** Somebody else, who has memory of his own. */
class Foreigner {
  private readonly memory: bigint[] = [];
  private readonly streams: bigint[] = [];

  stream(device = 0): bigint {
    this.streams.push(foreignStream(device));
    return this.streams.at(-1)!;
  }

  allocate(byteLength: number, device = 0): bigint {
    this.memory.push(foreignMemory(byteLength, device));
    return this.memory.at(-1)!;
  }

  end(): void {
    for (const stream of this.streams.splice(0)) endForeignStream(stream);
    for (const ptr of this.memory.splice(0)) freeForeignMemory(ptr, false);
  }
}

const foreigner = new Foreigner();
afterEach(() => {
  expect(report()).toBe('');
  reset();
  foreigner.end();
});

describe('a part', () => {
  it('is the same memory', () => {
    using buffer = DeviceBuffer.from(Float32Array.of(0, 1, 2, 3, 4, 5));
    const part = buffer.subarray(1, 5);
    expect(part).toMatchObject({ length: 4, byteLength: 16, dtype: 'float32', device: 0, disposed: false });
    expect(part.parent).toBe(buffer);
    expect(part.ptr).toBe(buffer.ptr + 4n);
    expect(part.toArray()).toEqual(Float32Array.of(1, 2, 3, 4));
    expect(part.subarray(-2).toArray()).toEqual(Float32Array.of(3, 4));
    expect(part.subarray(1, -1).ptr).toBe(buffer.ptr + 8n);
    expect(buffer.subarray().toArray()).toEqual(buffer.toArray());
    expect(buffer.subarray(3, 2)).toMatchObject({ length: 0, ptr: 0n });
    expect(buffer.subarray(6).toArray()).toEqual(new Float32Array(0));
  });

  it.each([
    [[7], /begin.*7/],
    [[-7], /begin.*-7/],
    [[0, 7], /end.*7/],
    [[0.5], /begin.*0.5/],
  ])('cannot be %j of 6 elements', (range, message) => {
    using buffer = DeviceBuffer.from(Float32Array.of(0, 1, 2, 3, 4, 5));
    const error = thrownBy(() => buffer.subarray(...range));
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({ code: 'ERR_ARG_VALUE', message: expect.stringMatching(message) });
  });

  it('gives what a buffer of its own would, wherever it begins', () => {
    for (const shift of [1, 2, 3]) {
      const parts = (lengths: Record<string, HostArray | number>) =>
        Object.fromEntries(
          Object.entries(lengths).map(([name, given]) => {
            const array = typeof given === 'number' ? new Float32Array(given) : given;
            const whole = new (array.constructor as Float32ArrayConstructor)(array.length + 2 * shift).fill(99);
            whole.set(array as Float32Array, shift);
            return [name, DeviceBuffer.from(whole).subarray(shift, -shift)];
          }),
        );
      const out = parts(outSizes);
      expect(called({ ...parts(host), out })).toEqual(expected);
      for (const buffer of Object.values(out)) {
        const whole = buffer.parent!.toArray() as Float32Array;
        expect([...whole.slice(0, shift), ...whole.slice(-shift)]).toEqual(new Array(2 * shift).fill(99));
      }
    }
  });

  it('may be disposed before its parent, which frees the memory', () => {
    DeviceBuffer.from(Float32Array.of(1)).toArray(); // whatever the first copy keeps
    const before = liveObjects();
    const buffer = DeviceBuffer.from(Float32Array.of(1, 2));
    const part = buffer.subarray(1);
    part.dispose();
    part.dispose();
    expect(part).toMatchObject({ disposed: true, length: 0, byteLength: 0, ptr: 0n });
    expect(buffer.toArray()).toEqual(Float32Array.of(1, 2));
    buffer.dispose();
    expect(liveObjects()).toBeLessThanOrEqual(before); // fewer where the collector was at work
  });

  it('is held by a call that runs later, though its parent is disposed meanwhile', async () => {
    const inputs = onDevice();
    const whole = DeviceBuffer.from(Float32Array.of(7, ...host.logits));
    const promise = criticUpdateAsync({ ...inputs, logits: whole.subarray(1) } as never);
    const before = liveObjects();
    whole.dispose();
    expect(liveObjects()).toBe(before);
    const { loss, gradLogits } = await promise;
    expect(loss).toBe(expected.loss);
    expect((gradLogits as unknown as DeviceBuffer).toArray()).toEqual(expected.gradLogits);
    expect(liveObjects()).toBeLessThan(before + 8); // what the call made beside it
  });

  it('ends with its parent', () => {
    const buffer = DeviceBuffer.from(new Float32Array(8));
    const part = buffer.subarray(2);
    const logits = part.subarray(2);
    using labels = DeviceBuffer.from(new Int32Array(2));
    buffer.dispose();
    expect(logits).toMatchObject({ disposed: true, length: 0, ptr: 0n });
    const message = 'Expected a live DeviceBuffer but its parent was disposed';
    for (const action of [() => logits.toArray(), () => part.subarray(1), () => part.ipcHandle()]) {
      expect(thrownBy(action)).toMatchObject({ code: 'ERR_DISPOSED', message });
    }
    expect(thrownBy(() => tokenLogps({ logits, labels }))).toMatchObject({
      code: 'ERR_DISPOSED',
      message: 'Expected a live DeviceBuffer for logits but received a part of one that was disposed',
    });
    part.dispose();
  });
});

describe('a result over an input', () => {
  const floats = (length: number) => DeviceBuffer.from(new Float32Array(length));
  const view = (ptr: bigint) => DeviceBuffer.view({ ptr, byteLength: 16, dtype: 'float32' });
  const whole = floats(20);
  const ptr = foreignMemory(80, 0);
  const zeros = { logits: floats(4), labels: DeviceBuffer.from(new Int32Array(4)), lse: floats(4), vocabSize: 1 };

  afterAll(() => freeForeignMemory(ptr, false));

  it.each<[string, DeviceBuffer, DeviceBuffer, boolean]>([
    ['parts that share an element', whole.subarray(0, 4), whole.subarray(3, 7), true],
    ['parts side by side', whole.subarray(0, 4), whole.subarray(4, 8), false],
    ['the same part twice', whole.subarray(8, 12), whole.subarray(8).subarray(0, 4), true],
    ['views that share an element', view(ptr), view(ptr + 12n), true],
    ['views side by side', view(ptr), view(ptr + 16n), false],
    ['a part and a view of its memory', whole.subarray(0, 4), view(whole.ptr + 4n), true],
    ['a part and a view beside it', whole.subarray(0, 4), view(whole.ptr + 16n), false],
  ])('%s', (_name, gradLogps, gradLogits, refused) => {
    const call = () => tokenLogpsBackward({ ...zeros, gradLogps, out: { gradLogits } });
    if (!refused) return expect(call().gradLogits).toBe(gradLogits);
    const error = thrownBy(call);
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({
      code: 'ERR_OVERLAP',
      message: 'Expected memory of its own for out.gradLogits but received one that overlaps gradLogps',
    });
  });

  it('in place, where that is allowed, by whatever buffer of that memory', () => {
    const gradLogps = DeviceBuffer.from(Float32Array.of(1, -2));
    const [labels, lse] = [DeviceBuffer.from(Int32Array.of(1, 0)), floats(2)];
    const backward = (logits: DeviceBuffer, gradLogits: DeviceBuffer) =>
      tokenLogpsBackward({ logits, labels, lse, gradLogps, out: { gradLogits } });
    const room = DeviceBuffer.from(Float32Array.of(1, 2, 3, 4, 5, 6));
    const logits = room.subarray(0, 4);
    const fresh = backward(logits, floats(4)).gradLogits.toArray();
    expect(thrownBy(() => backward(logits, room.subarray(1, 5)))).toMatchObject({ code: 'ERR_OVERLAP' });
    expect(thrownBy(() => backward(logits, view(room.ptr + 8n)))).toMatchObject({ code: 'ERR_OVERLAP' });
    backward(logits, view(room.ptr));
    expect(logits.toArray()).toEqual(fresh);
    expect((room.toArray() as Float32Array).slice(4)).toEqual(Float32Array.of(5, 6));
  });
});

describe("a view of somebody else's memory", () => {
  /** What one call needs, written by the foreigner on its streams in turn and not waited for. */
  function foreignInputs(streams: bigint[], told: boolean, device = 0) {
    const views = names.map((name, i) => {
      const array = host[name];
      const stream = streams[i % streams.length]!;
      const ptr = foreigner.allocate(array.byteLength, device);
      foreignWrite(stream, ptr, bytesOf(array));
      const memory = { ptr, byteLength: array.byteLength, dtype: dtypeOf(array), device };
      return [name, DeviceBuffer.view(memory, told ? { stream } : {})];
    });
    return Object.fromEntries(views) as Record<Name, DeviceBuffer>;
  }

  it('has the address, the numbers and no copy of them', () => {
    const ptr = foreigner.allocate(24);
    const view = DeviceBuffer.view({ ptr, byteLength: 24, dtype: 'int64' }, { stream: 0n });
    foreignWrite(0n, ptr, bytesOf(BigInt64Array.of(1n, -2n, 3n)));
    expect(view).toMatchObject({ ptr, length: 3, byteLength: 24, device: 0, stream: 0n, parent: undefined });
    expect(view.toArray()).toEqual(BigInt64Array.of(1n, -2n, 3n));
    foreignWrite(0n, ptr + 8n, bytesOf(BigInt64Array.of(9n)));
    expect(view.subarray(1, 2).toArray()).toEqual(BigInt64Array.of(9n));
  });

  it('is never freed', () => {
    const ptr = foreigner.allocate(4);
    const before = liveObjects();
    for (let i = 0; i < 3; i++) {
      const view = DeviceBuffer.view({ ptr, byteLength: 4, dtype: 'float32' });
      view.dispose();
      expect(view).toMatchObject({ disposed: true, length: 0, ptr: 0n });
      expect(thrownBy(() => view.toArray())).toMatchObject({ code: 'ERR_DISPOSED' });
    }
    expect(liveObjects()).toBeLessThanOrEqual(before);
    foreignWrite(0n, ptr, bytesOf(Float32Array.of(7)));
    expect(DeviceBuffer.view({ ptr, byteLength: 4, dtype: 'float32' }, { stream: 0n }).toArray()).toEqual(
      Float32Array.of(7),
    );
  });

  it.each([0, 1])('is worked on after what its stream was given, on device %i', (device) => {
    const streams = [foreigner.stream(device), foreigner.stream(device), 0n];
    expect(called(foreignInputs(streams.slice(0, 2), true, device))).toEqual(expected);
    expect(called(foreignInputs(streams, true, device))).toEqual(expected);
  });

  it('is worked on later after what its stream was given, on whichever thread', async () => {
    const inputs = foreignInputs([foreigner.stream(), foreigner.stream(), 0n], true);
    const { loss, gradLogits } = await criticUpdateAsync(inputs as never);
    expect(loss).toBe(expected.loss);
    expect((gradLogits as unknown as DeviceBuffer).toArray()).toEqual(expected.gradLogits);
  });

  it('is worked on too early without a stream', () => {
    const { logits, labels } = foreignInputs([foreigner.stream()], false);
    using ready = DeviceBuffer.from(host.labels);
    const { logps } = tokenLogps({ logits, labels: ready });
    expect([...(logps.toArray() as Float32Array)]).toEqual(new Array(N).fill(Number.NaN));
    labels.dispose();
  });

  it('gets results that its stream finds', () => {
    const stream = foreigner.stream();
    const out = Object.fromEntries(
      Object.entries(outSizes).map(([name, length]) => {
        const ptr = foreigner.allocate(4 * length);
        foreignWrite(stream, ptr, new Uint8Array(4 * length)); // its own use before, not done yet
        return [name, DeviceBuffer.view({ ptr, byteLength: 4 * length, dtype: 'float32' }, { stream })];
      }),
    );
    criticUpdate({ ...onDevice(), out } as never);
    for (const [name, length] of Object.entries(outSizes)) {
      const found = new Float32Array(length);
      foreignRead(stream, out[name]!.ptr, bytesOf(found));
      expect(found).toEqual(expected[name as keyof typeof outSizes]);
    }
  });

  it('is read after what its stream was given, on whichever thread', async () => {
    const numbers = Float32Array.from({ length: 1000 }, (_, i) => i);
    const stream = foreigner.stream();
    const ptr = foreigner.allocate(numbers.byteLength);
    const view = DeviceBuffer.view({ ptr, byteLength: numbers.byteLength, dtype: 'float32' }, { stream });
    foreignWrite(stream, ptr, bytesOf(numbers));
    expect(view.toArray()).toEqual(numbers);
    foreignWrite(stream, ptr, bytesOf(numbers.map((x) => -x)));
    expect(await view.subarray(1).toArrayAsync()).toEqual(numbers.subarray(1).map((x) => -x));
  });

  it('waits for each stream as it was when told, though others were told later', () => {
    const [first, second] = [foreigner.stream(), foreigner.stream()];
    const memory = [first, second, first].map((stream) => {
      const ptr = foreigner.allocate(4);
      foreignWrite(stream, ptr, bytesOf(Float32Array.of(Number(ptr % 1000n))));
      return DeviceBuffer.view({ ptr, byteLength: 4, dtype: 'float32' }, { stream });
    });
    for (const view of memory.reverse()) expect(view.toArray()).toEqual(Float32Array.of(Number(view.ptr % 1000n)));
  });
});

describe('what no view can be', () => {
  const device = foreignMemory(64, 0);
  const other = foreignMemory(64, 1);
  const pinned = foreignMemory(64, -1);
  const valid = { ptr: device, byteLength: 16, dtype: 'float32' };

  afterAll(() => {
    for (const ptr of [device, other]) freeForeignMemory(ptr, false);
    freeForeignMemory(pinned, true);
  });

  it.each<[string, Record<string, unknown>, string, RegExp]>([
    ['without an address', { ptr: undefined }, 'ERR_ARG_TYPE', /a bigint from 1n.* for ptr .*undefined/],
    ['with an address that is a number', { ptr: 4096 }, 'ERR_ARG_TYPE', /ptr.*4096$/],
    ['of address 0', { ptr: 0n }, 'ERR_ARG_VALUE', /ptr.*0n/],
    ['of an address below 0', { ptr: -4n }, 'ERR_ARG_VALUE', /ptr.*-4n/],
    ['of an address of 65 bits', { ptr: 2n ** 64n }, 'ERR_ARG_VALUE', /ptr.*18446744073709551616n/],
    [
      'that begins within an element',
      { ptr: device + 2n },
      'ERR_ARG_VALUE',
      /a multiple of 4, since dtype is 'float32',/,
    ],
    ['without a size', { byteLength: undefined }, 'ERR_ARG_TYPE', /byteLength.*undefined/],
    ['of half an element', { byteLength: 6 }, 'ERR_ARG_VALUE', /a multiple of 4.* for byteLength .* 6$/],
    ['of a broken size', { byteLength: 1.5 }, 'ERR_ARG_VALUE', /byteLength.*1.5/],
    ['of a size below 0', { byteLength: -4 }, 'ERR_ARG_VALUE', /byteLength.*-4/],
    ['without a dtype', { dtype: undefined }, 'ERR_ARG_TYPE', /dtype/],
    ['of an unknown dtype', { dtype: 'int16' }, 'ERR_ARG_VALUE', /dtype.*"int16"/],
    ['of a device that is not there', { device: 2 }, 'ERR_ARG_VALUE', /from 0 to 1 for device.*2/],
    ['with an option that is none', { offset: 4 }, 'ERR_UNKNOWN_OPTION', /"offset"/],
    [
      'of no memory',
      { ptr: 4096n },
      'ERR_DEVICE',
      /memory of device 0 for ptr .*4096n, which is not memory known to CUDA/,
    ],
    ['of memory of the host', { ptr: pinned }, 'ERR_DEVICE', /which is host memory/],
    ['of another device', { ptr: other }, 'ERR_DEVICE', /memory of device 0 for ptr .*, which is memory of device 1/],
    [
      'beyond the end',
      { byteLength: 68 },
      'ERR_ARG_VALUE',
      /at most 64, since the memory ends there, for byteLength .* 68/,
    ],
    ['beyond the end, far', { ptr: device + 60n, byteLength: 2 ** 40 }, 'ERR_ARG_VALUE', /at most 4, .*1099511627776/],
  ])('%s', (_name, change, code, message) => {
    const error = thrownBy(() => DeviceBuffer.view({ ...valid, ...change } as never));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
    expect(error).toBeInstanceOf(code === 'ERR_ARG_TYPE' || code === 'ERR_UNKNOWN_OPTION' ? TypeError : RangeError);
  });

  it.each<[string, unknown, string, RegExp]>([
    ['with a stream that is a number', { stream: 0 }, 'ERR_ARG_TYPE', /a bigint from 0n.* for stream .*0$/],
    ['with a stream below 0', { stream: -1n }, 'ERR_ARG_VALUE', /stream.*-1n/],
    ['with an option that is none', { steam: 0n }, 'ERR_UNKNOWN_OPTION', /"steam"/],
    ['with options that are none', null, 'ERR_ARG_TYPE', /DeviceBuffer.view.*null/],
  ])('%s', (_name, options, code, message) => {
    const error = thrownBy(() => DeviceBuffer.view(valid as never, options as never));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('but an empty one can', () => {
    const view = DeviceBuffer.view({ ptr: 4096n, byteLength: 0, dtype: 'float32' });
    expect(view).toMatchObject({ length: 0, ptr: 0n, disposed: false });
    expect(view.toArray()).toEqual(new Float32Array(0));
  });

  it("with another device's stream", () => {
    const view = DeviceBuffer.view(valid as never, { stream: foreigner.stream(1) });
    expect(thrownBy(() => view.toArray())).toMatchObject({
      code: 'ERR_CUDA',
      operation: 'cudaEventRecord',
      cudaName: 'cudaErrorInvalidResourceHandle',
    });
  });
});

/** A program in another process, which sees our memory by its handle and answers with JSON, line by line. */
class OtherProcess {
  private readonly child;
  private readonly lines;

  constructor(code: string) {
    this.child = spawn(process.execPath, ['--input-type=module', '--eval', code], {
      cwd: ROOT,
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  async answer(question: unknown = null): Promise<never> {
    this.child.stdin.write(
      `${JSON.stringify(question, (_, value) => (ArrayBuffer.isView(value) ? [...(value as Uint8Array)] : value))}\n`,
    );
    const { value, done } = await this.lines.next();
    if (done) throw new Error('the other process ended');
    return JSON.parse(value as string) as never;
  }

  async end(): Promise<void> {
    const ended = once(this.child, 'close');
    this.child.stdin.end();
    expect((await ended)[0]).toBe(0);
  }
}

const OTHER = `
  import { createInterface } from 'node:readline';
  import { createRequire } from 'node:module';
  import { DeviceBuffer, criticUpdate, tokenLogps } from 'sweet-rl';
  const emulator = createRequire(import.meta.url)(process.env.SWEET_RL_CUDA);
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const question = async () => JSON.parse((await lines.next()).value, (name, value) => name === 'handle' ? Uint8Array.from(value) : value);
  const answer = (value) => console.log(JSON.stringify(value));
  const thrown = (action) => {
    try { action(); return null; } catch ({ name, code, message, cudaName }) { return { name, code, message, cudaName }; }
  };
`;

describe("another process's memory", () => {
  it('is worked on in place', async () => {
    const other = new OtherProcess(`${OTHER}
      const { inputs, outputs } = await question();
      const opened = (memories) => Object.fromEntries(Object.entries(memories).map(([name, memory]) => [name, DeviceBuffer.fromIpc(memory)]));
      const out = opened(outputs);
      const { loss } = criticUpdate({ ...opened(inputs), out });
      answer(loss);`);
    const inputs = onDevice();
    const outputs = Object.fromEntries(
      Object.entries(outSizes).map(([name, length]) => [name, DeviceBuffer.allocate('float32', length)]),
    );
    const handles = (buffers: Record<string, DeviceBuffer>) =>
      Object.fromEntries(Object.entries(buffers).map(([name, buffer]) => [name, buffer.ipcHandle()]));
    expect(await other.answer({ inputs: handles(inputs), outputs: handles(outputs) })).toBe(expected.loss);
    await other.end();
    for (const [name, buffer] of Object.entries(outputs)) {
      expect(buffer.toArray()).toEqual(expected[name as keyof typeof outSizes]);
    }
  });

  it('may be a part of an allocation, of ours or of somebody else in this process', async () => {
    using buffer = DeviceBuffer.from(Float32Array.of(0, 1, 2, 3, 4, 5));
    const part = buffer.subarray(2, 5);
    expect(part.ipcHandle()).toMatchObject({ byteLength: 12, byteOffset: 8, dtype: 'float32', device: 0 });
    const ptr = foreigner.allocate(64);
    foreignWrite(
      0n,
      ptr,
      Uint8Array.from({ length: 64 }, (_, i) => i),
    );
    const view = DeviceBuffer.view({ ptr: ptr + 16n, byteLength: 8, dtype: 'uint8' }, { stream: 0n });
    expect([...(view.toArray() as Uint8Array)]).toEqual([16, 17, 18, 19, 20, 21, 22, 23]);
    const other = new OtherProcess(`${OTHER}
      for (let i = 0; i < 2; i++) answer([...DeviceBuffer.fromIpc(await question()).toArray()]);`);
    expect(await other.answer(part.ipcHandle())).toEqual([2, 3, 4]);
    expect(await other.answer(view.ipcHandle())).toEqual([16, 17, 18, 19, 20, 21, 22, 23]);
    await other.end();
  });

  it('is the same memory when it is opened twice, until it is closed twice', async () => {
    using buffer = DeviceBuffer.from(Float32Array.of(0, 1, 2, 3));
    const other = new OtherProcess(`${OTHER}
      const memory = await question();
      const before = emulator.liveObjects();
      const [first, second] = [DeviceBuffer.fromIpc(memory), DeviceBuffer.fromIpc({ ...memory, byteLength: 8, byteOffset: 8 })];
      const opened = emulator.liveObjects() - before;
      const same = second.ptr - first.ptr === 8n;
      const labels = DeviceBuffer.from(new Int32Array(2));
      const overlap = thrown(() => tokenLogps({ logits: first, labels, out: { logps: second } })).code;
      const closed = (buffer) => {
        const live = emulator.liveObjects();
        buffer.dispose();
        buffer.dispose();
        return live - emulator.liveObjects();
      };
      const one = closed(first);
      const numbers = [...second.toArray()];
      const part = second.subarray(1);
      const shared = thrown(() => part.ipcHandle());
      const two = closed(second);
      answer({ same, overlap, numbers, shared, opened, closed: [one, two], gone: thrown(() => part.toArray()).code });`);
    const { shared, ...rest } = (await other.answer(buffer.ipcHandle())) as Record<string, unknown>;
    expect(rest).toEqual({
      same: true,
      overlap: 'ERR_OVERLAP',
      numbers: [2, 3],
      opened: 1,
      closed: [0, 1],
      gone: 'ERR_DISPOSED',
    });
    expect(shared).toMatchObject({
      name: 'SweetError',
      code: 'ERR_IPC',
      message: 'Expected memory of this process for ipcHandle() but received memory of another one: pass on its handle',
    });
    await other.end();
  });

  it('must reach as far as it is said to, and be there', async () => {
    const buffer = DeviceBuffer.from(new Float32Array(4));
    const other = new OtherProcess(`${OTHER}
      const memory = await question();
      const before = emulator.liveObjects();
      const errors = [{ byteLength: 20 }, { byteOffset: 4 }, { byteOffset: 4096, byteLength: 4 }].map((change) =>
        thrown(() => DeviceBuffer.fromIpc({ ...memory, ...change })).message);
      answer({ errors, leaked: emulator.liveObjects() - before });
      await question();
      answer(thrown(() => DeviceBuffer.fromIpc(memory)));`);
    const message = (wanted: number) =>
      `Expected at most 16, since the memory ends there, for byteOffset + byteLength but received ${wanted}`;
    expect(await other.answer(buffer.ipcHandle())).toEqual({
      errors: [message(20), message(20), message(4100)],
      leaked: 0,
    });
    buffer.dispose();
    expect(await other.answer()).toMatchObject({ code: 'ERR_CUDA', cudaName: 'cudaErrorMapBufferObjectFailed' });
    await other.end();
  });

  it('is none of this process', () => {
    using buffer = DeviceBuffer.from(new Float32Array(4));
    const error = thrownBy(() => DeviceBuffer.fromIpc(buffer.ipcHandle()));
    expect(error).toBeInstanceOf(SweetError);
    expect(error).toMatchObject({
      code: 'ERR_IPC',
      message:
        'Expected a handle of another process but received one of this process: use the buffer itself, or subarray() of it',
    });
  });

  const valid: IpcMemory = { handle: new Uint8Array(64), byteLength: 16, dtype: 'float32' };

  it.each<[string, Record<string, unknown>, string, RegExp]>([
    ['no handle', { handle: undefined }, 'ERR_ARG_TYPE', /Uint8Array for handle .*undefined/],
    ['a handle that is a string', { handle: 'x' }, 'ERR_ARG_TYPE', /handle.*"x"/],
    [
      'a handle that is a DeviceBuffer',
      { handle: DeviceBuffer.allocate('uint8', 64) },
      'ERR_ARG_TYPE',
      /handle.*DeviceBuffer/,
    ],
    [
      'a handle of 66 bytes',
      { handle: new Uint8Array(66) },
      'ERR_ARG_LENGTH',
      /64 elements for handle .*Uint8Array\(66\)/,
    ],
    ['an offset within an element', { byteOffset: 2 }, 'ERR_ARG_VALUE', /a multiple of 4.* for byteOffset .* 2$/],
    ['an offset below 0', { byteOffset: -4 }, 'ERR_ARG_VALUE', /byteOffset.*-4/],
    ['half an element', { byteLength: 2 }, 'ERR_ARG_VALUE', /a multiple of 4.* for byteLength .* 2$/],
    ['no size', { byteLength: undefined }, 'ERR_ARG_TYPE', /byteLength/],
    ['no dtype', { dtype: undefined }, 'ERR_ARG_TYPE', /dtype/],
    ['a device that is not there', { device: 2 }, 'ERR_ARG_VALUE', /from 0 to 1 for device.*2/],
    ['an option that is none', { ptr: 1n }, 'ERR_UNKNOWN_OPTION', /"ptr"/],
    ['bytes that are no handle', {}, 'ERR_CUDA', /^cudaIpcOpenMemHandle failed with cudaErrorInvalidValue/],
  ])('is refused with %s', (_name, change, code, message) => {
    const error = thrownBy(() => DeviceBuffer.fromIpc({ ...valid, ...change } as never));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it('cannot be empty', () => {
    const error = thrownBy(() => DeviceBuffer.allocate('float32', 0).ipcHandle());
    expect(error).toBeInstanceOf(RangeError);
    expect(error).toMatchObject({ code: 'ERR_ARG_LENGTH', message: expect.stringMatching(/ipcHandle\(\)/) });
  });

  it('opened when it ends is closed with the process', () => {
    using buffer = DeviceBuffer.from(Float32Array.of(5));
    const { handle, ...memory } = buffer.ipcHandle();
    const program = `
      import { DeviceBuffer } from 'sweet-rl';
      const memory = { ...${JSON.stringify(memory)}, handle: Uint8Array.of(${handle}) };
      console.log(JSON.stringify([...DeviceBuffer.fromIpc(memory).toArray()]));`;
    expect(resultOf(program)).toEqual([5]);
  });
});

describe('a call of CUDA that fails', () => {
  /** Lets each call fail in turn, until none does. */
  function failures(action: () => void): Set<string> {
    action();
    const before = liveObjects();
    const failed = new Set<string>();
    for (let n = 1; n <= 40; n++) {
      failCall(n, OUT_OF_MEMORY);
      try {
        action();
      } catch (error) {
        expect(error).toBeInstanceOf(CudaError);
        expect(error).toMatchObject({ code: 'ERR_CUDA', cudaCode: OUT_OF_MEMORY, sticky: false });
        failed.add((error as CudaError).operation);
      }
      reset();
      expect(liveObjects()).toBeLessThanOrEqual(before);
    }
    return failed;
  }

  it('is named, and leaks nothing', () => {
    const stream = foreigner.stream();
    const ptr = foreigner.allocate(16);
    foreignWrite(stream, ptr, bytesOf(Float32Array.of(1, 2, 3, 4)));
    const found = failures(() => {
      const view = DeviceBuffer.view({ ptr, byteLength: 16, dtype: 'float32' }, { stream });
      view.ipcHandle();
      view.toArray();
    });
    expect([...found]).toEqual(
      expect.arrayContaining([
        'cudaPointerGetAttributes',
        'cudaGetDriverEntryPointByVersion',
        'cuMemGetAddressRange',
        'cudaIpcGetMemHandle',
        'cudaEventRecord',
        'cudaStreamWaitEvent',
      ]),
    );
  });

  it('is named where the first stream is told of, and the next call does it again', () => {
    const program = `
      import { createRequire } from 'node:module';
      import { DeviceBuffer } from 'sweet-rl';
      const emulator = createRequire(import.meta.url)(process.env.SWEET_RL_CUDA);
      DeviceBuffer.from(Float32Array.of(1)).toArray();
      const ptr = emulator.foreignMemory(4, 0);
      const stream = emulator.foreignStream(0);
      const view = DeviceBuffer.view({ ptr, byteLength: 4, dtype: 'float32' }, { stream });
      emulator.foreignWrite(stream, ptr, Uint8Array.of(0, 0, 128, 63));
      const before = emulator.liveObjects();
      const failed = [];
      for (let n = 1; n <= 8; n++) {
        emulator.failCall(n, ${OUT_OF_MEMORY});
        try {
          view.toArray();
        } catch ({ operation }) {
          failed.push(operation);
        }
        emulator.reset();
      }
      const kept = emulator.liveObjects() - before;
      console.log(JSON.stringify({ failed, kept, numbers: [...view.toArray()] }));`;
    const { failed, kept, numbers } = resultOf<{ failed: string[]; kept: number; numbers: number[] }>(program);
    expect(failed).toEqual(expect.arrayContaining(['cudaStreamCreate', 'cudaEventCreate', 'cudaEventRecord']));
    expect(kept).toBe(3); // a stream and two events
    expect(numbers).toEqual([1]);
  });
});
