// What divergences cost, as ratios to the log-probs of the same heads, timed in turn with them. The goals are upper limits of
// the ratio.
import {
  linearDivergence,
  linearDivergenceBackward,
  linearLogps,
  tokenDivergence,
  tokenDivergenceBackward,
  tokenLogps,
  tokenLogpsBackward,
} from 'sweet-rl';
import { headShapes, labelsOf, linearHeadOf, logitsOf, toBfloat16 } from './data.js';
import { readCall } from './machine.js';

const DIVERGENCES = ['forward_kl', 'reverse_kl', 'jsd'];
const TOP_K = 64;

export function* cases(context) {
  const { logits, linear } = headShapes(context);
  for (const shape of logits) yield* logitsCases(shape);
  for (const shape of linear) yield* linearCases(shape);
}

const perDivergence = (value) => Object.fromEntries(DIVERGENCES.map((name) => [name, value(name)]));

/** The student's and the teacher's logits: two forward passes over them, or a backward pass and one more read. */
function* logitsCases({ inCache: _, ...shape }) {
  const { rows, vocab, dtype, threads } = shape;
  const values = logitsOf(rows * vocab);
  const stored = (array) => (dtype === 'bfloat16' ? toBfloat16(array) : array);
  const [logits, teacherLogits] = [stored(values), stored(values.toReversed())];
  const labels = labelsOf(rows, vocab);
  const input = { logits, teacherLogits, vocabSize: vocab, dtype };
  yield {
    op: 'tokenDivergence',
    ...shape,
    implementations: {
      'two tokenLogps': () => {
        tokenLogps({ logits, labels, dtype });
        tokenLogps({ logits: teacherLogits, labels, dtype });
      },
      ...perDivergence((divergence) => () => tokenDivergence({ ...input, divergence })),
    },
    costs: { base: ['two tokenLogps'], goals: { forward_kl: 1.2, reverse_kl: 1.2, jsd: 4 } },
  };

  const { lse } = tokenLogps({ logits, labels, dtype });
  const saved = perDivergence((divergence) => tokenDivergence({ ...input, divergence }).saved);
  const gradients = new Float32Array(rows).fill(1e-3);
  const out = { gradLogits: logits };
  yield {
    op: 'tokenDivergenceBackward in place',
    ...shape,
    implementations: {
      'tokenLogpsBackward in place': () =>
        tokenLogpsBackward({ logits, labels, dtype, lse, gradLogps: gradients, out }),
      'one read of the teacher': readCall(teacherLogits, threads),
      ...perDivergence(
        (divergence) => () =>
          tokenDivergenceBackward({ ...input, divergence, saved: saved[divergence], gradDivergence: gradients, out }),
      ),
    },
    costs: {
      base: ['tokenLogpsBackward in place', 'one read of the teacher'],
      goals: { forward_kl: 1.5, reverse_kl: 1.5 },
    },
  };
}

/**
 * Both heads have the same shape. linearLogps makes one product of 2 N H V operations, the divergence two and its backward pass
 * four; 0.8 of the rate of linearLogps is 2.5 and 5 times its time. A top-k teacher has no product.
 */
function* linearCases(shape) {
  const { rows, width, vocab, dtype } = shape;
  const { hidden, weight } = linearHeadOf(rows, width, vocab, dtype);
  const labels = labelsOf(rows, vocab);
  const student = { hidden, weight, dtype, hiddenSize: width, vocabSize: vocab };
  const teacher = { teacherHidden: hidden.toReversed(), teacherWeight: weight.toReversed() };
  const topK = {
    divergence: 'reverse_kl',
    teacherIndices: Int32Array.from({ length: rows * TOP_K }, (_, i) => (i * 97) % vocab),
    teacherLogps: new Float32Array(rows * TOP_K).fill(-Math.log(2 * TOP_K)),
  };
  const plain = { linearLogps: () => linearLogps({ hidden, weight, dtype, labels }) };
  yield {
    op: 'linearDivergence',
    ...shape,
    implementations: {
      ...plain,
      ...perDivergence((divergence) => () => linearDivergence({ ...student, ...teacher, divergence })),
      'top 64, bucket': () => linearDivergence({ ...student, ...topK }),
      'top 64, renormalize': () => linearDivergence({ ...student, ...topK, topKTail: 'renormalize' }),
    },
    costs: {
      base: ['linearLogps'],
      goals: { ...perDivergence(() => 2.5), 'top 64, bucket': 1.1, 'top 64, renormalize': 1.1 },
    },
  };

  const out = { gradHidden: new Float32Array(rows * width), gradWeight: new Float32Array(vocab * width) };
  const gradDivergence = new Float32Array(rows).fill(1e-3);
  const saved = perDivergence((divergence) => linearDivergence({ ...student, ...teacher, divergence }).saved);
  yield {
    op: 'linearDivergenceBackward',
    ...shape,
    implementations: {
      ...plain,
      ...perDivergence((divergence) => () => {
        const given = { ...student, ...teacher, divergence, saved: saved[divergence] };
        linearDivergenceBackward({ ...given, gradDivergence, out });
      }),
    },
    costs: { base: ['linearLogps'], goals: perDivergence(() => 5) },
  };
}
