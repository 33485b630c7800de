/** Log-probs from elsewhere: the right ones pass in every storage type, and each mistake is named. */
import { checkLogps, packTurns, tokenLogps } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { Random } from '../helpers/random.ts';
import { encode, padRows } from '../helpers/storage.ts';

const [N, V] = [40, 50];

function batchOf(seed: number) {
  const random = new Random(seed);
  const logits = Float32Array.from(random.normals(N * V, 2));
  const labels = random.integers(N, 0, V);
  const mask = random.mask(N, 0.3);
  return { random, logits, labels, mask };
}

const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];

describe('checkLogps', () => {
  it.each(SEEDS)('passes what is right, seed %i', (seed) => {
    const { random, ...batch } = batchOf(seed);
    const { logps } = tokenLogps(batch);
    expect(checkLogps({ ...batch, logps })).toMatchObject({ ok: true, message: expect.stringMatching(/agree/) });
    // Masked rows are not read.
    const elsewhere = logps.map((x, i) => (batch.mask[i] ? x + 3e-4 * random.normal() : 7));
    expect(checkLogps({ ...batch, logps: elsewhere }).ok).toBe(true);
  });

  it.each(['bfloat16', 'float16'] as const)('reads %s logits, padded rows and wide labels', (dtype) => {
    const { logits, labels } = batchOf(9);
    const padded = padRows(encode(logits, dtype), V, V + 3, dtype);
    const call = { dtype, logits: padded, rowStride: V + 3, vocabSize: V };
    const wide = BigInt64Array.from(labels, BigInt);
    const { logps } = tokenLogps({ ...call, labels });
    expect(checkLogps({ ...call, labels: wide, logps }).ok).toBe(true);
    const report = checkLogps({
      ...call,
      labels: wide,
      logps: tokenLogps({ ...call, labels, temperature: 0.5 }).logps,
    });
    expect(report.suspicion).toBe('another-temperature');
    expect(report.message).toMatch(/temperature 0\.5\.$/);
  });

  type Batch = ReturnType<typeof batchOf>;
  const logpsOf = ({ random: _, ...batch }: Batch, change: object = {}) => tokenLogps({ ...batch, ...change }).logps;
  const mistakes: [suspicion: string, what: string, plant: (batch: Batch) => Float32Array, change?: object][] = [
    ['labels-shifted', 'labels before', (b) => logpsOf(b, { labels: shift(b.labels, -1) })],
    ['labels-shifted', 'labels after', (b) => logpsOf(b, { labels: shift(b.labels, 1) })],
    ['labels-shifted', 'rows before', (b) => shift(logpsOf(b, { mask: undefined }), -1)],
    ['labels-shifted', 'rows after', (b) => shift(logpsOf(b, { mask: undefined }), 1)],
    ['mask-forgotten', 'a mask that only one side has', (b) => logpsOf(b), { mask: undefined }],
    ['another-temperature', 'temperature 0.7', (b) => logpsOf(b, { temperature: 0.7 })],
    ['another-temperature', 'temperature 1', (b) => logpsOf(b), { temperature: 1.3 }],
    ['sign-flipped', 'losses', (b) => logpsOf(b).map((x) => -x)],
    ['not-normalized', 'logits', (b) => Float32Array.from(b.labels, (label, i) => b.logits[i * V + label]!)],
    ['another-model', 'another model', (b) => logpsOf(b, { logits: b.logits.map((x) => x + 0.1 * b.random.normal()) })],
    ['another-model', 'one row that is off', (b) => logpsOf(b).map((x, i) => (i === b.mask.indexOf(1) ? x - 0.5 : x))],
    ['another-model', 'NaN', (b) => logpsOf(b).fill(NaN)],
  ];

  describe.each(mistakes)('%s: %s', (suspicion, _what, plant, change) => {
    it.each(SEEDS)('is named, seed %i', (seed) => {
      const batch = batchOf(seed);
      const logps = plant(batch);
      const { random: _, ...call } = batch;
      const report = checkLogps({ ...call, ...change, logps });
      expect(report.suspicion, report.message).toBe(suspicion);
      expect(report.ok).toBe(false);
    });
  });

  it('reports on tensors of every form, padded ones too', () => {
    const { logits, labels, mask } = batchOf(4);
    const logps = tokenLogps({ logits, labels, temperature: 0.7 }).logps;
    const rows = { labels: { data: labels, dims: [2, N / 2] }, logps: { data: logps, dims: [2, N / 2] } };
    const padded = padRows(logits, V, V + 3, 'float32');
    const stride = { vocabSize: V, rowStride: V + 3 };
    const forms = [
      { logits: { data: logits, dims: [2, N / 2, V] } },
      { logits: { data: encode(logits, 'bfloat16'), dims: [1, N, V], type: 'bfloat16' } },
      { logits: { data: padded, dims: [2, N / 2, V + 3] }, ...stride },
      { logits: { data: padded, dims: [N, V + 3] }, ...stride },
    ];
    for (const form of forms) {
      const given = { ...rows, ...form, tolerance: 0.03 };
      expect(checkLogps({ ...given, temperature: 0.7 })).toMatchObject({ ok: true });
      for (const more of [{}, { mask: { data: mask, dims: [2, N / 2] } }]) {
        const report = checkLogps({ ...given, ...more });
        expect(report.suspicion, report.message).toBe('another-temperature');
      }
    }
  });

  it('names the worst row', () => {
    const { random: _, ...batch } = batchOf(3);
    const { logps } = tokenLogps(batch);
    const row = batch.mask.lastIndexOf(1);
    const worst = { row, expected: logps[row]!, received: logps[row]! - 2 };
    expect(checkLogps({ ...batch, logps: logps.with(row, worst.received) }).worst).toEqual(worst);
  });

  it('accepts the logp -inf of a masked vocabulary entry', () => {
    const logits = Float32Array.of(-Infinity, 0, 1, 2);
    const labels = Int32Array.of(0, 1);
    const { logps } = tokenLogps({ logits, labels });
    expect(checkLogps({ logits, labels, logps })).toMatchObject({ ok: true });
  });

  it('says so where no row is compared', () => {
    const [logits, labels, logps] = [Float32Array.of(3, 0, 1, 2), Int32Array.of(0, 1), new Float32Array(2)];
    const nothing = { ok: false, suspicion: 'inconclusive', worst: { row: -1 } };
    for (const none of [{ mask: new Uint8Array(2) }, { labels: Int32Array.of(-100, -100) }]) {
      const report = checkLogps({ logits, labels, logps, ...none });
      expect(report).toMatchObject(nothing);
      expect(report.message).toBe('No log-prob was compared: all 2 rows are masked or their labels are ignored');
    }
    const empty = { logits: new Float32Array(0), labels: new Int32Array(0), logps: new Float32Array(0) };
    expect(checkLogps(empty)).toMatchObject({ ...nothing, message: expect.stringMatching(/there are no rows$/) });
  });

  it('names a log-prob that is not finite, though others differ too', () => {
    const random = new Random(6);
    const logits = Float32Array.from(random.normals(4 * V));
    const labels = Int32Array.of(0, 1, 2, 3);
    const { logps } = tokenLogps({ logits, vocabSize: V, labels });
    for (const wrong of [NaN, -Infinity]) {
      const given = logps.map((x, i) => (i === 1 ? wrong : i === 2 ? x + 0.01 : x));
      const { ok, worst, suspicion, message } = checkLogps({ logits, vocabSize: V, labels, logps: given });
      expect([ok, worst.row, suspicion]).toEqual([false, 1, 'another-model']);
      expect(message).toContain(`logps[1] is ${wrong}`);
    }
  });

  it('sees labels of packed turns that were shifted once more', () => {
    const random = new Random(5);
    const turns = [4, 6, 5, 7].map((n, i) => ({ tokens: random.integers(n, 0, V), agent: i % 2 === 1 }));
    const { labels, mask } = packTurns([{ turns }]);
    const logits = Float32Array.from(random.normals(labels.length * V));
    const { logps } = tokenLogps({ logits, labels: shift(labels, 1), mask });
    expect(checkLogps({ logits, labels, mask, logps }).suspicion).toBe('labels-shifted');
  });
});

/** array[i + by] in place i. */
function shift<T extends Int32Array | Float32Array>(array: T, by: number): T {
  const none = array instanceof Int32Array ? -100 : 0;
  return (array as Int32Array).map((_, i) => array[i + by] ?? none) as T;
}
