/** Backends and threads: what the process may choose, and what the environment chooses for it. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, tmpdir } from 'node:os';
import { join } from 'node:path';
import { backends, SweetError, setThreads, threads, useBackend } from 'sweet-rl';
import { afterEach, describe, expect, it } from 'vitest';
import { native } from '../../dist/addon/native.js';
import { thrownBy } from '../helpers/errors.ts';
import { activeBackend, availableBackends, type BackendName } from '../helpers/machine.ts';
import { ROOT, resultOf, runNode } from '../helpers/processes.ts';

const [atStart, threadsAtStart] = [activeBackend(), threads()];
afterEach(() => {
  useBackend(atStart);
  setThreads(threadsAtStart);
});

const taskset = spawnSync('taskset', ['--version']).status === 0;

/** The numbers of the CPUs that this process may use. */
function allowedCpus(): number[] {
  if (process.platform !== 'linux') return [];
  const [, list = ''] = /^Cpus_allowed_list:\s*(.*)$/m.exec(readFileSync('/proc/self/status', 'latin1')) ?? [];
  return list.split(',').flatMap((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return Array.from({ length: last - first + 1 }, (_, i) => first + i);
  });
}

const codeOf = (action: () => void) => thrownBy(action).code;

describe('backends', () => {
  it('lists them best first, exactly one active, each that is missing with its reason', () => {
    const names = ['avx512bf16', 'avx512', 'avx2', 'neon', 'portable', 'wasm', 'cuda'];
    expect(backends().map(({ name }) => name)).toEqual(names);
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
  it('starts with the CPUs that the process may use', () => {
    const program = "import { threads } from 'sweet-rl'; console.log(threads())";
    const { usable } = native.cpus('');
    expect(usable).toBeLessThanOrEqual(availableParallelism());
    expect(resultOf<number>(program, { env: { SWEET_RL_THREADS: undefined } })).toBe(usable);
  });

  const allowed = allowedCpus();
  it.runIf(taskset).each([1, 2].filter((count) => count <= allowed.length))(
    'starts with the %d that taskset allows, which info prints',
    (count) => {
      const run = (...args: string[]) =>
        execFileSync('taskset', ['-c', allowed.slice(0, count).join(), process.execPath, ...args], {
          cwd: ROOT,
          encoding: 'utf8',
          env: { ...process.env, SWEET_RL_THREADS: '' },
        });
      const usable = Math.min(count, Math.ceil(native.cpus('').quota));
      const program = "import { threads } from 'sweet-rl'; console.log(threads())";
      expect(run('--input-type=module', '--eval', program)).toBe(`${usable}\n`);
      const info = run('dist/cli.js', 'info');
      expect(info).toMatch(new RegExp(`^CPUs +${count} by affinity`, 'm'));
      expect(info).toMatch(new RegExp(`^threads +${usable}$`, 'm'));
    },
  );

  it.skipIf(process.platform === 'win32')('info prints no error into a pipe that is closed early', () => {
    const script = '"$0" dist/cli.js info | head -n 1; exit $PIPESTATUS';
    const { status, stdout, stderr } = spawnSync('bash', ['-c', script, process.execPath], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect([status, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^sweet-rl +\d.*\n$/);
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

/** A file system with these files, of which the folder is the root. */
function rootWith(files: Record<string, string>): string {
  const root = mkdtempSync(join(tmpdir(), 'sweet-rl-cgroup-'));
  for (const [name, text] of Object.entries(files)) {
    mkdirSync(join(root, name, '..'), { recursive: true });
    writeFileSync(join(root, name), text);
  }
  return root;
}

describe.runIf(process.platform === 'linux')('the quota of cgroups', () => {
  const v2 = '30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate\n';
  const v1 = '31 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n';
  const cpuset = '33 30 0:30 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset\n';
  const at = (path: string, max: string) => ({ [`sys/fs/cgroup${path}/cpu.max`]: `${max}\n` });
  const atV1 = (path: string, quota: number, period = 100000) => ({
    [`sys/fs/cgroup/cpu,cpuacct${path}/cpu.cfs_quota_us`]: `${quota}\n`,
    [`sys/fs/cgroup/cpu,cpuacct${path}/cpu.cfs_period_us`]: `${period}\n`,
  });
  const cases: [string, string, string, Record<string, string>, number][] = [
    ['v2: none', v2, '0::/a\n', at('/a', 'max 100000'), Infinity],
    ['v2: of its cgroup', v2, '0::/a\n', at('/a', '150000 100000'), 1.5],
    ['v2: below one CPU', v2, '0::/a\n', at('/a', '5000 100000'), 0.05],
    ['v2: of another period', v2, '0::/a\n', at('/a', '30000 10000'), 3],
    ['v2: of an ancestor', v2, '0::/a/b/c\n', { ...at('/a', '200000 100000'), ...at('/a/b/c', 'max 100000') }, 2],
    ['v2: of the strictest', v2, '0::/a/b\n', { ...at('/a', '200000 100000'), ...at('/a/b', '300000 100000') }, 2],
    ['v2: of the top folder, as in a container', v2, '0::/\n', at('', '250000 100000'), 2.5],
    ['v2: of no file', v2, '0::/a\n', {}, Infinity],
    ['v2: of a file that is none', v2, '0::/a\n', at('/a', 'what'), Infinity],
    ['v1: none', v1, '4:cpu,cpuacct:/a\n', atV1('/a', -1), Infinity],
    ['v1: of its cgroup', v1, '4:cpu,cpuacct:/a\n', atV1('/a', 350000), 3.5],
    ['v1: of an ancestor', v1, '4:cpu,cpuacct:/a/b\n', { ...atV1('/a', 50000, 50000), ...atV1('/a/b', -1) }, 1],
    ['v1: not of another controller', cpuset, '3:cpuset:/a\n', atV1('/a', 100000), Infinity],
    [
      'v1: in a container that sees its folder as the top',
      v1.replace(' / ', ' /docker/1f ').replace('rw -', 'ro -'),
      '4:cpu,cpuacct:/docker/1f\n',
      atV1('', 200000),
      2,
    ],
    [
      'of both versions',
      v2.replace('/sys/fs/cgroup', '/sys/fs/cgroup/unified') + v1,
      '5:cpuset:/x\n4:cpu,cpuacct:/a\n0::/a\n',
      { ...at('/unified/a', '300000 100000'), ...atV1('/a', 400000) },
      3,
    ],
    ['of a process that has left the mount', v2, '0::/../other\n', at('', '100000 100000'), 1],
    ['of broken lines', `- \n\n1 2 3\n${v2}`, 'x\n0:\n::\n0::/a\n', at('/a', '100000 100000'), 1],
  ];

  it.each(cases)('%s', (_, mountinfo, cgroup, files, quota) => {
    const root = rootWith({ 'proc/self/mountinfo': mountinfo, 'proc/self/cgroup': cgroup, ...files });
    try {
      const { affinity, usable, ...found } = native.cpus(root);
      expect(found).toEqual({ quota });
      expect(usable).toBe(Math.max(1, Math.min(affinity, Math.ceil(quota))));
    } finally {
      rmSync(root, { recursive: true });
    }
  });

  it('is none without /proc', () => {
    expect(native.cpus('/does/not/exist').quota).toBe(Infinity);
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
