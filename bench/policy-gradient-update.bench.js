import {
  linearLogps,
  linearLogpsBackward,
  policyGradientUpdate,
  setThreads,
  tokenLogps,
  tokenLogpsBackward,
  useBackend,
} from 'sweet-rl';
import { policyGradientLoss } from 'sweet-rl/objectives';
import { labelsOf, linearHeadOf, logitsOf } from './data.js';
import { callsOf, startPolicyPeers } from './peers.js';

/** The whole update in one call, in separate calls, and the same loss in PyTorch: clipped ratios, KL, with and without entropy. */
export async function* cases({ quick, backend, threadCounts, report }) {
  const threads = Math.max(...threadCounts);
  const shape = { rows: quick ? 512 : 4096, vocab: 32_768, dtype: 'float32', backend, threads };
  for (const entropyCoef of [0, 0.01]) {
    yield* updateCases({ ...shape, entropyCoef }, report);
    yield* updateCases({ ...shape, width: 896, entropyCoef }, report);
  }
}

async function* updateCases({ entropyCoef, ...shape }, report) {
  const { rows, width, vocab, backend, threads } = shape;
  const spread = (scale, from) =>
    Float32Array.from({ length: rows }, (_, i) => from + scale * (((i * 37) % 101) / 101));
  const head = width ? linearHeadOf(rows, width, vocab, 'float32') : { logits: logitsOf(rows * vocab) };
  const tokens = { ...head, labels: labelsOf(rows, vocab), vocabSize: vocab };
  const ofLoss = {
    advantages: spread(4, -2),
    oldLogps: spread(1, -11),
    refLogps: spread(1, -11),
    klCoef: 0.01,
    entropyCoef,
  };
  const out = width
    ? { gradHidden: new Float32Array(rows * width), gradWeight: new Float32Array(vocab * width) }
    : { gradLogits: new Float32Array(rows * vocab) };
  const [forward, backward] = width ? [linearLogps, linearLogpsBackward] : [tokenLogps, tokenLogpsBackward];
  const entropy = entropyCoef !== 0;
  useBackend(backend);
  setThreads(threads);

  const running = await startPolicyPeers({ ...shape, entropyCoef }, report);
  yield {
    op: `policyGradientUpdate${width ? ' from hidden states' : ''}${entropy ? ', entropy' : ''}`,
    ...shape,
    // Two passes over hidden states take 8 N H V FLOP, one takes 6; logits are read once and written once.
    work: width ? { amount: 6 * rows * width * vocab, unit: 'GFLOP/s' } : { amount: 8 * rows * vocab, unit: 'GB/s' },
    implementations: {
      'sweet-rl': () => policyGradientUpdate({ ...tokens, ...ofLoss, out }),
      'sweet-rl, separate calls': () => {
        const rowsOf = forward({ ...tokens, entropy });
        const { gradLogps, gradEntropy } = policyGradientLoss({
          ...ofLoss,
          logps: rowsOf.logps,
          entropy: rowsOf.entropy,
        });
        const ofEntropy = entropy ? { entropy: rowsOf.entropy, gradEntropy } : {};
        backward({ ...tokens, lse: rowsOf.lse, gradLogps, ...ofEntropy, out });
      },
      ...callsOf(running, 'forwardBackward'),
    },
  };
  for (const { close } of running) close?.();
}
