/**
 * sweet-rl-colbench runs untrusted answers: verdicts, equality of results, and attempts to break out of the sandbox.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { createLimiter } from '../../src/benchmark/limiter.ts';
import { runProgram } from '../../src/benchmark/sandbox/run.ts';
import { seccompFilter } from '../../src/benchmark/sandbox/wall.ts';
import { buildWall, Evaluator, programOf } from '../../src/index.ts';
import { namespaces } from '../helpers/bubblewrap.ts';

// Each attempt below is harmless even without a sandbox.

/** A mark in the environment of this file's processes. */
const mark = `/colbench-${process.pid}`;
process.env.PATH = `${process.env.PATH}:${mark}`;
const wall = namespaces ? await buildWall() : (undefined as never);

const limit = createLimiter(2);
// Long enough for a busy machine; tests of endless calls set shorter limits.
const patient = { callSeconds: 30, totalSeconds: 60 };
const run = (program: string, calls: string[], limits = {}) =>
  limit(() => runProgram(wall, { program, calls }, { limits: { ...patient, ...limits } }));

/** The outcome of each call as text. */
async function ends(program: string, calls: string[], limits = {}): Promise<string[]> {
  const { outcomes } = await run(program, calls, limits);
  return outcomes.map((outcome) =>
    outcome.kind === 'value'
      ? outcome.shown
      : `${outcome.kind}${outcome.loading ? ' in loading' : ''}: ${outcome.error}`,
  );
}

const task = {
  problem_description: 'a function f(x) that doubles',
  ground_truth: 'def f(x):\n    return x * 2',
  test_cases: Array.from({ length: 10 }, (_, i) => `f(${i})`),
};

async function verdictsOn(given: typeof task, answer: string, limits = {}) {
  const { reward, success, calls } = await limit(() =>
    new Evaluator({ wall, limits: { ...patient, ...limits } }).evaluate(given, answer),
  );
  return { reward, success, verdicts: calls.map(({ verdict }) => verdict) };
}

const verdicts = (answer: string, limits = {}) => verdictsOn(task, answer, limits);
const ten = <T>(value: T) => new Array<T>(10).fill(value);

