/**
 * A vocabulary cut into shards against the oracle over all of its words, and against the operations over the whole head,
 * on every backend.
 */
import {
  linearLogps,
  linearLogpsBackward,
  type MergeVocabParallelStatsOptions,
  mergePartials,
  mergeVocabParallelStats,
  partials,
  partialsAsync,
  setThreads,
  threads,
  tokenLogps,
  tokenLogpsBackward,
  type VocabParallelStatsOptions,
  vocabParallelStats,
  vocabParallelStatsAsync,
} from 'sweet-rl';
import { beforeAll, describe, expect, it } from 'vitest';
import { expectClose, expectGradient, expectSameBits } from '../helpers/compare.ts';
import { type ErrorRow, thrownBy } from '../helpers/errors.ts';
import {
  expectedOf as expectedOfHead,
  expectLinearGradients,
  inputsOf as headInputs,
  headsWithDroppedRows,
  type LinearCase,
  randomHead,
} from '../helpers/linear.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { expectedOf, hardRows, inputsOf, type RowCase, randomRows, rowCase } from '../helpers/rows.ts';
import { DTYPES, type DType, type Stored, sharedView, shifted } from '../helpers/storage.ts';
import { mergeSums, sumsOf } from '../reference/partials.ts';
import { range } from '../reference/range.ts';
import { tokenLogps as oracle } from '../reference/token-logps.ts';

const [START, OF_ROW] = [8, 4];

interface Shard {
  vocabOffset: number;
  totalVocab: number;
  words: number;
}

/** Up to `most` shards of uneven sizes, single words among them, and not in their order. */
function shardsOf(V: number, most: number, seed: number): Shard[] {
  const random = new Random(seed);
  const cuts = [...new Set([0, 1, V, ...random.integers(Math.max(0, most - 2), 0, V)])].sort((a, b) => a - b);
  const shards = cuts.slice(1).map((end, s) => ({ vocabOffset: cuts[s]!, totalVocab: V, words: end - cuts[s]! }));
  return [...shards.filter((_, s) => s % 2 === 1), ...shards.filter((_, s) => s % 2 === 0)];
}

const joined = (all: Float64Array[]) => Float64Array.from(all.flatMap((each) => [...each]));

/** The logits of a shard, where they lie among the others. */
function shardOfRows({ V, logits, ...rows }: RowCase, { words, ...shard }: Shard) {
  const own = logits.subarray(shard.vocabOffset) as Stored;
  return { ...inputsOf({ V, ...rows, logits: own }), rowStride: V, vocabSize: words, ...shard };
}

function shardOfHead(head: LinearCase, { words, ...shard }: Shard) {
  const [from, to] = [shard.vocabOffset, shard.vocabOffset + words];
  const weight = head.weight.subarray(from * head.H, to * head.H) as Stored;
  const bias = head.bias?.subarray(from, to) as Stored | undefined;
  return { ...headInputs({ ...head, weight, ...(bias && { bias }) }), ...shard };
}

const labelsOf = ({ labels, options: { temperature: _, ...options } }: RowCase | LinearCase) => ({
  labels,
  ...options,
});

/** Each shard's partials from words of its own, merged; then its gradient, written where it belongs. */
function throughShards(rows: RowCase, shards: Shard[]) {
  const inputs = shards.map((shard) => shardOfRows(rows, shard));
  const all = joined(inputs.map((each) => vocabParallelStats({ ...each, entropy: true }).stats));
  const forward = mergeVocabParallelStats({ stats: all, ...labelsOf(rows), entropy: true });
  const gradLogits = rows.logits.slice().fill(7) as Stored;
  for (const [s, { vocabOffset }] of shards.entries()) {
    const out = { gradLogits: gradLogits.subarray(vocabOffset) as Stored };
    tokenLogpsBackward({ ...inputs[s]!, lse: forward.lse, gradLogps: rows.gradLogps, out });
  }
  return { ...forward, gradLogits };
}

