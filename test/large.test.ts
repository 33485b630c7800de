import { freemem } from 'node:os';
import { tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { expect, it } from 'vitest';

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

const bytes = (view: Uint16Array) => Buffer.from(view.buffer, view.byteOffset, view.byteLength);
