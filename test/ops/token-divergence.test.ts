/** tokenDivergence and tokenDivergenceBackward against the oracle, on every backend. */
import { type TokenDivergenceOptions, tokenDivergence, tokenDivergenceBackward } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import {
  type DivergenceCase,
  expectDivergences,
  expectedOf,
  expectedOfTopK,
  expectGradients,
  hardPairs,
  KINDS,
  pairCase,
  sizeOf,
  topKCases,
  topKOf,
} from '../helpers/divergence.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { decode, padRows, type Stored, sharedView, shifted, store, unpadRows } from '../helpers/storage.ts';
import { type VectorCase, vectorCases } from '../helpers/vectors.ts';
import { divergenceOf, type Kind } from '../reference/divergence.ts';

const random = new Random(3);
const nameOf = ({ divergence, jsdBeta }: Kind) => (jsdBeta ? `${divergence} ${jsdBeta}` : divergence);
const cases = hardPairs();
const topKs = topKCases();

const inputsOf = ({ logits, dtype, V, teacherLogits, teacherDtype, options }: DivergenceCase, kind: Kind) => ({
  ...{ logits, dtype, vocabSize: V, teacherLogits, teacherDtype, ...options, ...kind },
});

function runBoth(inputs: TokenDivergenceOptions, gradDivergence: Float32Array) {
  const { divergence, saved } = tokenDivergence(inputs);
  const { gradLogits } = tokenDivergenceBackward({ ...inputs, out: undefined, saved, gradDivergence });
  return { divergence, saved, gradLogits: gradLogits as Stored };
}

function expectSame(ours: ReturnType<typeof runBoth>, expected: ReturnType<typeof runBoth>): void {
  expectSameBits('divergence', ours.divergence, expected.divergence);
  expectSameBits('saved', ours.saved, expected.saved);
  expectSameBits('gradLogits', ours.gradLogits, expected.gradLogits);
}

describe('the oracle', () => {
  it.each(vectorCases<VectorOptions>('token_divergence'))('agrees with the vector $name', (vector) => {
    const { pair, kind, top } = vectorCase(vector);
    const { divergence, gradient } = top ? expectedOfTopK(pair, top, kind) : expectedOf(pair, kind);
    const close = (x: number) => 1e-9 + 1e-9 * Math.abs(x);
    expectClose('divergence', divergence, vector.values('expected.divergence'), close);
    const gradLogits = gradient.map((x, at) => x * pair.gradDivergence[Math.floor(at / pair.V)]!);
    expectClose('gradLogits', gradLogits, vector.values('expected.grad_logits'), close);
  });

  it.each(KINDS)('has the gradient of its divergences: $divergence $jsdBeta', (kind) => {
    const student = random.normals(9, 2);
    const teacher = random.normals(9, 2);
    const temperatures = { temperature: 0.8, teacherTemperature: 1.7 };
    const { gradient } = divergenceOf({ student, teacher, ...temperatures }, kind);
    const differences = centralDifferences(
      student,
      1e-5,
      (at) => divergenceOf({ student: at, teacher, ...temperatures }, kind).divergence,
    );
    expectClose('differences', differences, gradient, () => 1e-9);
  });
});

/** What a vector gives, as the library takes it, and what it expects. */
function vectorCase(vector: VectorCase<VectorOptions>) {
  const { vocabSize, ...options } = vector.options;
  const { data: logits, dtype } = vector.stored('logits');
  const values = vector.values('logits');
  const teacher = vector.has('teacher_logits') ? vector.stored('teacher_logits') : undefined;
  const pair: DivergenceCase = {
    ...{ name: vector.name, N: values.length / vocabSize, V: vocabSize, dtype, logits, values },
    ...{ teacherDtype: teacher?.dtype ?? 'float32', teacherLogits: teacher?.data ?? new Float32Array(0) },
    teacherValues: teacher ? vector.values('teacher_logits') : new Float64Array(0),
    gradDivergence: vector.floats('grad_divergence'),
    options: { ...options, ...vector.counting() },
  };
  const top = vector.has('teacher_indices')
    ? { teacherIndices: vector.integers('teacher_indices'), teacherLogps: vector.floats('teacher_logps') }
    : undefined;
  const ofTeacher = top ?? { teacherLogits: pair.teacherLogits, teacherDtype: pair.teacherDtype };
  const inputs = { ...{ logits, dtype, vocabSize }, ...ofTeacher, ...options, ...vector.counting() };
  const topKTail = options.topKTail;
  return { pair, inputs, kind: options, top: top && { ...top, ...(topKTail && { topKTail }) } };
}

