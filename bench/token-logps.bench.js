import { backends, tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { labelsOf, logitsOf, toBfloat16 } from './data.js';
import { readLimit, updateLimit } from './machine.js';
import { plainRows } from './plain.js';

const gigabytes = (bytes) => ({ amount: bytes, unit: 'GB/s' });

/** The forward pass reads every logit once; the backward pass in place reads and writes it. */
function* rowCases({ rows, vocab, dtype, backend, threads, entropy = true }) {
  const numbers = logitsOf(rows * vocab);
  const logits = dtype === 'bfloat16' ? toBfloat16(numbers) : numbers;
  const labels = labelsOf(rows, vocab);
  const input = { logits, labels, ...(dtype === 'bfloat16' ? { dtype } : {}) };
  const gradLogps = new Float32Array(rows).fill(1e-3);
  const { lse } = tokenLogps(input);
  const shape = { rows, vocab, dtype, backend, threads };
  const forward = { 'sweet-rl': () => tokenLogps(input) };
  if (entropy) forward['sweet-rl, entropy'] = () => tokenLogps({ ...input, entropy: true });
  yield {
    op: 'tokenLogps',
    ...shape,
    limit: readLimit(logits, threads),
    work: gigabytes(logits.byteLength),
    contenders: forward,
  };
  yield {
    op: 'tokenLogpsBackward in place',
    ...shape,
    limit: updateLimit(logits, threads),
    work: gigabytes(2 * logits.byteLength),
    contenders: {
      'sweet-rl': () => tokenLogpsBackward({ ...input, lse, gradLogps, out: { gradLogits: logits } }),
    },
  };
}

export async function* cases({ quick, backend: best, threadCounts, peers }) {
  // Those of AVX-512 differ in matrix products alone.
  const differs = (name) => name !== best && !(name.startsWith('avx512') && best.startsWith('avx512'));
  const others = backends().flatMap(({ name, available }) => (available && differs(name) ? [name] : []));
  const most = Math.max(...threadCounts);
  for (const threads of threadCounts) {
    for (const dtype of ['float32', 'bfloat16']) {
      yield* rowCases({ rows: quick ? 128 : 512, vocab: 128_256, dtype, backend: best, threads });
    }
  }
  for (const backend of others) {
    for (const dtype of ['float32', 'bfloat16']) {
      yield* rowCases({ rows: quick ? 128 : 512, vocab: 128_256, dtype, backend, threads: most, entropy: false });
    }
  }
  for (const vocab of quick ? [] : [50_257, 151_936, 256_000]) {
    yield* rowCases({ rows: 256, vocab, dtype: 'float32', backend: best, threads: most, entropy: false });
  }
  yield* smallCases(best);
  yield* peerCases({ backend: best, threads: most, peers });
}

/** What a call costs that has next to no work. */
function* smallCases(backend) {
  for (const [rows, vocab] of [
    [8, 65],
    [128, 65],
  ]) {
    const input = { logits: logitsOf(rows * vocab), labels: labelsOf(rows, vocab) };
    const plain = plainRows(input, vocab);
    yield {
      op: 'tokenLogps',
      rows,
      vocab,
      dtype: 'float32',
      backend,
      threads: 1,
      work: { amount: 0 },
      contenders: { 'sweet-rl': () => tokenLogps(input), 'plain JavaScript': plain.forward },
    };
  }
}

/** Forward and backward as every library does them: from logits to the gradient of the summed log-probs. */
async function* peerCases({ backend, threads, peers }) {
  const [rows, vocab] = [128, 128_256];
  const logits = logitsOf(rows * vocab);
  const labels = labelsOf(rows, vocab);
  const gradLogps = new Float32Array(rows).fill(1);
  const gradLogits = new Float32Array(logits.length);
  const ours = () => {
    const { lse } = tokenLogps({ logits, labels });
    tokenLogpsBackward({ logits, labels, lse, gradLogps, out: { gradLogits } });
  };
  const running = await peers({ logits, labels, rows, vocab, threads });
  const both = running.flatMap(({ name, both }) => (both ? [[name, both]] : []));
  const forward = running.flatMap(({ name, forward }) => (forward ? [[name, forward]] : []));
  const shape = { rows, vocab, dtype: 'float32', backend, threads };
  yield {
    op: 'logits -> log-probs',
    ...shape,
    work: gigabytes(logits.byteLength),
    contenders: { 'sweet-rl': () => tokenLogps({ logits, labels }), ...Object.fromEntries(forward) },
  };
  yield {
    op: 'logits -> gradient',
    ...shape,
    work: gigabytes(3 * logits.byteLength),
    contenders: { 'sweet-rl': ours, ...Object.fromEntries(both) },
  };
  for (const { close } of running) close?.();
}
