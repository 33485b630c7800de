/**
 * Calls that run off the main thread: the same bits as on it, and clean whatever happens meanwhile. What needs forced
 * collections, or ends, runs in processes of its own.
 */
import * as namespace from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectSameBits } from '../helpers/compare.ts';
import { type CallCase, callCases, isOut, largeCall } from '../helpers/later.js';
import { forEachBackend, THREAD_COUNTS } from '../helpers/machine.ts';
import { resultOf, runNode } from '../helpers/processes.ts';
import { DTYPES } from '../helpers/storage.ts';

// Functions are looked up by the names of cases: tokenLogpsAsync, tokenLogpsBackwardAsync, linearLogpsAsync,
// linearLogpsBackwardAsync, criticUpdateAsync and policyUpdateAsync.
const sweetRl = { ...namespace };

type Results = Record<string, Float32Array | Uint16Array | number>;

const sync = ({ name, options }: CallCase) => (sweetRl[name] as (options: object) => Results)(options());
const later = ({ name, options }: CallCase, more: object = {}) =>
  (sweetRl[`${name}Async`] as (options: object) => Promise<Results>)({ ...options(), ...more });

function expectSame(ours: Results, expected: Results): void {
  expect(Object.keys(ours)).toEqual(Object.keys(expected));
  for (const [name, value] of Object.entries(expected)) {
    if (!ArrayBuffer.isView(value)) expect(ours[name], name).toEqual(value);
    else expectSameBits(name, ours[name] as Float32Array, value as Float32Array);
  }
}

const rejection = (promise: Promise<unknown>): Promise<Error & { code?: string }> =>
  promise.then(
    () => Promise.reject(new Error('the promise was fulfilled')),
    (error) => error,
  );

function sleep(milliseconds: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, milliseconds);
}

/**
 * Runs `action` while another call surely runs, however slow the machine is: that call has not written its last result
 * afterwards, and no promise settles in between. `end` ends it.
 */
function duringCall<T>(action: () => T): { result: T; end: () => Promise<unknown> } {
  const call = largeCall('linearLogps');
  const { length } = (call.options() as { labels: Int32Array }).labels;
  for (let attempt = 0; attempt < 50; attempt++) {
    const controller = new AbortController();
    const logps = new Float32Array(new SharedArrayBuffer(4 * length)).fill(7);
    const running = later(call, { out: { logps }, signal: controller.signal }).catch(() => {});
    const result = action();
    const end = () => {
      controller.abort();
      return running;
    };
    if (logps.at(-1) === 7) return { result, end };
  }
  throw new Error('the call was over each time');
}

forEachBackend(() => {
  describe.each(DTYPES)('%s', (dtype) => {
    it.each(callCases(dtype))('$title gives the bits of its sync form', async (call) => {
      expectSame(await later(call), sync(call));
    });
  });

  it.each(callCases('float32'))('$title gives the same bits for any number of threads', async (call) => {
    const expected = sync(call);
    const before = sweetRl.threads();
    for (const count of THREAD_COUNTS) {
      sweetRl.setThreads(count);
      expectSame(await later(call), expected);
    }
    sweetRl.setThreads(before);
  });
});

