/** Signals of any kind, callbacks that throw, and long queues: no call is lost, and nothing ends the process. */
import { getEventListeners } from 'node:events';
import { tokenLogps, tokenLogpsAsync } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectSameBits } from '../helpers/compare.ts';
import { resultOf, runNode } from '../helpers/processes.ts';

const [N, V] = [8, 65];
const logits = Float32Array.from({ length: N * V }, (_, i) => Math.sin(i) * 3);
const options = { logits, labels: Int32Array.from({ length: N }, (_, i) => 7 * i), vocabSize: V };
const expected = tokenLogps(options).logps;

const rejection = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => Promise.reject(new Error('the promise was fulfilled')),
    (error) => error,
  );

/** A signal that is none of Node's, with members of its own. */
const fake = (members: object): AbortSignal =>
  Object.defineProperties(
    { aborted: false, throwIfAborted() {}, addEventListener() {}, removeEventListener() {} },
    Object.getOwnPropertyDescriptors(members),
  ) as never;

/** Throws `mine`, from the n-th time on. */
function failing(times = 1): () => void {
  let count = 0;
  return () => {
    count++;
    if (count >= times) throw new Error('mine');
  };
}

/** A method that is read more than once, and is none from the n-th time on. */
function vanishing(name: string, times: number): object {
  let count = 0;
  return Object.defineProperty({}, name, {
    enumerable: true,
    get: () => {
      count++;
      return count < times ? () => {} : undefined;
    },
  });
}

it('and every other option of an async call are read once', async () => {
  const values = { ...options, signal: new AbortController().signal, temperature: 2 };
  const expectOnce = async (given: object, reads: Record<string, number>) => {
    await tokenLogpsAsync(given as never);
    expect(reads).toEqual(Object.fromEntries(Object.keys(values).map((name) => [name, 1])));
  };
  const counted = (target: object) => {
    const reads: Record<string, number> = {};
    for (const [name, value] of Object.entries(values)) {
      const get = () => {
        reads[name] = (reads[name] ?? 0) + 1;
        return value;
      };
      Object.defineProperty(target, name, { enumerable: true, get });
    }
    return reads;
  };
  const own = {};
  await expectOnce(own, counted(own));
  class Options {}
  const reads = counted(Options.prototype);
  await expectOnce(new Options(), reads);
  const heir = Object.create({});
  await expectOnce(heir, counted(heir));
});

const METHODS = ['throwIfAborted', 'addEventListener', 'removeEventListener'];

