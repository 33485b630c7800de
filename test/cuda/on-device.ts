/**
 * Makes the tests of the operations call each of them on device buffers: arrays go to the device, the results come back. So
 * the tests of the CPU, their oracle and their vectors, are those of CUDA as well.
 */
import { isDeepStrictEqual } from 'node:util';
import { vi } from 'vitest';
import { DeviceBuffer } from '../../dist/device/device-buffer.js';
import { exportsOf } from '../helpers/exports.ts';
import { setSeed } from './emulated.ts';

type View = Float32Array | Float64Array | Uint16Array | Int32Array | Uint8Array | BigInt64Array;
type Options = Record<string, unknown>;
type Call = (options: Options) => unknown;

const isView = (value: unknown): value is View => ArrayBuffer.isView(value);

/** The caller's views of one call on the device; the same memory is one buffer. */
class Uploads {
  private readonly buffers = new Map<string, { view: View; buffer: DeviceBuffer }>();
  private readonly memory = new Map<object, number>();

  upload(view: View, dtype: unknown): DeviceBuffer {
    const key = this.keyOf(view);
    const known = this.buffers.get(key)?.buffer;
    if (known !== undefined) return known;
    const type = view instanceof Uint16Array ? { dtype: dtype as 'bfloat16' } : {};
    const buffer = DeviceBuffer.from(view, type);
    this.buffers.set(key, { view, buffer });
    return buffer;
  }

  /** What the caller would have got: its own array, filled, or a fresh one. */
  download(buffer: DeviceBuffer): View {
    const array = buffer.toArray() as View;
    for (const uploaded of this.buffers.values()) {
      if (uploaded.buffer !== buffer) continue;
      (uploaded.view as Uint8Array).set(array as Uint8Array);
      return uploaded.view;
    }
    buffer.dispose();
    return array;
  }

  expectUnchanged(): void {
    for (const { view, buffer } of this.buffers.values()) {
      const bytes = (array: View) => Buffer.from(array.buffer, array.byteOffset, array.byteLength);
      if (!bytes(buffer.toArray() as View).equals(bytes(view))) throw new Error('a refused call wrote to the device');
    }
  }

  dispose(): void {
    for (const { buffer } of this.buffers.values()) buffer.dispose();
  }

  private keyOf(view: View): string {
    const id = this.memory.get(view.buffer) ?? this.memory.size;
    this.memory.set(view.buffer, id);
    return `${id} ${view.byteOffset} ${view.byteLength}`;
  }
}

/** Runs under every seed; the results of the last are the caller's. */
function onDevice(call: Call): Call {
  const run = runOnDevice(call);
  return (options) => {
    let result: unknown;
    // A call that writes into the caller's arrays may have changed its own inputs.
    for (const seed of options.out === undefined ? seeds : seeds.slice(0, 1)) {
      setSeed(seed);
      const before = result;
      result = run(options);
      if (before !== undefined) expectSame(result, before, seed);
    }
    return result;
  };
}

function expectSame(result: unknown, before: unknown, seed: number): void {
  if (!isDeepStrictEqual(result, before)) throw new Error(`seed ${seed} gives other bits`);
}

function runOnDevice(call: Call): Call {
  return (options) => {
    const uploads = new Uploads();
    const { dtype, weightDtype } = options;
    const dtypeOf = (name: string) => {
      const ofWeight = /eight$|ias$/.test(name);
      const own = ofWeight ? (weightDtype ?? dtype) : dtype;
      const [side] = /^ref|^teacher/.exec(name) ?? [];
      if (side === undefined) return own;
      const ofSide = options[`${side}Dtype`] ?? dtype;
      return ofWeight ? (options[`${side}WeightDtype`] ?? weightDtype ?? ofSide) : ofSide;
    };
    const given = (value: unknown, name: string): unknown =>
      isView(value) ? uploads.upload(value, dtypeOf(name)) : value;
    const all = (values: Options): Options =>
      Object.fromEntries(Object.entries(values).map(([name, value]) => [name, given(value, name)]));
    const taken = (value: unknown): unknown => (value instanceof DeviceBuffer ? uploads.download(value) : value);
    try {
      const uploaded = all(options);
      if (typeof options.out === 'object' && options.out !== null) uploaded.out = all(options.out as Options);
      let result: unknown;
      try {
        result = call(uploaded);
      } catch (error) {
        uploads.expectUnchanged();
        throw error;
      }
      if (result instanceof DeviceBuffer) return taken(result);
      return Object.fromEntries(Object.entries(result as Options).map(([name, value]) => [name, taken(value)]));
    } finally {
      uploads.dispose();
    }
  };
}

const seeds = (process.env.SWEET_EMULATOR_SEEDS ?? '1').split(' ').map(Number);

/** The sync functions of lib/ops; a backend that stands for the device. */
vi.mock('sweet-rl', async (importOriginal) => {
  const sweetRl = await importOriginal<Record<string, Call>>();
  const operations = exportsOf('ops').filter((name) => !name.endsWith('Async'));
  return {
    ...sweetRl,
    ...Object.fromEntries(operations.map((name) => [name, onDevice(sweetRl[name]!)])),
    backends: () => [{ name: 'device', available: true, active: true }],
    useBackend: () => {},
  };
});