function throughHeads(head: LinearCase, shards: Shard[]) {
  const inputs = shards.map((shard) => shardOfHead(head, shard));
  const all = joined(inputs.map((each) => vocabParallelStats({ ...each, entropy: true }).stats));
  const forward = mergeVocabParallelStats({ stats: all, ...labelsOf(head), entropy: true });
  const gradHidden = new Float32Array(head.hidden.length);
  const gradWeight = new Float32Array(head.weight.length);
  const gradBias = new Float32Array(head.V);
  for (const [s, { vocabOffset }] of shards.entries()) {
    const own = linearLogpsBackward({ ...inputs[s]!, lse: forward.lse, gradLogps: head.gradLogps });
    for (const [at, x] of own.gradHidden.entries()) gradHidden[at]! += x;
    gradWeight.set(own.gradWeight, vocabOffset * head.H);
    if (own.gradBias) gradBias.set(own.gradBias, vocabOffset);
  }
  return { ...forward, gradHidden, gradWeight, ...(head.bias && { gradBias }) };
}

const cases = DTYPES.flatMap(hardRows).map((rows) => ({ ...rows, expected: expectedOf(rows) }));

const headsOf = (dtype: DType): LinearCase[] => [
  randomHead({ N: 5, H: 1, V: 65, dtype }),
  randomHead({ N: 13, H: 17, V: 129, dtype, withBias: true }, { temperature: 1.9 }),
  randomHead({ N: 67, H: 31, V: 1057, dtype, withBias: true }),
  ...headsWithDroppedRows(dtype),
];
const heads = DTYPES.flatMap(headsOf).map((head) => ({ ...head, expected: expectedOfHead(head) }));

describe('the oracle', () => {
  it('gives a row from its shards', () => {
    const rows = randomRows(5, 60, 'float32', { scale: 5 });
    const whole = oracle({ logits: rows.values, labels: rows.labels });
    for (const i of range(0, 5)) {
      const row = rows.values.slice(i * 60, (i + 1) * 60);
      row.fill(-Infinity, 50);
      const cuts = [0, 1, 7, 50, 60];
      const merged = mergeSums(cuts.slice(1).map((end, s) => sumsOf(row.subarray(cuts[s], end))));
      const [lse] = oracle({ logits: row, labels: [0] }).lse;
      const [entropy] = oracle({ logits: row, labels: [0] }).entropy;
      expectClose('lse and entropy', [merged.lse, merged.entropy], [lse!, entropy!], () => 1e-12);
      expect(whole.lse[i]).toBeGreaterThan(lse!);
    }
  });
});

