import {
  backends,
  criticUpdate,
  linearLogps,
  linearLogpsBackward,
  setThreads,
  trajectoryPreferenceLoss,
  useBackend,
} from 'sweet-rl';
import { labelsOf, linearHeadOf, pairsOf } from './data.js';
import { computeRoofline } from './machine.js';
import { extraMemory } from './memory.js';
import { callsOf, startLinearPeers } from './peers.js';

const DTYPES = ['float32', 'bfloat16'];
const flops = (amount) => ({ amount, unit: 'GFLOP/s' });

export async function* cases({ quick, backend, threadCounts, report }) {
  const threads = Math.max(...threadCounts);
  const shape = { rows: quick ? 128 : 512, width: 896, vocab: 32_768, threads };
  const others = backends().flatMap(({ name, available }) => (available && name !== backend ? [name] : []));
  for (const dtype of DTYPES) yield* headCases({ ...shape, dtype, backend, peers: true, report });
  for (const other of others.filter((name) => name !== 'portable')) {
    // The two AVX-512 backends differ only in their bfloat16 products.
    const dtypes = other.startsWith('avx512') ? ['bfloat16'] : DTYPES;
    for (const dtype of dtypes) yield* headCases({ ...shape, dtype, backend: other, peers: false, report });
  }
  yield updateCase({ ...shape, rows: quick ? 1024 : 4096, backend });
  if (!quick) yield* memoryCases({ rows: 8192, width: 896, vocab: 151_936, backend, threads });
}

/** 2 N H V FLOP forward, 8 N H V with the backward pass, which computes the logits again. */
async function* headCases({ rows, width, vocab, dtype, backend, threads, peers, report }) {
  const shape = { rows, width, vocab, dtype, backend, threads };
  const input = { ...linearHeadOf(rows, width, vocab, dtype), labels: labelsOf(rows, vocab) };
  const gradLogps = new Float32Array(rows).fill(1e-3);
  const operations = 2 * rows * width * vocab;
  useBackend(backend);
  setThreads(threads);
  const { lse } = linearLogps(input);
  const out = linearLogpsBackward({ ...input, lse, gradLogps });
  const backward = () => linearLogpsBackward({ ...input, lse, gradLogps, out });

  const running = peers ? await startLinearPeers({ ...input, ...shape }, report) : [];
  yield {
    op: 'linearLogps',
    ...shape,
    roofline: computeRoofline(operations, dtype, threads),
    work: flops(operations),
    implementations: {
      'sweet-rl': () => linearLogps(input),
      ...callsOf(running, 'product'),
      ...callsOf(running, 'forward'),
    },
  };
  yield {
    op: 'linearLogps and backward',
    ...shape,
    roofline: computeRoofline(4 * operations, dtype, threads),
    work: flops(4 * operations),
    implementations: {
      'sweet-rl': () => {
        linearLogps(input);
        backward();
      },
      ...callsOf(running, 'forwardBackward'),
    },
  };
  for (const { close } of running) close?.();
}

/** Eight trajectories in four pairs. One call computes the logits once, separate calls compute them twice. */
function updateCase({ rows, width, vocab, backend, threads }) {
  const input = { ...linearHeadOf(rows, width, vocab, 'float32'), labels: labelsOf(rows, vocab) };
  const refLogps = new Float32Array(rows).fill(-Math.log(vocab));
  const batch = pairsOf(rows, 64, 4);
  const out = { gradHidden: new Float32Array(rows * width), gradWeight: new Float32Array(vocab * width) };
  return {
    op: 'criticUpdate from hidden states',
    rows,
    width,
    vocab,
    dtype: 'float32',
    backend,
    threads,
    work: flops(8 * rows * width * vocab),
    implementations: {
      'sweet-rl': () => criticUpdate({ ...input, refLogps, ...batch, out }),
      'sweet-rl, separate calls': () => {
        const { logps, lse } = linearLogps(input);
        const { gradLogps } = trajectoryPreferenceLoss({ logps, refLogps, ...batch });
        linearLogpsBackward({ ...input, lse, gradLogps, out });
      },
    },
  };
}

/** Memory beyond inputs and outputs; the logits alone would take 5 GB. */
function* memoryCases(shape) {
  for (const op of ['linearLogps', 'linearLogpsBackward']) {
    yield {
      op: `${op}, extra memory`,
      ...shape,
      dtype: 'float32',
      memory: { 'sweet-rl': () => extraMemory({ op, ...shape }) },
    };
  }
}
