/** Shared memory: what other processes see, and every way in which the system or the caller may be wrong. */
import { constants } from 'node:buffer';
import { existsSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { criticUpdate, SweetError, tokenLogps, tokenLogpsAsync } from 'sweet-rl';
import { openShm, SharedMapping, unlinkShm } from 'sweet-rl/shm';
import { afterEach, describe, expect, it } from 'vitest';
import { resultOf } from '../helpers/processes.ts';

const linux = process.platform === 'linux';
const name = `sweet-rl-test-${process.pid}`;
const file = `/dev/shm/${name}`;
const created = (byteLength: number) => openShm(name, { create: true, byteLength });

afterEach(() => {
  if (existsSync(file)) unlinkShm(name);
});

const isMapped = () => readFileSync('/proc/self/maps', 'latin1').includes(name);

const faultOf = (action: () => unknown): SweetError => {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(SweetError);
    expect((error as SweetError).code).toBe('ERR_SHM');
    return error as SweetError;
  }
  throw new Error('nothing was thrown');
};

describe.runIf(linux)('a mapping', () => {
  it('begins with zeros, and another process sees and makes every change', () => {
    const mapping = created(64);
    expect(mapping).toBeInstanceOf(SharedMapping);
    expect([mapping.name, mapping.byteLength]).toEqual([name, 64]);
    expect([...mapping.uint8(0, 64)]).toEqual(new Array(64).fill(0));
    const floats = mapping.float32(16, 4);
    floats.set([1.5, -2, Infinity, 2 ** -149]);
    const theirs = resultOf<number[]>(`
      import { openShm } from 'sweet-rl/shm';
      const mapping = openShm('${name}');
      const floats = mapping.float32(16, 4);
      console.log(JSON.stringify([mapping.byteLength, floats[0], floats[1], floats[3]]));
      floats[2] = 7;`);
    expect(theirs).toEqual([64, 1.5, -2, 2 ** -149]);
    expect(floats[2]).toBe(7);
    expect(readFileSync(file).readFloatLE(16)).toBe(1.5);
    mapping.close();
  });

  it('has a view of every class at its offset', () => {
    const mapping = created(32);
    mapping.uint8(0, 32).set(Uint8Array.from({ length: 32 }, (_, i) => i));
    const { buffer } = Uint8Array.from({ length: 32 }, (_, i) => i);
    expect(mapping.float32(4, 7)).toEqual(new Float32Array(buffer, 4, 7));
    expect(mapping.float64(8, 3)).toEqual(new Float64Array(buffer, 8, 3));
    expect(mapping.int32(28, 1)).toEqual(new Int32Array(buffer, 28, 1));
    expect(mapping.bigInt64(16, 2)).toEqual(new BigInt64Array(buffer, 16, 2));
    expect(mapping.uint16(2, 15)).toEqual(new Uint16Array(buffer, 2, 15));
    expect(mapping.uint8(32, 0)).toEqual(new Uint8Array(0));
    mapping.close();
  });

  it('goes in and out of an update, in place, with the numbers of ordinary memory', () => {
    const [N, V] = [4, 33];
    const logits = Float32Array.from({ length: N * V }, (_, i) => Math.sin(i) * 3);
    const batch = {
      labels: Int32Array.of(0, 32, 7, 5),
      refLogps: new Float32Array(N).fill(-3),
      turnOffsets: Int32Array.of(0, 1, 4),
      trajectoryOffsets: Int32Array.of(0, 1, 2),
      chosen: Int32Array.of(1),
      rejected: Int32Array.of(0),
    };
    const expected = criticUpdate({ ...batch, logits });
    const mapping = created(4 * N * V);
    const shared = mapping.float32(0, N * V);
    shared.set(logits);
    const result = criticUpdate({ ...batch, logits: shared, out: { gradLogits: shared } });
    expect(result.loss).toBe(expected.loss);
    expect(shared).toEqual(expected.gradLogits);
    mapping.close();
  });

  it('maps a part where that is asked for', () => {
    created(8192).close();
    const part = openShm(name, { byteLength: 100 });
    expect(part.byteLength).toBe(100);
    part.close();
  });

  it('takes its views with it when it is closed, and the memory at once; the name stays', () => {
    const mapping = created(4096);
    const view = mapping.int32(0, 4);
    expect(isMapped()).toBe(true);
    expect(mapping.close()).toBe(true);
    expect(isMapped()).toBe(false);
    expect(mapping.close()).toBe(true);
    expect([view.length, mapping.byteLength]).toEqual([0, 0]);
    expect(faultOf(() => mapping.int32(0, 4)).message).toMatch(/was closed/);
    expect(() => criticUpdate({ labels: view } as never)).toThrow(/detached/);
    expect(existsSync(file)).toBe(true);
  });

  it('stays mapped after its close while async calls use it, and says so', async () => {
    const mapping = created(4 * 40);
    const logits = mapping.float32(0, 40);
    logits.forEach((_, i) => {
      logits[i] = Math.sin(i);
    });
    const options = { labels: Int32Array.of(3, 5), vocabSize: 20 };
    const expected = tokenLogps({ ...options, logits }).logps;
    const calls = Array.from({ length: 5 }, () => tokenLogpsAsync({ ...options, logits }));
    expect(mapping.close()).toBe(false);
    expect([isMapped(), logits.length]).toEqual([true, 0]);
    for (const { logps } of await Promise.all(calls)) expect(logps).toEqual(expected);
    expect(isMapped()).toBe(false);
    expect(mapping.close()).toBe(true);
  });

  it('stays mapped while another ArrayBuffer has its memory, and says so', () => {
    const program = `
      import { readFileSync } from 'node:fs';
      import { openShm, unlinkShm } from 'sweet-rl/shm';
      const mapping = openShm('${name}', { create: true, byteLength: 4096 });
      const { buffer } = mapping;
      const transfer = buffer.transfer ? () => buffer.transfer() : () => structuredClone(buffer, { transfer: [buffer] });
      let other;
      try { other = transfer(); } catch { other = buffer; }
      unlinkShm('${name}');
      const moved = other !== buffer && buffer.byteLength === 0;
      const isMapped = () => readFileSync('/proc/self/maps', 'latin1').includes('${name}');
      const closed = mapping.close();
      if (moved) new Uint8Array(other).fill(1);
      console.log(JSON.stringify([moved, closed, isMapped()]));`;
    const [moved, closed, mapped] = resultOf<boolean[]>(program);
    expect([closed, mapped]).toEqual([!moved, moved]);
  });

  it('of which one is closed leaves another of the same memory', () => {
    const first = created(64);
    const second = openShm(name);
    first.uint8(0, 64).fill(5);
    expect(first.close()).toBe(true);
    expect(second.uint8(0, 64)).toEqual(new Uint8Array(64).fill(5));
    expect(second.close()).toBe(true);
    expect(isMapped()).toBe(false);
  });

  it('ends with a worker that is terminated during calls', () => {
    const worker = `
      Promise.all([import('sweet-rl'), import('sweet-rl/shm'), import('node:worker_threads')]).then(
        ([{ tokenLogpsAsync }, { openShm, unlinkShm }, { parentPort }]) => {
          const mapping = openShm('${name}', { create: true, byteLength: 16 << 20 });
          unlinkShm('${name}');
          const logits = mapping.float32(0, 4 << 20);
          for (let i = 0; i < 9; i++) tokenLogpsAsync({ logits, labels: new Int32Array(128), vocabSize: 32768 });
          parentPort.postMessage('posted');
        });`;
    const program = `
      import { once } from 'node:events';
      import { readFileSync } from 'node:fs';
      import { Worker } from 'node:worker_threads';
      for (let i = 0; i < 3; i++) {
        const worker = new Worker(${JSON.stringify(worker)}, { eval: true });
        await once(worker, 'message');
        await worker.terminate();
      }
      console.log(JSON.stringify(readFileSync('/proc/self/maps', 'latin1').includes('${name}')));`;
    expect(resultOf(program)).toBe(false);
  });

  it('ends with the worker that made it', () => {
    const worker = `
      import('sweet-rl/shm').then(({ openShm, unlinkShm }) => {
        globalThis.kept = openShm('${name}', { create: true, byteLength: 4096 }).float32(0, 4).fill(1);
        unlinkShm('${name}');
      });`;
    const program = `
      import { readFileSync } from 'node:fs';
      import { Worker } from 'node:worker_threads';
      for (let i = 0; i < 3; i++) {
        await new Promise((resolve) => new Worker(${JSON.stringify(worker)}, { eval: true }).on('exit', resolve));
      }
      console.log(JSON.stringify(readFileSync('/proc/self/maps', 'latin1').includes('${name}')));`;
    expect(resultOf(program)).toBe(false);
  });

  it('lives on when its name is removed', () => {
    const mapping = created(16);
    unlinkShm(name);
    mapping.float64(0, 2)[1] = 3;
    expect(mapping.float64(8, 1)[0]).toBe(3);
    mapping.close();
  });
});

