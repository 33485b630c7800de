// What the options of a head cost: each as a ratio to the plain call on the same arrays, timed in turn with it. The goals are
// upper limits of the ratio.
import { criticUpdate, linearLogps, linearLogpsBackward, tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { headShapes, labelsOf, linearHeadOf, logitsOf, pairsOf, toBfloat16 } from './data.js';

export function* cases(context) {
  const { logits, linear } = headShapes(context);
  for (const shape of logits) yield* logitsCases(shape);
  for (const shape of linear) yield* linearCases(shape);
}

const SOFTCAP = { softcap: 30 };

/** The calls of a forward pass that logits and linear heads have. */
const forwardCalls = (call) => ({
  plain: () => call({}),
  argmax: () => call({ argmax: true }),
  sumSquaredProbs: () => call({ sumSquaredProbs: true }),
  softcap: () => call(SOFTCAP),
});

/**
 * A pass over logits in memory has time for the arithmetic of most options, one over logits in a cache has less. A softcap has
 * a goal for float32 in memory only.
 */
function* logitsCases({ inCache, ...shape }) {
  const { rows, vocab, dtype } = shape;
  const values = logitsOf(rows * vocab);
  const logits = dtype === 'bfloat16' ? toBfloat16(values) : values;
  const input = { logits, labels: labelsOf(rows, vocab), dtype };
  const arithmetic = (goal) => (inCache ? 1.2 : goal);
  const softcapGoal = (goal) => (dtype === 'float32' && !inCache ? goal : undefined);
  yield {
    op: 'tokenLogps',
    ...shape,
    implementations: forwardCalls((options) => tokenLogps({ ...input, ...options })),
    costs: {
      base: ['plain'],
      goals: { argmax: arithmetic(1.05), sumSquaredProbs: arithmetic(1.05), softcap: softcapGoal(2.5) },
    },
  };
  const { lse, entropy } = tokenLogps({ ...input, entropy: true });
  const { gradLogps, gradEntropy, gradLse } = upstream(rows);
  const backward = (options) =>
    tokenLogpsBackward({ ...input, lse, gradLogps, ...options, out: { gradLogits: logits } });
  yield {
    op: 'tokenLogpsBackward in place',
    ...shape,
    implementations: {
      plain: () => backward(),
      gradLse: () => backward({ gradLse }),
      gradEntropy: () => backward({ gradEntropy, entropy }),
      softcap: () => backward(SOFTCAP),
    },
    costs: {
      base: ['plain'],
      goals: { gradLse: arithmetic(1.02), gradEntropy: arithmetic(1.05), softcap: softcapGoal(2.2) },
    },
  };
}

/** A pass over a linear head is limited by arithmetic. The layout [H, V] is tried with the same numbers in the other order. */
function* linearCases(shape) {
  const { rows, width, vocab, dtype } = shape;
  const { hidden, weight } = linearHeadOf(rows, width, vocab, dtype);
  const sizes = { hiddenSize: width, vocabSize: vocab, labels: labelsOf(rows, vocab) };
  const input = { ...sizes, hidden, weight, dtype };
  const HV = { weightLayout: 'HV' };
  // Types are mixed in both ways, and compared with float32 alone.
  const mixed = {};
  if (dtype === 'float32') {
    mixed['hidden bfloat16'] = { hidden: toBfloat16(hidden), dtype: 'bfloat16', weightDtype: 'float32' };
    mixed['weight bfloat16'] = { weight: toBfloat16(weight), weightDtype: 'bfloat16' };
  }
  const perMixed = (value) => Object.fromEntries(Object.keys(mixed).map((name) => [name, value(name)]));
  yield {
    op: 'linearLogps',
    ...shape,
    implementations: {
      ...forwardCalls((options) => linearLogps({ ...input, ...options })),
      'layout HV': () => linearLogps({ ...input, ...HV }),
      ...perMixed((name) => () => linearLogps({ ...input, ...mixed[name] })),
    },
    costs: {
      base: ['plain'],
      goals: { argmax: 1.2, sumSquaredProbs: 1.2, softcap: 1.05, 'layout HV': 1.05, ...perMixed(() => 1.05) },
    },
  };

  const { lse, entropy } = linearLogps({ ...input, entropy: true });
  const { gradLogps, gradEntropy, gradLse } = upstream(rows);
  const gradHidden = new Float32Array(rows * width);
  const gradWeight = new Float32Array(vocab * width);
  const frozen = {
    frozenWeight: { frozenWeight: true, out: { gradHidden } },
    frozenHidden: { frozenHidden: true, out: { gradWeight } },
  };
  const backward = (options) =>
    linearLogpsBackward({ ...input, lse, gradLogps, out: { gradHidden, gradWeight }, ...options });
  yield {
    op: 'linearLogpsBackward',
    ...shape,
    implementations: {
      plain: () => backward(),
      gradLse: () => backward({ gradLse }),
      gradEntropy: () => backward({ gradEntropy, entropy }),
      softcap: () => backward(SOFTCAP),
      'layout HV': () => backward(HV),
      ...perMixed((name) => () => backward(mixed[name])),
      frozenWeight: () => backward(frozen.frozenWeight),
      frozenHidden: () => backward(frozen.frozenHidden),
    },
    costs: {
      base: ['plain'],
      goals: {
        ...{ gradLse: 1.2, gradEntropy: 1.2, softcap: 1.05, 'layout HV': 1.05, ...perMixed(() => 1.05) },
        ...{ frozenWeight: 0.72, frozenHidden: 0.72 },
      },
    },
  };

  const batch = { refLogps: new Float32Array(rows).fill(-Math.log(vocab)), ...pairsOf(rows, 64, 1) };
  const update = (options) => criticUpdate({ ...input, ...batch, out: { gradHidden, gradWeight }, ...options });
  yield {
    op: 'criticUpdate',
    ...shape,
    implementations: {
      plain: () => update(),
      frozenWeight: () => update(frozen.frozenWeight),
      frozenHidden: () => update(frozen.frozenHidden),
    },
    costs: { base: ['plain'], goals: { frozenWeight: 0.72, frozenHidden: 0.72 } },
  };
}

const upstream = (rows) => ({
  gradLogps: new Float32Array(rows).fill(1e-3),
  gradEntropy: new Float32Array(rows).fill(-1e-5),
  gradLse: new Float32Array(rows).fill(1e-4),
});