forEachBackend(() => {
  describe.each(cases)('$name', ({ expected, ...rows }) => {
    it('is met by shards: log-probs, lse, entropy and gradient', () => {
      const { logps, lse, entropy, gradLogits } = throughShards(rows, shardsOf(rows.V, 5, rows.V));
      expectClose('logps', logps, expected.logps, expected.rowTolerance);
      expectClose('lse', lse, expected.lse, expected.rowTolerance);
      expectClose('entropy', entropy!, expected.entropy, (x, i) => (1 + x) * expected.rowTolerance(x, i));
      expectGradient('gradLogits', gradLogits, expected.gradLogits, rows.dtype, expected.gradTolerance);
    });

    it('has the bits of the whole where it is one shard', () => {
      const all = [{ vocabOffset: 0, totalVocab: rows.V, words: rows.V }];
      const ours = throughShards(rows, all);
      const forward = tokenLogps({ ...inputsOf(rows), entropy: true });
      for (const name of ['logps', 'lse', 'entropy'] as const) expectSameBits(name, ours[name]!, forward[name]!);
      const { gradLogits } = tokenLogpsBackward({ ...inputsOf(rows), lse: forward.lse, gradLogps: rows.gradLogps });
      expectSameBits('gradLogits', ours.gradLogits, gradLogits as Stored);
    });
  });

  describe.each(heads)('$name', ({ expected, ...head }) => {
    it('is met by shards of its weight: log-probs, lse, entropy and gradients', () => {
      const ours = throughHeads(head, shardsOf(head.V, 5, head.V));
      expectClose('logps', ours.logps, expected.logps, expected.rowTolerance);
      expectClose('lse', ours.lse, expected.lse, expected.rowTolerance);
      expectClose('entropy', ours.entropy!, expected.entropy, (x, i) => (1 + x) * expected.rowTolerance(x, i));
      expectLinearGradients(ours, expected);
    });

    it('has the bits of the whole where it is one shard', () => {
      const ours = throughHeads(head, [{ vocabOffset: 0, totalVocab: head.V, words: head.V }]);
      const forward = linearLogps({ ...headInputs(head), entropy: true });
      for (const name of ['logps', 'lse', 'entropy'] as const) expectSameBits(name, ours[name]!, forward[name]!);
      const whole = linearLogpsBackward({ ...headInputs(head), lse: forward.lse, gradLogps: head.gradLogps });
      expectSameBits('gradWeight', ours.gradWeight, whole.gradWeight);
      expectSameBits('gradHidden', ours.gradHidden, whole.gradHidden);
    });
  });

  describe.each(DTYPES)('%s', (dtype) => {
    const rows = randomRows(7, 2500, dtype, { temperature: 0.8, mask: Uint8Array.of(1, 1, 0, 1, 1, 1, 1) });
    rows.labels[3] = -100;
    const shards = shardsOf(rows.V, 6, 11);
    const merge = (all: Float64Array, more: Partial<MergeVocabParallelStatsOptions> = {}) =>
      mergeVocabParallelStats({ stats: all, ...labelsOf(rows), entropy: true, ...more });
    let own: Float64Array[];
    let expected: ReturnType<typeof merge>;
    beforeAll(() => {
      own = shards.map((shard) => vocabParallelStats({ ...shardOfRows(rows, shard), entropy: true }).stats);
      expected = merge(joined(own));
    });
    const expectSame = (ours: ReturnType<typeof merge>) => {
      for (const name of ['logps', 'lse', 'entropy'] as const) expectSameBits(name, ours[name]!, expected[name]!);
    };

    it('has partials that are what they are said to be', () => {
      for (const [s, { vocabOffset, words }] of shards.entries()) {
        const [head, all] = [own[s]!.subarray(0, START), own[s]!.subarray(START)];
        expect([...head]).toEqual([7, vocabOffset, words, 2500, 0.8, 1, own[0]![6], 0]);
        expect([head[6]! > 0, head[6]! % 4]).toEqual([true, 0]);
        for (const i of range(0, 7)) {
          const [pivot, sum, weighted, label] = all.subarray(OF_ROW * i, OF_ROW * (i + 1)) as unknown as number[];
          if (i === 2) {
            expect([pivot, sum, weighted, label]).toEqual([-Infinity, 0, 0, 0]);
            continue;
          }
          const from = i * rows.V + vocabOffset;
          const x = rows.values.subarray(from, from + words);
          const at = rows.labels[i]! - vocabOffset;
          expect(label).toBe(at >= 0 && at < words ? x[at] : 0);
          const { lse, mean } = sumsOf(x.map((word) => word / 0.8));
          expectClose('lse', [pivot! / 0.8 + Math.log(sum!)], [lse], () => 2e-6);
          // sum_v 2^t t over sum_v 2^t: the mean of t under the shard's own softmax.
          const ofT = (mean - pivot! / 0.8) / Math.LN2;
          expectClose('mean', [weighted! / sum!], [ofT], (m) => 4e-6 * (1 + Math.abs(m)));
        }
      }
    });

    it('is the same in whatever order the shards come', () => {
      for (const turn of range(1, own.length)) expectSame(merge(joined([...own.slice(turn), ...own.slice(0, turn)])));
      expectSame(merge(joined([...own].reverse())));
    });

    it('is the same from a sum of buffers in which everybody filled his own part', () => {
      const size = START + OF_ROW * rows.labels.length;
      const buffers = own.map((each, s) => {
        const buffer = new Float64Array(size * own.length);
        buffer.set(each, s * size);
        return buffer;
      });
      const sum = (a: Float64Array, b: Float64Array) => a.map((x, i) => x + b[i]!);
      expectSame(merge(buffers.reduce(sum)));
      expectSame(merge(buffers.reduceRight(sum)));
    });

    it('is the same from views, shared memory and 64-bit labels, and goes into the buffers of out', () => {
      const all = joined(own);
      expectSame(merge(shifted(all, 3)));
      expectSame(merge(sharedView(all), { labels: BigInt64Array.from(rows.labels, BigInt) }));
      const out = { logps: new Float32Array(7).fill(7), lse: shifted(expected.lse, 3), entropy: new Float32Array(7) };
      const ours = merge(all, { out });
      expectSame(ours);
      for (const name of ['logps', 'lse', 'entropy'] as const) expect(ours[name]).toBe(out[name]);
      for (const [s, shard] of shards.entries()) {
        const buffer = shifted(own[s]!, 1).fill(7);
        const given = shardOfRows({ ...rows, logits: sharedView(rows.logits) }, shard);
        expect(vocabParallelStats({ ...given, entropy: true, out: { stats: buffer } }).stats).toBe(buffer);
        expectSameBits('partials', buffer, own[s]!);
      }
    });

    it('is the same for any number of threads', () => {
      const head = randomHead({ N: 40, H: 24, V: 2051, dtype });
      const compute = () => ({
        rows: throughShards(rows, shards),
        head: throughHeads(head, shardsOf(head.V, 4, 12)),
        many: throughShards(randomRows(67, 2051, dtype), shardsOf(2051, 4, 13)),
      });
      const [first, ...others] = underThreadCounts(compute);
      for (const { result } of others) {
        for (const key of ['rows', 'head', 'many'] as const) {
          for (const [name, array] of Object.entries(first!.result[key]))
            expectSameBits(name, (result[key] as unknown as Record<string, Stored>)[name]!, array as Stored);
        }
      }
    });

    it('keeps a NaN and a +inf of one shard in their rows, and rows of -inf alone NaN', () => {
      const values = new Float64Array(5 * 40).map((_, i) => (i % 7) / 4);
      values[1 * 40 + 30] = NaN;
      values[2 * 40 + 5] = Infinity;
      values.fill(-Infinity, 3 * 40, 4 * 40);
      const spoiled = rowCase('spoiled', Int32Array.of(1, 2, 3, 4, 39), values, dtype);
      const { logps, lse } = throughShards(spoiled, shardsOf(40, 4, 14));
      expect(Array.from(lse, Number.isNaN)).toEqual([false, true, true, true, false]);
      expect(Array.from(logps, Number.isNaN)).toEqual([false, true, true, true, false]);
    });

    it('gives -inf for a masked word as the label, in a shard that has no other', () => {
      const values = Float64Array.of(-Infinity, 1, 2, 3, -Infinity, 5);
      const two = rowCase('masked', Int32Array.of(0, 1), values, dtype);
      const cut = [0, 1, 2].map((vocabOffset) => ({ vocabOffset, totalVocab: 3, words: 1 }));
      expect([...throughShards(two, cut).logps]).toEqual([-Infinity, -Infinity]);
    });
  });
});