describe('results', () => {
  it.each(callCases('float32'))('of $title go into the buffers of out, which are what is returned', async (call) => {
    const expected = sync(call);
    const out = Object.fromEntries(
      Object.entries(expected).flatMap(([name, value]) =>
        isOut(call, name, value) ? [[name, (value as Float32Array).slice().fill(7)]] : [],
      ),
    );
    const ours = await later(call, { out });
    expectSame(ours, expected);
    for (const [name, buffer] of Object.entries(out)) expect(ours[name]).toBe(buffer);
  });

  it.each(callCases('float32'))('of $title are the same from shared memory', async (call) => {
    const shared = (value: unknown) => {
      if (!ArrayBuffer.isView(value)) return value;
      const copy = new (value.constructor as Float32ArrayConstructor)(new SharedArrayBuffer(value.byteLength));
      copy.set(value as Float32Array);
      return copy;
    };
    const options = () =>
      Object.fromEntries(Object.entries(call.options()).map(([name, value]) => [name, shared(value)]));
    expectSame(await later({ ...call, options }), sync(call));
  });

  it('of many calls at once are those of each', async () => {
    const calls = callCases('float32');
    const many = Array.from({ length: 40 }, (_, i) => calls[i % calls.length]!);
    const results = await Promise.all(many.map((call) => later(call)));
    const expected = calls.map(sync);
    for (const [i, result] of results.entries()) expectSame(result, expected[i % calls.length]!);
  });

  it('of sync calls made meanwhile are not mixed up with them', async () => {
    const [call] = callCases('float32') as [CallCase];
    const [promise, expected] = [later(call), sync(call)];
    const now = Array.from({ length: 50 }, () => sync(call));
    expectSame(await promise, expected);
    for (const result of now) expectSame(result, expected);
  });

  it.each(callCases('float32'))('of $title are copied into buffers of the caller', async (call) => {
    const expected = sync(call);
    const [name] = Object.keys(expected).filter((key) => typeof expected[key] !== 'number') as [string];
    const fresh = () => (expected[name] as Float32Array).slice().fill(7);
    const out = { [name]: fresh() };
    const ours = await later(call, { out });
    expectSame(ours, expected);
    expect(ours[name]).toBe(out[name]);
    const gone = { [name]: fresh() };
    const promise = later(call, { out: gone });
    structuredClone(gone, { transfer: [gone[name]!.buffer] });
    expect(await rejection(promise)).toMatchObject({ code: 'ERR_DETACHED' });
  });

  it.each(callCases('float32'))('of $title are right though the inputs are transferred', async (call) => {
    const expected = sync(call);
    const aborting = new AbortController();
    const blocker = rejection(later(largeCall('linearLogps'), { signal: aborting.signal }));
    const options = structuredClone(call.options());
    const promise = later({ ...call, options: () => options });
    const taken = Object.values(options).flatMap((value) => {
      if (!ArrayBuffer.isView(value)) return [];
      const bytes = new Uint8Array(
        structuredClone(value.buffer as ArrayBuffer, { transfer: [value.buffer as ArrayBuffer] }),
      );
      return bytes.fill(0xff);
    });
    aborting.abort();
    await blocker;
    expectSame(await promise, expected);
    expect(taken.length).toBeGreaterThan(0);
  });

  it('in place are those of the sync form, with and without copies', async () => {
    const [N, V] = [64, 4001];
    const logits = Float32Array.from({ length: N * V }, (_, i) => Math.sin(i));
    const labels = Int32Array.from({ length: N }, (_, i) => i);
    const rest = { labels, lse: new Float32Array(N).fill(8), gradLogps: new Float32Array(N).fill(1) };
    const expected = sweetRl.tokenLogpsBackward({ logits, ...rest }).gradLogits;
    for (const memoryOf of [(n: number) => new ArrayBuffer(n), (n: number) => new SharedArrayBuffer(n)]) {
      const own = new Float32Array(memoryOf(logits.byteLength));
      own.set(logits);
      const { gradLogits } = await sweetRl.tokenLogpsBackwardAsync({ logits: own, ...rest, out: { gradLogits: own } });
      expect(gradLogits).toBe(own);
      expectSameBits('gradLogits', own, expected);
    }
  });

  it('accumulate into what is there, with and without copies', async () => {
    const call = callCases('float32').find(({ name }) => name === 'linearLogpsBackward')!;
    const names = ['gradHidden', 'gradWeight', 'gradBias'];
    const fresh = sync(call);
    const filled = (memoryOf: (n: number) => ArrayBufferLike) =>
      Object.fromEntries(
        names.map((name) => {
          const { byteLength } = fresh[name] as Float32Array;
          return [name, new Float32Array(memoryOf(byteLength)).map((_, i) => i % 7)];
        }),
      );
    const accumulating = (out: object) => ({ ...call, options: () => ({ ...call.options(), accumulate: true, out }) });
    const memories = [(n: number) => new ArrayBuffer(n), (n: number) => new SharedArrayBuffer(n)];
    const expected = sync(accumulating(filled(memories[0]!)));
    for (const memoryOf of memories) expectSame(await later(accumulating(filled(memoryOf))), expected);
  });

  it.runIf('resizable' in ArrayBuffer.prototype)('of resizable buffers are right, though these shrink', async () => {
    const logits = new Float32Array(
      new (ArrayBuffer as never as new (n: number, o: object) => ArrayBuffer)(4 << 20, { maxByteLength: 8 << 20 }),
    );
    logits.forEach((_, i) => {
      logits[i] = Math.cos(i);
    });
    const labels = Int32Array.from({ length: 64 }, (_, i) => i);
    const expected = sweetRl.tokenLogps({ logits: logits.slice(), labels });
    const aborting = new AbortController();
    const blocker = rejection(later(largeCall('linearLogps'), { signal: aborting.signal }));
    const promise = sweetRl.tokenLogpsAsync({ logits, labels });
    (logits.buffer as ArrayBuffer & { resize(n: number): void }).resize(16);
    aborting.abort();
    await blocker;
    expectSame((await promise) as never, expected as never);

    const logps = new Float32Array(
      new (ArrayBuffer as never as new (n: number, o: object) => ArrayBuffer)(256, { maxByteLength: 512 }),
    );
    const into = sweetRl.tokenLogpsAsync({ logits: new Float32Array(64 * 4001), labels, out: { logps } });
    (logps.buffer as ArrayBuffer & { resize(n: number): void }).resize(16);
    expect(await rejection(into)).toMatchObject({
      code: 'ERR_DETACHED',
      message: expect.stringContaining('out.logps'),
    });
  });
});

