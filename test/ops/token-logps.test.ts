/** tokenLogps and tokenLogpsBackward against the oracle, on every backend. */
import { type FloatArray, IGNORE_INDEX, tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectGradient, expectSameBits, type Tolerance } from '../helpers/compare.ts';
import { centralDifferences, weightedSum } from '../helpers/differences.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { expectedOf, hardRows, inputsOf, type RowCase, randomRows, rowCase } from '../helpers/rows.ts';
import { DTYPES, decode, encode, padRows, type Stored, sharedView, shifted, unpadRows } from '../helpers/storage.ts';
import { type VectorCase, vectorCases } from '../helpers/vectors.ts';
import { unitInLastPlace } from '../reference/half.ts';
import { tokenLogps as oracle, tokenLogpsBackward as oracleBackward } from '../reference/token-logps.ts';

/** The storage class of float16 exists from Node 24 on. */
type HalfArray = Exclude<FloatArray, Float32Array | Uint16Array>;
const FLOAT16_ARRAYS = ['Float16Array']
  .filter((name) => name in globalThis)
  .map((name) => (globalThis as unknown as Record<string, new (buffer: ArrayBuffer) => unknown>)[name]!);

const random = new Random(7);
const cases = DTYPES.flatMap(hardRows).map((rows) => ({ ...rows, expected: expectedOf(rows) }));
const vectors = vectorCases<{ temperature: number; ignoreIndex: number }>('token_logps');

function vectorRows(vector: VectorCase<{ temperature: number; ignoreIndex: number }>): RowCase {
  const { data, dtype } = vector.stored('logits');
  const [labels, gradLogps] = [vector.integers('labels'), vector.floats('grad_logps')];
  const values = vector.values('logits');
  return {
    name: vector.name,
    V: values.length / labels.length,
    dtype,
    logits: data,
    values,
    labels,
    gradLogps,
    options: vector.options,
  };
}

function runBoth(rows: RowCase) {
  const forward = tokenLogps({ ...inputsOf(rows), entropy: true });
  const { gradLogits } = tokenLogpsBackward({ ...inputsOf(rows), lse: forward.lse, gradLogps: rows.gradLogps });
  return { ...forward, gradLogits };
}

function expectSameResults(ours: ReturnType<typeof runBoth>, expected: ReturnType<typeof runBoth>): void {
  expectSameBits('logps', ours.logps, expected.logps);
  expectSameBits('lse', ours.lse, expected.lse);
  expectSameBits('entropy', ours.entropy!, expected.entropy!);
  expectSameBits('gradLogits', ours.gradLogits as Stored, expected.gradLogits as Stored);
}

describe('the oracle', () => {
  it.each(vectors)('agrees with the vector $name', (vector) => {
    const rows = { logits: vector.values('logits'), labels: vector.integers('labels'), ...vector.options };
    const results = oracle(rows);
    const gradLogits = oracleBackward({ ...rows, gradLogps: vector.floats('grad_logps') });
    const exact = (x: number) => 1e-11 + 1e-11 * Math.abs(x);
    expectClose('logps', results.logps, vector.values('expected.logps'), exact);
    expectClose('lse', results.lse, vector.values('expected.lse'), exact);
    expectClose('entropy', results.entropy, vector.values('expected.entropy'), exact);
    // The widest cases hold their gradients in float32.
    expectClose('gradLogits', gradLogits, vector.values('expected.grad_logits'), (x) => 1e-11 + 1e-7 * Math.abs(x));
  });

  it('has the gradient of its log-probs', () => {
    const rows = { logits: random.normals(3 * 7, 2), labels: Int32Array.of(4, 0, 6), temperature: 0.8 };
    const gradLogps = random.normals(3);
    const differences = centralDifferences(rows.logits, 1e-5, (logits) =>
      weightedSum(oracle({ ...rows, logits }).logps, gradLogps),
    );
    expectClose('differences', differences, oracleBackward({ ...rows, gradLogps }), () => 1e-9);
  });
});