it('runs nothing without a sandbox, unless told to', async () => {
  const missing = { bubblewrap: '/nonexistent/bwrap' };
  await expect(buildWall(missing)).rejects.toMatchObject({
    code: 'ERR_SANDBOX',
    message: expect.stringMatching(/not run without a sandbox.*apt-get install bubblewrap/),
  });
  await expect(buildWall({ bubblewrap: 'false' })).rejects.toMatchObject({ code: 'ERR_SANDBOX' });
  await expect(buildWall({ python: '/nonexistent/python' })).rejects.toMatchObject({ code: 'ERR_SANDBOX' });
  const unsafe = await buildWall({ ...missing, unsafe: true });
  expect(unsafe.isolated).toBe(false);
  const program =
    'import os, time\ndef f():\n    open("left", "w").write("x")\n    return os.listdir(".")\ndef g():\n    os.fork()\n    time.sleep(60)';
  // Folders of other tests are elsewhere.
  const folder = mkdtempSync(join(tmpdir(), 'colbench-test-'));
  const { TMPDIR } = process.env;
  process.env.TMPDIR = folder;
  try {
    // Only the endless call has a short time: the other one ends at any speed of the machine.
    for (const [call, limits, kind] of [
      ['f()', patient, 'value'],
      ['g()', { callSeconds: 2 }, 'timeout'],
    ] as const) {
      const { outcomes } = await runProgram(unsafe, { program, calls: [call] }, { limits });
      expect(outcomes.map((outcome) => outcome.kind)).toEqual([kind]);
    }
    expect(readdirSync(folder)).toEqual([]);
  } finally {
    if (TMPDIR === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = TMPDIR;
    rmSync(folder, { recursive: true });
  }
});

/** Evaluates a filter, with the BPF instructions that libseccomp exports. */
function verdictOfFilter(filter: Buffer, arch: number, call: number, flags = 0): number {
  // struct seccomp_data as 32-bit values: number, architecture, instruction pointer, first argument.
  const data = [call, arch, 0, 0, flags, 0];
  let accumulator = 0;
  for (let i = 0; ; i++) {
    const code = filter.readUInt16LE(8 * i);
    const [ifTrue, ifFalse] = [filter.readUInt8(8 * i + 2), filter.readUInt8(8 * i + 3)];
    const value = filter.readUInt32LE(8 * i + 4);
    if (code === 0x06) return value;
    if (code === 0x20) accumulator = data[value / 4]!;
    else if (code === 0x54) accumulator = (accumulator & value) >>> 0;
    else if (code === 0x15) i += accumulator === value ? ifTrue : ifFalse;
    else if (code === 0x35) i += accumulator >= value ? ifTrue : ifFalse;
    else throw new Error(`Expected a known instruction but received ${code}`);
  }
}

describe('the system call filter', () => {
  const [allow, kill, notPermitted, noSuchCall] = [0x7fff0000, 0x80000000, 0x50001, 0x50026];
  const architectures = {
    x64: {
      audit: 0xc000003e,
      clone: 56,
      denied: [
        29, 30, 31, 41, 57, 58, 64, 68, 101, 103, 135, 155, 159, 161, 163, 164, 165, 166, 167, 168, 169, 170, 171, 172,
        173, 175, 176, 179, 227, 237, 238, 240, 246, 248, 249, 250, 253, 256, 272, 279, 294, 298, 300, 303, 304, 305,
        308, 310, 311, 312, 313, 319, 320, 321, 323,
      ],
    },
    arm64: {
      audit: 0xc00000b7,
      clone: 220,
      denied: [
        26, 39, 40, 41, 51, 60, 89, 92, 97, 104, 105, 106, 112, 116, 117, 142, 161, 162, 170, 171, 180, 186, 190, 194,
        195, 196, 198, 217, 218, 219, 224, 225, 235, 237, 238, 239, 241, 262, 264, 265, 266, 268, 270, 271, 272, 273,
        279, 280, 282, 294,
      ],
    },
  };
  /** From 424 on, numbers are the same on all architectures. */
  const deniedEverywhere = [424, 425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 438, 442, 443, 447];
  const clone3 = 435;

  it.each(['x64', 'arm64'] as const)('denies exactly these calls on %s', (arch) => {
    const filter = seccompFilter(arch)!;
    const { audit, clone, denied } = architectures[arch];
    const verdict = (call: number, flags?: number) => verdictOfFilter(filter, audit, call, flags);
    const all = [...denied, ...deniedEverywhere];
    for (let call = 0; call < 1024; call++) {
      if (call === clone || call === clone3) continue;
      expect(verdict(call), `call ${call}`).toBe(all.includes(call) ? notPermitted : allow);
    }
    expect(verdict(clone3)).toBe(noSuchCall);
    // clone of a thread is allowed, of a process denied.
    expect([0x3d0f00, 0x10000].map((flags) => verdict(clone, flags))).toEqual([allow, allow]);
    expect([0, 0x11, 0x1200011].map((flags) => verdict(clone, flags))).toEqual(new Array(3).fill(notPermitted));
    // i386, 32-bit Arm, x32.
    expect([0x40000003, 0x40000028].map((other) => verdictOfFilter(filter, other, 39))).toEqual([kill, kill]);
    expect(verdict(0x40000000 + 39)).toBe(arch === 'x64' ? kill : allow);
  });

  it('covers no other architecture', () => {
    expect(seccompFilter('riscv64')).toBeUndefined();
  });
});

describe.runIf(namespaces).concurrent('verdicts', () => {
  it('right', async () => {
    expect(await verdicts('def f(x):\n    return x + x')).toEqual({
      reward: 1,
      success: true,
      verdicts: ten('agrees'),
    });
  });

  it('wrong, and partly right', async () => {
    expect(await verdicts('def f(x):\n    return -1')).toMatchObject({ reward: 0, verdicts: ten('differs') });
    const partly = await verdicts('def f(x):\n    return x * 2 if x < 7 else None');
    expect(partly).toEqual({
      reward: 0.7,
      success: false,
      verdicts: [...ten('agrees').slice(3), ...ten('differs').slice(7)],
    });
  });

  it('of an answer that does not load, lacks the function, or raises', async () => {
    expect((await verdicts('def f(x:')).verdicts).toEqual(ten('raises'));
    expect((await verdicts('raise ValueError(1)')).verdicts).toEqual(ten('raises'));
    expect((await verdicts('')).verdicts).toEqual(ten('raises'));
    expect((await verdicts('def g(x):\n    return x * 2')).verdicts).toEqual(ten('raises'));
    const some = await verdicts('def f(x):\n    return 0 if x == 0 else 12 // (x - 3) if x == 3 else x * 2');
    expect(some).toMatchObject({ reward: 0.9, verdicts: expect.arrayContaining(['raises']) });
  });

  it('of a call that does not end, and of those after it', async () => {
    const { verdicts: got, reward } = await verdicts('def f(x):\n    while x == 4:\n        pass\n    return x * 2', {
      callSeconds: 2,
    });
    expect(got).toEqual(ten('agrees').with(4, 'times out'));
    expect(reward).toBe(0.9);
  });

  it('of a process that ends in a call, and of those after it', async () => {
    const { verdicts: got } = await verdicts(
      'import os, sys\ndef f(x):\n    if x == 1: os._exit(0)\n    if x == 2: sys.exit()\n    if x == 3: os.abort()\n    return x * 2',
    );
    expect(got).toEqual(['agrees', 'crashes', 'raises', 'crashes', ...ten('agrees').slice(4)]);
  });

  it('where the ground truth itself fails: nothing agrees, and the verdict says so', async () => {
    const faulty = { ...task, ground_truth: 'def f(x):\n    return 10 // x', test_cases: ['f(0)', 'f(5)'] };
    const same = await verdictsOn(faulty, faulty.ground_truth);
    expect(same).toEqual({ reward: 0.5, success: false, verdicts: ['no truth', 'agrees'] });
  });

  it('regardless of the output, which is recorded', async () => {
    const evaluation = await limit(() =>
      new Evaluator({ wall }).evaluate(task, 'print("at first")\ndef f(x):\n    print("call", x)\n    return x * 2'),
    );
    expect(evaluation.reward).toBe(1);
    expect(evaluation.printed).toMatch(/^at first\ncall 0\ncall 1\n/);
  });

  it('of programs that are too long or too deep, and of many calls', async () => {
    expect(await ends(`x = ${JSON.stringify('x'.repeat(2 ** 20))}`, ['1', '2'])).toEqual(
      new Array(2).fill('error in loading: the program has 1048582 bytes, more than 1048576'),
    );
    const deep = `x = ${'('.repeat(1e5)}${')'.repeat(1e5)}`;
    expect(await ends(deep, ['x'])).toEqual([expect.stringMatching(/^(error|crash) in loading/)]);
    for (const odd of ['\0', '\ud800', 'def f(x):\n\treturn x\n        return x']) {
      expect(await ends(odd, ['f(1)'])).toEqual([expect.stringMatching(/^error in loading/)]);
    }
    const calls = Array.from({ length: 2000 }, (_, i) => `"\u00e9" * ${i}`);
    const many = await run('', calls);
    expect(many.outcomes.filter(({ kind }) => kind === 'value')).toHaveLength(2000);
    expect(await ends('', ['1 +', 'x = 1', '  7', ''])).toEqual([
      expect.stringMatching(/^error: SyntaxError/),
      expect.stringMatching(/^error: SyntaxError/),
      '7',
      expect.stringMatching(/^error: SyntaxError/),
    ]);
  });

  it('time out for all calls once the total is used up', async () => {
    const limits = { callSeconds: 1, totalSeconds: 2 };
    const { verdicts: got, reward } = await verdicts('def f(x):\n    while True: pass', limits);
    expect([got, reward]).toEqual([ten('times out'), 0]);
    const loading = await verdicts('while True: pass', limits);
    expect(loading.verdicts).toEqual(ten('times out'));
  });
});

describe.runIf(namespaces).concurrent('equality', () => {
  /** Whether the digests of two values agree, each computed in its own process. */
  async function agree(pairs: [string, string][], setup = '') {
    const digests = async (side: 0 | 1) =>
      (
        await run(
          setup,
          pairs.map((pair) => pair[side]),
        )
      ).outcomes;
    const [ours, theirs] = await Promise.all([digests(0), digests(1)]);
    return pairs.map((_, i) => {
      const [a, b] = [ours[i]!, theirs[i]!];
      return a.kind === 'value' && b.kind === 'value' ? a.digest === b.digest : `${a.kind} ${b.kind}`;
    });
  }

  it('is that of ==', async () => {
    const setup =
      'from decimal import Decimal\nfrom fractions import Fraction\nfrom collections import *\nfrom datetime import *\nimport enum\nPoint = namedtuple("Point", "x y")\nclass Level(enum.IntEnum):\n    LOW = 1';
    const equal: [string, string][] = [
      ['1', '1.0'],
      ['True', '1'],
      ['-0.0', '0'],
      ['0.5', 'Fraction(1, 2)'],
      ['Decimal("0.1")', 'Fraction(1, 10)'],
      ['Decimal("1e3")', '1000'],
      ['Level.LOW', '1'],
      ['2 + 0j', '2'],
      ['10**400', '10**200 * 10**200'],
      ['{1: "a", "b": [2]}', '{"b": [2.0], True: "a"}'],
      ['OrderedDict(a=1, b=2)', 'dict(b=2, a=1)'],
      ['Counter("aab")', '{"a": 2, "b": 1}'],
      ['{1, 2, 3}', 'frozenset([3, 2, 1])'],
      ['Point(1, 2)', '(1, 2)'],
      ['b"ab"', 'bytearray(b"ab")'],
      ['range(0, 3, 2)', 'range(0, 4, 2)'],
      ['"\\ud800\u00e9"', '"\\ud800" + "\u00e9"'],
      ['datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1)))', 'datetime(2024, 1, 1, tzinfo=timezone.utc)'],
      ['timedelta(hours=24)', 'timedelta(days=1)'],
      ['[float("nan")]', '[float("nan")]'],
      ['float("inf")', 'Decimal("inf")'],
      ['None', 'None'],
    ];
    expect(await agree(equal, setup)).toEqual(equal.map(() => true));
    const different: [string, string][] = [
      ['2**53 + 1', 'float(2**53)'],
      ['0.1', 'Decimal("0.1")'],
      ['0.1 + 0.2', '0.3'],
      ['"1"', '1'],
      ['[1]', '(1,)'],
      ['"ab"', 'b"ab"'],
      ['["a", "b"]', '["ab"]'],
      ['[[1], 2]', '[[1, 2]]'],
      ['{1: 2}', '{2: 1}'],
      ['{1}', '[1]'],
      ['[]', 'None'],
      ['""', '[]'],
      ['0', 'None'],
      ['date(2024, 1, 1)', 'datetime(2024, 1, 1)'],
      ['datetime(2024, 1, 1)', 'datetime(2024, 1, 1, tzinfo=timezone.utc)'],
      ['deque([1])', '[1]'],
      ['float("inf")', '-float("inf")'],
      ['1j', '1'],
    ];
    expect(await agree(different, setup)).toEqual(different.map(() => false));
  });

  const numpy = ['python3', '/usr/bin/python3'].find((name) => spawnSync(name, ['-c', 'import numpy']).status === 0);
  it.runIf(numpy !== undefined)("of numpy's arrays is that of their shapes and elements", async () => {
    const pairs: [string, string][] = [
      ['np.arange(6).reshape(2, 3)', 'np.array([[0, 1, 2], [3, 4.0, 5]])'],
      ['np.float64(0.5)', '0.5'],
      ['np.int64(3)', '3'],
      ['np.bool_(True)', '1'],
      ['np.arange(3)', '[0, 1, 2]'],
      ['np.zeros((2, 3))', 'np.zeros((3, 2))'],
      ['np.zeros(0)', 'np.zeros((0, 1))'],
      ['np.array(["a"])', 'np.array(["b"])'],
    ];
    const own = await buildWall({ python: numpy! });
    const digests = async (side: 0 | 1) => {
      const job = { program: 'import numpy as np', calls: pairs.map((pair) => pair[side]) };
      const { outcomes } = await limit(() => runProgram(own, job, { limits: patient }));
      return outcomes.map((outcome) => (outcome.kind === 'value' ? outcome.digest : outcome.error));
    };
    const [ours, theirs] = [await digests(0), await digests(1)];
    expect(ours.map((digest, i) => digest === theirs[i])).toEqual([true, true, true, true, false, false, false, false]);
  });

  it('does not depend on the process where the order of sets matters', async () => {
    const pairs: [string, string][] = [
      ['list({chr(i) for i in range(97, 123)})', 'list({chr(i) for i in range(97, 123)})'],
      ['hash("text")', 'hash("te" + "xt")'],
    ];
    expect(await agree(pairs)).toEqual([true, true]);
  });

  it('of values that cannot be compared is a failure, not an agreement', async () => {
    const setup = 'class A:\n    pass\nx = []\nx.append(x)';
    const pairs = ['A()', 'A', 'lambda: 1', '(i for i in [])', 'object()', 'x'].map((text): [string, string] => [
      text,
      text,
    ]);
    expect(await agree(pairs, setup)).toEqual(pairs.map(() => 'error error'));
  });
});

describe.runIf(namespaces).concurrent('a hostile answer', () => {
  it('that claims to be equal to everything is compared by its value', async () => {
    const liars = [
      'class Liar(int):\n    __eq__ = lambda a, b: True\n    __hash__ = int.__hash__\ndef f(x):\n    return Liar(99)',
      'class Liar:\n    __eq__ = lambda a, b: True\ndef f(x):\n    return Liar()',
      'class Liar(str):\n    def __eq__(a, b): return True\n    encode = lambda *a: b""\ndef f(x): return Liar("no")',
    ];
    for (const liar of liars) expect((await verdicts(liar)).reward).toBe(0);
  });

  it('that manipulates the harness gains nothing, for the expected results are in another process', async () => {
    const forgers = [
      // It writes lines of results to the channel,
      'import json, os\nfor kind in ["loaded"] + ["value"] * 20:\n    os.write(3, (json.dumps({"kind": kind, "digest": "0" * 64, "shown": "0", "verdict": "agrees", "reward": 1}) + "\\n").encode())\ndef f(x): return None',
      // to standard output,
      'import sys\nfor stream in (sys.stdout, sys.stderr):\n    stream.write("{\\"kind\\": \\"value\\", \\"verdict\\": \\"agrees\\"}\\n" * 12)\ndef f(x): return None',
      // replaces functions that the harness uses,
      'import __main__, json, hashlib, builtins\n__main__.digest_of = lambda value: "0" * 64\njson.dumps = lambda *a, **k: "{}"\nhashlib.sha256 = None\nbuiltins.isinstance = lambda *a: True\ndef f(x): return None',
      // searches frames and memory for the ground truth.
      'import gc, sys\ndef f(x):\n    frame = sys._getframe(1)\n    texts = []\n    while frame:\n        texts.append(repr(frame.f_locals) + repr(frame.f_globals))\n        frame = frame.f_back\n    texts += [o for o in gc.get_objects() if isinstance(o, str)]\n    if any("".join(reversed("teRceS")) in t for t in texts): return x * 2\n    return None',
    ];
    const secret = { ...task, ground_truth: `${task.ground_truth} # SecRet` };
    for (const forger of forgers) expect((await verdictsOn(secret, forger)).reward).toBe(0);
  });

  it('reaches no network, no files and no processes', async () => {
    const program = `
import os
def tried(f):
    try:
        return f()
    except BaseException as error:
        return type(error).__name__
def open_fds():
    return [fd for fd in range(256) if tried(lambda: os.fstat(fd)) != 'OSError']
descriptors = open_fds()
import socket, subprocess, multiprocessing, threading
def syscall(number, *args):
    import ctypes
    libc = ctypes.CDLL(None, use_errno=True)
    return (libc.syscall(number, *args), ctypes.get_errno())
`;
    const denied = [
      'tried(socket.socket)',
      'tried(lambda: socket.create_connection(("127.0.0.1", 1)))',
      'tried(lambda: os.fork() or os._exit(0))',
      'tried(lambda: subprocess.run(["/bin/true"]))',
      'tried(lambda: multiprocessing.Process(target=print).start())',
      'tried(lambda: open("/etc/passwd").read())',
      `tried(lambda: open(${JSON.stringify(import.meta.filename)}).read())`,
      'tried(lambda: os.listdir("/proc"))',
      'tried(lambda: os.listdir("/home"))',
      'tried(lambda: open("/left", "w"))',
      'tried(lambda: open("/usr/left", "w"))',
      'tried(lambda: os.remove("/harness.py"))',
      'tried(lambda: os.memfd_create("m"))',
      'tried(lambda: os.setuid(0))',
    ];
    const got = await ends(program, denied);
    const refused = ["'PermissionError'", "'OSError'", "'FileNotFoundError'", "'BlockingIOError'"];
    expect(got.filter((each) => !refused.includes(each))).toEqual([]);
    expect(
      await ends(program, [
        'descriptors',
        'os.getcwd()',
        'os.listdir(".")',
        'os.listdir("/dev")',
        'len(os.environ) < 12',
      ]),
    ).toEqual(['[0, 1, 2, 3]', "'/work'", '[]', "['null']", 'True']);
    // clone3, unshare, mount, bpf, keyctl, ptrace, shmget, io_uring_setup by their numbers.
    if (process.arch !== 'x64') return;
    const numbers = [435, 272, 165, 321, 250, 101, 29, 425];
    expect(
      await ends(
        program,
        numbers.map((number) => `syscall(${number}, 0, 0, 0, 0)`),
      ),
    ).toEqual(numbers.map((number) => (number === 435 ? '(-1, 38)' : '(-1, 1)')));
    // The x32 interface would bypass the filter.
    expect(await ends(program, [`syscall(0x40000000 + 39)`])).toEqual([expect.stringMatching(/^crash: .*SIGSYS/)]);
  });

  it('is isolated by namespaces even without the system call filter', async () => {
    const server = createServer((socket) => socket.end()).listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as AddressInfo;
    // The same sandbox without the system call filter.
    const at = wall.args.indexOf('--seccomp');
    const open = { ...wall, args: wall.args.toSpliced(at, 2), filter: undefined };
    const program = `
import os, socket, time
def tried(f):
    try:
        return f()
    except OSError as error:
        return type(error).__name__
def children():
    # A child that leaves the session and goes on.
    if os.fork() == 0:
        os.setsid()
        time.sleep(30)
    return True
`;
    const calls = [
      `tried(lambda: socket.create_connection(("127.0.0.1", ${port})))`,
      'tried(lambda: [name for _, name in socket.if_nameindex()])',
      `tried(lambda: os.kill(${process.pid}, 0))`,
      'os.getpid() < 10',
      'socket.gethostname()',
      'children()',
    ];
    const { outcomes } = await limit(() => runProgram(open, { program, calls }, { limits: patient }));
    server.close();
    expect(outcomes.map((outcome) => (outcome.kind === 'value' ? outcome.shown : outcome.error))).toEqual([
      "'ConnectionRefusedError'",
      "['lo']",
      "'ProcessLookupError'",
      'True',
      "'sandbox'",
      'True',
    ]);
  });

  it('that forks, starts threads, kills its parent or ignores signals affects nothing else', async () => {
    expect(await ends('import os\ndef f():\n    for _ in range(20): os.fork() or os._exit(0)', ['f()'])).toEqual([
      expect.stringMatching(/^error: PermissionError/),
    ]);
    const threads =
      'import threading, time\ndef f():\n    n = 0\n    try:\n        for n in range(500):\n            threading.Thread(target=time.sleep, args=(60,)).start()\n    except RuntimeError:\n        return n > 0';
    expect(await ends(threads, ['f()', '2'])).toEqual(['True', '2']);
    const killer =
      'import os, signal\ndef f():\n    if os.getpid() > 9: return "among the processes of the machine"\n    for pid in (os.getppid(), 1, -1):\n        try: os.kill(pid, signal.SIGKILL)\n        except OSError: pass\n    return 1';
    expect(await ends(killer, ['f()', '2'])).toEqual([expect.stringMatching(/^1$|^crash/), '2']);
    const deaf =
      'import signal, time\nfor n in range(1, 65):\n    try: signal.signal(n, signal.SIG_IGN)\n    except (OSError, ValueError): pass\ndef f():\n    while True:\n        try: time.sleep(60)\n        except BaseException: pass';
    expect(await ends(deaf, ['f()', '2'], { callSeconds: 1.5 })).toEqual([expect.stringMatching(/^timeout/), '2']);
  });

  it('that exhausts memory, files or descriptors reaches a limit', async () => {
    const program =
      'import os, sys\ndef tried(f):\n    try: return f()\n    except BaseException as e: return type(e).__name__\ndef fill():\n    try:\n        for i in range(40):\n            with open(str(i), "wb") as f: f.write(bytes(2**20))\n    except OSError as e:\n        return (type(e).__name__, i <= 17)';
    expect(
      await ends(program, [
        'tried(lambda: bytearray(2**33))',
        'tried(lambda: [bytearray(2**20) for _ in range(1000)])',
        'tried(lambda: "x" * 10**12)',
        'tried(lambda: open("big", "wb", 0).write(bytes(2**22)) and os.path.getsize("big") <= 2**20)',
        'os.remove("big")',
        'tried(lambda: [open("/dev/null") for _ in range(10**4)])',
        'fill()',
      ]),
    ).toEqual(["'MemoryError'", "'MemoryError'", "'MemoryError'", 'True', 'None', "'OSError'", "('OSError', True)"]);
  });

  it('that makes many files reaches a limit, and their number is reported', async () => {
    const program = `
import os
def fill(make):
    for i in range(10**5):
        try: make(str(i))
        except OSError as error: return i, error.errno
def link(name):
    if not os.path.exists("target"): open("target", "w").close()
    os.link("target", name)
def nest(name):
    os.mkdir(name)
    os.chdir(name)
`;
    const makers = [
      'lambda name: open(name, "w").close()',
      'os.mkdir',
      'lambda name: os.symlink("a", name)',
      'link',
      'nest',
    ];
    for (const maker of makers) {
      const { outcomes, files } = await run(program, [`fill(${maker})`, 'len(os.listdir("/work")) > 0']);
      const made = maker === 'link' ? 4095 : 4096;
      expect(outcomes.map((outcome) => outcome.kind === 'value' && outcome.shown)).toEqual([`(${made}, 28)`, 'True']);
      expect(files).toBe(4096);
    }
    // Counted when the program is killed, too, and nothing where it leaves nothing.
    const loop = await run(`${program}\ndef f():\n    fill(os.mkdir)\n    while True: pass`, ['f()'], {
      callSeconds: 3,
    });
    expect(loop).toMatchObject({ outcomes: [{ kind: 'timeout' }], files: 4096 });
    const ending = await run('import os\ndef f():\n    open("a", "w").close()\n    os.abort()', ['f()', '2']);
    expect(ending).toMatchObject({ outcomes: [{ kind: 'crash' }, { kind: 'value' }], files: 1 });
    expect(await run('import os\nos.mkdir("a")\nos.rmdir("a")', ['1'])).toMatchObject({ files: 0 });
    const few = await limit(async () =>
      runProgram(await buildWall({ scratchFiles: 3 }), { program, calls: ['fill(os.mkdir)'] }),
    );
    expect(few).toMatchObject({ outcomes: [{ kind: 'value', shown: '(3, 28)' }], files: 3 });
  });

  it('that recurses endlessly, in Python or in C, fails alone', async () => {
    const program =
      'import sys\ndef f():\n    return f()\ndef g():\n    sys.setrecursionlimit(10**9)\n    class A:\n        def __repr__(self): return repr(self)\n    return repr(A())';
    expect(await ends(program, ['f()', 'g()', '3'])).toEqual([
      expect.stringMatching(/^error: RecursionError/),
      expect.stringMatching(/^crash: .*SIGSEGV|^error: (RecursionError|MemoryError)|^timeout/),
      '3',
    ]);
  });

  it('that prints endlessly or floods the result channel is stopped', async () => {
    const printer =
      'import os\ndef f():\n    while True: print("x" * 10**6)\ndef g():\n    while True: os.write(3, b"x" * 10**5)';
    const got = await ends(printer, ['f()', 'g()', '3']);
    expect(got).toEqual([expect.stringMatching(/^flood: .*printed/), expect.stringMatching(/^flood: .*channel/), '3']);
  });

  it('that closes or replaces descriptors fails alone', async () => {
    const program =
      'import os\ndef f():\n    os.closerange(0, 256)\n    return 1\ndef g():\n    os.dup2(1, 3)\n    return 1';
    const got = await ends(program, ['f()', 'g()', '3']);
    expect(got.slice(0, 2)).toEqual([expect.stringMatching(/^crash/), expect.stringMatching(/^crash/)]);
    expect(got[2]).toBe('3');
  });

  it('leaves no process behind', async () => {
    const program =
      'import threading, time, atexit\natexit.register(time.sleep, 600)\nthreading.Thread(target=time.sleep, args=(600,)).start()\ndef f(): return 1';
    expect(await ends(program, ['f()'])).toEqual(['1']);
    const aborting = new AbortController();
    const endless = runProgram(wall, { program: 'while True: pass', calls: ['1'] }, { signal: aborting.signal });
    setTimeout(() => aborting.abort(), 300);
    await expect(endless).rejects.toMatchObject({ name: 'AbortError' });
  });
});

it.runIf(namespaces)('left no process behind', async () => {
  const marked = () =>
    readdirSync('/proc')
      .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
      .filter((pid) => {
        try {
          return readFileSync(`/proc/${pid}/environ`, 'utf8').includes(mark);
        } catch {
          return false;
        }
      });
  for (let tries = 0; marked().length > 0 && tries < 50; tries++)
    await new Promise((resolve) => setTimeout(resolve, 100));
  expect(marked()).toEqual([]);
});

it('finds the program in an answer', () => {
  const program = 'def f(x):\n    return x';
  const fence = '```';
  for (const answer of [
    program,
    `I WANT TO ANSWER: ${program}`,
    `Sure!\nI WANT TO ANSWER:\n${fence}python\n${program}\n${fence}\nThis returns x.`,
    `I WANT TO ANSWER: ${fence}\n${program}\n${fence}`,
    `Here it is.\n~~~py\n${program}\n~~~\n${fence}\nf(3)\n${fence}`,
    `I WANT TO ANSWER:\n${fence}python\n${program}`,
    `${fence}\nI WANT TO ANSWER:\n${program}\n${fence}`,
  ]) {
    expect(programOf(answer)).toBe(program);
  }
});