describe('an abort', () => {
  const cases = callCases('float32');

  it.each(cases)('before $title rejects with the reason, before anything else', async ({ name }) => {
    const reason = new Error('why');
    const call = sweetRl[`${name}Async`] as (options: object) => Promise<unknown>;
    expect(await rejection(call({ colour: 1, signal: AbortSignal.abort(reason) }))).toBe(reason);
    expect(await rejection(call({ signal: AbortSignal.abort() }))).toMatchObject({ name: 'AbortError' });
  });

  it.each(cases)('of $title while it waits lets it never run', async (call) => {
    const results = Object.entries(sync(call)).filter(([name, value]) => isOut(call, name, value));
    const { result, end } = duringCall(() => {
      const controller = new AbortController();
      const out = Object.fromEntries(
        results.map(([name, value]) => {
          const like = value as Float32Array;
          const Class = like.constructor as Float32ArrayConstructor;
          return [name, new Class(new SharedArrayBuffer(like.byteLength)).fill(7)];
        }),
      );
      const waiting = rejection(later(call, { out, signal: controller.signal }));
      controller.abort('enough');
      return { waiting, out };
    });
    expect(await result.waiting).toBe('enough');
    await end();
    await later(call);
    for (const [name, array] of Object.entries(result.out)) expect(new Set(array), name).toEqual(new Set([7]));
  });

  it.each([
    'tokenLogps',
    'tokenLogpsBackward',
    'linearLogps',
    'linearLogpsBackward',
    'criticUpdate',
    'policyUpdate',
  ] as const)('in the middle of %s ends it early', async (name) => {
    const call = largeCall(name);
    const controller = new AbortController();
    const calls = Array.from({ length: 4 }, () => later(call, { signal: controller.signal }));
    // The first one is under way then, or over if the machine is busy; no promise settles before the abort.
    sleep(5);
    controller.abort('enough');
    const rejected = { status: 'rejected', reason: 'enough' };
    expect(await Promise.allSettled(calls)).toEqual(calls.map(() => rejected));
    // And the next call finds nothing of it.
    const small = callCases('float32').find((each) => each.name === name)!;
    expectSame(await later(small), sync(small));
  });

  it.each([1, 2])('in the middle ends a call of minutes, %s threads', async (count) => {
    const [before, N, V, H] = [sweetRl.threads(), 2 ** 19, 16384, 32];
    sweetRl.setThreads(count);
    const shared = (length: number) => new Float32Array(new SharedArrayBuffer(4 * length));
    const [logps, controller] = [shared(N), new AbortController()];
    const head = { hidden: shared(N * H), weight: shared(V * H) }; // each log-prob is -log V
    const options = { ...head, labels: new Int32Array(N), out: { logps }, signal: controller.signal };
    const end = rejection(sweetRl.linearLogpsAsync(options));
    for (let i = 0; i < 20_000 && logps[0] === 0; i++) sleep(1); // the promise cannot settle meanwhile
    controller.abort('enough');
    expect(await end).toBe('enough');
    expect([logps[0], logps.at(-1)]).toEqual([expect.closeTo(-Math.log(V), 4), 0]);
    sweetRl.setThreads(before);
  });

  it('after the end does nothing', async () => {
    const [call] = cases as [CallCase];
    const controller = new AbortController();
    expectSame(await later(call, { signal: controller.signal }), sync(call));
    controller.abort();
    expectSame(await later(call), sync(call));
  });

  it('by one signal ends all calls that have it', async () => {
    const controller = new AbortController();
    const call = largeCall('linearLogps');
    const promises = Array.from({ length: 5 }, () => rejection(later(call, { signal: controller.signal })));
    controller.abort('all');
    expect(await Promise.all(promises)).toEqual(new Array(5).fill('all'));
  });

  it('cannot be asked of a sync call, nor of what is no signal', async () => {
    const [call] = cases as [CallCase];
    const options = { ...call.options(), signal: new AbortController().signal };
    expect(() => sweetRl.tokenLogps(options as never)).toThrow(/"signal"/);
    const without = { aborted: false, throwIfAborted() {}, removeEventListener() {} };
    for (const signal of [null, 1, 'x', {}, new EventTarget(), without, { ...without, addEventListener: 1 }]) {
      expect(await rejection(later(call, { signal }))).toMatchObject({
        code: 'ERR_ARG_TYPE',
        message: expect.stringMatching(/signal/),
      });
    }
  });

  it.each(['addEventListener', 'removeEventListener'])(
    'is one whose %s throws: the call rejects, and others go on',
    async (name) => {
      const [call] = cases as [CallCase];
      const fail = () => {
        throw new Error('no listeners');
      };
      const signal = {
        aborted: false,
        throwIfAborted() {},
        addEventListener() {},
        removeEventListener() {},
        [name]: fail,
      };
      const before = later(call);
      const rejected = rejection(later(call, { signal }));
      const after = later(call);
      expect(await rejected).toMatchObject({ message: 'no listeners' });
      for (const each of [before, after]) expectSame(await each, sync(call));
    },
  );
});

