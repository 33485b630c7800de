import { tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { forEachBackend } from '../helpers/machine.ts';
import { decodeHalf, encodeHalf, type HalfType } from '../reference/half.ts';

// With temperature log2 e, lse 0 and this upstream gradient, the gradient of every word but the label is -2^logit as the
// kernels compute it: slope 1, pivot 0, factor -1.
const UPSTREAM = Math.fround(Math.LOG2E);

function exp2(x: Float32Array): Float32Array {
  const { gradLogits } = tokenLogpsBackward({
    logits: x,
    labels: new Int32Array([0]),
    lse: new Float32Array([0]),
    gradLogps: new Float32Array([UPSTREAM]),
    temperature: Math.LOG2E,
  });
  return gradLogits;
}

/** All 2^23 numbers of the binade that starts at this one, downwards for a negative one; the label's word comes first. */
function binade(start: number): Float32Array {
  const x = new Float32Array(2 ** 23 + 1);
  const bits = new Uint32Array(x.buffer);
  x[1] = start;
  const first = bits[1]!;
  for (let i = 0; i < 2 ** 23; i++) bits[i + 1] = first + i;
  return x;
}

/** Numbers over the whole range, 2^22 of them. */
const whole = Float32Array.from({ length: 2 ** 22 + 1 }, (_, i) => (i === 0 ? 0 : -151 + (i / 2 ** 22) * 211));

const ulpOf = (y: number) => 2 ** Math.max(Math.floor(Math.log2(y)) - 23, -149);

/** The largest error in units in the last place. */
function worst(x: Float32Array, y: Float32Array): number {
  let ulp = 0;
  for (let i = 1; i < x.length; i++) {
    const exact = 2 ** x[i]!;
    ulp = Math.max(ulp, Math.abs(-y[i]! - exact) / ulpOf(exact));
  }
  return ulp;
}

/**
 * The largest error of 2^x in sums of 16-bit words, for all of them from -2^-9 to -2^4: -log(1 + 2^x) is a log-prob, whose own
 * rounding does not count. The two words add up in float64, for they come to lie in lanes of their own.
 */
function worstOfSums(dtype: HalfType): number {
  const first = encodeHalf(-(2 ** -9), dtype);
  const [rows, vocab] = [encodeHalf(-16, dtype) - first + 1, 32];
  const logits = new Uint16Array(rows * vocab).fill(encodeHalf(-Infinity, dtype));
  for (let row = 0; row < rows; row++) {
    logits[row * vocab] = 0;
    logits[row * vocab + 2] = first + row;
  }
  const { logps } = tokenLogps({ logits, dtype, labels: new Int32Array(rows), temperature: Math.LOG2E });
  let ulp = 0;
  for (let row = 0; row < rows; row++) {
    const exact = 2 ** decodeHalf(first + row, dtype);
    const logp = logps[row]!;
    const rounding = (ulpOf(-logp) / 2) * (1 + exact);
    ulp = Math.max(ulp, (Math.abs(Math.expm1(-logp) - exact) - rounding) / ulpOf(exact));
  }
  return ulp;
}

describe('2^x in the kernels', () => {
  const ranges = { '[1, 2)': binade(1), '[0.5, 1)': binade(0.5), '(-1, -0.5]': binade(-0.5), '[-151, 60)': whole };
  forEachBackend(() => {
    it.each(Object.entries(ranges))('is within 2 ulp of the truth over %s', (_, x) => {
      expect(worst(x, exp2(x))).toBeLessThanOrEqual(2);
    });

    it.each(['bfloat16', 'float16'] as const)('is within 2 ulp of the truth in sums of %s words', (dtype) => {
      expect(worstOfSums(dtype)).toBeLessThanOrEqual(2);
    });

    it('is exact at integers, 0 at -inf and NaN at NaN', () => {
      const x = Float32Array.from([0, 0, 1, -1, 10, -126, -149, Number.NEGATIVE_INFINITY, Number.NaN]);
      const exact = Array.from(x.subarray(1), (value) => 2 ** value);
      expect(Array.from(exp2(x).subarray(1), (value) => -value + 0)).toEqual(exact);
    });
  });
});
