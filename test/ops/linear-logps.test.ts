/** linearLogps and linearLogpsBackward against the oracle, on every backend. */
import { linearLogps, linearLogpsBackward, tokenLogps } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { centralDifferences, weightedSum } from '../helpers/differences.ts';
import {
  expectedOf,
  expectLinearGradients,
  headsWithDroppedRows,
  inputsOf,
  type LinearCase,
  randomHead,
} from '../helpers/linear.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { DTYPES, type DType, padRows, sharedView, shifted } from '../helpers/storage.ts';
import { type VectorCase, vectorCases } from '../helpers/vectors.ts';
import {
  linearLogits,
  linearLogps as oracle,
  linearLogpsBackward as oracleBackward,
} from '../reference/linear-logps.ts';

const GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;
const INPUTS = [
  ['gradHidden', 'hidden'],
  ['gradWeight', 'weight'],
  ['gradBias', 'bias'],
] as const;

interface VectorOptions {
  temperature: number;
  ignoreIndex: number;
  vocabSize: number;
  hiddenSize: number;
  hiddenStride?: number;
  weightLayout?: 'VH' | 'HV';
  frozenWeight?: true;
  frozenHidden?: true;
}

/** Odd sizes around the tiles' edges, single rows, columns and words, every option. */
function casesOf(dtype: DType): LinearCase[] {
  return [
    randomHead({ N: 1, H: 1, V: 1, dtype }),
    randomHead({ N: 1, H: 7, V: 2, dtype, withBias: true }),
    randomHead({ N: 5, H: 1, V: 65, dtype }),
    randomHead({ N: 7, H: 33, V: 63, dtype }, { temperature: 0.7 }),
    randomHead({ N: 13, H: 17, V: 129, dtype, withBias: true }, { temperature: 1.9 }),
    randomHead({ N: 67, H: 31, V: 257, dtype, withBias: true }),
    randomHead({ N: 2, H: 96, V: 4099, dtype }),
    randomHead({ N: 301, H: 5, V: 3, dtype, withBias: true }),
    // More rows and words than one block of either pass holds.
    randomHead({ N: 1101, H: 3, V: 5, dtype }),
    randomHead({ N: 530, H: 6, V: 1050, dtype, withBias: true }),
    ...headsWithDroppedRows(dtype),
    {
      ...randomHead({ N: 3, H: 9, V: 21, dtype, withBias: true }, { mask: new Uint8Array(3) }),
      name: `everything masked, ${dtype}`,
    },
  ];
}

const cases = DTYPES.flatMap(casesOf).map((head) => ({ ...head, expected: expectedOf(head) }));
const vectors = vectorCases<{ temperature: number; ignoreIndex: number }>('linear_logps').map((vector) => ({
  name: vector.name,
  vector,
  head: vectorHead(vector),
}));

function vectorHead(vector: VectorCase<{ temperature: number; ignoreIndex: number }>): LinearCase {
  const { data: hidden, dtype } = vector.stored('hidden');
  const [V, H] = vector.shape('weight') as [number, number];
  const bias = vector.has('bias');
  return {
    name: vector.name,
    H,
    V,
    dtype,
    hidden,
    weight: vector.stored('weight').data,
    ...(bias && { bias: vector.stored('bias').data }),
    labels: vector.integers('labels'),
    gradLogps: vector.floats('grad_logps'),
    options: vector.options,
    values: {
      hidden: vector.values('hidden'),
      weight: vector.values('weight'),
      ...(bias && { bias: vector.values('bias') }),
    },
  };
}

function runBoth(head: LinearCase) {
  const forward = linearLogps({ ...inputsOf(head), entropy: true });
  const backward = linearLogpsBackward({ ...inputsOf(head), lse: forward.lse, gradLogps: head.gradLogps });
  return { ...forward, ...backward };
}

function expectSameResults(ours: ReturnType<typeof runBoth>, expected: ReturnType<typeof runBoth>): void {
  for (const name of ['logps', 'lse', 'entropy', ...GRADIENTS] as const) {
    if (expected[name]) expectSameBits(name, ours[name]!, expected[name]);
  }
}

