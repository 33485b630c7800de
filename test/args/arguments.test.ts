/**
 * Every argument of every public function with whatever can be passed in its place: the class of error, its code, a message
 * that names the argument, what was expected and what came, and that nothing was written. A function or an option that is
 * not described in helpers/calls.ts fails here.
 */
import * as sweetRl from 'sweet-rl';
import * as jax from 'sweet-rl/jax';
import * as objectives from 'sweet-rl/objectives';
import * as safetensors from 'sweet-rl/safetensors';
import * as shm from 'sweet-rl/shm';
import * as tfjs from 'sweet-rl/tfjs';
import { describe, expect, it } from 'vitest';
import {
  type Argument,
  at,
  bytesIn,
  changed,
  counted,
  formsOf,
  lengthOf,
  type Options,
  optionsIn,
  receivedOf,
  twoInOne,
  type Verdict,
  valuesFor,
} from '../helpers/arguments.ts';
import { POSITIONAL, SUBJECTS, type Subject } from '../helpers/calls.ts';

type Coded = Error & { code?: unknown };
type Numbers = Float32Array<ArrayBuffer>;

async function thrownBy(action: () => unknown): Promise<Coded | undefined> {
  try {
    await action();
    return undefined;
  } catch (error) {
    return error as Coded;
  }
}

/** What is wrong with an error, or with there being none; '' where nothing is. */
function complaint(thrown: Coded | undefined, verdict: Verdict, name: string, value: unknown): string {
  if (verdict === 'any') {
    const coded = thrown === undefined || typeof thrown.code === 'string';
    return coded ? '' : `threw without a code: ${thrown.stack}`;
  }
  if (thrown === undefined) return 'threw nothing';
  if (!(thrown instanceof verdict.class)) return `is no ${verdict.class.name}: ${thrown.stack}`;
  if (!verdict.code.split('|').includes(String(thrown.code))) return `has the code ${thrown.code}: ${thrown.message}`;
  const { message } = thrown;
  if (!message.startsWith('Expected ')) return `does not say what was expected: ${message}`;
  if (!message.includes(name)) return `does not name ${name}: ${message}`;
  const received = receivedOf(value);
  const says =
    message.includes(`but received ${received}`) || /received one|received none|is given,| and /.test(message);
  return says ? '' : `does not say that ${received} came: ${message}`;
}

const written = (bytes: ReturnType<typeof bytesIn>) =>
  bytes.some(([now, before]) => now.length === before.length && !now.every((byte, i) => byte === before[i]));

/** The rows of one argument that are not as they should be. */
async function failures({ call, valid }: Subject, { path, name, kind }: Argument): Promise<string[]> {
  const failed: string[] = [];
  const original = at(valid(), path);
  for (const [what, value] of valuesFor(kind, original)) {
    const options = changed(valid(), path, value);
    const bytes = bytesIn(options);
    const thrown = await thrownBy(() => call(options as never));
    const wrong = complaint(thrown, kind.verdict(value, original), name, value);
    if (wrong !== '') failed.push(`${name} = ${what}: ${wrong}`);
    if (thrown !== undefined && written(bytes)) failed.push(`${name} = ${what}: something was written`);
  }
  return failed;
}

/** Results as numbers, wherever the arrays lie. */
function plain(result: unknown): unknown {
  if (ArrayBuffer.isView(result))
    return Array.from({ length: lengthOf.call(result) }, (_, i) => (result as Numbers)[i]);
  if (typeof result !== 'object' || result === null) return result;
  return Object.fromEntries(Object.entries(result).map(([name, value]) => [name, plain(value)]));
}

