/** Backends and threads: what the process may choose, and what the environment chooses for it. */
import { availableParallelism } from 'node:os';
import { backends, SweetError, setThreads, threads, useBackend } from 'sweet-rl';
import { afterEach, describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';
import { activeBackend, availableBackends, type BackendName } from '../helpers/machine.ts';
import { resultOf, runNode } from '../helpers/processes.ts';

const [atStart, threadsAtStart] = [activeBackend(), threads()];
afterEach(() => {
  useBackend(atStart);
  setThreads(threadsAtStart);
});

const codeOf = (action: () => void) => thrownBy(action).code;

describe('backends', () => {
  it('lists them best first, exactly one active, each that is missing with its reason', () => {
    expect(backends().map(({ name }) => name)).toEqual(['avx512bf16', 'avx512', 'avx2', 'neon', 'portable', 'cuda']);
    expect(backends().filter(({ active }) => active)).toHaveLength(1);
    for (const { available, active, reason } of backends()) {
      expect(typeof available).toBe('boolean');
      if (active) expect(available).toBe(true);
      if (available) expect(reason).toBeUndefined();
      else expect(reason).toMatch(/\w/);
    }
  });

  // Pairs of bfloat16 numbers are not worth their instruction on every processor that has it.
  it('always has the portable one, and starts with the first that is available and pays', () => {
    expect(availableBackends).toContain('portable');
    const program = "import { backends } from 'sweet-rl'; console.log(JSON.stringify(backends()))";
    const started = resultOf<ReturnType<typeof backends>>(program, { env: { SWEET_RL_BACKEND: undefined } });
    const first = availableBackends.filter((name) => name !== 'avx512bf16')[0];
    expect([first, 'avx512bf16']).toContain(started.find(({ active }) => active)!.name);
  });

  it.each(availableBackends)('uses %s', (name) => {
    useBackend(name);
    expect(activeBackend()).toBe(name);
  });

  it('says why there is no CUDA', () => {
    const program = "import { backends } from 'sweet-rl'; console.log(JSON.stringify(backends().at(-1)))";
    const cuda = resultOf<{ available: boolean; reason?: string }>(program);
    const reasons =
      /^(sweet-rl-cuda (is not installed|cannot be loaded: .+)|no NVIDIA driver was found|no CUDA device .+|the NVIDIA driver is older .+)$/;
    if (!cuda.available) expect(cuda.reason).toMatch(reasons);
  });

  it('says why another cannot be used, and stays with the one it had', () => {
    for (const { name, available } of backends()) {
      if (available) continue;
      expect(codeOf(() => useBackend(name))).toBe('ERR_BACKEND');
      expect(() => useBackend(name)).toThrow(SweetError);
      expect(() => useBackend(name)).toThrow(name);
      expect(activeBackend()).toBe(atStart);
    }
  });

  it('refuses a name that is no backend', () => {
    expect(codeOf(() => useBackend('sse2' as BackendName))).toBe('ERR_ARG_VALUE');
    expect(() => useBackend('sse2' as BackendName)).toThrow(/name.*"sse2"/);
    expect(codeOf(() => useBackend(undefined as unknown as BackendName))).toBe('ERR_ARG_TYPE');
    expect(codeOf(() => useBackend(3 as unknown as BackendName))).toBe('ERR_ARG_TYPE');
  });
});

describe('threads', () => {
  it('starts with the number of processors', () => {
    const program = "import { threads } from 'sweet-rl'; console.log(threads())";
    expect(resultOf<number>(program, { env: { SWEET_RL_THREADS: undefined } })).toBe(availableParallelism());
  });

  it.each([1, 2, 3, 8, 256])('takes %d', (n) => {
    setThreads(n);
    expect(threads()).toBe(n);
  });

  it.each([0, 257, -1, 1.5, NaN, Infinity])('refuses %d', (n) => {
    expect(codeOf(() => setThreads(n))).toBe('ERR_ARG_VALUE');
    expect(() => setThreads(n)).toThrow(RangeError);
    expect(threads()).toBe(threadsAtStart);
  });

  it.each([undefined, '2', null])('refuses %o', (n) => {
    expect(codeOf(() => setThreads(n as unknown as number))).toBe('ERR_ARG_TYPE');
    expect(() => setThreads(n as unknown as number)).toThrow(TypeError);
  });
});

it('is the same in worker threads', () => {
  const worker = `
    import { parentPort } from 'node:worker_threads';
    import { threads, tokenLogps } from 'sweet-rl';
    const { logps } = tokenLogps({ logits: new Float32Array(40000).fill(1), labels: new Int32Array(20) });
    parentPort.postMessage([threads(), logps[19]]);`;
  const program = `
    import { Worker } from 'node:worker_threads';
    import { setThreads } from 'sweet-rl';
    setThreads(5);
    const start = (done) => new Worker(${JSON.stringify(worker)}, { eval: true }).on('message', done);
    const answers = await Promise.all([new Promise(start), new Promise(start), new Promise(start)]);
    console.log(JSON.stringify(answers));`;
  const answer = [5, Math.fround(-Math.log(2000))];
  expect(resultOf(program)).toEqual([answer, answer, answer]);
});

describe('the environment', () => {
  const program = `
    import { backends, threads } from 'sweet-rl';
    console.log(JSON.stringify({ name: backends().find(({ active }) => active).name, threads: threads() }));`;

  it.each(availableBackends)('chooses %s by SWEET_RL_BACKEND', (name) => {
    expect(resultOf(program, { env: { SWEET_RL_BACKEND: name, SWEET_RL_THREADS: '3' } })).toEqual({ name, threads: 3 });
  });

  it.each([
    [{ SWEET_RL_BACKEND: 'sse2' }, /SWEET_RL_BACKEND.*sse2/],
    [{ SWEET_RL_THREADS: '0' }, /SWEET_RL_THREADS/],
    [{ SWEET_RL_THREADS: 'many' }, /SWEET_RL_THREADS.*many/],
  ])('is not ignored when it is wrong: %o', (env, message) => {
    const { status, stderr } = runNode(program, { env });
    expect(status).not.toBe(0);
    expect(stderr).toMatch(message);
    expect(stderr).toMatch(/code: 'ERR_/);
  });

  it('says why a backend that it names cannot be used', () => {
    const missing = backends().find(({ available }) => !available)!;
    const { status, stderr } = runNode(program, { env: { SWEET_RL_BACKEND: missing.name } });
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/code: 'ERR_BACKEND'/);
  });
});