describe('the oracle', () => {
  it.each(vectors)('agrees with the vector $name', ({ vector, head }) => {
    const inputs = { ...head.values, labels: head.labels, gradLogps: head.gradLogps, ...vector.options };
    const exact = (x: number) => 1e-11 + 1e-11 * Math.abs(x);
    expectClose('logps', oracle(inputs).logps, vector.values('expected.logps'), exact);
    expectClose('lse', oracle(inputs).lse, vector.values('expected.lse'), exact);
    const gradients = oracleBackward(inputs);
    expectClose('gradHidden', gradients.gradHidden, vector.values('expected.grad_hidden'), exact);
    expectClose('gradWeight', gradients.gradWeight, vector.values('expected.grad_weight'), exact);
    if (vector.has('bias')) expectClose('gradBias', gradients.gradBias, vector.values('expected.grad_bias'), exact);
  });

  it('has the gradient of its log-probs', () => {
    const { values, labels, gradLogps } = randomHead({ N: 3, H: 4, V: 5, dtype: 'float32', withBias: true });
    const inputs = { ...values, labels, temperature: 0.8 };
    const gradients = oracleBackward({ ...inputs, gradLogps });
    for (const [name, input] of INPUTS) {
      const differences = centralDifferences(values[input]!, 1e-5, (moved) =>
        weightedSum(oracle({ ...inputs, [input]: moved }).logps, gradLogps),
      );
      expectClose(name, differences, gradients[name], () => 1e-9);
    }
  });
});

