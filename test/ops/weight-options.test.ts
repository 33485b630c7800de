/** Weights of another type than the hidden states, and weights [H, V], against the oracle, on every backend. */
import { linearLogps, linearLogpsBackward, mergeVocabParallelStats, vocabParallelStats } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import {
  expectedOf,
  expectLinearGradients,
  inputsOf,
  type LinearCase,
  otherHead,
  otherHeads,
  randomHead,
  transposed,
} from '../helpers/linear.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { DTYPES, sharedView, shifted, store } from '../helpers/storage.ts';

const GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;

/** Around the edges of tiles, of blocks of a transposition and of panels; single rows, columns and entries. */
const SHAPES = [
  { N: 1, H: 1, V: 1 },
  { N: 1, H: 7, V: 2, withBias: true },
  { N: 5, H: 1, V: 97 },
  { N: 6, H: 9, V: 1, withBias: true },
  { N: 7, H: 33, V: 95, withBias: true },
  { N: 13, H: 17, V: 193 },
  { N: 67, H: 100, V: 257, withBias: true },
  { N: 2, H: 97, V: 1100 },
];

const cases = [
  ...SHAPES.flatMap((shape) => otherHeads(shape)),
  ...otherHeads({ N: 14, H: 16, V: 98, withBias: true }, { temperature: 0.7 }),
  ...otherHeads({ N: 9, H: 12, V: 40 }, { mask: Uint8Array.of(1, 0, 1, 1, 0, 0, 1, 0, 1) }).map((head) => {
    const hidden = head.hidden.slice();
    hidden.fill(head.dtype === 'float32' ? NaN : 0x7fff, 12, 24);
    const labels = Int32Array.from(head.labels, (label, i) => (i === 1 ? 999 : i === 3 ? -100 : label));
    return { ...head, name: `dropped rows, ${head.name}`, hidden, labels };
  }),
  // More tokens and entries than a chunk and a group.
  otherHead({ N: 1101, H: 3, V: 5, dtype: 'bfloat16' }, { weightDtype: 'bfloat16', weightLayout: 'HV' }),
  otherHead(
    { N: 1101, H: 6, V: 650, dtype: 'float32', withBias: true },
    { weightDtype: 'bfloat16', weightLayout: 'HV' },
  ),
].map((head) => ({ ...head, expected: expectedOf(head) }));

function runBoth(head: LinearCase) {
  const forward = linearLogps({ ...inputsOf(head), entropy: true });
  const backward = linearLogpsBackward({ ...inputsOf(head), lse: forward.lse, gradLogps: head.gradLogps });
  return { ...forward, ...backward };
}

function expectSameResults(ours: Partial<ReturnType<typeof runBoth>>, expected: ReturnType<typeof runBoth>): void {
  for (const name of ['logps', 'lse', 'entropy', ...GRADIENTS] as const) {
    if (expected[name]) expectSameBits(name, ours[name]!, expected[name]);
  }
}

/** The same head with a weight [H, V]. */
function ofHV(head: LinearCase): LinearCase {
  return {
    ...head,
    weight: transposed(head.weight, head.V, head.H),
    options: { ...head.options, weightLayout: 'HV' },
  };
}

/** Entries first ... first + count - 1 of the vocabulary. */
function shardOf(head: LinearCase, first: number, count: number): object {
  const { H, V } = head;
  const isHV = head.options.weightLayout === 'HV';
  const rows = isHV ? transposed(head.weight, H, V) : head.weight;
  const part = rows.slice(first * H, (first + count) * H);
  const bias = head.bias && { bias: head.bias.slice(first, first + count) };
  const weight = isHV ? transposed(part, count, H) : part;
  return { ...inputsOf(head), weight, ...bias, vocabOffset: first, totalVocab: V };
}