type VectorOptions = Kind & { vocabSize: number; temperature?: number; topKTail?: 'bucket' | 'renormalize' };

const vectors = vectorCases<VectorOptions>('token_divergence');

describe('errors', () => {
  const pair = pairCase('errors', [3, 6], [() => random.normal(), () => random.normal()]);
  const head = { logits: pair.logits as Float32Array, vocabSize: 6 };
  const teacherLogits = pair.teacherLogits as Float32Array;
  const top = topKOf(pair, 2);
  const divergence = 'reverse_kl' as const;
  const changed = (at: number, to: number) => {
    const teacherIndices = top.teacherIndices.slice();
    teacherIndices[at] = to;
    return { ...head, ...top, teacherIndices, divergence };
  };

  it.each<[string, object, string, string]>([
    ['no divergence', { ...head, teacherLogits }, 'ERR_ARG_TYPE', 'divergence'],
    ['another divergence', { ...head, teacherLogits, divergence: 'tvd' }, 'ERR_ARG_VALUE', 'divergence'],
    ['jsdBeta of a KL', { ...head, teacherLogits, divergence, jsdBeta: 0.5 }, 'ERR_UNKNOWN_OPTION', 'jsdBeta'],
    ['jsdBeta 1', { ...head, teacherLogits, divergence: 'jsd', jsdBeta: 1 }, 'ERR_ARG_VALUE', 'jsdBeta'],
    ['no teacher', { ...head, divergence }, 'ERR_ARG_TYPE', 'teacherLogits'],
    ['two teachers', { ...head, teacherLogits, ...top, divergence }, 'ERR_UNKNOWN_OPTION', 'teacherIndices'],
    [
      'topKTail of logits',
      { ...head, teacherLogits, topKTail: 'bucket', divergence },
      'ERR_UNKNOWN_OPTION',
      'topKTail',
    ],
    [
      'teacherTemperature of top-k',
      { ...head, ...top, teacherTemperature: 2, divergence },
      'ERR_UNKNOWN_OPTION',
      'Temperature',
    ],
    ['another tail', { ...head, ...top, topKTail: 'none', divergence }, 'ERR_ARG_VALUE', 'topKTail'],
    ['another V', { ...head, teacherLogits: teacherLogits.subarray(3), divergence }, 'ERR_ARG_LENGTH', 'teacherLogits'],
    ['no vocabSize', { logits: head.logits, teacherLogits, divergence }, 'ERR_ARG_TYPE', 'vocabSize'],
    ['half a row', { ...head, vocabSize: 4, teacherLogits, divergence }, 'ERR_ARG_LENGTH', 'logits'],
    [
      'labels of other rows',
      { ...head, teacherLogits, labels: new Int32Array(2), divergence },
      'ERR_ARG_LENGTH',
      'labels',
    ],
    ['ignoreIndex alone', { ...head, teacherLogits, ignoreIndex: 1, divergence }, 'ERR_UNKNOWN_OPTION', 'ignoreIndex'],
    ['a shard', { ...head, teacherLogits, totalVocab: 12, divergence }, 'ERR_UNKNOWN_OPTION', 'totalVocab'],
    ['frozenWeight', { ...head, teacherLogits, frozenWeight: true, divergence }, 'ERR_UNKNOWN_OPTION', 'frozenWeight'],
    ['a token id of V', changed(3, 6), 'ERR_ARG_VALUE', 'teacherIndices[3]'],
    ['a negative token id', changed(0, -1), 'ERR_ARG_VALUE', 'teacherIndices[0]'],
    ['a token id twice', changed(5, top.teacherIndices[4]!), 'ERR_ARG_VALUE', 'teacherIndices[5]'],
    [
      'logits as log-probs',
      { ...head, ...top, teacherLogps: new Float32Array(6).fill(1), divergence },
      'ERR_ARG_VALUE',
      'row 0',
    ],
    [
      'all entries of the vocabulary with a sum far below 1',
      {
        ...head,
        vocabSize: 2,
        logits: head.logits.subarray(0, 6),
        ...top,
        teacherLogps: new Float32Array(6).fill(-3),
        teacherIndices: Int32Array.of(0, 1, 1, 0, 0, 1),
        divergence,
      },
      'ERR_ARG_VALUE',
      'row 0',
    ],
    [
      'too few log-probs',
      { ...head, ...top, teacherLogps: new Float32Array(5), divergence },
      'ERR_ARG_LENGTH',
      'teacherLogps',
    ],
  ])('%s', (_, options, code, text) => {
    const out = { divergence: new Float32Array(3).fill(7), saved: new Float64Array(12).fill(7) };
    const call = () => tokenDivergence({ ...options, out } as never);
    expect(call).toThrow(expect.objectContaining({ code, message: expect.stringContaining(text) }));
    expect([...out.divergence, ...out.saved].every((x) => x === 7)).toBe(true);
  });

  it.each(['float32', 'bfloat16'] as const)('shares the gradient of a bucket of tiny probability: %s', (dtype) => {
    // q_T is e^-100 to e^-1000: P_T / q_T is beyond float32, and beyond float64. The gradient is not.
    for (const temperature of [0.1, 0.01]) {
      const { data, values } = store(Float64Array.of(10, 0, -0.0625, -0.125), dtype);
      const top = { teacherIndices: Int32Array.of(0), teacherLogps: Float32Array.of(Math.log(0.9)) };
      const head = { logits: data, dtype, vocabSize: 4, temperature } as const;
      const tail = Array.from(values.subarray(1), (x) => Math.exp(x / temperature));
      const sum = tail.reduce((a, b) => a + b, 0);
      for (const kind of KINDS) {
        const inputs = { ...head, ...top, ...kind };
        const { divergence, gradLogits } = runBoth(inputs, Float32Array.of(1));
        const expected = kind.divergence === 'forward_kl' ? [0.1, ...tail.map((x) => (-0.1 * x) / sum)] : [0, 0, 0, 0];
        expect(Number.isFinite(divergence[0])).toBe(true);
        const exact = Float64Array.from(expected, (x) => x / temperature);
        const relative = dtype === 'float32' ? 1e-5 : 2 ** -8;
        expectClose('gradLogits', decode(gradLogits, dtype), exact, (x) => 1e-6 + relative * Math.abs(x));
      }
    }
  });

  it('has no gradient, NaN in the whole row, where a reverse KL is infinite', () => {
    const logits = Float32Array.of(1, 2, -Infinity);
    const top = { teacherIndices: Int32Array.of(0, 1), teacherLogps: Float32Array.of(-Infinity, -0.1) };
    const inputs = { logits, vocabSize: 3, ...top, divergence: 'reverse_kl' } as const;
    const { divergence, gradLogits } = runBoth(inputs, Float32Array.of(1));
    expect(divergence).toEqual(Float32Array.of(Infinity));
    expect(gradLogits).toEqual(new Float32Array(3).fill(NaN));
  });

  it('does not look at the teacher of a masked row', () => {
    const mask = Uint8Array.of(1, 0, 1);
    expect(tokenDivergence({ ...changed(3, 99), mask }).divergence[1]).toBe(0);
  });
});