describe('arguments', () => {
  const rows = randomRows(3, 10, 'float32');
  const shards = [
    { vocabOffset: 0, totalVocab: 10, words: 4 },
    { vocabOffset: 4, totalVocab: 10, words: 6 },
  ];
  const of = (shard: Shard, more: Partial<VocabParallelStatsOptions> = {}) =>
    vocabParallelStats({ ...shardOfRows(rows, shard), entropy: true, ...more } as VocabParallelStatsOptions).stats;
  const [first, second] = shards.map((shard) => of(shard)) as [Float64Array, Float64Array];
  const with_ = (at: number, value: number) => {
    const copy = second.slice();
    copy[at] = value;
    return copy;
  };
  const fewer = randomRows(2, 10, 'float32');

  it.each<[what: string, all: Float64Array[], code: string, message: RegExp]>([
    ['the first shard missing', [second], 'ERR_PARTIALS', /entry 0 /],
    ['the last shard missing', [first], 'ERR_PARTIALS', /entry 4 /],
    ['a shard twice', [first, second, first], 'ERR_PARTIALS', /entry 0 /],
    ['words twice', [first, of({ vocabOffset: 3, totalVocab: 10, words: 7 })], 'ERR_PARTIALS', /entry 3 /],
    ['a gap', [first, of({ vocabOffset: 5, totalVocab: 10, words: 5 })], 'ERR_PARTIALS', /entry 4 /],
    ['another vocabulary', [first, of({ vocabOffset: 4, totalVocab: 11, words: 6 })], 'ERR_PARTIALS', /shard 1 /],
    ['another temperature', [first, of(shards[1]!, { temperature: 2 })], 'ERR_PARTIALS', /shard 1 /],
    ['no sums for the entropy', [first, of(shards[1]!, { entropy: false })], 'ERR_PARTIALS', /entropy.*shard 1 /],
    ['rows that are others', [first, with_(0, 2)], 'ERR_PARTIALS', /rows.*shard 1 /],
    ['NaN in place of rows', [first, with_(0, NaN)], 'ERR_PARTIALS', /shard 1 /],
    ['NaN in place of an offset', [first, with_(1, NaN)], 'ERR_PARTIALS', /shard 1 /],
    ['NaN in place of words', [first, with_(2, NaN)], 'ERR_PARTIALS', /shard 1 /],
    ['half a word', [first, with_(2, 5.5)], 'ERR_PARTIALS', /shard 1 /],
    ['words of inf', [first, with_(2, Infinity)], 'ERR_PARTIALS', /shard 1 /],
    ['an offset below 0', [with_(1, -1), second], 'ERR_PARTIALS', /shard 0 /],
    ['other labels', [first, of(shards[1]!, { labels: rows.labels.with(1, 9) })], 'ERR_PARTIALS', /labels.*shard 1 /],
    ['an ignored label', [of(shards[0]!, { ignoreIndex: rows.labels[0] }), second], 'ERR_PARTIALS', /labels.*shard 0 /],
    [
      'labels in another order',
      [first, of(shards[1]!, { labels: rows.labels.toReversed() })],
      'ERR_PARTIALS',
      /labels/,
    ],
    ['another mask', [first, of(shards[1]!, { mask: Uint8Array.of(1, 1, 0) })], 'ERR_PARTIALS', /mask.*shard 1 /],
    [
      'another mask than here',
      [0, 1].map((s) => of(shards[s]!, { mask: Uint8Array.of(0, 1, 1) })),
      'ERR_PARTIALS',
      /mask/,
    ],
    ['NaN in place of the checksum', [first, with_(6, NaN)], 'ERR_PARTIALS', /shard 1 /],
    ['zeros', [new Float64Array(20), second], 'ERR_PARTIALS', /shard 0 /],
    ['half a shard', [first, second.subarray(0, 7)], 'ERR_ARG_LENGTH', /stats.*\(27\)/],
    ['nothing', [], 'ERR_ARG_LENGTH', /stats.*\(0\)/],
  ])('%s is refused, and nothing is written', (_what, all, code, message) => {
    const out = { logps: new Float32Array(3).fill(7), lse: new Float32Array(3).fill(7) };
    const given = { stats: joined(all), ...labelsOf(rows), entropy: true, out };
    const thrown = thrownBy(() => mergeVocabParallelStats(given));
    expect(thrown).toBeInstanceOf(RangeError);
    expect(thrown.code).toBe(code);
    expect(thrown.message).toMatch(message);
    expect([...out.logps, ...out.lse]).toEqual(new Array(6).fill(7));
  });

  it('statistics without a checksum are merged: those of another program, or of zeros but the numbers', () => {
    const all = joined([first, with_(6, 0)]);
    expect(mergeVocabParallelStats({ stats: all, ...labelsOf(rows), entropy: true })).toEqual(
      mergeVocabParallelStats({ stats: joined([first, second]), ...labelsOf(rows), entropy: true }),
    );
  });

  it('the checksum is that of the rows that are read, of every type of labels, and survives a message', () => {
    const mask = Uint8Array.of(1, 0, 1);
    const with7 = Int32Array.from(rows.labels).with(1, 7);
    const wide = BigInt64Array.from(with7, BigInt);
    const ours = shards.map((shard, s) => of(shard, { mask: mask.map((m) => m * (s + 1)), labels: [wide, with7][s]! }));
    const stats = joined(ours.map((each) => structuredClone(each)));
    expect(stats[6]).toBe(stats[20 + 6]);
    const { logps } = mergeVocabParallelStats({ stats, labels: rows.labels, mask });
    expect(logps).toEqual(
      mergeVocabParallelStats({ stats: joined([first, second]), labels: rows.labels }).logps.with(1, 0),
    );
  });

  it.each<Pick<ErrorRow, 'what' | 'change' | 'message'>>([
    { what: 'a shard that ends past the vocabulary', change: { vocabOffset: 5 }, message: /vocabOffset.* 5\b/ },
    { what: 'a vocabulary of fewer words', change: { totalVocab: 5 }, message: /totalVocab.* 5\b/ },
  ])('$what is refused', ({ change, message }) => {
    const options = { ...shardOfRows(rows, shards[1]!), ...change };
    const backward = { ...options, lse: new Float32Array(3), gradLogps: new Float32Array(3) };
    for (const call of [() => vocabParallelStats(options), () => tokenLogpsBackward(backward)]) {
      expect(thrownBy(call)).toMatchObject({ code: 'ERR_ARG_VALUE', message: expect.stringMatching(message) });
    }
  });

  it('labels of the whole vocabulary are taken, others are not', () => {
    const labels = Int32Array.of(0, 9, 10);
    const options = { ...shardOfRows(rows, shards[1]!), labels };
    const given = { stats: joined([first, second]), labels };
    const backward = { ...options, lse: new Float32Array(3), gradLogps: new Float32Array(3) };
    for (const call of [
      () => vocabParallelStats(options),
      () => mergeVocabParallelStats(given),
      () => tokenLogpsBackward(backward),
    ]) {
      expect(thrownBy(call)).toMatchObject({ code: 'ERR_LABEL', message: expect.stringMatching(/\[2\].* 10\b/) });
    }
  });

  it('the options of the other head are not ignored', () => {
    const options = { ...shardOfRows(rows, shards[0]!), weight: new Float32Array(8) } as never;
    expect(thrownBy(() => vocabParallelStats(options))).toMatchObject({ code: 'ERR_UNKNOWN_OPTION' });
    expect(thrownBy(() => vocabParallelStats({ labels: rows.labels } as never))).toMatchObject({
      code: 'ERR_ARG_TYPE',
    });
    expect(thrownBy(() => tokenLogps(shardOfRows(rows, shards[0]!) as never))).toMatchObject({
      code: 'ERR_UNKNOWN_OPTION',
    });
  });

  it('no rows are no error, whatever the shards', () => {
    const none = { logits: new Float32Array(0), labels: new Int32Array(0), totalVocab: 10 };
    const { stats: all } = vocabParallelStats(none);
    expect(all.length).toBe(START);
    const merged = mergeVocabParallelStats({ stats: joined([all, all]), labels: none.labels });
    expect(merged.logps.length + merged.lse.length).toBe(0);
    expect(thrownBy(() => mergeVocabParallelStats({ stats: joined([all, all]), labels: fewer.labels }))).toMatchObject({
      code: 'ERR_PARTIALS',
    });
  });
});

