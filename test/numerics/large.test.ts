import { freemem } from 'node:os';
import { tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { forEachBackend } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, encode } from '../helpers/storage.ts';

const [N, V] = [17_000, 128_256];
const GIB = 2 ** 30;

// 4.4 GB of bfloat16. Masked rows are never read, so only the rows that count need numbers: the first, the two around
// element 2^31, and the last.
it.runIf(freemem() > 10 * GIB)('finds its rows beyond element 2^31', () => {
  const logits = new Uint16Array(N * V);
  const rows = [0, Math.floor(2 ** 31 / V), Math.ceil(2 ** 31 / V), N - 1];
  const mask = new Uint8Array(N);
  const labels = new Int32Array(N).fill(-1);
  for (const [k, i] of rows.entries()) {
    mask[i] = 1;
    labels[i] = (i * 31) % V;
    for (let v = 0; v < V; v++) logits[i * V + v] = 0x3f80 + (((v * 40503 + k) >>> 4) & 0xff);
  }
  const small = rows.map((i) => {
    const input = {
      logits: logits.slice(i * V, (i + 1) * V),
      labels: labels.slice(i, i + 1),
      dtype: 'bfloat16',
    } as const;
    const { logps, lse } = tokenLogps(input);
    const { gradLogits } = tokenLogpsBackward({ ...input, lse, gradLogps: new Float32Array([1]) });
    return { logp: logps[0], lse: lse[0], gradLogits };
  });

  const input = { logits, labels, mask, dtype: 'bfloat16' } as const;
  const { logps, lse } = tokenLogps(input);
  expect(rows.map((i) => logps[i])).toEqual(small.map(({ logp }) => logp));
  expect(rows.map((i) => lse[i])).toEqual(small.map((row) => row.lse));

  logits[(N - 2) * V] = 0x4000; // a masked row's gradient is 0 whatever stood there
  const gradLogps = new Float32Array(N).fill(1);
  tokenLogpsBackward({ ...input, lse, gradLogps, out: { gradLogits: logits } });
  for (const [k, i] of rows.entries()) {
    expect(Buffer.compare(bytes(logits.subarray(i * V, (i + 1) * V)), bytes(small[k]!.gradLogits))).toBe(0);
  }
  expect(logits[(N - 2) * V]).toBe(0);
});

// Such gradients are written past the caches, from the first aligned word of a segment on. Rows of an odd length begin at
// every place of a cache line; some words lie so far from the others that they are done a second time.
describe('a gradient of more than 32 MiB in another array', () => {
  const V = 50_257;
  const words = new Random(3).normals(V + 64, 3);
  for (let v = 0; v < words.length; v += 7001) words[v] = v % 2 === 0 ? -400 : 90;

  forEachBackend(() => {
    it.each(DTYPES)('has the bits of its rows alone: %s', (dtype) => {
      const stored = encode(words, dtype);
      const N = Math.ceil(2 ** 25 / (V * stored.BYTES_PER_ELEMENT)) + 1;
      const arrayOf = (length: number) => (dtype === 'float32' ? new Float32Array(length) : new Uint16Array(length));
      const logits = arrayOf(N * V);
      for (let i = 0; i < N; i++) logits.set(stored.subarray(i % 64, (i % 64) + V), i * V);
      const labels = Int32Array.from({ length: N }, (_, i) => (i * 7919) % V);
      labels[5] = -100;
      const gradLogps = Float32Array.from({ length: N }, (_, i) => 1e-3 * (i - 20));
      const { lse } = tokenLogps({ logits, labels, dtype });
      const whole = arrayOf(N * V + 3).fill(7);
      const gradLogits = whole.subarray(1, 1 + N * V);
      tokenLogpsBackward({ logits, labels, lse, gradLogps, dtype, out: { gradLogits } });
      for (let i = 0; i < N; i++) {
        const alone = tokenLogpsBackward({
          logits: logits.subarray(i * V, (i + 1) * V),
          labels: labels.subarray(i, i + 1),
          lse: lse.subarray(i, i + 1),
          gradLogps: gradLogps.subarray(i, i + 1),
          dtype,
        });
        expect(
          Buffer.compare(bytes(gradLogits.subarray(i * V, (i + 1) * V)), bytes(alone.gradLogits)),
          `row ${i}`,
        ).toBe(0);
      }
      expect([whole[0], whole[N * V + 1], whole[N * V + 2]]).toEqual([7, 7, 7]);
    });
  });
});

const bytes = (view: Float32Array | Uint16Array) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