describe.each(SUBJECTS)('$name', (subject) => {
  const { call, valid, inPlace } = subject;
  const run = async (options: Options) => plain(await call(options as never));
  const names = Object.keys(valid());
  const outs = Object.keys((valid().out ?? {}) as object);
  const arrays = subject.arguments.filter(({ path }) => ArrayBuffer.isView(at(valid(), path)));

  it.each(subject.arguments)('refuses what $name cannot be', async (argument) => {
    expect((await failures(subject, argument)).join('\n')).toBe('');
  });

  it.each([undefined, null, [], 3, 'text', 3n, Symbol('s'), () => 1, new Float32Array(1)])(
    'refuses %o as its options',
    async (options) => {
      const thrown = await thrownBy(() => call(options as never));
      expect(complaint(thrown, { class: TypeError, code: 'ERR_ARG_TYPE' }, 'options', options)).toBe('');
    },
  );

  it('refuses names that it does not know, of options and of results', async () => {
    for (const root of [[], ...(outs.length > 0 ? [['out']] : [])]) {
      for (const name of ['colour', 'Logits', ' logits', '', '0', 'toString']) {
        const options = changed(valid(), [...root, name], 1);
        const bytes = bytesIn(options);
        const thrown = await thrownBy(() => call(options as never));
        const wrong = complaint(thrown, { class: TypeError, code: 'ERR_UNKNOWN_OPTION' }, JSON.stringify(name), name);
        expect([name, wrong, written(bytes)]).toEqual([name, '', false]);
      }
    }
    const heir = Object.assign(Object.create({ colour: 1 }), valid());
    expect(await thrownBy(() => call(heir as never))).toMatchObject({ code: 'ERR_UNKNOWN_OPTION' });
  });

  it('knows the options that are described and no others, and reads each once', async () => {
    const { out, ...others } = valid();
    const options = counted(others);
    const results = counted((out ?? {}) as Options);
    await run(out === undefined ? options.options : Object.assign(options.options, { out: results.options }));
    options.reads.delete('chunkBytes'); // of devices alone
    const described = subject.arguments.filter(({ path }) => path.length === 1).map(({ name }) => name);
    expect([...options.reads.keys()].sort()).toEqual(described.toSorted());
    expect([...results.reads.keys()]).toEqual(expect.arrayContaining(outs));
    // Whether a call that runs later was cancelled already is asked before all else.
    options.reads.delete('signal');
    expect(new Set([...options.reads.values(), ...results.reads.values()])).toEqual(new Set([1]));
  });

  it('takes options in any form', async () => {
    const expected = await run(valid());
    for (const [what, form] of optionsIn(valid())) expect([what, await run(form)]).toEqual([what, expected]);
    for (const [what, out] of optionsIn((valid().out ?? {}) as Options)) {
      if (outs.length > 0) expect([what, await run({ ...valid(), out })]).toEqual([what, expected]);
    }
  });

  it.runIf(arrays.length > 0).each(arrays)('takes $name in any form', async ({ path, name }) => {
    const expected = await run(valid());
    for (const [what, form] of formsOf(at(valid(), path) as Numbers)) {
      const options = changed(valid(), path, form);
      const result = (await call(options as never)) as Options;
      expect([what, plain(result)]).toEqual([what, expected]);
      if (path[0] === 'out')
        expect(ArrayBuffer.isView(result) ? result : result[path[1]!], `${name} ${what}`).toBe(form);
    }
  });

  const sync = SUBJECTS.find((each) => `${each.name}, later` === subject.name);
  it.runIf(sync)('gives the results of its sync form', async () => {
    expect(await run(valid())).toEqual(plain(await sync!.call(valid() as never)));
  });

  it('passes on what a getter throws, and writes nothing', async () => {
    const error = new Error('mine');
    const paths = [...names.map((name) => [name]), ...outs.map((name) => ['out', name])];
    for (const path of paths) {
      const options = changed(valid(), path, 0);
      const owner = at(options, path.slice(0, -1)) as object;
      Object.defineProperty(owner, path.at(-1)!, {
        enumerable: true,
        get: () => {
          throw error;
        },
      });
      const others = paths.filter((each) => !path.every((step, i) => each[i] === undefined || each[i] === step));
      const bytes = others.flatMap((each) => bytesIn(at(options, each)));
      expect((await thrownBy(() => call(options as never)))?.message).toBe('mine');
      expect(written(bytes)).toBe(false);
    }
  });

  it('survives a getter that takes the memory of all arrays away', async () => {
    const paths = [...names.map((name) => [name]), ...outs.map((name) => ['out', name])];
    for (const path of paths) {
      const options = valid();
      const copy = changed(options, path, at(options, path));
      const owner = at(copy, path.slice(0, -1)) as object;
      const value = at(options, path);
      const get = () => {
        for (const { path: each } of arrays) {
          const { buffer } = at(options, each) as Numbers;
          if (buffer.byteLength > 0) structuredClone(buffer, { transfer: [buffer] });
        }
        return value;
      };
      Object.defineProperty(owner, path.at(-1)!, { enumerable: true, get });
      const thrown = await thrownBy(() => call(copy as never));
      if (arrays.length > 0) expect(thrown).toMatchObject({ code: expect.stringMatching(/^ERR_/) });
    }
  });

  const buffers = arrays.filter(({ path }) => path[0] === 'out');
  it.runIf(buffers.length > 0)('keeps its results apart from its inputs and each other', async () => {
    const expected = await run(valid());
    for (const buffer of buffers) {
      for (const other of arrays) {
        if (other === buffer) continue;
        const pair = [at(valid(), other.path), at(valid(), buffer.path)] as [Numbers, Numbers];
        const put = ([a, b]: [Numbers, Numbers]) => changed(changed(valid(), other.path, a), buffer.path, b);
        const options = put(twoInOne(...pair));
        const bytes = bytesIn(options);
        const thrown = await thrownBy(() => call(options as never));
        const what = `${buffer.name} over ${other.name}`;
        expect([what, thrown?.constructor, thrown?.code]).toEqual([what, RangeError, 'ERR_OVERLAP']);
        expect(thrown!.message).toContain(buffer.name);
        expect(thrown!.message).toContain(other.name);
        expect(written(bytes)).toBe(false);
        expect([what, await run(put(twoInOne(...pair, true)))]).toEqual([what, expected]);
      }
    }
  });

  it.runIf(inPlace !== undefined)('works in place where it may', async () => {
    const [out, input] = inPlace!;
    const expected = (await run(valid())) as Options;
    const options = valid();
    const view = options[input] as Numbers;
    const same = new Float32Array(view.buffer, view.byteOffset, view.length);
    const result = await run({ ...options, out: { ...(options.out as Options), [out]: same } });
    expect(result).toEqual(expected);
    expect(plain(view)).toEqual(expected[out]);
  });

  it.runIf('rowStride' in Object.fromEntries(subject.arguments.map(({ name, kind }) => [name, kind])))(
    'survives all strides and sizes',
    async () => {
      const sizes = [1, 2, 3, 4, 5, 6, 12, 2 ** 31 - 1, 2 ** 31, 2 ** 32, 2 ** 32 + 4, 2 ** 52, 2 ** 53 - 1, undefined];
      for (const rowStride of sizes) {
        for (const vocabSize of sizes) {
          const options = { ...valid(), rowStride, vocabSize };
          if (subject.arguments.find(({ name }) => name === 'rowStride')!.kind.verdict(rowStride, 1) !== 'any')
            continue;
          const bytes = bytesIn(options);
          const thrown = await thrownBy(() => call(options as never));
          if (thrown === undefined) continue;
          expect([rowStride, vocabSize, thrown.code]).toEqual([rowStride, vocabSize, expect.stringMatching(/^ERR_/)]);
          expect(written(bytes)).toBe(false);
        }
      }
    },
  );
});