// Again and again: a busy machine may let the call end before it lets this thread go on.
it('leaves the event loop alone', async () => {
  let first: string | undefined;
  for (let attempt = 0; attempt < 50 && first !== 'timer'; attempt++) {
    const call = later(largeCall('linearLogps')).then(() => 'call');
    const timer = new Promise((resolve) => setTimeout(resolve, 1)).then(() => 'timer');
    first = await Promise.race([call, timer]);
    await Promise.all([call, timer]);
  }
  expect(first).toBe('timer');
});

/** Each input in turn is taken away while the call waits for another one; its memory is overwritten. */
const TAKING = `
  import { setFlagsFromString } from 'node:v8';
  import { runInNewContext } from 'node:vm';
  import { MessageChannel } from 'node:worker_threads';
  import * as sweetRl from 'sweet-rl';
  import { callCases, isOut, largeCall } from './test/helpers/later.js';
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc');
  const hex = (result) => JSON.stringify(Object.entries(result).map(([name, value]) =>
    [name, ArrayBuffer.isView(value) ? Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('hex') : value]));
  const overwrite = () => { for (let i = 0; i < 20; i++) new Float32Array(1 << 16).fill(NaN); };
  const takers = {
    cloned: (buffer) => structuredClone(buffer, { transfer: [buffer] }),
    posted: (buffer) => { const { port1 } = new MessageChannel(); port1.postMessage(buffer, [buffer]); port1.close(); },
    ...(ArrayBuffer.prototype.transfer && {
      moved: (buffer) => buffer.transfer(),
      shrunk: (buffer) => buffer.transfer(16),
      grown: (buffer) => buffer.transfer(buffer.byteLength * 3),
    }),
  };
  async function taken(call, way, name, inOut) {
    const aborting = new AbortController();
    const blocker = sweetRl.linearLogpsAsync({ ...largeCall('linearLogps').options(), signal: aborting.signal }).catch(() => {});
    let options = call.options();
    // Memory of its own for each array, and large enough to be given back to the system.
    const own = (array) => { const copy = new array.constructor(new ArrayBuffer(array.byteLength)); copy.set(array); return copy; };
    for (const key of Object.keys(options)) if (ArrayBuffer.isView(options[key])) options[key] = own(options[key]);
    if (inOut) options.out = { [name]: own(inOut) };
    const outcome = sweetRl[call.name + 'Async'](options).then(hex, (error) => error.code + ' ' + error.message);
    (inOut ? options.out[name] : options[name]).buffer && takers[way]((inOut ? options.out[name] : options[name]).buffer);
    options = undefined;
    for (let i = 0; i < 3; i++) { gc(); overwrite(); await new Promise((resolve) => setImmediate(resolve)); }
    aborting.abort();
    await blocker;
    return outcome;
  }
`;

