/**
 * The statistics argmax and sumSquaredProbs of logits, linear heads, updates and vocabulary shards against the oracle, on every
 * backend.
 */
import {
  backends,
  criticUpdate,
  linearLogps,
  linearLogpsAsync,
  mergeVocabParallelStats,
  policyUpdate,
  tokenLogps,
  tokenLogpsAsync,
  vocabParallelStats,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { thrownBy } from '../helpers/errors.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { hardRows, inputsOf, type RowCase, rowCase } from '../helpers/rows.ts';
import { DTYPES, type DType, padRows, type Stored, sharedView, shifted, store } from '../helpers/storage.ts';
import { linearLogits } from '../reference/linear-logps.ts';
import { tokenLogps as oracle, type RowResults } from '../reference/token-logps.ts';

const ASKED = { entropy: true, argmax: true, sumSquaredProbs: true } as const;
// There asynchronous functions run on the CPU, and flags of shards and results are not read.
const onDevice = backends().some(({ name }) => (name as string) === 'device');
const random = new Random(31);
const noise = (scale: number) => scale * random.normal();

function rows(name: string, N: number, V: number, dtype: DType, entry: (v: number, i: number) => number): RowCase {
  const values = Float64Array.from({ length: N * V }, (_, at) => entry(at % V, Math.floor(at / V)));
  return rowCase(name, random.integers(N, 0, V), values, dtype);
}

/** Ties within a vector, a strip and between segments; zeros of both signs; rows without a distribution. */
const tiesOf = (dtype: DType): RowCase[] => [
  rows('ties', 5, 2000, dtype, (v, i) => (v % 611 === 7 + i ? 9 : noise(1))),
  rows('ties of both streams', 3, 5000, dtype, (v, i) => (v === 4100 - i || v === 700 * i ? 20 : noise(2))),
  rows('ties of segments', 3, 40000, dtype, (v) => ([7, 16385, 39999].includes(v) ? 30 : noise(2))),
  rows('a tie at the last entries', 2, 40001, dtype, (v) => (v >= 39999 ? 30 : noise(2))),
  rows('one entry', 3, 1, dtype, (_, i) => [5, -Infinity, NaN][i]!),
  rows('equal entries', 3, 33, dtype, () => -3),
  rows('zeros of both signs', 2, 70, dtype, (v, i) => (v < 5 ? -1 : (v + i) % 2 ? 0 : -0)),
  rows('the largest is -0', 2, 70, dtype, (v) => (v === 17 ? -0 : -2)),
  rows('rows with a NaN', 4, 5001, dtype, (v, i) => (v === [0, 17, 4999, 5000][i]! ? NaN : noise(1))),
  rows('rows with +inf', 3, 5001, dtype, (v, i) => (v === [0, 2500, 5000][i]! ? Infinity : noise(1))),
  rows('rows of -inf', 3, 300, dtype, () => -Infinity),
  rows('-inf but for one entry', 3, 17000, dtype, (v, i) => (v === [0, 16384, 16999][i]! ? -80 : -Infinity)),
  // The first elements are far below the others: squares of powers relative to them overflow float32.
  rows('a high plateau', 2, 6000, dtype, (v) => (v < 4000 ? noise(1) : 43 + noise(0.5))),
  rows('a higher plateau', 2, 6000, dtype, (v) => (v < 4000 ? noise(1) : 41.8)),
  // 2^63.9 relative to the first elements: where an exponent is folded, its square overflows.
  rows('an outlier just within reach', 10, 6000, dtype, (v, i) =>
    v === 0 ? i / 10 : v === 5000 ? i / 10 + 44.29 : i / 10 - 1 - Math.abs(noise(1)),
  ),
  rows('an outlier out of reach', 2, 6000, dtype, (v) => (v === 5000 ? 400 : noise(1))),
];

/** Ten times the tolerance of log-probs. */
const tolerance = (x: number) => 2e-5 + 2e-5 * Math.abs(x);

function expectStatistics(ours: Statistics, expected: RowResults) {
  expect([...ours.argmax!]).toEqual([...expected.argmax]);
  expectClose('sumSquaredProbs', ours.sumSquaredProbs!, expected.sumSquaredProbs, tolerance);
}

type Statistics = { entropy?: Float32Array; argmax?: Int32Array; sumSquaredProbs?: Float32Array };

function expectSame(ours: Statistics, expected: Statistics) {
  for (const name of ['entropy', 'argmax', 'sumSquaredProbs'] as const) {
    if (ours[name]) expectSameBits(name, ours[name] as never, expected[name] as never);
  }
}

const cases = DTYPES.flatMap((dtype) => [...tiesOf(dtype), ...hardRows(dtype)]).map((each) => {
  const { values: logits, labels, options } = each;
  return { ...each, expected: oracle({ logits, labels, ...options }) };
});

forEachBackend(() => {
  it.each(cases)('logits: $name', ({ expected, ...each }) => {
    const all = tokenLogps({ ...inputsOf(each), ...ASKED });
    expectStatistics(all, expected);
    const plain = tokenLogps({ ...inputsOf(each), entropy: true });
    expectSameBits('logps', all.logps, plain.logps);
    expectSameBits('lse', all.lse, plain.lse);
    expectSameBits('entropy', all.entropy!, plain.entropy!);
    expectSame(tokenLogps({ ...inputsOf(each), argmax: true }), all);
    expectSame(tokenLogps({ ...inputsOf(each), sumSquaredProbs: true }), all);
    expect(plain).not.toHaveProperty('argmax');
    expect(plain).not.toHaveProperty('sumSquaredProbs');
  });

  describe.each(DTYPES)('%s', (dtype) => {
    const each = rows('rows', 5, 1027, dtype, () => noise(4));
    const { logits, labels, V } = each;
    const plain = () => tokenLogps({ ...inputsOf(each), ...ASKED });

    it('strides, offsets and shared memory give the same bits', () => {
      const rowStride = V + 9;
      const padded = padRows(logits, V, rowStride, dtype);
      expectSame(tokenLogps({ logits: padded, dtype, labels, vocabSize: V, rowStride, ...ASKED }), plain());
      for (const offset of [1, 3, 8]) {
        expectSame(tokenLogps({ ...inputsOf(each), logits: shifted(logits, offset), ...ASKED }), plain());
      }
      expectSame(tokenLogps({ ...inputsOf(each), logits: sharedView(logits), ...ASKED }), plain());
    });

    it('any number of threads gives the same bits', () => {
      for (const [N, wide] of [
        [67, 2051],
        [2, 50257],
      ] as const) {
        const many = rows('threads', N, wide, dtype, () => noise(2));
        const [first, ...others] = underThreadCounts(() => tokenLogps({ ...inputsOf(many), ...ASKED }));
        for (const { result } of others) expectSame(result, first!.result);
      }
    });

    it('linear heads', async () => {
      const [N, H] = [37, 24];
      for (const size of [1, 95, 97, 700]) {
        const hidden = store(random.normals(N * H), dtype);
        const weight = store(random.normals(size * H, 0.7), dtype);
        // Entries 0 and 50 are equal; others have no probability.
        if (size > 60) for (const each of [weight.data, weight.values]) each.copyWithin(50 * H, 0, H);
        const bias = store(
          random.normals(size).map((x, v) => (v % 9 === 4 ? -Infinity : v === 50 ? 6 : v ? x : 6)),
          dtype,
        );
        const mask = Uint8Array.from({ length: N }, (_, i) => (i === 5 ? 0 : 1));
        hidden.values.fill(NaN, 5 * H, 6 * H);
        hidden.values.fill(NaN, 9 * H, 10 * H);
        const stored = store(hidden.values, dtype).data;
        const own = Int32Array.from({ length: N }, (_, i) => (i === 3 ? -100 : (i * 7) % size));
        const head = { hidden: stored, weight: weight.data, bias: bias.data, dtype, hiddenSize: H, labels: own, mask };
        const values = { hidden: hidden.values, weight: weight.values, bias: bias.values, labels: own };
        const exact = linearLogits(values);
        const expected = oracle({ logits: exact, labels: own, mask });
        const ours = linearLogps({ ...head, ...ASKED });
        expectClose('sumSquaredProbs', ours.sumSquaredProbs!, expected.sumSquaredProbs, (x) => 2e-5 + 2e-4 * x);
        for (let i = 0; i < N; i++) {
          const [a, b] = [ours.argmax![i]!, expected.argmax[i]!];
          // Equal rows of the weight give equal logits; otherwise rounding may change the order of close ones.
          const gap = a < 0 || b < 0 ? NaN : exact[i * size + b]! - exact[i * size + a]!;
          if (a !== b) expect(Math.abs(gap)).toBeLessThan(1e-4);
          expect(a).not.toBe(50);
        }
        const first = Math.floor(size / 3);
        const cuts = [
          [0, first],
          [first, size],
        ] as const;
        const shards = cuts
          .filter(([from, to]) => to > from)
          .map(([from, to]) => {
            const part = { weight: weight.data.slice(from * H, to * H), bias: bias.data.slice(from, to) };
            return vocabParallelStats({ ...head, ...part, vocabOffset: from, totalVocab: size, argmax: true }).stats;
          });
        const stats = Float64Array.from(shards.flatMap((each) => [...each]));
        expectSame(mergeVocabParallelStats({ stats, labels: own, mask, argmax: true }), ours);
        const logps = linearLogps({ ...head, entropy: true });
        expectSameBits('logps', ours.logps, logps.logps);
        expectSameBits('entropy', ours.entropy!, logps.entropy!);
        expectSame(linearLogps({ ...head, argmax: true }), ours);
        expectSame(linearLogps({ ...head, sumSquaredProbs: true }), ours);
        if (!onDevice) expectSame(await linearLogpsAsync({ ...head, ...ASKED }), ours);
        for (const { result } of underThreadCounts(() => linearLogps({ ...head, ...ASKED }))) expectSame(result, ours);
      }
    });

    it('vocabulary shards', () => {
      for (const whole of tiesOf(dtype)) {
        const { V: size, logits: all, labels: own, values } = whole;
        const cuts = [...new Set([0, Math.min(1, size), Math.floor(size / 3), Math.floor((2 * size) / 3), size])];
        const shards = cuts.slice(1).map((end, s) => ({ first: cuts[s]!, end }));
        const all4 = shards.toReversed().map(({ first, end }) => {
          const cut = { vocabOffset: first, totalVocab: size, vocabSize: end - first, rowStride: size };
          const part = all.subarray(first) as Stored;
          return vocabParallelStats({ logits: part, dtype, labels: own, ...cut, ...ASKED }).stats;
        });
        const stats = Float64Array.from(all4.flatMap((each) => [...each]));
        expect(stats.length).toBe(shards.length * (8 + 7 * own.length));
        const merged = mergeVocabParallelStats({ stats, labels: own, ...ASKED });
        expectStatistics(merged, oracle({ logits: values, labels: own }));
        const alone = mergeVocabParallelStats({
          stats: vocabParallelStats({ ...inputsOf(whole), argmax: true, sumSquaredProbs: true }).stats,
          labels: own,
          argmax: true,
          sumSquaredProbs: true,
        });
        expectSame(alone, tokenLogps({ ...inputsOf(whole), ...ASKED }));
      }
    });

    it('updates', () => {
      const [N, V, H] = [40, 50, 130];
      const turns = {
        turnOffsets: Int32Array.of(0, 10, 20, 30, N),
        chosen: Int32Array.of(0),
        rejected: Int32Array.of(1),
      };
      const own = Int32Array.from({ length: N }, (_, i) => (i % 7 === 3 ? -100 : i));
      const mask = Uint8Array.from({ length: N }, (_, i) => (i % 11 === 5 ? 0 : 1));
      const batch = { labels: own, mask, refLogps: new Float32Array(N), dtype, ...turns };
      const heads = [
        { logits: store(random.normals(N * V), dtype).data, vocabSize: V },
        {
          hidden: store(random.normals(N * H), dtype).data,
          weight: store(random.normals(V * H, 0.2), dtype).data,
          hiddenSize: H,
        },
      ];
      // Ignored rows are not read here.
      const kept = mask.map((m, i) => (own[i] === -100 ? 0 : m));
      for (const head of heads) {
        const given = { ...head, labels: own, mask: kept, dtype, ...ASKED } as never;
        const expected = 'logits' in head ? tokenLogps(given) : linearLogps(given);
        for (const frozen of 'logits' in head ? [{}] : [{}, { frozenWeight: true }]) {
          const policy = policyUpdate({ ...batch, ...head, ...frozen, nllCoef: 0, ...ASKED } as never) as Statistics;
          const trajectories = { trajectoryOffsets: Int32Array.of(0, 2, 4) };
          const critic = criticUpdate({
            ...batch,
            ...head,
            ...frozen,
            ...trajectories,
            ...ASKED,
          } as never) as Statistics;
          for (const ours of [policy, critic]) {
            expect([...ours.argmax!]).toEqual([...expected.argmax!]);
            expectClose('entropy', ours.entropy!, Float64Array.from(expected.entropy!), tolerance);
            expectClose('squares', ours.sumSquaredProbs!, Float64Array.from(expected.sumSquaredProbs!), tolerance);
          }
          expect(policyUpdate({ ...batch, ...head, ...frozen } as never)).not.toHaveProperty('argmax');
        }
      }
    });

    it('one pass over long pairs', () => {
      const [N, V, H] = [700, 20, 128];
      const turns = {
        turnOffsets: Int32Array.of(0, 300, 600, N),
        chosen: Int32Array.of(0),
        rejected: Int32Array.of(1),
      };
      const own = Int32Array.from({ length: N }, (_, i) => (i % 13 === 3 ? -100 : i % V));
      const head = {
        hidden: store(random.normals(N * H), dtype).data,
        weight: store(random.normals(V * H, 0.2), dtype).data,
      };
      const batch = { ...head, labels: own, refLogps: new Float32Array(N), dtype, hiddenSize: H, ...turns };
      const ours = policyUpdate({ ...batch, nllCoef: 0, ...ASKED });
      const mask = Uint8Array.from(own, (label) => (label === -100 ? 0 : 1));
      const expected = linearLogps({ ...head, dtype, labels: own, mask, hiddenSize: H, ...ASKED });
      expect([...ours.argmax!]).toEqual([...expected.argmax!]);
      expectClose('entropy', ours.entropy!, Float64Array.from(expected.entropy!), tolerance);
      expectClose('squares', ours.sumSquaredProbs!, Float64Array.from(expected.sumSquaredProbs!), tolerance);
    });
  });

  it('out buffers, asynchronous calls and short arrays', async () => {
    const each = rows('out', 3, 40, 'float32', () => noise(2));
    const plain = tokenLogps({ ...inputsOf(each), ...ASKED });
    const out = {
      argmax: sharedView(new Int32Array(3)).fill(7),
      sumSquaredProbs: new Float32Array(5).fill(7).subarray(1, 4),
    };
    const ours = tokenLogps({ ...inputsOf(each), ...ASKED, out });
    expect(ours.argmax).toBe(out.argmax);
    expect(ours.sumSquaredProbs).toBe(out.sumSquaredProbs);
    expectSame(ours, plain);
    expect(tokenLogps({ logits: new Float32Array(0), labels: new Int32Array(0), ...ASKED }).argmax).toEqual(
      new Int32Array(0),
    );
    if (onDevice) return;
    const later = await Promise.all([1, 2, 3].map(() => tokenLogpsAsync({ ...inputsOf(each), ...ASKED })));
    for (const result of later) expectSame(result, plain);
    const many = rows('many', 300, 5, 'float32', () => noise(2));
    expectSame(await tokenLogpsAsync({ ...inputsOf(many), ...ASKED }), tokenLogps({ ...inputsOf(many), ...ASKED }));
  });
});

describe('wrong calls', () => {
  const call = { logits: Float32Array.of(1, 3, 2, 4), vocabSize: 2, labels: Int32Array.of(0, 1) };
  const shard = (more: object) => vocabParallelStats({ ...call, ...more }).stats;
  const merge = (stats: Float64Array[], more: object) => () =>
    mergeVocabParallelStats({ stats: Float64Array.from(stats.flatMap((s) => [...s])), labels: call.labels, ...more });
  const half = { totalVocab: 4 };
  it.each([
    ['a number', () => tokenLogps({ ...call, argmax: 1 as never }), 'ERR_ARG_TYPE', /argmax/],
    [
      'out.argmax unasked',
      () => tokenLogps({ ...call, out: { argmax: new Int32Array(2) } }),
      'ERR_UNKNOWN_OPTION',
      /argmax/,
    ],
    [
      'out.argmax of another class',
      () => tokenLogps({ ...call, argmax: true, out: { argmax: new Float32Array(2) as never } }),
      'ERR_ARG_TYPE',
      /argmax/,
    ],
    [
      'out.argmax of another length',
      () => tokenLogps({ ...call, argmax: true, out: { argmax: new Int32Array(3) } }),
      'ERR_ARG_LENGTH',
      /argmax/,
    ],
  ] as const)('%s', (_, run, code, message) => {
    expect(thrownBy(run)).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it.skipIf(onDevice).each([
    ['shards without argmax', merge([shard({})], { argmax: true }), 'ERR_PARTIALS', /shard 0 /],
    ['shards without squares', merge([shard({ argmax: true })], { sumSquaredProbs: true }), 'ERR_PARTIALS', /shard 0 /],
    [
      'shards that differ',
      merge([shard({ ...half, argmax: true }), shard({ ...half, vocabOffset: 2 })], {}),
      'ERR_PARTIALS',
      /shard 1 /,
    ],
  ] as const)('%s', (_, run, code, message) => {
    expect(thrownBy(run)).toMatchObject({ code, message: expect.stringMatching(message) });
  });

  it.skipIf(onDevice)('statistics that are not asked for are passed over', () => {
    const stats = shard({ argmax: true, sumSquaredProbs: true });
    expectSameBits('lse', mergeVocabParallelStats({ stats, labels: call.labels }).lse, tokenLogps(call).lse);
  });

  it.skipIf(onDevice)('debug passes over the argmax', () => {
    expect(tokenLogps({ ...call, ...ASKED, debug: 'finite' }).argmax).toEqual(Int32Array.of(1, 1));
  });
});