describe.runIf(linux)('the system', () => {
  it('is quoted where it refuses', () => {
    expect(faultOf(() => openShm(name)).message).toMatch(`"${name}" could not be mapped: it does not exist (ENOENT)`);
    expect(faultOf(() => unlinkShm(name)).message).toMatch(/could not be removed: .*ENOENT/);
    created(16).close();
    expect(faultOf(() => created(16)).message).toMatch(/could not be created: .*unlinkShm removes it \(EEXIST\)/);
    expect(faultOf(() => openShm(name, { byteLength: 17 })).message).toMatch(/Expected 17 bytes .* but it has 16/);
    unlinkShm(name);
    writeFileSync(file, '');
    expect(faultOf(() => openShm(name)).message).toMatch(/Expected at least 1 byte .* but it has 0/);
  });
});

describe.runIf(linux)('a shared memory larger than a buffer may be', () => {
  it.runIf(constants.MAX_LENGTH < 2 ** 33)('is refused as a whole and mapped in part', () => {
    writeFileSync(file, '');
    truncateSync(file, 2 ** 33); // of holes: no memory is taken
    expect(faultOf(() => openShm(name)).message).toMatch(/cannot create an ArrayBuffer of the 8589934592 bytes/);
    const part = openShm(name, { byteLength: 4096 });
    expect(part.byteLength).toBe(4096);
    part.close();
  });
});