describe('memory', () => {
  it.each(['tokenLogps', 'tokenLogpsBackward', 'linearLogps', 'linearLogpsBackward', 'criticUpdate', 'policyUpdate'])(
    'of every input of %s stays, though the input is taken away',
    (name) => {
      const wrong = resultOf<string[]>(`${TAKING}
        const wrong = [];
        for (const call of callCases('float32').filter(({ name }) => name === '${name}')) {
          const expected = hex(sweetRl[call.name](call.options()));
          for (const [input, array] of Object.entries(call.options()).filter(([, value]) => ArrayBuffer.isView(value))) {
            for (const way in takers) if (await taken(call, way, input) !== expected) wrong.push([call.title, input, way]);
          }
        }
        console.log(JSON.stringify(wrong));`);
      expect(wrong).toEqual([]);
    },
  );

  it('of every result that is taken away makes an error that names it', () => {
    const wrong = resultOf<string[]>(`${TAKING}
      const wrong = [];
      for (const call of callCases('float32')) {
        const results = Object.entries(sweetRl[call.name](call.options())).filter(([name, value]) => isOut(call, name, value));
        for (const [name, array] of results) {
          const error = await taken(call, 'cloned', name, array);
          if (!error.startsWith('ERR_DETACHED') || !error.includes('out.' + name + ' ')) wrong.push([call.title, name, error]);
        }
      }
      console.log(JSON.stringify(wrong));`);
    expect(wrong).toEqual([]);
  });

  it('stays when everything that the caller had is collected', () => {
    const same = resultOf<boolean>(`${TAKING}
      let same = true;
      for (const call of callCases('float32')) {
        const expected = hex(sweetRl[call.name](call.options()));
        const promises = Array.from({ length: 4 }, () => sweetRl[call.name + 'Async'](call.options()));
        for (let i = 0; i < 4; i++) { gc(); overwrite(); await null; }
        for (const promise of promises) same &&= hex(await promise) === expected;
      }
      console.log(same);`);
    expect(same).toBe(true);
  });

  it('of a shared mapping stays after its close', () => {
    const same = resultOf<boolean>(`${TAKING}
      import { openShm, unlinkShm } from 'sweet-rl/shm';
      const name = 'sweet-rl-async-' + process.pid;
      const [N, V] = [64, 16384];
      const mapping = openShm(name, { create: true, byteLength: 4 * N * V });
      unlinkShm(name);
      const logits = mapping.float32(0, N * V);
      logits.forEach((_, i) => { logits[i] = Math.sin(i); });
      const labels = Int32Array.from({ length: N }, (_, i) => i);
      const expected = hex(sweetRl.tokenLogps({ logits, labels }));
      const promises = Array.from({ length: 8 }, () => sweetRl.tokenLogpsAsync({ logits, labels }));
      mapping.close();
      gc();
      let same = logits.length === 0;
      for (const promise of promises) same &&= hex(await promise) === expected;
      console.log(same);`);
    expect(same).toBe(true);
  });
});

/** A worker that posts slow calls (tens of milliseconds each) on demand. */
const WORKER = `
  import { parentPort } from 'node:worker_threads';
  import { setThreads, tokenLogpsAsync, useBackend } from 'sweet-rl';
  useBackend('portable');
  setThreads(1);
  const options = { logits: new Float32Array(new SharedArrayBuffer(1 << 26)), labels: new Int32Array(512) };
  parentPort.on('message', (count) => {
    for (let i = 0; i < count; i++) tokenLogpsAsync(options);
    parentPort.postMessage('posted');
  });
  parentPort.postMessage('ready');`;

