/** Results over an input: found by the memory, whatever objects it is given through. */
import * as sweetRl from 'sweet-rl';
import { openShm, unlinkShm } from 'sweet-rl/shm';
import { describe, expect, it } from 'vitest';
import { expectSameBits } from '../helpers/compare.ts';
import { thrownBy } from '../helpers/errors.ts';
import { Random } from '../helpers/random.ts';
import { BYTES, type Pair, SAME_MEMORY } from '../helpers/same-memory.ts';

const [N, V] = [4, 16];
const labels = Int32Array.of(3, 0, 15, 7);
const rest = { labels, vocabSize: V, lse: new Float32Array(N).fill(3), gradLogps: Float32Array.of(1, -2, 0.5, 3) };
const values = Float32Array.from({ length: N * V }, (_, i) => Math.sin(i) * 3);
const expected = sweetRl.tokenLogpsBackward({ logits: values, ...rest }).gradLogits;

function backward([a, b]: Pair, from: number, to: number) {
  const logits = new Float32Array(a, 4 * from, N * V);
  const gradLogits = new Float32Array(b, 4 * to, N * V);
  gradLogits.fill(7);
  logits.set(values);
  return { logits, ...rest, out: { gradLogits } };
}

describe.each(SAME_MEMORY)('%s', (_, make) => {
  it('has the overlaps of one object, at random ranges', async () => {
    const pair = make();
    const random = new Random(5);
    for (let round = 0; round < 60; round++) {
      const from = random.integer(0, 300);
      const to = round % 10 === 0 ? from : Math.max(0, from + random.integer(-2 * N * V, 2 * N * V));
      const distance = Math.abs(from - to);
      const options = backward(pair, from, to);
      if (distance > 0 && distance < N * V) {
        const before = options.out.gradLogits.slice();
        for (const thrown of [
          thrownBy(() => sweetRl.tokenLogpsBackward(options)),
          await sweetRl.tokenLogpsBackwardAsync(options).catch((error) => error),
        ]) {
          expect(thrown).toBeInstanceOf(RangeError);
          expect(thrown).toMatchObject({
            code: 'ERR_OVERLAP',
            message: expect.stringMatching(/out\.gradLogits .*overlaps logits/),
          });
        }
        expect(options.out.gradLogits).toEqual(before);
      } else {
        sweetRl.tokenLogpsBackward(options);
        expectSameBits('gradLogits', options.out.gradLogits, expected);
        const again = backward(pair, from, to);
        await sweetRl.tokenLogpsBackwardAsync(again);
        expectSameBits('gradLogits', again.out.gradLogits, expected);
      }
    }
  });

  it('has the overlap of a result and a mask of any type, which stays as it was', () => {
    for (const Class of [Uint8Array, Int32Array, BigInt64Array]) {
      const [a, b] = make();
      const mask = new Class(a as ArrayBuffer, 64, N);
      mask.set([1, 0, 1, 1].map((x) => (Class === BigInt64Array ? BigInt(x) : x)) as never);
      const before = mask.slice();
      const call = { logits: values, labels, vocabSize: V, mask, out: { logps: new Float32Array(b, 64, N) } };
      const error = { code: 'ERR_OVERLAP', message: /out\.logps .*overlaps mask/ };
      expect(thrownBy(() => sweetRl.tokenLogps(call))).toMatchObject(error);
      expect(mask).toEqual(before);
    }
  });

  it('has the overlap of two results, and of a result and labels', () => {
    const [a, b] = make();
    const logps = new Float32Array(a, 64, N);
    const given = { logits: values, labels, vocabSize: V };
    const results = { logps, lse: new Float32Array(b, 64 + 4 * (N - 1), N) };
    expect(thrownBy(() => sweetRl.tokenLogps({ ...given, out: results }))).toMatchObject({
      code: 'ERR_OVERLAP',
      message: /out\.lse .*overlaps out\.logps/,
    });
    const overLabels = { ...given, labels: new Int32Array(b, 64, N), out: { logps } };
    expect(thrownBy(() => sweetRl.tokenLogps(overLabels))).toMatchObject({
      code: 'ERR_OVERLAP',
      message: /out\.logps .*overlaps labels/,
    });
    const apart = { logps, lse: new Float32Array(b, 64 + 4 * N, N) };
    const plain = sweetRl.tokenLogps(given);
    sweetRl.tokenLogps({ ...given, out: apart });
    expectSameBits('logps', apart.logps, plain.logps);
    expectSameBits('lse', apart.lse, plain.lse);
  });
});

it.runIf(process.platform === 'linux')(
  'does not find one between two shared memories, nor between an old one and a new one of its name',
  () => {
    const name = `sweet-rl-overlap-${process.pid}`;
    const [first, second] = [0, 1].map(() => {
      const mapping = openShm(name, { create: true, byteLength: BYTES });
      unlinkShm(name);
      return mapping;
    });
    const options = backward([first!.buffer, second!.buffer], 3, 5);
    sweetRl.tokenLogpsBackward(options);
    expectSameBits('gradLogits', options.out.gradLogits, expected);
    expect([first!.close(), second!.close()]).toEqual([true, true]);
  },
);

it('does not find one between empty arrays and others', () => {
  const buffer = new ArrayBuffer(64);
  const empty = { logits: new Float32Array(0), labels: new Int32Array(0), vocabSize: V };
  const out = { logps: new Float32Array(buffer, 8, 0), lse: new Float32Array(buffer, 8, 0) };
  expect(sweetRl.tokenLogps({ ...empty, out }).logps).toBe(out.logps);
});
