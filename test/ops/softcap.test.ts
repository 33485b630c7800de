/**
 * softcap of a head: log-probs, statistics and gradients against the oracle on every backend, and the traps of other
 * implementations: padding and masked entries that count e^-softcap, a tanh that loses small logits.
 */
import {
  checkLogps,
  criticUpdate,
  linearLogps,
  linearLogpsBackward,
  mergeVocabParallelStats,
  policyUpdate,
  tokenLogps,
  tokenLogpsBackward,
  vocabParallelStats,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { thrownBy } from '../helpers/errors.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, type DType, decode, store } from '../helpers/storage.ts';
import { linearLogpsBackward as linearOracle, linearLogps as linearRowsOracle } from '../reference/linear-logps.ts';
import { tokenLogpsBackward as oracle, tokenLogps as rowsOracle } from '../reference/token-logps.ts';

const [N, H] = [13, 24];
const random = new Random(31);
const labelsOf = (V: number) => Int32Array.from({ length: N }, (_, i) => (i === 4 ? -100 : (i * 37) % V));
const mask = Uint8Array.from({ length: N }, (_, i) => (i === 7 ? 0 : 1));
const upstream = () => ({
  gradLogps: Float32Array.from(random.normals(N)),
  gradEntropy: Float32Array.from(random.normals(N)),
  gradLse: Float32Array.from(random.normals(N)),
});

/** Rows of small, wide, equal and saturated logits, with masked entries; NaN in the masked one. */
function logitsOf(V: number, labels: Int32Array, dtype: DType) {
  const values = random.normals(N * V, 8);
  for (let i = 0; i < N; i++) {
    const at = i * V;
    if (i % 6 === 1) for (let v = 0; v < V; v++) values[at + v]! *= 1e-3;
    if (i % 6 === 2) for (let v = 0; v < V; v += 2) if (v !== labels[i]) values[at + v] = -Infinity;
    if (i % 6 === 3) values.fill(1.5, at, at + V);
    if (i % 6 === 5) for (let v = 0; v < V; v++) values[at + v]! *= 50;
    if (i % 6 === 0) values[at + Math.abs(labels[i]!)] = 300;
  }
  values.fill(Number.NaN, 7 * V, 8 * V);
  return store(values, dtype);
}

/** Rounding of the gradient to its storage type. */
const ROUNDING: Record<DType, number> = { float32: 0, bfloat16: 2 ** -8, float16: 2 ** -11 };

describe.each(DTYPES)('%s', (dtype) => {
  forEachBackend((backend) => {
    // Of logits up to the softcap, float32 has spacings of u * softcap: what tanh is off counts as a multiple of it.
    it.each([
      [5, 30, 1],
      [301, 30, 0.7],
      [301, 2, 1],
      [4099, 50, 1],
    ])('logits of %d entries, softcap %d, temperature %d', (V, softcap, temperature) => {
      const labels = labelsOf(V);
      const logits = logitsOf(V, labels, dtype);
      const rows = { labels, mask, temperature, softcap };
      const call = { ...rows, logits: logits.data, dtype, vocabSize: V };
      const expected = rowsOracle({ ...rows, logits: logits.values });
      const off = (8 * 2 ** -24 * softcap) / temperature;
      const results = underThreadCounts(() => tokenLogps({ ...call, entropy: true }));
      const { logps, lse, entropy } = results[0]!.result;
      for (const { result } of results) expectSameBits('logps', result.logps, logps);
      expectClose('logps', logps, expected.logps, (x) => 2e-6 + 2e-6 * Math.abs(x) + off);
      expectClose('lse', lse, expected.lse, (x) => 2e-6 + 2e-6 * Math.abs(x) + off);
      expectClose('entropy', entropy!, expected.entropy, (x) => 2e-5 + 2e-5 * Math.abs(x) + off * (2 + Math.abs(x)));

      const gradients = upstream();
      const backward = { ...call, lse, entropy: entropy!, ...gradients };
      const exact = oracle({ ...rows, logits: logits.values, ...gradients });
      const { gradLogits } = tokenLogpsBackward(backward);
      expectClose('gradLogits', decode(gradLogits, dtype), exact, (x, at) => {
        const i = Math.floor(at / V);
        const size = Object.values(gradients).reduce((sum, each) => sum + Math.abs(each[i]!), 0) / temperature;
        const error = 3e-7 * (8 + Math.abs(expected.lse[i]!) + expected.entropy[i]!) + 2 * off;
        return ROUNDING[dtype] * Math.abs(x) + size * error + (dtype === 'float16' ? 2 ** -25 : 1e-30);
      });
      const inPlace = logits.data.slice();
      tokenLogpsBackward({ ...backward, logits: inPlace, out: { gradLogits: inPlace } });
      expectSameBits('in place', inPlace, gradLogits);
      for (const [at, x] of logits.values.entries()) if (x === -Infinity) expect(gradLogits[at]! & 0x7fff).toBe(0);
    });

    it('has the slope 0 beyond 9 softcaps, and the softcap there', () => {
      const logits = Float32Array.of(Infinity, 9.5, -9.5, 1e30);
      const call = { logits, vocabSize: 1, labels: new Int32Array(4), softcap: 1 };
      const { lse } = tokenLogps(call);
      expect(lse).toEqual(Float32Array.of(1, 1, -1, 1));
      const { gradLogits } = tokenLogpsBackward({ ...call, lse, gradLse: new Float32Array(4).fill(1) });
      expect(Array.from(gradLogits as Float32Array, Math.abs)).toEqual([0, 0, 0, 0]);
    });

    it('gives the log-probs of the whole from one shard, none above 0', () => {
      const random = new Random(4);
      const [N, V] = [500, 3];
      const logits = Float32Array.from(random.normals(N * V, 20));
      const labels = Int32Array.from({ length: N }, (_, i) => i % V);
      const call = { logits, vocabSize: V, labels, softcap: 30, temperature: 0.3 };
      const { logps, lse } = mergeVocabParallelStats({ stats: vocabParallelStats(call).stats, labels });
      const whole = tokenLogps(call);
      expect(Math.max(...logps)).toBeLessThanOrEqual(0);
      expectClose('logps', logps, Float64Array.from(whole.logps), (x) => 2e-7 * Math.abs(x));
      expectClose('lse', lse, Float64Array.from(whole.lse), (x) => 2e-7 * Math.abs(x));
    });

    it('linear heads', () => {
      const [V, softcap, temperature] = [301, 8, 0.8];
      const labels = labelsOf(V);
      const weight = store(random.normals(V * H, 0.8), dtype);
      const hidden = store(random.normals(N * H, 2), dtype);
      const bias = store(
        random.normals(V).map((x, v) => (v % 50 === 2 && !labels.includes(v) ? -Infinity : x)),
        dtype,
      );
      const rows = { labels, mask, temperature, softcap };
      const stored = { hidden: hidden.data, weight: weight.data, bias: bias.data, dtype, hiddenSize: H, vocabSize: V };
      const values = { hidden: hidden.values, weight: weight.values, bias: bias.values };
      const expected = linearRowsOracle({ ...rows, ...values });
      const { logps, lse, entropy } = linearLogps({ ...rows, ...stored, entropy: true });
      expectClose('logps', logps, expected.logps, () => 1e-5);
      expectClose('lse', lse, expected.lse, () => 1e-5);
      const gradients = upstream();
      const exact = linearOracle({ ...rows, ...values, ...gradients });
      const results = underThreadCounts(() =>
        linearLogpsBackward({ ...rows, ...stored, lse, entropy: entropy!, ...gradients }),
      );
      const onDevice = (backend as string) === 'device';
      const rounds = onDevice ? dtype !== 'float32' : backend === 'avx512bf16' && dtype === 'bfloat16';
      const relative = rounds ? (dtype === 'bfloat16' ? 4e-3 : 5e-4) : 2e-5; // head.md's tolerances
      for (const name of ['gradHidden', 'gradWeight', 'gradBias'] as const) {
        const largest = exact[name].reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        expectClose(name, results[0]!.result[name]!, exact[name], () => relative * largest);
        for (const { result } of results) expectSameBits(name, result[name]!, results[0]!.result[name]!);
      }
    });

    it('of confident tokens keeps the digits of the label', () => {
      const [V, softcap] = [40, 30];
      const logits = Float32Array.from({ length: V }, (_, v) => (v === 3 ? 45 : -20 - v));
      const rows = { labels: Int32Array.of(3), softcap };
      const { lse } = tokenLogps({ ...rows, logits, vocabSize: V });
      const gradLogps = Float32Array.of(1);
      const exact = oracle({ ...rows, logits: Float64Array.from(logits), gradLogps });
      const { gradLogits } = tokenLogpsBackward({ ...rows, logits, vocabSize: V, lse, gradLogps });
      expectClose('gradLogits', gradLogits, exact, (x) => 2e-4 * Math.abs(x) + 1e-30);
      const hidden = Float32Array.of(1);
      const linear = { ...rows, hidden, weight: logits, hiddenSize: 1, vocabSize: V };
      const { gradWeight } = linearLogpsBackward({ ...linear, lse: linearLogps(linear).lse, gradLogps });
      expectClose('gradWeight', gradWeight, exact, (x) => 2e-4 * Math.abs(x) + 1e-30);
    });

    it('of 1e6 is none, and null is none to the bit', () => {
      const logits = Float32Array.from(random.normals(N * 65, 3));
      const call = { logits, labels: labelsOf(65), vocabSize: 65 };
      const plain = tokenLogps(call);
      expectClose('1e6', tokenLogps({ ...call, softcap: 1e6 }).logps, plain.logps, (x) => 2e-6 + 2e-6 * Math.abs(x));
      expectSameBits('null', tokenLogps({ ...call, softcap: null }).logps, plain.logps);
    });

    it('takes shards as the whole vocabulary', () => {
      const [V, cut, softcap] = [65, 23, 5];
      const logits = Float32Array.from(random.normals(N * V, 8));
      const labels = labelsOf(V);
      const part = (from: number, to: number) => {
        const columns = Array.from({ length: N }, (_, i) => logits.subarray(i * V + from, i * V + to));
        return Float32Array.from(columns.flatMap((each) => Array.from(each)));
      };
      const stats = [
        [0, cut],
        [cut, V],
      ].map(([from, to]) => {
        const shard = { logits: part(from!, to!), vocabSize: to! - from!, vocabOffset: from!, totalVocab: V };
        return vocabParallelStats({ ...shard, labels, softcap, entropy: true }).stats;
      });
      expect(stats[0]![7]).toBe(softcap);
      const whole = tokenLogps({ logits, labels, vocabSize: V, softcap, entropy: true });
      const joined = (shards: Float64Array[]) => Float64Array.from(shards.flatMap((each) => Array.from(each)));
      const merged = mergeVocabParallelStats({ stats: joined(stats), labels, entropy: true });
      for (const name of ['logps', 'lse', 'entropy'] as const) {
        expectClose(name, merged[name]!, whole[name]!, (x) => 2e-6 + 2e-6 * Math.abs(x));
      }
      const other = vocabParallelStats({
        ...{ logits: part(cut, V), vocabSize: V - cut, vocabOffset: cut, totalVocab: V },
        ...{ labels, entropy: true },
      });
      const error = thrownBy(() => mergeVocabParallelStats({ stats: joined([stats[0]!, other.stats]), labels }));
      expect(error).toMatchObject({ code: 'ERR_PARTIALS', message: expect.stringContaining('softcap') });
    });
  });
});

describe('updates', () => {
  const V = 11;
  const logits = Float32Array.from(random.normals(6 * V, 6));
  const refLogits = Float32Array.from(random.normals(6 * V, 6));
  const batch = {
    ...{ logits, vocabSize: V, labels: Int32Array.from({ length: 6 }, (_, i) => i), softcap: 4 },
    ...{ turnOffsets: Int32Array.of(0, 2, 3, 6), chosen: Int32Array.of(0), rejected: Int32Array.of(1) },
  };
  const reference = (softcap: number | null) =>
    tokenLogps({ logits: refLogits, labels: batch.labels, vocabSize: V, softcap }).logps;

  it('give the bits of the split calls, with the softcap of the reference or none', () => {
    for (const refSoftcap of [undefined, 4, 9, null]) {
      const refLogps = reference(refSoftcap === undefined ? 4 : refSoftcap);
      const expected = policyUpdate({ ...batch, refLogps });
      const given = policyUpdate({ ...batch, refLogits, ...(refSoftcap !== undefined && { refSoftcap }) });
      expect(given.loss).toBe(expected.loss);
      expectSameBits('gradLogits', given.gradLogits, expected.gradLogits);
    }
    const trajectoryOffsets = Int32Array.of(0, 1, 3);
    const { loss } = criticUpdate({ ...batch, trajectoryOffsets, refLogits, refSoftcap: 9 });
    expect(loss).toBe(criticUpdate({ ...batch, trajectoryOffsets, refLogps: reference(9) }).loss);
  });

  it('refuse refSoftcap with refLogps', () => {
    const error = thrownBy(() => policyUpdate({ ...batch, refLogps: reference(4), refSoftcap: 4 } as never));
    expect(error).toMatchObject({ code: expect.stringMatching(/ERR_UNKNOWN_OPTION|ERR_ARG_TYPE/) });
  });
});

describe('checks', () => {
  const call = { logits: new Float32Array(6), vocabSize: 3, labels: Int32Array.of(1, 2) };
  it.each([0, -1, NaN, Infinity, 1e-4, 2e6])('refuse %d', (softcap) => {
    const error = thrownBy(() => tokenLogps({ ...call, softcap }));
    expect(error).toMatchObject({ code: 'ERR_ARG_VALUE', message: expect.stringContaining('softcap') });
  });

  it('name a softcap that was forgotten, or one too many', () => {
    const logits = Float32Array.from(random.normals(6 * 20, 20));
    const rows = { logits, vocabSize: 20, labels: Int32Array.from({ length: 6 }, (_, i) => 3 * i) };
    const plain = tokenLogps(rows).logps;
    const capped = tokenLogps({ ...rows, softcap: 30 }).logps;
    expect(checkLogps({ ...rows, softcap: 30, logps: capped }).ok).toBe(true);
    expect(checkLogps({ ...rows, softcap: 30, logps: plain }).suspicion).toBe('another-softcap');
    expect(checkLogps({ ...rows, logps: capped }).suspicion).toBe('another-softcap');
  });
});