describe('arguments', () => {
  it.each(['', 'a/b', '/a', '..', 'a\0b', 'ä'.repeat(126)])('refuses the name %j', (wrong) => {
    expect(() => openShm(wrong)).toThrow(RangeError);
    expect(() => unlinkShm(wrong)).toThrow(/Expected a name of 1 to 250 bytes without a slash for name/);
  });

  it.each<[unknown, RegExp]>([
    [{ create: true }, /a number of bytes.*byteLength.*undefined/],
    [{ create: 1, byteLength: 8 }, /create.* 1/],
    [{ byteLength: 0 }, /byteLength.* 0/],
    [{ byteLength: 1.5 }, /byteLength.* 1.5/],
    [{ byteLength: 2 ** 60 }, /byteLength/],
    [{ bytes: 8 }, /"bytes"/],
    ['x', /an options object/],
  ])('refuses %j', (options, message) => {
    expect(() => openShm(name, options as never)).toThrow(message);
    expect(existsSync(file)).toBe(false);
  });

  it.runIf(linux)('refuses views that do not lie inside, or not at a multiple of their element', () => {
    const mapping = created(16);
    expect(() => mapping.float32(2, 1)).toThrow(/a multiple of 4 for byteOffset.* 2/);
    expect(() => mapping.float64(0, 3)).toThrow(/from 0 to 2 for length.* 3/);
    expect(() => mapping.float32(8, 3)).toThrow(/from 0 to 2 for length.* 3/);
    expect(() => mapping.uint8(17, 0)).toThrow(/from 0 to 16 for byteOffset.* 17/);
    expect(() => mapping.uint8(-1, 1)).toThrow(RangeError);
    expect(() => mapping.uint8(0, undefined as never)).toThrow(TypeError);
    expect(() => mapping.uint8(undefined as never, 1)).toThrow(TypeError);
    mapping.close();
  });
});