it('merges as many shards as there are words, with any number of threads', () => {
  const rows = randomRows(300, 257, 'float32');
  const before = threads();
  const results = [1, 2].map((count) => {
    setThreads(count);
    const cut = range(0, 257).map((vocabOffset) => ({ vocabOffset, totalVocab: 257, words: 1 }));
    return throughShards(rows, cut);
  });
  setThreads(before);
  const expected = expectedOf(rows);
  expectClose('logps', results[0]!.logps, expected.logps, expected.rowTolerance);
  for (const name of ['logps', 'lse', 'entropy', 'gradLogits'] as const)
    expectSameBits(name, results[1]![name]!, results[0]![name]!);
});

describe('the deprecated names', () => {
  const rows = randomRows(3, 7, 'float32');
  const shard = { logits: rows.logits, labels: rows.labels, vocabOffset: 2, totalVocab: 9, entropy: true };

  it('give the same bits', async () => {
    const { stats } = vocabParallelStats(shard as never);
    const out = { partials: new Float64Array(20) };
    expect(partials({ ...shard, out } as never).partials).toBe(out.partials);
    expect(out.partials).toEqual(stats);
    const later = await vocabParallelStatsAsync(shard as never);
    expect((await partialsAsync(shard as never)).partials).toEqual(later.stats);
    const whole = { ...shard, vocabOffset: 0, totalVocab: 7 };
    const own = vocabParallelStats(whole as never);
    const merged = mergeVocabParallelStats({ ...own, labels: rows.labels, entropy: true });
    expect(mergePartials({ partials: own.stats, labels: rows.labels, entropy: true })).toEqual(merged);
  });

  it('name their own options in errors', () => {
    expect(thrownBy(() => partials({ ...shard, out: { stats: own } } as never))).toMatchObject({
      code: 'ERR_UNKNOWN_OPTION',
    });
    expect(thrownBy(() => mergePartials({ partials: own.subarray(1), labels: rows.labels }))).toMatchObject({
      code: 'ERR_ARG_LENGTH',
      message: expect.stringContaining('for partials'),
    });
  });

  const own = new Float64Array(20);
});