forEachBackend(() => {
  describe.each(cases)('$name', ({ expected, ...rows }) => {
    it('gives log-probs, lse and entropy', () => {
      const { logps, lse, entropy } = tokenLogps({ ...inputsOf(rows), entropy: true });
      expectClose('logps', logps, expected.logps, expected.rowTolerance);
      expectClose('lse', lse, expected.lse, expected.rowTolerance);
      expectClose('entropy', entropy!, expected.entropy, expected.rowTolerance);
    });

    it('gives the gradient, out of place and in place', () => {
      const untouched = rows.logits.slice();
      const { lse } = tokenLogps(inputsOf(rows));
      const inputs = { ...inputsOf(rows), lse, gradLogps: rows.gradLogps };
      const { gradLogits } = tokenLogpsBackward(inputs);
      expectGradient('gradLogits', gradLogits as Stored, expected.gradLogits, rows.dtype, expected.gradTolerance);
      expectSameBits('logits', rows.logits, untouched);

      const inPlace = rows.logits.slice();
      const result = tokenLogpsBackward({ ...inputs, logits: inPlace, out: { gradLogits: inPlace } });
      expect(result.gradLogits).toBe(inPlace);
      expectSameBits('gradLogits in place', inPlace, gradLogits as Stored);
    });
  });

  it.each(vectors)('meets the vector $name', (vector) => {
    const rows = vectorRows(vector);
    const { gradTolerance } = expectedOf(rows);
    const { logps, lse, entropy, gradLogits } = runBoth(rows);
    const tolerance = (x: number) => 2e-6 + 2e-6 * Math.abs(x);
    expectClose('logps', logps, vector.values('expected.logps'), tolerance);
    expectClose('lse', lse, vector.values('expected.lse'), tolerance);
    expectClose('entropy', entropy!, vector.values('expected.entropy'), tolerance);
    expectGradient(
      'gradLogits',
      gradLogits as Stored,
      vector.values('expected.grad_logits'),
      rows.dtype,
      gradTolerance,
    );
  });

  describe.each(DTYPES)('layouts, %s', (dtype) => {
    const rows = randomRows(5, 1027, dtype);
    const { V, logits, labels, gradLogps } = rows;
    const rowStride = V + 9;

    it('reads padded rows, with the last row padded or not', () => {
      const plain = runBoth(rows);
      const ragged = runWithStride(padRows(logits, V, rowStride, dtype, false), {});
      const padded = runWithStride(padRows(logits, V, rowStride, dtype), { vocabSize: V });
      expectSameResults(ragged, plain);
      expectSameResults(padded, plain);
    });

    it('reads only the first vocabSize words, when the rows are not padded further', () => {
      const padded = padRows(logits, V, rowStride, dtype);
      const { logps } = tokenLogps({ logits: padded, dtype, labels, vocabSize: V, rowStride });
      expectSameBits('logps', logps, tokenLogps(inputsOf(rows)).logps);
      const exact = tokenLogps({ logits, dtype, labels, vocabSize: V });
      expectSameBits('logps of exact rows', exact.logps, logps);
    });

    it('makes the padding 0, in place, in a reused buffer and in a fresh one', () => {
      const padded = padRows(logits, V, rowStride, dtype);
      const { lse } = tokenLogps(inputsOf(rows));
      const inputs = { logits: padded, dtype, labels, lse, gradLogps, rowStride, vocabSize: V };
      const fresh = tokenLogpsBackward(inputs).gradLogits as Stored;
      const out = padded.slice().fill(7);
      tokenLogpsBackward({ ...inputs, out: { gradLogits: out } });
      const isPadding = (_: number, at: number) => at % rowStride >= V;
      expect(fresh.length).toBe(padded.length);
      expect(
        Array.from(fresh)
          .filter(isPadding)
          .every((bits) => bits === 0),
      ).toBe(true);
      const before = padded.slice();
      tokenLogpsBackward({ ...inputs, out: { gradLogits: padded } });
      expect(before.some((bits, at) => isPadding(bits, at) && bits !== 0)).toBe(true);
      expectSameBits('a reused buffer', out, fresh);
      expectSameBits('in place', padded, fresh);
      expectSameBits('rows', unpadRows(out, 5, V, rowStride), unpadRows(fresh, 5, V, rowStride));
    });

    it('gives the same bits from views at any offset and from shared memory', () => {
      const plain = runBoth(rows);
      for (const offset of [1, 2, 3, 5, 8]) {
        const views = {
          ...rows,
          logits: shifted(logits, offset),
          labels: shifted(labels, offset),
          gradLogps: shifted(gradLogps, offset),
        };
        expectSameResults(runBoth(views), plain);
      }
      const views = {
        ...rows,
        logits: sharedView(logits),
        labels: sharedView(labels),
        gradLogps: sharedView(gradLogps),
      };
      expectSameResults(runBoth(views), plain);
    });

    it('writes into out buffers, views of larger ones too', () => {
      const plain = runBoth(rows);
      const out = {
        logps: shifted(plain.logps, 3).fill(7),
        lse: sharedView(plain.lse).fill(7),
        entropy: new Float32Array(5),
      };
      const forward = tokenLogps({ ...inputsOf(rows), entropy: true, out });
      const gradLogits = shifted(logits, 3).fill(7);
      const backward = tokenLogpsBackward({ ...inputsOf(rows), lse: out.lse, gradLogps, out: { gradLogits } });
      expect(forward.logps).toBe(out.logps);
      expect(forward.lse).toBe(out.lse);
      expect(forward.entropy).toBe(out.entropy);
      expect(backward.gradLogits).toBe(gradLogits);
      expectSameResults({ ...forward, gradLogits }, plain);
      expect(new Float32Array(out.logps.buffer).filter((_, i) => i < 3 || i >= 8)).toEqual(new Float32Array(6));
    });

    it('takes labels as BigInt64Array', () => {
      const wide = BigInt64Array.from(labels, BigInt);
      wide[2] = BigInt(IGNORE_INDEX);
      const narrow = Int32Array.from(wide, Number);
      const big = tokenLogps({ logits, dtype, labels: wide });
      const small = tokenLogps({ logits, dtype, labels: narrow });
      expectSameBits('logps', big.logps, small.logps);
      const backward = { logits, dtype, lse: big.lse, gradLogps };
      expectSameBits(
        'gradLogits',
        tokenLogpsBackward({ ...backward, labels: wide }).gradLogits as Stored,
        tokenLogpsBackward({ ...backward, labels: narrow }).gradLogits as Stored,
      );
    });

    it('gives the same bits for any number of threads', () => {
      // Many rows, and few so long that threads share each of them.
      for (const wide of [randomRows(67, 2051, dtype), randomRows(2, 50257, dtype)]) {
        const [first, ...others] = underThreadCounts(() => runBoth(wide));
        for (const { result } of others) expectSameResults(result, first!.result);
      }
    });

    function runWithStride(padded: Stored, extra: { vocabSize?: number }) {
      const inputs = { logits: padded, dtype, labels, rowStride, ...extra };
      const forward = tokenLogps({ ...inputs, entropy: true });
      const gradLogits = tokenLogpsBackward({ ...inputs, lse: forward.lse, gradLogps }).gradLogits as Stored;
      return { ...forward, gradLogits: unpadRows(gradLogits, labels.length, V, rowStride) };
    }
  });

  it.each(['float16', 'bfloat16'] as const)('rounds gradients once, to subnormals and to infinity: %s', (dtype) => {
    // Half of each upstream gradient: around float16's smallest subnormal 6e-8 and its largest number 65504, no ties.
    const gradLogps = Float32Array.of(
      5e-8,
      7e-8,
      1e-7,
      2e-7,
      5e-6,
      1e-4,
      3.3,
      130000,
      131020,
      131060,
      2e5,
      1e-38,
      1e38,
    );
    const N = gradLogps.length;
    const rows = { ...rowCase('two words', new Int32Array(N), new Float64Array(2 * N), dtype), gradLogps };
    const { lse } = tokenLogps(inputsOf(rows));
    const { gradLogits } = tokenLogpsBackward({ ...inputsOf(rows), lse, gradLogps });
    expectClose(
      'gradLogits',
      decode(gradLogits as Stored, dtype),
      decode(encode(expectedOf(rows).gradLogits, dtype), dtype),
      () => 0,
    );
  });

  // The other tests allow a unit in the last place. Half of one tells rounding from cutting off.
  it.each(['float16', 'bfloat16'] as const)('rounds gradients to the nearest number: %s', (dtype) => {
    const rows = randomRows(3, 1023, dtype);
    const { gradLogps } = rows;
    const { lse } = tokenLogps(inputsOf(rows));
    const gradLogits = tokenLogpsBackward({ ...inputsOf(rows), lse, gradLogps }).gradLogits as Stored;
    const half: Tolerance = (x) => 0.51 * unitInLastPlace(x, dtype);
    expectClose('gradLogits', decode(gradLogits, dtype), expectedOf(rows).gradLogits, half);
  });

  it.each(DTYPES)('gives NaN for rows with a word of +inf and for rows of -inf alone: %s', (dtype) => {
    const [N, V] = [2, 33];
    const values = new Float64Array(N * V).map((_, i) => (i < V ? i / 8 : -Infinity));
    values[4] = Infinity;
    const rows = rowCase('infinite', new Int32Array(N), values, dtype);
    const { logps, lse } = tokenLogps(inputsOf(rows));
    expect([...lse, ...logps]).toEqual([NaN, NaN, NaN, NaN]);
  });

  it('takes a Float16Array as what it is, where there is that class', () => {
    for (const Half of FLOAT16_ARRAYS) {
      const rows = randomRows(4, 70, 'float16');
      const logits = new Half(rows.logits.buffer as ArrayBuffer) as HalfArray;
      const { labels, gradLogps } = rows;
      const forward = tokenLogps({ logits, labels, entropy: true });
      const { gradLogits } = tokenLogpsBackward({ logits, labels, lse: forward.lse, gradLogps });
      expect(gradLogits).toBeInstanceOf(Half);
      const bits = new Uint16Array(gradLogits.buffer as ArrayBuffer);
      expectSameResults({ ...forward, gradLogits: bits }, runBoth(rows));
      expect(() => tokenLogps({ logits, labels, dtype: 'bfloat16' })).toThrow(/dtype/);
    }
  });

  it('takes no rows at all', () => {
    const none = { logits: new Float32Array(0), labels: new Int32Array(0) };
    const forward = tokenLogps(none);
    expect(forward.logps).toEqual(new Float32Array(0));
    const backward = tokenLogpsBackward({ ...none, lse: forward.lse, gradLogps: new Float32Array(0) });
    expect(backward.gradLogits).toEqual(new Float32Array(0));
  });

  it('keeps a NaN visible, in its own row only', () => {
    const { logits, labels, dtype } = randomRows(3, 1100, 'float32');
    for (const position of [0, 17, 1099]) {
      const spoiled = logits.slice();
      spoiled[1100 + position] = NaN;
      const { logps, lse } = tokenLogps({ logits: spoiled, dtype, labels });
      expect(Array.from(logps, Number.isNaN)).toEqual([false, true, false]);
      expect(Array.from(lse, Number.isNaN)).toEqual([false, true, false]);
      const gradLogps = Float32Array.of(1, 1, 1);
      const gradLogits = tokenLogpsBackward({ logits: spoiled, dtype, labels, lse, gradLogps }).gradLogits;
      expect(Array.from(gradLogits.subarray(1100, 2200)).every(Number.isNaN)).toBe(true);
      expect(Array.from(gradLogits).filter(Number.isNaN)).toHaveLength(1100);
    }
  });

  it('gives -inf for a masked word as the label, NaN for a row without any word', () => {
    const logits = Float32Array.of(1, -Infinity, 2, -Infinity, -Infinity, -Infinity);
    const { logps } = tokenLogps({ logits, labels: Int32Array.of(1, 0) });
    expect(Array.from(logps)).toEqual([-Infinity, NaN]);
  });

  it('leaves the entropy out unless asked', () => {
    expect(tokenLogps(inputsOf(randomRows(2, 5, 'float32')))).not.toHaveProperty('entropy');
  });

  it('has the gradient that finite differences give', () => {
    const rows = randomRows(3, 9, 'float32', { scale: 1, temperature: 0.8 });
    const { logits, labels, gradLogps, options } = rows;
    const differences = centralDifferences(logits, 2 ** -6, (moved) =>
      weightedSum(tokenLogps({ logits: Float32Array.from(moved), labels, ...options }).logps, gradLogps),
    );
    // The step's own error is step^2/6 of the third derivative, the float32 log-probs' a few 1e-7 over the step.
    expectClose('gradLogits', runBoth(rows).gradLogits as Stored, differences, () => 3e-4);
  });
});
