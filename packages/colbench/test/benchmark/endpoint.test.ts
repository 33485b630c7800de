/** sweet-rl-colbench and endpoints of chat completions: a local stub is busy, slow, interrupted and invalid in turn. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { createLimiter, mapInOrder } from '../../src/benchmark/limiter.ts';
import { endpointChat } from '../../src/index.ts';

type Reply = (response: ServerResponse, request: IncomingMessage, body: string) => void;

const closing: (() => void)[] = [];
afterEach(() => {
  for (const close of closing.splice(0)) close();
});

/** A server that gives the replies in turn and repeats the last one, and the requests that it received. */
async function stub(...replies: Reply[]) {
  const asked: { url: string; headers: IncomingMessage['headers']; body: unknown }[] = [];
  const server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (chunk: string) => {
      body += chunk;
    });
    request.on('end', () => {
      asked.push({ url: request.url!, headers: request.headers, body: JSON.parse(body) });
      replies[Math.min(asked.length, replies.length) - 1]!(response, request, body);
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`;
  return { asked, baseUrl, server };
}

const completion = (content: unknown) => JSON.stringify({ choices: [{ message: { role: 'assistant', content } }] });
const says =
  (content: unknown): Reply =>
  (response) =>
    response.setHeader('content-type', 'application/json').end(completion(content));
const fails =
  (status: number, headers: Record<string, string> = {}, body = 'busy'): Reply =>
  (response) =>
    response.writeHead(status, headers).end(body);
const drops: Reply = (response) => response.destroy();
const hangs: Reply = () => {};
const breaksOff: Reply = (response) => {
  response.writeHead(200, { 'content-length': '1000' });
  response.write('{"choices": [');
  setTimeout(() => response.destroy(), 10);
};

const fast = { model: 'm', firstDelaySeconds: 0.001 };
const hello = [{ role: 'user', content: 'hello' }];

it('sends messages, settings and key, and returns the reply', async () => {
  const { asked, baseUrl } = await stub(says('a reply'));
  const chat = endpointChat({
    ...fast,
    baseUrl: `${baseUrl}/`,
    apiKey: 'secret',
    temperature: 0,
    maxTokens: 9,
    extra: { top_p: 0.5 },
  });
  expect(await chat(hello, {})).toBe('a reply');
  expect(asked[0]).toMatchObject({
    url: '/v1/chat/completions',
    headers: { authorization: 'Bearer secret', 'content-type': 'application/json' },
    body: { model: 'm', messages: hello, temperature: 0, max_tokens: 9, top_p: 0.5 },
  });
  const plain = await stub(says(null));
  expect(await endpointChat({ ...fast, baseUrl: plain.baseUrl })(hello, {})).toBe('');
  expect(plain.asked[0]!.body).toEqual({ model: 'm', messages: hello });
  expect(plain.asked[0]!.headers).not.toHaveProperty('authorization');
});

describe('retries', () => {
  it.each<[string, Reply]>([
    ['429', fails(429)],
    ['500', fails(500)],
    ['503', fails(503)],
    ['408', fails(408)],
    ['a connection that is dropped', drops],
    ['a truncated reply', breaksOff],
    ['a reply that is not JSON', fails(200, {}, '<html>')],
    ['a reply that is not a completion', fails(200, {}, '{"choices": []}')],
    ['content of the wrong type', says(3)],
  ])('after %s', async (_name, failure) => {
    const { asked, baseUrl } = await stub(failure, failure, says('at last'));
    expect(await endpointChat({ ...fast, baseUrl })(hello, {})).toBe('at last');
    expect(asked).toHaveLength(3);
  });

  it('after a time-out', async () => {
    const { asked, baseUrl } = await stub(hangs, says('at last'));
    expect(await endpointChat({ ...fast, baseUrl, timeoutSeconds: 0.2 })(hello, {})).toBe('at last');
    expect(asked).toHaveLength(2);
  });

  it('gives up after the last attempt, with the reason', async () => {
    const { asked, baseUrl } = await stub(fails(503, {}, 'overloaded'));
    await expect(endpointChat({ ...fast, baseUrl, attempts: 3 })(hello, {})).rejects.toMatchObject({
      code: 'ERR_ENDPOINT',
      status: 503,
      message: expect.stringMatching(/answered 503: overloaded \(the last of 3 attempts\)$/),
    });
    expect(asked).toHaveLength(3);
    const { server, ...gone } = await stub(hangs);
    await new Promise((resolve) => server.close(resolve));
    const refused = endpointChat({ ...fast, baseUrl: gone.baseUrl, attempts: 2 })(hello, {});
    await expect(refused).rejects.toThrow(/ECONNREFUSED.*the last of 2 attempts/);
  });

  /** The delays between failed attempts, in milliseconds. */
  async function waits(failures: Reply[], options = {}) {
    const waited: number[] = [];
    const wait = async (milliseconds: number) => waited.push(milliseconds);
    const { baseUrl } = await stub(...failures, says('x'));
    expect(await endpointChat({ model: 'm', baseUrl, wait, ...options })(hello, {})).toBe('x');
    return waited;
  }

  it('respects Retry-After, in seconds or as a date, up to a maximum', async () => {
    const asks = (retryAfter: string) => [fails(429, { 'retry-after': retryAfter })];
    expect(await waits(asks('7'))).toEqual([7000]);
    expect(await waits(asks('1.5'))).toEqual([1500]);
    expect(await waits(asks('3600'))).toEqual([60_000]);
    expect(await waits(asks('3600'), { mostDelaySeconds: 5 })).toEqual([5000]);
    const [untilDate] = await waits(asks(new Date(Date.now() + 30_000).toUTCString()));
    expect(untilDate).toBeGreaterThan(10_000);
    expect(untilDate).toBeLessThanOrEqual(30_000);
    // A time in the past, a shorter one or an invalid value keeps the usual delay.
    for (const useless of [new Date(0).toUTCString(), '0', 'soon']) {
      expect(await waits(asks(useless), { random: () => 0 })).toEqual([500]);
    }
  });

  it('doubles the delay each time, with jitter', async () => {
    const failures = new Array(5).fill(fails(500));
    expect(await waits(failures, { random: () => 0 })).toEqual([500, 1000, 2000, 4000, 8000]);
    expect(await waits(failures, { random: () => 0.5, firstDelaySeconds: 2, mostDelaySeconds: 10 })).toEqual([
      1500, 3000, 6000, 10_000, 10_000,
    ]);
  });
});

describe('does not retry', () => {
  it.each([400, 401, 403, 404, 422])('after %d, and does not reveal the key', async (status) => {
    const { asked, baseUrl } = await stub(fails(status, {}, '{"error": "no"}'));
    const call = async () => endpointChat({ ...fast, baseUrl, apiKey: 'top-secret' })(hello, {});
    const failure = await call().then(
      () => expect.fail('it went well'),
      (error: Error & { status?: number }) => error,
    );
    expect(failure.status).toBe(status);
    expect(`${failure.message} ${failure.stack}`).not.toContain('top-secret');
    expect(asked).toHaveLength(1);
  });

  it('after an abort: before the request, in it, in a delay, in the queue', async () => {
    const { asked, baseUrl } = await stub(hangs, fails(429, { 'retry-after': '60' }));
    const reason = new Error('enough');
    const chat = endpointChat({ ...fast, baseUrl, concurrency: 1 });
    await expect(chat(hello, { signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    expect(asked).toHaveLength(0);
    for (const requests of [1, 2]) {
      const controller = new AbortController();
      const call = chat(hello, { signal: controller.signal });
      const queued = chat(hello, { signal: controller.signal });
      while (asked.length < requests) await new Promise((resolve) => setTimeout(resolve, 5));
      setTimeout(() => controller.abort(reason), 30);
      await expect(call).rejects.toBe(reason);
      await expect(queued).rejects.toBe(reason);
    }
    expect(asked).toHaveLength(2);
  });

  it('with an invalid address or concurrency', () => {
    expect(() => endpointChat({ ...fast, baseUrl: 'file:///etc' })).toThrow(RangeError);
    expect(() => endpointChat({ ...fast, baseUrl: 'nonsense' })).toThrow(TypeError);
    expect(() => endpointChat({ ...fast, baseUrl: 'http://h', concurrency: 0 })).toThrow(/concurrency.* 0$/);
  });
});

it('limits the requests at once', async () => {
  let [now, most] = [0, 0];
  const slow: Reply = (response) => {
    now += 1;
    most = Math.max(most, now);
    setTimeout(() => {
      now -= 1;
      response.end(completion('x'));
    }, 20);
  };
  const { baseUrl, asked } = await stub(slow);
  const chat = endpointChat({ ...fast, baseUrl, concurrency: 3 });
  await Promise.all(Array.from({ length: 12 }, () => chat(hello, {})));
  expect([most, asked.length]).toEqual([3, 12]);
});

describe('mapInOrder', () => {
  it('keeps the order, reads lazily, and waits for running actions after a failure', async () => {
    let [read, running] = [0, 0];
    function* items() {
      for (;;) yield read++;
    }
    const delays = [30, 5, 20, 1, 10];
    const work = async (i: number) => {
      running += 1;
      await new Promise((resolve) => setTimeout(resolve, delays[i % 5]));
      running -= 1;
      if (i === 8) throw new Error('eight');
      return i;
    };
    const got: number[] = [];
    const all = async () => {
      for await (const result of mapInOrder(items(), 3, work)) {
        got.push(result);
        expect(read - got.length).toBeLessThanOrEqual(3);
      }
    };
    await expect(all()).rejects.toThrow('eight');
    expect(got).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
    expect(running).toBe(0);
  });
});

it('rejects an aborted action that waits, and runs the next one', async () => {
  const limit = createLimiter(1);
  const controller = new AbortController();
  let end = () => {};
  const first = limit(() => new Promise<void>((resolve) => (end = resolve)));
  const second = limit(async () => 2, controller.signal);
  const third = limit(async () => 3);
  controller.abort(new Error('gone'));
  await expect(second).rejects.toThrow('gone');
  end();
  await first;
  expect(await third).toBe(3);
});