describe('workers', () => {
  it('take turns: the calls of one do not keep that of another waiting', () => {
    // One thread runs all calls. While it runs `first`, both queues get theirs; `first` and `last` would take minutes.
    const order = resultOf<string>(`
      import { once } from 'node:events';
      import { Worker } from 'node:worker_threads';
      import { linearLogpsAsync, setThreads, tokenLogpsAsync, useBackend } from 'sweet-rl';
      useBackend('portable');
      setThreads(1);
      const [N, V, H] = [2 ** 19, 16384, 32];
      const shared = (length) => new Float32Array(new SharedArrayBuffer(4 * length));
      const head = { hidden: shared(N * H), weight: shared(V * H), labels: new Int32Array(N) };
      const long = () => {
        const [logps, controller] = [shared(N), new AbortController()];
        const end = linearLogpsAsync({ ...head, out: { logps }, signal: controller.signal }).catch(() => {});
        return { logps, controller, end };
      };
      const first = long();
      tokenLogpsAsync({ logits: new Float32Array(2), labels: new Int32Array(1), vocabSize: 2 });
      const last = long();
      const logps = shared(1);
      const worker = new Worker(\`
        import { parentPort, workerData } from 'node:worker_threads';
        import { tokenLogpsAsync } from 'sweet-rl';
        tokenLogpsAsync({ logits: new Float32Array(2), labels: new Int32Array(1), vocabSize: 2, out: { logps: workerData } });
        parentPort.postMessage('posted');\`, { eval: true, workerData: logps });
      await once(worker, 'message');
      first.controller.abort();
      let order;
      while (order === undefined) {
        await new Promise((resolve) => setImmediate(resolve));
        const begun = last.logps[0] !== 0;
        // If the last call was second, its first log-prob is there before that of the worker.
        if (logps[0] !== 0) order = 'the worker first';
        else if (begun) order = 'the worker last';
      }
      last.controller.abort();
      await Promise.all([first.end, last.end]);
      console.log(JSON.stringify(order));`);
    expect(order).toBe('the worker first');
  });

  it('end in the middle of calls, running and waiting, twenty times', () => {
    const { status, stderr } = runNode(`
      import { once } from 'node:events';
      import { Worker } from 'node:worker_threads';
      const program = ${JSON.stringify(WORKER)};
      for (let i = 0; i < 20; i += 4) {
        const workers = Array.from({ length: 4 }, () => new Worker(program, { eval: true }));
        await Promise.all(workers.map(async (worker, k) => {
          await once(worker, 'message');
          worker.postMessage(5);
          if (k % 2) await once(worker, 'message');
          await new Promise((resolve) => setTimeout(resolve, i));
          await worker.terminate();
        }));
      }`);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  it('end with their shared mappings in use', () => {
    const { status, stderr } = runNode(`
      import { once } from 'node:events';
      import { Worker } from 'node:worker_threads';
      const program = \`
        import { parentPort, threadId } from 'node:worker_threads';
        import { tokenLogpsAsync } from 'sweet-rl';
        import { openShm, unlinkShm } from 'sweet-rl/shm';
        tokenLogpsAsync({ logits: new Float32Array(4), labels: new Int32Array(1) });
        const name = 'sweet-rl-end-' + process.pid + '-' + threadId;
        const mapping = openShm(name, { create: true, byteLength: 64 << 20 });
        unlinkShm(name);
        const logits = mapping.float32(0, 16 << 20);
        for (let i = 0; i < 9; i++) tokenLogpsAsync({ logits, labels: new Int32Array(512) });
        parentPort.postMessage('posted');\`;
      for (let i = 0; i < 6; i++) {
        const worker = new Worker(program, { eval: true });
        await once(worker, 'message');
        await new Promise((resolve) => setTimeout(resolve, 2 * i));
        await worker.terminate();
      }`);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
  });

  it.each(['process.exit(3)', 'process.reallyExit(3)', "process.on('beforeExit', () => process.exit(3))"])(
    'and the process itself may end: %s',
    (end) => {
      const { status, stderr } = runNode(`
        import * as sweetRl from 'sweet-rl';
        import { callCases } from './test/helpers/later.js';
        for (const call of callCases('float32')) sweetRl[call.name + 'Async'](call.options());
        ${end};`);
      expect({ status, stderr }).toEqual({ status: 3, stderr: '' });
    },
  );

  it('wait for what is under way before they end by themselves', () => {
    const { status, stdout } = runNode(`
      import { tokenLogpsAsync } from 'sweet-rl';
      tokenLogpsAsync({ logits: Float32Array.of(1, 2), labels: Int32Array.of(1) }).then(() => console.log('done'));`);
    expect({ status, stdout }).toEqual({ status: 0, stdout: 'done\n' });
  });
});