forEachBackend(() => {
  describe.each(cases)('$name', (each) => {
    const { expected, ...head } = each;

    it('agrees with the oracle, where parts are frozen too', () => {
      const results = runBoth(head);
      expectClose('logps', results.logps, expected.logps, expected.rowTolerance);
      expectClose('lse', results.lse, expected.lse, expected.rowTolerance);
      expectClose('entropy', results.entropy!, expected.entropy, (x, i) => (1 + x) * expected.rowTolerance(x, i));
      expectLinearGradients(results, expected);
      const inputs = { ...inputsOf(head), lse: results.lse, gradLogps: head.gradLogps };
      const { gradHidden } = linearLogpsBackward({ ...inputs, frozenWeight: true });
      expectSameResults({ ...results, gradHidden }, results);
      expectSameResults({ ...results, ...linearLogpsBackward({ ...inputs, frozenHidden: true }) }, results);
    });
  });

  const types = DTYPES.flatMap((dtype) => DTYPES.map((weightDtype) => ({ dtype, weightDtype })));

  describe.each(types)('$dtype and $weightDtype', ({ dtype, weightDtype }) => {
    const shape = { N: 37, H: 33, V: 301, dtype, withBias: true };
    const [plain, head] = (['VH', 'HV'] as const).map((weightLayout) => {
      const of = otherHead(shape, { weightDtype, weightLayout });
      return { ...of, bias: store(of.values.bias!, 'float32').data };
    }) as [LinearCase, LinearCase];

    it('gives the bits of a weight [V, H] for its transpose, and the transposed gradient', () => {
      const bias = store(head.values.bias!, 'float32').data;
      const ofRows = runBoth({ ...plain, bias });
      const gradWeight = transposed(ofRows.gradWeight, head.V, head.H) as never;
      expectSameResults(runBoth(head), { ...ofRows, gradWeight });
    });

    it('gives the bits of the widened head where the types differ', () => {
      if (dtype === weightDtype && dtype !== 'float32') return;
      const widened = {
        ...plain,
        dtype: 'float32' as const,
        hidden: Float32Array.from(plain.values.hidden),
        weight: Float32Array.from(plain.values.weight),
        options: {},
      };
      expectSameResults(runBoth(plain), runBoth(widened));
    });

    it('adds into out, overwrites it, and gives the same bits for any number of threads', () => {
      const results = runBoth(head);
      const inputs = { ...inputsOf(head), lse: results.lse, gradLogps: head.gradLogps };
      const out = {
        gradHidden: results.gradHidden.map((_, i) => i % 5),
        gradWeight: results.gradWeight.map((_, i) => i % 7),
        gradBias: results.gradBias!.map((_, i) => i % 3),
      };
      const moduli = { gradHidden: 5, gradWeight: 7, gradBias: 3 };
      linearLogpsBackward({ ...inputs, accumulate: true, out });
      for (const name of GRADIENTS) {
        const sums = Float64Array.from(results[name]!, (g, i) => (i % moduli[name]) + g);
        expectClose(name, out[name], sums, (x) => 2e-6 + 2e-6 * Math.abs(x));
      }
      linearLogpsBackward({ ...inputs, out });
      expectSameResults({ ...results, ...out }, results);
      for (const { result } of underThreadCounts(() => runBoth(head))) expectSameResults(result, results);
    });

    it('reads views at any offset and shared memory', () => {
      const results = runBoth(head);
      for (const offset of [1, 3, 6]) {
        const [hidden, weight, bias] = [head.hidden, head.weight, head.bias!].map((array) => shifted(array, offset));
        expectSameResults(runBoth({ ...head, hidden: hidden!, weight: weight!, bias: bias! }), results);
      }
      expectSameResults(runBoth({ ...head, weight: sharedView(head.weight) }), results);
    });

    it('merges shards', () => {
      const parts = [shardOf(head, 0, 100), shardOf(head, 100, 1), shardOf(head, 101, 200)];
      const stats = parts.map((shard) => vocabParallelStats({ ...shard, entropy: true } as never).stats);
      const all = Float64Array.from(stats.flatMap((each) => [...each]));
      const merged = mergeVocabParallelStats({ stats: all, labels: head.labels, entropy: true });
      const expected = expectedOf(head);
      for (const name of ['logps', 'lse'] as const)
        expectClose(name, merged[name], expected[name], expected.rowTolerance);
      const sums = new Float32Array(head.hidden.length);
      const rows: number[] = [];
      for (const shard of parts) {
        const given = { ...shard, lse: merged.lse, gradLogps: head.gradLogps } as never;
        const { gradHidden, gradWeight, gradBias } = linearLogpsBackward(given);
        for (const [i, g] of gradHidden.entries()) sums[i]! += g;
        rows.push(...transposed(gradWeight, head.H, gradBias!.length));
      }
      const gradWeight = transposed(Float32Array.from(rows), head.V, head.H);
      expectLinearGradients({ gradHidden: sums, gradWeight }, expected);
    });
  });

  it('has the gradient of confident tokens in the layout of the weight', () => {
    const [N, H, V] = [5, 70, 130];
    const hidden = new Float32Array(N * H).map((_, i) => ((i * 7) % 13) / 13);
    const weight = new Float32Array(V * H).map((_, i) => ((i * 11) % 17) / 170);
    // A logit about 20 above the others: the label's entry of the gradient is minus the sum of the others.
    for (const entry of [3, 99]) weight.subarray(entry * H, (entry + 1) * H).fill(0.6);
    const labels = Int32Array.of(3, 99, 3, 3, 99);
    const gradLogps = Float32Array.of(1, -2, 0.5, 3, 1);
    const head = { hidden, weight, labels };
    const { lse } = linearLogps(head);
    const plain = linearLogpsBackward({ ...head, lse, gradLogps });
    const HV = { ...head, weight: transposed(weight, V, H), weightLayout: 'HV' as const };
    const ours = linearLogpsBackward({ ...HV, lse, gradLogps });
    expectSameBits('gradWeight', ours.gradWeight, transposed(plain.gradWeight, V, H));
    expectSameBits('gradHidden', ours.gradHidden, plain.gradHidden);
  });

  it('keeps -inf of a bias, NaN of a hidden state and infinite weights where they are', () => {
    const head = randomHead({ N: 3, H: 4, V: 50, dtype: 'float32', withBias: true });
    const bias = (head.bias as Float32Array).map((b, v) => (v % 3 === 0 ? -Infinity : b));
    const hidden = head.hidden.map((x, i) => (i === 4 ? NaN : x));
    const given = { ...ofHV(head), hidden, bias, labels: Int32Array.of(3, 1, 4) };
    const { logps, lse } = linearLogps(inputsOf(given));
    expect(logps[0]).toBe(-Infinity);
    expect([lse[0], logps[2], lse[2]].every(Number.isFinite)).toBe(true);
    expect([logps[1], lse[1]]).toEqual([NaN, NaN]);
    const weight = head.weight.map((w, i) => (i === 4 * 7 + 2 ? Infinity : w));
    const infinite = { ...head, weight, hidden: head.hidden.map(Math.abs) };
    expectSameBits('lse', linearLogps(inputsOf(ofHV(infinite))).lse, linearLogps(inputsOf(infinite)).lse);
  });

  it('takes no rows at all', () => {
    const empty = new Float32Array(0);
    const head = {
      hidden: empty,
      weight: new Uint16Array(12),
      weightDtype: 'float16' as const,
      weightLayout: 'HV' as const,
    };
    const call = { ...head, vocabSize: 4, bias: new Float32Array(4), labels: new Int32Array(0) };
    expect(linearLogps(call).logps).toEqual(empty);
    const gradients = linearLogpsBackward({ ...call, lse: empty, gradLogps: empty });
    expect(gradients).toEqual({ gradHidden: empty, gradWeight: new Float32Array(12), gradBias: new Float32Array(4) });
  });
});
