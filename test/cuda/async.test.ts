/** Calls on device buffers that run on another thread: the bits of the sync calls, and buffers that go away meanwhile. */
import * as namespace from 'sweet-rl';
import { expect, it } from 'vitest';
import { SUBJECTS } from '../helpers/calls.ts';
import { exportsOf } from '../helpers/exports.ts';
import { type CallCase, callCases } from '../helpers/later.js';

const sweetRl: Record<string, unknown> = { ...namespace };
const { DeviceBuffer } = namespace;

const onDevice = (options: Record<string, unknown>, dtype: unknown) =>
  Object.fromEntries(
    Object.entries(options).map(([name, value]) => {
      if (!ArrayBuffer.isView(value)) return [name, value];
      const stored = value instanceof Uint16Array ? { dtype: dtype as 'bfloat16' } : {};
      return [name, DeviceBuffer.from(value as Float32Array, stored)];
    }),
  );

const onHost = (results: object) =>
  Object.fromEntries(
    Object.entries(results).map(([name, value]) => [name, value instanceof DeviceBuffer ? value.toArray() : value]),
  );

const optionsOf = ({ options }: CallCase) => onDevice(options(), options().dtype);
const sync = (call: CallCase, options = optionsOf(call)) =>
  (sweetRl[call.name] as (options: object) => object)(options);
const later = (call: CallCase, options: object = optionsOf(call)) =>
  (sweetRl[`${call.name}Async`] as (options: object) => Promise<object>)(options);

/** The small valid calls of all operations that have an async form. */
const small = SUBJECTS.filter(({ call }) => exportsOf('ops').includes(`${call.name}Async`)).map((subject) => ({
  name: subject.call.name as CallCase['name'],
  title: `a small ${subject.name}`,
  options: (): Record<string, unknown> => ({ ...subject.valid(), out: undefined }),
}));
const cases = (['float32', 'float16', 'bfloat16'] as const)
  .flatMap((dtype) => callCases(dtype).map((call) => ({ ...call, title: `${call.title}, ${dtype}` })))
  .concat(small);

it.each(cases)('$title gives the bits of its sync form', async (call) => {
  expect(onHost(await later(call))).toEqual(onHost(sync(call)));
});

it.each(cases)('$title keeps inputs that are disposed meanwhile', async (call) => {
  const expected = onHost(sync(call));
  const options = optionsOf(call);
  const first = later(call, options);
  const second = later(call, options);
  for (const value of Object.values(options)) if (value instanceof DeviceBuffer) value.dispose();
  for (const promise of [first, second]) expect(onHost(await promise)).toEqual(expected);
  await expect(later(call, options)).rejects.toMatchObject({ code: 'ERR_DISPOSED' });
});

it('names a result that was disposed meanwhile', async () => {
  const [call] = cases as [CallCase];
  const logps = DeviceBuffer.allocate('float32', 64);
  const promise = later(call, { ...optionsOf(call), out: { logps } });
  logps.dispose();
  await expect(promise).rejects.toMatchObject({ code: 'ERR_DISPOSED', message: /out\.logps/ });
});

it('reports what is wrong inside the arrays, and ends calls by their signal', async () => {
  const [call] = cases as [CallCase];
  const labels = DeviceBuffer.from(new Int32Array(64).fill(5000));
  await expect(later(call, { ...optionsOf(call), labels })).rejects.toMatchObject({ code: 'ERR_LABEL' });
  const signal = AbortSignal.abort('enough');
  await expect(later(call, { ...optionsOf(call), signal })).rejects.toBe('enough');
  const controller = new AbortController();
  const promises = [0, 1, 2].map(() => later(call, { ...optionsOf(call), signal: controller.signal }));
  controller.abort('now');
  const settled = await Promise.allSettled(promises);
  for (const each of settled) expect(each).toEqual({ status: 'rejected', reason: 'now' });
});