describe('a signal', () => {
  const cases: [string, () => object][] = [
    ...METHODS.map((name): [string, () => object] => [`whose ${name} throws`, () => ({ [name]: failing() })]),
    ['whose throwIfAborted throws the second time', () => ({ throwIfAborted: failing(2) })],
    ['whose throwIfAborted throws the third time', () => ({ throwIfAborted: failing(3) })],
    ...METHODS.map((name): [string, () => object] => [
      `whose ${name} throws when it is read`,
      () => Object.defineProperty({}, name, { enumerable: true, get: failing() }),
    ]),
    ...METHODS.flatMap((name) =>
      [1, 2, 3].map((times): [string, () => object] => [
        `whose ${name} is none the time ${times} that it is read`,
        () => vanishing(name, times),
      ]),
    ),
  ];

  it.each(cases)('%s rejects its own call at most, and the calls before and after it end', async (_, members) => {
    const before = tokenLogpsAsync(options);
    const own = tokenLogpsAsync({ ...options, signal: fake(members()) }).catch((error) => error);
    const after = tokenLogpsAsync(options);
    for (const each of [before, after]) expectSameBits('logps', (await each).logps, expected);
    const outcome = (await own) as Error | { logps: Float32Array };
    if ('logps' in outcome) expectSameBits('logps', outcome.logps, expected);
    else expect(outcome.message).toMatch(/mine|is not a function|AbortSignal for signal/);
  });

  it('does not end the process, whatever its members do, while the memory of calls is used and given up', () => {
    const { status, stdout, stderr } = runNode(`
      import { tokenLogpsAsync } from 'sweet-rl';
      const methods = ${JSON.stringify(METHODS)};
      const fail = () => { throw new Error('mine'); };
      let random = 1;
      const next = (n) => (random = (random * 48271) % 2147483647) % n;
      const kinds = [() => {}, fail, (_, listener) => listener?.(), (_, listener) => { listener?.(); fail(); },
        (_, listener) => setImmediate(() => listener?.()), 1, undefined];
      let settled = 0;
      for (let round = 0; round < 100; round++) {
        const calls = Array.from({ length: 8 }, () => {
          const signal = { aborted: false };
          for (const name of methods) {
            const kind = kinds[next(kinds.length)];
            if (next(4)) signal[name] = next(3) ? () => {} : kind;
            else Object.defineProperty(signal, name, { get: next(2) ? () => kind : fail });
          }
          const memory = new ArrayBuffer(4 << 14);
          const promise = tokenLogpsAsync({ logits: new Float32Array(memory), labels: new Int32Array(4), vocabSize: 4096, signal });
          structuredClone(memory, { transfer: [memory] });
          return promise.then(() => settled++, () => settled++);
        });
        await Promise.all(calls);
      }
      console.log(settled);`);
    expect({ status, stdout, stderr }).toEqual({ status: 0, stdout: '800\n', stderr: '' });
  });

  it('that calls its listener at once cancels the call', async () => {
    const logps = new Float32Array(new SharedArrayBuffer(4 * N)).fill(7);
    const signal = fake({ addEventListener: (_: string, listener: () => void) => listener() });
    const promise = tokenLogpsAsync({ ...options, out: { logps }, signal });
    expect(await rejection(promise)).toMatchObject({ code: 'ERR_CANCELLED' });
    expect(logps).toEqual(new Float32Array(N).fill(7));
  });

  it('whose methods make other calls leaves the result of its own', async () => {
    const other = { ...options, logits: logits.map((x) => -x) };
    const call = () => void tokenLogps(other);
    const signal = fake({ throwIfAborted: call, addEventListener: call, removeEventListener: call });
    const debug = { ...options, debug: 'finite', signal } as const;
    for (const { logps } of await Promise.all([tokenLogpsAsync(debug), tokenLogpsAsync(debug)])) {
      expectSameBits('logps', logps, expected);
    }
  });

  it('that a getter of the options aborts prevents the call', async () => {
    const controller = new AbortController();
    const logps = new Float32Array(new SharedArrayBuffer(4 * N)).fill(7);
    const aborting = {
      ...options,
      out: { logps },
      signal: controller.signal,
      get temperature() {
        controller.abort('meanwhile');
        return 1;
      },
    };
    expect(await rejection(tokenLogpsAsync(aborting))).toBe('meanwhile');
    expect(logps).toEqual(new Float32Array(N).fill(7));
    expect(getEventListeners(controller.signal, 'abort')).toEqual([]);
  });

  it('has one listener while calls with it wait, and none afterwards', async () => {
    const { signal } = new AbortController();
    const calls = Array.from({ length: 100 }, () => tokenLogpsAsync({ ...options, signal }));
    expect(getEventListeners(signal, 'abort')).toHaveLength(1);
    for (const { logps } of await Promise.all(calls)) expectSameBits('logps', logps, expected);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
  });

  it('that starts another call with itself from addEventListener serves both', async () => {
    const listeners = new Set<() => void>();
    const inner: Promise<unknown>[] = [];
    let first = true;
    const signal: AbortSignal = fake({
      addEventListener: (_: string, listener: () => void) => {
        listeners.add(listener);
        if (!first) return;
        first = false;
        inner.push(tokenLogpsAsync({ ...options, signal }));
      },
      removeEventListener: (_: string, listener: () => void) => listeners.delete(listener),
    });
    await tokenLogpsAsync({ ...options, signal });
    await inner[0];
    expect(listeners.size).toBe(0);
  });
});

/** Starts native calls with a callback of its own, as lib/ does, which keeps the arrays until the callback. */
const START = `
  import { native, start } from './dist/addon/native.js';
  const logits = new Float32Array(new SharedArrayBuffer(16)), labels = new Int32Array(new SharedArrayBuffer(4));
  const { encode } = await import('./dist/addon/operations.js');
  const head = { kind: 'logits', dtype: 'float32', rows: 1, vocabSize: 4, rowStride: 4, temperature: 1, softcap: 0, vocabOffset: 0,
    totalVocab: 0, logitsLength: 4, logits };
  const out = () => ({ logps: new Float32Array(new SharedArrayBuffer(4)), lse: new Float32Array(new SharedArrayBuffer(4)) });
  const args = () => encode.logps({ head, labels: { data: labels, wide: false, ignoreIndex: -100 }, out: out() });
  const kept = (globalThis.kept = []);
  const run = (done) => {
    kept.push(args());
    start(native, 'logps', kept.at(-1), done);
  };`;