describe.each(POSITIONAL)('$name', ({ call, valid, arguments: all }) => {
  const spread = { call: (args: never[]) => call(...args), valid } as unknown as Subject;
  const arrays = all.filter(({ path }) => ArrayBuffer.isView(at(valid(), path)));

  it.each(all)('refuses what $name cannot be', async (argument) => {
    expect((await failures(spread, argument)).join('\n')).toBe('');
  });

  it.runIf(arrays.length > 0).each(arrays)('takes $name in any form', async ({ path }) => {
    const run = async (args: unknown[]) => plain(await call(...(args as never[])));
    const expected = await run(valid());
    for (const [what, form] of formsOf(at(valid(), path) as Numbers)) {
      expect([what, await run(changed(valid(), path, form))]).toEqual([what, expected]);
    }
  });
});

describe("what the caller's functions give", () => {
  it.each(POSITIONAL.filter(({ name }) => name === 'criticLoss' || name === 'policyLoss'))(
    'is taken in any form by $name',
    async ({ call, valid }) => {
      const run = (numbers: unknown) => call(...(changed(valid(), [1, 'dataSync'], () => numbers) as never[]));
      const numbers = (at(valid(), [1, 'dataSync']) as () => Numbers)();
      const expected = run(numbers);
      for (const [what, form] of [...formsOf(numbers), ['an Array', Array.from(numbers)]]) {
        expect([what, run(form)]).toEqual([what, expected]);
      }
      for (const wrong of [undefined, null, 3, new Float64Array(10), new Float32Array(3)]) {
        expect(await thrownBy(() => run(wrong))).toMatchObject({ code: expect.stringMatching(/^ERR_ARG_/) });
      }
    },
  );

  it('is taken in any form by checkGrad', async () => {
    const { call, valid } = SUBJECTS.find(({ name }) => name === 'checkGrad of a forward pass') as Subject;
    const expected = await call(valid() as never);
    const { forward } = valid() as { forward: (parameters: Numbers) => Numbers };
    for (const at of formsOf(forward(valid().parameters as Numbers)).keys()) {
      const formed = (parameters: Numbers) => formsOf(forward(parameters))[at]![1];
      expect(await call({ ...valid(), forward: formed } as never)).toEqual(expected);
    }
  });
});

it('is written for every function', () => {
  const called = new Set([...SUBJECTS.map(({ call }) => call.name), ...POSITIONAL.map(({ name }) => name)]);
  const functions = [sweetRl, jax, tfjs, shm, safetensors, objectives].flatMap((module) =>
    Object.entries(module as Record<string, unknown>),
  );
  const missing = functions.filter(([name, value]) => typeof value === 'function' && !called.has(name));
  // Classes and deprecated names have tests of their own; the others take nothing.
  const others = [
    'CudaError',
    'DeviceBuffer',
    'FileReplacement',
    'SharedMapping',
    'SweetError',
    'backends',
    'freeCachedMemory',
    'mergePartials',
    'partials',
    'partialsAsync',
    'peakWorkingMemory',
    'threads',
  ];
  expect(missing.map(([name]) => name).sort()).toEqual(others);
});
