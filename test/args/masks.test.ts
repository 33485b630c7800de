/** Masks of other integers than bytes: 0 drops, anything else keeps, with the same bits as a Uint8Array. */
import { tokenLogps } from 'sweet-rl';
import { expect, it } from 'vitest';
import { floats, ints, SUBJECTS } from '../helpers/calls.ts';

const mergesShards = (name: string) => name.startsWith('mergeVocabParallelStats'); // whose statistics have the mask
const subjects = SUBJECTS.filter(
  ({ name, arguments: all, valid }) =>
    all.some(({ path: [first] }) => first === 'mask') && valid().mask !== undefined && !mergesShards(name),
);
/** Bytes of all of them but the first are 0. */
const KEPT = [1, 256, 2 ** 16, 2 ** 24, -256];
const WIDE = [-1n, 256n, 2n ** 32n, 2n ** 40n, -(2n ** 63n)];

it.each(subjects)('$name', async ({ call, valid, arguments: all }) => {
  const empty = all.some(({ name }) => name === 'allowEmptyTurns') ? { allowEmptyTurns: true } : {};
  const { length } = valid().mask as Uint8Array;
  const run = async (mask: unknown) => await call({ ...valid(), ...empty, mask } as never);
  const kept = (i: number) => i % 2 === 0;
  const bytes = Uint8Array.from({ length }, (_, i) => Number(kept(i)));
  const expected = await run(bytes);
  expect(expected).not.toEqual(await run(bytes.fill(1)));
  const masks = [
    Int32Array.from({ length }, (_, i) => (kept(i) ? KEPT[i % KEPT.length]! : 0)),
    BigInt64Array.from({ length }, (_, i) => (kept(i) ? WIDE[i % WIDE.length]! : 0n)),
  ];
  for (const mask of masks) {
    expect(await run(mask)).toEqual(expected);
    expect(await run({ data: mask, dims: [1, length] })).toEqual(expected);
  }
});

it('checks the length and the class of other masks too', () => {
  const call = { logits: new Float32Array(8), labels: ints(0, 1), vocabSize: 4 };
  for (const mask of [ints(1), new BigInt64Array(3)]) {
    expect(() => tokenLogps({ ...call, mask })).toThrow(
      /^Expected 2 elements for mask but received (Int32|BigInt64)Array/,
    );
  }
  for (const mask of [floats(1, 1), new Uint32Array(2), [true, true]]) {
    expect(() => tokenLogps({ ...call, mask } as never)).toThrow(
      /^Expected Uint8Array or Int32Array or BigInt64Array for mask but received /,
    );
  }
});