describe('a callback that throws', () => {
  it('is an uncaught exception, and the callbacks after it are called', () => {
    const result = resultOf<unknown>(`${START}
      const seen = [];
      process.on('uncaughtException', (error) => seen.push(error.message));
      await new Promise((resolve) => {
        run(() => { throw new Error('first'); });
        run(() => seen.push('second'));
        run(() => { throw new Error('third'); });
        run(() => resolve());
      });
      console.log(JSON.stringify(seen));`);
    expect(result).toEqual(['first', 'second', 'third']);
  });

  it('ends a process that does not catch it', () => {
    const { status, stderr } = runNode(`${START}
      run(() => { throw new Error('not caught'); });
      setTimeout(() => {}, 60_000);`);
    expect(status).toBe(1);
    expect(stderr).toContain('Error: not caught');
  });
});

it('a cancelled call leaves its small results as they were, and its number to the next call', () => {
  const result = resultOf<unknown>(`${START}
    const plain = (n) => new Float32Array(n).fill(7);
    const waiting = [], results = [];
    const blocker = new Promise((resolve) => run(resolve));
    for (let i = 0; i < 4; i++) {
      const written = { logps: plain(1), lse: plain(1) };
      const operands = encode.logps({ head, labels: { data: labels, wide: false, ignoreIndex: -100 }, out: written });
      waiting.push(new Promise((resolve) => {
        const number = start(native, 'logps', operands, (fault) => resolve([fault?.code, written.logps[0] === 7]));
        if (i % 2) native.cancel(number);
      }));
    }
    await blocker;
    console.log(JSON.stringify(await Promise.all(waiting)));`);
  expect(result).toEqual([
    [null, false],
    ['cancelled', true],
    [null, false],
    ['cancelled', true],
  ]);
});

/** Queues n calls; how many of them are fulfilled, and the warnings of the process. */
const QUEUE = `
  import { getEventListeners } from 'node:events';
  import { tokenLogpsAsync } from 'sweet-rl';
  const warnings = [];
  process.on('warning', ({ name }) => warnings.push(name));
  const [N, V] = [8, 65];
  const options = { logits: new Float32Array(new SharedArrayBuffer(4 * N * V)), labels: new Int32Array(N), vocabSize: V };
  async function queue(n, controller, abort) {
    const calls = Array.from({ length: n }, () => tokenLogpsAsync({ ...options, signal: controller?.signal }));
    const listeners = controller && getEventListeners(controller.signal, 'abort').length;
    if (abort) controller.abort('enough');
    const results = await Promise.allSettled(calls);
    return { fulfilled: results.filter(({ status }) => status === 'fulfilled').length, listeners };
  }`;

describe('a long queue', () => {
  it.each([
    ['', 'undefined', {}],
    [' with one signal', 'new AbortController()', { listeners: 1 }],
  ])('ends without a warning%s', (_, controller, listeners) => {
    const [result, warnings] = resultOf<[object, string[]]>(`${QUEUE}
      console.log(JSON.stringify([await queue(40000, ${controller}), warnings]));`);
    expect(result).toEqual({ fulfilled: 40000, ...listeners });
    expect(warnings).toEqual([]);
  });

  it('is cancelled by its signal', () => {
    const result = resultOf<object>(`${QUEUE}
      console.log(JSON.stringify(await queue(40000, new AbortController(), true)));`);
    expect(result).toEqual({ fulfilled: 0, listeners: 1 });
  });

  it('lets timers run between its results', () => {
    const ticks = resultOf<number>(`${QUEUE}
      const calls = Array.from({ length: 30000 }, () => tokenLogpsAsync(options));
      let ticks = 0;
      const interval = setInterval(() => ticks++, 0);
      await Promise.all(calls);
      clearInterval(interval);
      console.log(ticks);`);
    expect(ticks).toBeGreaterThan(3);
  });
});