forEachBackend(() => {
  it.each(vectors)('meets the vector $name', (vector) => {
    const { pair, inputs } = vectorCase(vector);
    const { divergence, gradLogits } = runBoth(inputs, pair.gradDivergence);
    expectDivergences(divergence, vector.values('expected.divergence'), sizeOf(pair));
    const expected = vector.values('expected.grad_logits');
    const largest = expected.reduce((m, x) => Math.max(m, Number.isFinite(x) ? Math.abs(x) : 0), 0);
    const floor = pair.gradDivergence.reduce((m, x) => Math.max(m, Math.abs(x)), 0) / 16;
    const rounding = pair.dtype === 'float32' ? 4e-6 : 2 ** -8;
    expectClose('gradLogits', decode(gradLogits, pair.dtype), expected, (x) =>
      Number.isFinite(x) ? rounding * Math.abs(x) + 8e-6 * sizeOf(pair) * (largest + floor) : 0,
    );
  });

  describe.each(KINDS.map((kind) => ({ name: nameOf(kind), kind })))('$name', ({ kind }) => {
    it.each(cases)('meets the oracle: $name', (pair) => {
      const expected = expectedOf(pair, kind);
      const size = sizeOf(pair);
      const untouched = [pair.logits.slice(), pair.teacherLogits.slice()] as const;
      const { divergence, saved, gradLogits } = runBoth(inputsOf(pair, kind), pair.gradDivergence);
      expectDivergences(divergence, expected.divergence, size);
      expect(divergence.some((x) => x < 0)).toBe(false);
      expectGradients(gradLogits, pair, expected, size);
      expectSameBits('logits', pair.logits, untouched[0]);
      expectSameBits('teacherLogits', pair.teacherLogits, untouched[1]);

      const own = pair.logits.slice();
      const { gradDivergence } = pair;
      const inputs = { ...inputsOf(pair, kind), logits: own, saved, gradDivergence, out: { gradLogits: own } };
      expect(tokenDivergenceBackward(inputs).gradLogits).toBe(own);
      expectSameBits('gradLogits in place', own, gradLogits);
    });

    it.each(topKs)('meets the oracle of a top-k teacher: $name', ({ pair, top }) => {
      const expected = expectedOfTopK(pair, top, kind);
      const { logits, dtype, V: vocabSize, options, gradDivergence } = pair;
      const inputs = { ...{ logits, dtype, vocabSize }, ...options, ...top, ...kind };
      const { divergence, saved, gradLogits } = runBoth(inputs, gradDivergence);
      expectDivergences(divergence, expected.divergence, sizeOf(pair));
      expectGradients(gradLogits, pair, expected, sizeOf(pair));
      const own = logits.slice();
      tokenDivergenceBackward({ ...inputs, logits: own, saved, gradDivergence, out: { gradLogits: own } });
      expectSameBits('gradLogits in place', own, gradLogits);
    });

    it('gives the same bits for top-k teachers of any number of threads, in any order of the entries', () => {
      for (const [N, V] of [
        [67, 2051],
        [2, 50257],
      ] as const) {
        const pair = pairCase('threads', [N, V], [() => random.normal(), () => random.normal()]);
        const top = topKOf(pair, 33);
        const inputs = { logits: pair.logits, vocabSize: V, ...top, ...kind };
        const [first, ...others] = underThreadCounts(() => runBoth(inputs, pair.gradDivergence));
        for (const { result } of others) expectSame(result, first!.result);
        for (let i = 0; i < N; i++) {
          top.teacherIndices.subarray(i * 33, (i + 1) * 33).reverse();
          top.teacherLogps.subarray(i * 33, (i + 1) * 33).reverse();
        }
        expectSame(runBoth(inputs, pair.gradDivergence), first!.result);
      }
    });

    it('is exactly 0 for rows of equal bits', () => {
      for (const pair of cases.filter(({ dtype, teacherDtype }) => dtype === teacherDtype)) {
        const inputs = { ...inputsOf(pair, kind), teacherLogits: pair.logits.slice(), teacherTemperature: undefined };
        const { divergence, gradLogits } = runBoth(inputs, pair.gradDivergence);
        const kept = divergence.filter((x) => !Number.isNaN(x));
        expect(kept.every((x) => x === 0)).toBe(true);
        if (pair.dtype !== 'float32') continue;
        expect((gradLogits as Float32Array).every((x) => x === 0 || Number.isNaN(x))).toBe(true);
      }
    });

    it('reads and writes padded rows', () => {
      const pair = pairCase(
        'padded',
        [5, 131],
        [() => random.normal(), () => random.normal()],
        ['bfloat16', 'float32'],
      );
      const plain = runBoth(inputsOf(pair, kind), pair.gradDivergence);
      for (const padLastRow of [true, false]) {
        const inputs = {
          ...inputsOf(pair, kind),
          logits: padRows(pair.logits, 131, 140, 'bfloat16', padLastRow),
          rowStride: 140,
          teacherLogits: padRows(pair.teacherLogits, 131, 137, 'float32', !padLastRow),
          teacherRowStride: 137,
        };
        const { divergence, gradLogits } = runBoth(inputs, pair.gradDivergence);
        expectSameBits('divergence', divergence, plain.divergence);
        expectSameBits('gradLogits', unpadRows(gradLogits, 5, 131, 140), plain.gradLogits);
        expect(gradLogits.filter((_, at) => at % 140 >= 131).every((x) => x === 0)).toBe(true);
      }
    });

    it('gives the same bits from views, from shared memory and into buffers of the caller', () => {
      const pair = pairCase('views', [5, 1027], [() => random.normal(), () => random.normal()]);
      const inputs = inputsOf(pair, kind);
      const plain = runBoth(inputs, pair.gradDivergence);
      for (const offset of [1, 2, 3, 5]) {
        const { logits, teacherLogits } = inputs;
        const views = { ...inputs, logits: shifted(logits, offset), teacherLogits: shifted(teacherLogits, offset + 1) };
        expectSame(runBoth(views, shifted(pair.gradDivergence, offset)), plain);
      }
      const shared = { ...inputs, logits: sharedView(inputs.logits), teacherLogits: sharedView(inputs.teacherLogits) };
      expectSame(runBoth(shared, sharedView(pair.gradDivergence)), plain);
      const out = { divergence: new Float32Array(5).fill(7), saved: new Float64Array(20).fill(7) };
      const forward = tokenDivergence({ ...inputs, out });
      expect(forward.divergence).toBe(out.divergence);
      expect(forward.saved).toBe(out.saved);
      const gradLogits = shifted(inputs.logits, 3).fill(7);
      const { gradDivergence } = pair;
      tokenDivergenceBackward({ ...inputs, saved: out.saved, gradDivergence, out: { gradLogits } });
      expectSame({ ...out, gradLogits }, plain);
    });

    it('gives the same bits for any number of threads', () => {
      for (const [N, V] of [
        [67, 2051],
        [2, 50257],
      ] as const) {
        const pair = pairCase('threads', [N, V], [() => random.normal(), () => random.normal()]);
        const [first, ...others] = underThreadCounts(() => runBoth(inputsOf(pair, kind), pair.gradDivergence));
        for (const { result } of others) expectSame(result, first!.result);
      }
    });

    it('drops rows by their label as by the mask', () => {
      const pair = pairCase('labels', [6, 40], [() => random.normal(), () => random.normal()]);
      const inputs = inputsOf(pair, kind);
      const labels = Int32Array.of(0, -100, 99, 3, -100, -5);
      const masked = runBoth({ ...inputs, mask: Uint8Array.of(1, 0, 1, 1, 0, 1) }, pair.gradDivergence);
      expectSame(runBoth({ ...inputs, labels }, pair.gradDivergence), masked);
      const wide = { labels: BigInt64Array.from(labels, (y) => (y === -100 ? 8n : BigInt(y))), ignoreIndex: 8 };
      expectSame(runBoth({ ...inputs, ...wide }, pair.gradDivergence), masked);
      expect([masked.divergence[1], masked.divergence[4]]).toEqual([0, 0]);
      expect(masked.saved.subarray(4, 8)).toEqual(new Float64Array(4));
    });
  });
});