forEachBackend(() => {
  describe.each([...cases, ...vectors.map(({ head }) => ({ ...head, expected: expectedOf(head) }))])(
    '$name',
    (each) => {
      const { expected, ...head } = each;

      it('gives log-probs, lse and entropy', () => {
        const { logps, lse, entropy } = linearLogps({ ...inputsOf(head), entropy: true });
        expectClose('logps', logps, expected.logps, expected.rowTolerance);
        expectClose('lse', lse, expected.lse, expected.rowTolerance);
        // dH/dz_v = -p_v (log p_v + H), whose magnitudes add up to 2 H at most.
        expectClose('entropy', entropy!, expected.entropy, (x, i) => (1 + x) * expected.rowTolerance(x, i));
      });

      it('gives the gradients', () => {
        const gradients = runBoth(head);
        expect(gradients.gradHidden).toBeInstanceOf(Float32Array);
        expect(gradients.gradWeight).toBeInstanceOf(Float32Array);
        expect(gradients.gradBias?.length).toBe(head.bias?.length);
        expectLinearGradients(gradients, expected);
      });

      it('gives the same gradients where others are frozen, and not those', () => {
        const { lse, gradHidden, gradWeight, gradBias } = runBoth(head);
        const inputs = { ...inputsOf(head), lse, gradLogps: head.gradLogps };
        const { gradHidden: ofHidden, ...noWeight } = linearLogpsBackward({ ...inputs, frozenWeight: true });
        expectSameBits('gradHidden', ofHidden, gradHidden);
        expect(noWeight).toEqual({});
        const ofWeight = linearLogpsBackward({ ...inputs, frozenHidden: true });
        expectSameBits('gradWeight', ofWeight.gradWeight, gradWeight);
        if (gradBias) expectSameBits('gradBias', ofWeight.gradBias!, gradBias);
        expect(Object.keys(ofWeight)).toEqual(gradBias ? ['gradWeight', 'gradBias'] : ['gradWeight']);
      });
    },
  );

  describe.each(DTYPES)('%s', (dtype) => {
    const head = randomHead({ N: 37, H: 33, V: 301, dtype, withBias: true });

    it('adds into out when asked to accumulate', () => {
      const once = runBoth(head);
      const out = {
        gradHidden: once.gradHidden.map((_, i) => i % 5),
        gradWeight: once.gradWeight.map((_, i) => i % 7),
        gradBias: once.gradBias!.map((_, i) => i % 3),
      };
      const inputs = { ...inputsOf(head), lse: once.lse, gradLogps: head.gradLogps };
      const result = linearLogpsBackward({ ...inputs, accumulate: true, out });
      for (const name of GRADIENTS) {
        const modulus = { gradHidden: 5, gradWeight: 7, gradBias: 3 }[name];
        const expected = Float64Array.from(once[name]!, (g, i) => (i % modulus) + g);
        expect(result[name]).toBe(out[name]);
        // The sum may be formed in another order than "what was there plus the whole": some roundings at its size.
        expectClose(name, out[name], expected, (x) => 2e-6 + 2e-6 * Math.abs(x));
      }
    });

    it('accumulates the gradients that are not frozen', () => {
      const { lse, gradHidden, gradWeight, gradBias } = runBoth(head);
      const inputs = { ...inputsOf(head), lse, gradLogps: head.gradLogps };
      const hidden = { gradHidden: new Float32Array(gradHidden.length).fill(1) };
      const weight = { gradWeight: new Float32Array(gradWeight.length), gradBias: new Float32Array(gradBias!.length) };
      linearLogpsBackward({ ...inputs, frozenWeight: true, accumulate: true, out: hidden });
      linearLogpsBackward({ ...inputs, frozenHidden: true, accumulate: true, out: weight });
      const plusOne = Float64Array.from(gradHidden, (g) => 1 + g);
      expectClose('gradHidden', hidden.gradHidden, plusOne, (x) => 2e-6 + 2e-6 * Math.abs(x));
      expectClose('gradWeight', weight.gradWeight, gradWeight, (x) => 2e-6 + 2e-6 * Math.abs(x));
      expectClose('gradBias', weight.gradBias, gradBias!, (x) => 2e-6 + 2e-6 * Math.abs(x));
    });

    it('overwrites out when not asked to accumulate', () => {
      const expected = runBoth(head);
      const out = {
        gradHidden: shifted(expected.gradHidden, 3).fill(7),
        gradWeight: shifted(expected.gradWeight, 1).fill(NaN),
        gradBias: sharedView(expected.gradBias!).fill(7),
      };
      linearLogpsBackward({ ...inputsOf(head), lse: expected.lse, gradLogps: head.gradLogps, out });
      for (const name of GRADIENTS) expectSameBits(name, out[name], expected[name]!);
    });

    it('gives the same bits for any number of threads', () => {
      const wide = randomHead({ N: 131, H: 47, V: 1501, dtype, withBias: true });
      const [first, ...others] = underThreadCounts(() => runBoth(wide));
      for (const { result } of others) expectSameResults(result, first!.result);
    });

    it('gives the same bits from views at any offset and from shared memory', () => {
      const plain = runBoth(head);
      for (const offset of [1, 3, 6]) {
        const view = <T extends LinearCase['hidden']>(array: T) => shifted(array, offset);
        expectSameResults(
          runBoth({ ...head, hidden: view(head.hidden), weight: view(head.weight), bias: view(head.bias!) }),
          plain,
        );
      }
      expectSameResults(runBoth({ ...head, hidden: sharedView(head.hidden), weight: sharedView(head.weight) }), plain);
    });

    it('gives the same bits from hidden states with elements between them, whose gradient is dense', () => {
      const plain = runBoth(head);
      const { H, V } = head;
      const stride = H + 4;
      for (const padLastRow of [true, false]) {
        const hidden = padRows(head.hidden, H, stride, dtype, padLastRow);
        const options = { ...head.options, hiddenStride: stride, hiddenSize: H };
        expectSameResults(runBoth({ ...head, hidden, options }), plain);
        expectSameResults(runBoth({ ...head, hidden, options: { hiddenStride: stride, vocabSize: V } }), plain);
      }
      const ragged = padRows(head.hidden, H, stride, dtype, false);
      const { labels, weight } = head;
      const inferred = linearLogps({ hidden: ragged, weight, dtype, labels, hiddenStride: stride });
      const dense = linearLogps({ hidden: head.hidden, weight, dtype, labels });
      expectSameBits('logps', inferred.logps, dense.logps);
    });

    it('agrees with tokenLogps on the logits of the same head', () => {
      const exact = linearLogits({ ...head.values, labels: head.labels });
      const { logps } = tokenLogps({ logits: Float32Array.from(exact), labels: head.labels });
      const expected = expectedOf(head);
      expectClose('logps', linearLogps(inputsOf(head)).logps, logps, expected.rowTolerance);
    });
  });

  it.each(vectorCases<VectorOptions>('linear_logps_options').map((vector) => ({ name: vector.name, vector })))(
    'agrees with the vector $name of options of a head',
    ({ vector }) => {
      const { frozenWeight, frozenHidden, ...options } = vector.options;
      const { data: hidden, dtype } = vector.stored('hidden');
      const bias = vector.has('bias') ? { bias: vector.stored('bias').data } : {};
      const labels = vector.integers('labels');
      const { data: weight, dtype: weightDtype } = vector.stored('weight');
      const types = { dtype, ...(weightDtype !== dtype && { weightDtype }) };
      const mask = vector.mask();
      const head = { hidden, weight, ...bias, ...types, labels, ...(mask && { mask }), ...options };
      const relative = weightDtype === dtype ? { float32: 2e-5, float16: 5e-4, bfloat16: 4e-3 }[dtype] : 2e-5;
      const forward = linearLogps({ ...head, entropy: true });
      for (const name of ['logps', 'lse', 'entropy'] as const) {
        const tolerance = name === 'entropy' ? 1e-4 : 1e-5;
        expectClose(name, forward[name]!, vector.values(`expected.${name}`), (x) => tolerance * (1 + Math.abs(x)));
      }
      const frozen: { frozenWeight?: boolean; frozenHidden?: boolean } = {
        ...(frozenWeight && { frozenWeight }),
        ...(frozenHidden && { frozenHidden }),
      };
      const gradLogps = vector.floats('grad_logps');
      const gradients = linearLogpsBackward({ ...head, ...frozen, lse: forward.lse, gradLogps });
      for (const name of GRADIENTS) {
        const tensor = `expected.${name.replace(/[A-Z]/, (letter) => `_${letter.toLowerCase()}`)}`;
        expect(name in gradients, name).toBe(vector.has(tensor));
        if (!vector.has(tensor)) continue;
        const expected = vector.values(tensor);
        const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        expectClose(name, gradients[name]!, expected, () => relative * largest);
      }
    },
  );

  it('takes no rows at all', () => {
    const empty = new Float32Array(0);
    const head = { hidden: empty, weight: new Float32Array(12), bias: new Float32Array(4), labels: new Int32Array(0) };
    expect(linearLogps(head).logps).toEqual(empty);
    const gradients = linearLogpsBackward({ ...head, lse: empty, gradLogps: empty });
    expect(gradients).toEqual({ gradHidden: empty, gradWeight: new Float32Array(12), gradBias: new Float32Array(4) });
  });

  it('takes labels as BigInt64Array', () => {
    const head = randomHead({ N: 5, H: 4, V: 30, dtype: 'float32' });
    const labels = BigInt64Array.from(head.labels, BigInt);
    const { logps, lse } = linearLogps({ ...inputsOf(head), labels });
    const gradients = linearLogpsBackward({ ...inputsOf(head), labels, lse, gradLogps: head.gradLogps });
    expectSameResults({ ...runBoth(head), logps, ...gradients }, runBoth(head));
  });

  it('gives -inf and NaN as the logits would', () => {
    const head = randomHead({ N: 3, H: 4, V: 50, dtype: 'float32', withBias: true });
    const bias = (head.bias as Float32Array).map((b, v) => (v % 3 === 0 ? -Infinity : b));
    const hidden = head.hidden.slice();
    hidden[4] = NaN;
    const { logps, lse } = linearLogps({ ...inputsOf(head), hidden, bias, labels: Int32Array.of(3, 1, 4) });
    expect(logps[0]).toBe(-Infinity);
    expect([lse[0], logps[2], lse[2]].every(Number.isFinite)).toBe(true);
    expect([logps[1], lse[1]]).toEqual([NaN, NaN]);
  });

  it('has the gradients that finite differences give', () => {
    const head = randomHead({ N: 3, H: 4, V: 6, dtype: 'float32', withBias: true }, { temperature: 0.9 });
    const gradients = runBoth(head);
    for (const [name, input] of INPUTS) {
      const differences = centralDifferences(head[input]!, 2 ** -6, (moved) =>
        weightedSum(linearLogps({ ...inputsOf(head), [input]: Float32Array.from(moved) }).logps, head.gradLogps),
      );
      expectClose(name, gradients[name]!, differences, () => 5e-4);
    }
  });
});
