/** The WebAssembly build beside the native one: the bits of 'portable', and the same errors for the same arguments. */
import * as native from 'sweet-rl';
import * as wasm from 'sweet-rl/wasm';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { at, changed, type Options, valuesFor } from '../helpers/arguments.ts';
import { randomBatch, randomPairs } from '../helpers/batches.ts';
import { SUBJECTS } from '../helpers/calls.ts';
import { expectSameBits } from '../helpers/compare.ts';
import { inputsOf as headInputs, randomHead } from '../helpers/linear.ts';
import { activeBackend } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { randomRows, inputsOf as rowInputs } from '../helpers/rows.ts';
import { DTYPES } from '../helpers/storage.ts';

let before: native.Backend['name'];
beforeAll(() => {
  before = activeBackend();
  native.useBackend('portable');
});
afterAll(() => native.useBackend(before));

type Functions = Record<string, (options: object) => unknown>;
const [ofNative, ofWasm] = [native, wasm] as unknown as [Functions, Functions];

/** Losses and what follows from them need exp and log1p of the C library, of which glibc's and WASI's differ by an ulp. */
function expectSame(ours: unknown, expected: unknown): void {
  if (typeof expected === 'number' && Number.isFinite(expected)) {
    expect(Math.abs((ours as number) - expected)).toBeLessThanOrEqual(1e-14 * Math.abs(expected));
  } else if (ArrayBuffer.isView(expected)) {
    expectSameBits('a result', ours as Float32Array, expected as Float32Array);
  } else if (typeof expected === 'object' && expected !== null) {
    expect(Object.keys(ours as object)).toEqual(Object.keys(expected));
    for (const [name, value] of Object.entries(expected)) expectSame((ours as Options)[name], value);
  } else {
    expect(ours).toEqual(expected);
  }
}

describe.each(DTYPES)('bits of portable, %s', (dtype) => {
  const batch = { ...randomBatch(61, 2, 6, 4, 9), allowEmptyTurns: true };
  const { logps: refLogps, trajectoryOffsets, ...turns } = batch;
  const N = refLogps.length;
  const rows = randomRows(N, 2111, dtype);
  const head = randomHead({ N, H: 33, V: 613, dtype, withBias: true });
  const pairs = randomPairs(new Random(62), 6, 5);
  const statistics = { entropy: true, argmax: true, sumSquaredProbs: true };
  const logitsBackward = () => ({
    ...rowInputs(rows),
    lse: native.tokenLogps(rowInputs(rows)).lse,
    gradLogps: rows.gradLogps,
  });
  const linearBackward = () => ({
    ...headInputs(head),
    lse: native.linearLogps(headInputs(head)).lse,
    gradLogps: head.gradLogps,
  });
  const teacher = { teacherLogits: rows.logits, divergence: 'jsd' };
  const { refLogps: reference, ...updateTurns } = { ...turns, refLogps };
  it.each<[string, () => object]>([
    ['tokenLogps', () => ({ ...rowInputs(rows), ...statistics })],
    ['tokenLogpsBackward', logitsBackward],
    ['linearLogps', () => ({ ...headInputs(head), ...statistics })],
    ['linearLogpsBackward', linearBackward],
    ['tokenDivergence', () => ({ logits: rows.logits, dtype: dtypeOf(dtype), vocabSize: rows.V, ...teacher })],
    ['criticUpdate', () => ({ ...rowInputs(rows), ...updateTurns, refLogps: reference, trajectoryOffsets, ...pairs })],
    ['policyUpdate', () => ({ ...headInputs(head), ...updateTurns, refLogps: reference, ...pairs })],
  ])('%s', async (name, options) => {
    const expected = ofNative[name]!(options());
    expectSame(ofWasm[name]!(options()), expected);
    expectSame(await ofWasm[`${name}Async`]!(options()), expected);
  });
});

const dtypeOf = (dtype: string) => (dtype === 'float32' ? undefined : dtype);

/** What a call returns, or the class, the code and the message of what it throws. */
function outcomeOf(call: (options: never) => unknown, options: Options): unknown {
  try {
    return { result: call(options as never) };
  } catch (error) {
    const { name, code, message } = error as Error & { code: string };
    return { thrown: name, code, message };
  }
}

// Functions with an async form are those that call native code; what lib/ checks before is the same file in both.
const subjects = SUBJECTS.filter(({ call }) => call === ofNative[call.name] && `${call.name}Async` in native);

it.each(subjects.map((subject) => [subject.name, subject] as const))('wrong arguments: %s', (_, subject) => {
  const { call, valid } = subject;
  const inWasm = ofWasm[call.name] as (options: never) => unknown;
  expectSame(outcomeOf(inWasm, valid()), outcomeOf(call, valid()));
  for (const { path, kind } of subject.arguments) {
    const givenOf = (options: Options) => at(options, path);
    if (!ArrayBuffer.isView(givenOf(valid()))) continue;
    for (const [i, [, value]] of valuesFor(kind, givenOf(valid())).entries()) {
      if (!ArrayBuffer.isView(value)) continue;
      const options = () => changed(valid(), path, valuesFor(kind, givenOf(valid()))[i]?.[1]);
      expectSame(outcomeOf(inWasm, options()), outcomeOf(call, options()));
    }
  }
});

it('shared memory and devices are errors that say why', () => {
  expect(() => wasm.useBackend('portable')).toThrow(/'portable' cannot be used here: needs the native addon: this is/);
  expect(() => wasm.DeviceBuffer.allocate('float32', 1)).toThrow(/'cuda' cannot be used here: this is the WebAssembly/);
  expect(wasm.backends().find(({ active }) => active)).toMatchObject({
    name: 'wasm',
    note: expect.stringMatching(/slower/),
  });
});

it('an aborted call ends with the reason of its signal, and writes nothing', async () => {
  const controller = new AbortController();
  const logps = new Float32Array(2).fill(7);
  const options = {
    logits: new Float32Array(8),
    labels: Int32Array.of(1, 2),
    signal: controller.signal,
    out: { logps },
  };
  const promise = wasm.tokenLogpsAsync(options);
  controller.abort(new Error('enough'));
  await expect(promise).rejects.toThrow('enough');
  expect([...logps]).toEqual([7, 7]);
});
