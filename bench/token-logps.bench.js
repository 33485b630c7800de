import { backends, tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { labelsOf, logitsOf, toBfloat16 } from './data.js';
import { readRoofline, updateRoofline } from './machine.js';
import { callsOf, startPeers } from './peers.js';
import { plainRows } from './plain.js';

const gigabytes = (bytes) => ({ amount: bytes, unit: 'GB/s' });

/** The forward pass reads every logit once. The backward pass in place reads and writes every logit once. */
function* rowCases({ rows, vocab, dtype, backend, threads, entropy = true }) {
  const values = logitsOf(rows * vocab);
  const logits = dtype === 'bfloat16' ? toBfloat16(values) : values;
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
    roofline: readRoofline(logits, threads),
    work: gigabytes(logits.byteLength),
    implementations: forward,
  };
  yield {
    op: 'tokenLogpsBackward in place',
    ...shape,
    roofline: updateRoofline(logits, threads),
    work: gigabytes(2 * logits.byteLength),
    implementations: {
      'sweet-rl': () => tokenLogpsBackward({ ...input, lse, gradLogps, out: { gradLogits: logits } }),
    },
  };
}

export async function* cases({ quick, backend: best, threadCounts, report }) {
  // The two AVX-512 backends differ only in matrix products.
  const differs = (name) => name !== best && !(name.startsWith('avx512') && best.startsWith('avx512'));
  const others = backends().flatMap(({ name, available }) => (available && differs(name) ? [name] : []));
  const maxThreads = Math.max(...threadCounts);
  for (const threads of threadCounts) {
    for (const dtype of ['float32', 'bfloat16']) {
      yield* rowCases({ rows: quick ? 128 : 512, vocab: 128_256, dtype, backend: best, threads });
    }
  }
  for (const backend of others) {
    for (const dtype of ['float32', 'bfloat16']) {
      yield* rowCases({ rows: quick ? 128 : 512, vocab: 128_256, dtype, backend, threads: maxThreads, entropy: false });
    }
  }
  for (const vocab of quick ? [] : [50_257, 151_936, 256_000]) {
    yield* rowCases({ rows: 256, vocab, dtype: 'float32', backend: best, threads: maxThreads, entropy: false });
  }
  yield* smallCases(best);
  yield* peerCases({ backend: best, threads: maxThreads, report });
}

/** The overhead of a call: very small inputs. */
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
      implementations: { 'sweet-rl': () => tokenLogps(input), 'plain JavaScript': plain.forward },
    };
  }
}

/** From logits to log-probs, and to the gradient of their sum, in every library. */
async function* peerCases({ backend, threads, report }) {
  const [rows, vocab] = [128, 128_256];
  const logits = logitsOf(rows * vocab);
  const labels = labelsOf(rows, vocab);
  const gradLogps = new Float32Array(rows).fill(1);
  const gradLogits = new Float32Array(logits.length);
  const ours = () => {
    const { lse } = tokenLogps({ logits, labels });
    tokenLogpsBackward({ logits, labels, lse, gradLogps, out: { gradLogits } });
  };
  const running = await startPeers({ logits, labels, rows, vocab, threads }, report);
  const shape = { rows, vocab, dtype: 'float32', backend, threads };
  yield {
    op: 'logits -> log-probs',
    ...shape,
    work: gigabytes(logits.byteLength),
    implementations: { 'sweet-rl': () => tokenLogps({ logits, labels }), ...callsOf(running, 'forward') },
  };
  yield {
    op: 'logits -> gradient',
    ...shape,
    work: gigabytes(3 * logits.byteLength),
    implementations: { 'sweet-rl': ours, ...callsOf(running, 'forwardBackward') },
  };
  for (const { close } of running) close?.();
}
