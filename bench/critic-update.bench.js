import { criticUpdate, tokenLogps, tokenLogpsBackward, trajectoryPreferenceLoss } from 'sweet-rl';
import { labelsOf, logitsOf, pairsOf } from './data.js';
import { plainCritic } from './plain.js';

/** The whole update in one call, in separate calls, and in plain JavaScript. */
export function* cases({ backend, threadCounts }) {
  for (const threads of threadCounts)
    yield updateCase({ rows: 128, vocab: 128_256, tokensPerTurn: 16, backend, threads });
  yield updateCase({ rows: 8, vocab: 65, tokensPerTurn: 2, backend, threads: 1 });
}

function updateCase({ rows, vocab, tokensPerTurn, backend, threads }) {
  const logits = logitsOf(rows * vocab);
  const labels = labelsOf(rows, vocab);
  const refLogps = new Float32Array(rows).fill(-Math.log(vocab));
  const pair = pairsOf(rows, tokensPerTurn, 1);
  const gradLogits = new Float32Array(logits.length);
  return {
    op: 'criticUpdate',
    rows,
    vocab,
    dtype: 'float32',
    backend,
    threads,
    work: vocab > 1000 ? { amount: 3 * logits.byteLength, unit: 'GB/s' } : undefined,
    implementations: {
      'sweet-rl': () => criticUpdate({ logits, labels, refLogps, ...pair, out: { gradLogits } }),
      'sweet-rl, separate calls': () => {
        const { logps, lse } = tokenLogps({ logits, labels });
        const { gradLogps } = trajectoryPreferenceLoss({ logps, refLogps, ...pair });
        tokenLogpsBackward({ logits, labels, lse, gradLogps, out: { gradLogits } });
      },
      'plain JavaScript': plainCritic({ logits, labels, refLogps, ...pair }, vocab),
    },
  };
}
