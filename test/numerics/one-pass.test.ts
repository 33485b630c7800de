/**
 * Updates from hidden states whose pairs share no unit form the gradients right after the logits and scale them later.
 * What comes out must be what the parts give: linearLogps, the loss, linearLogpsBackward.
 */
import {
  criticUpdate,
  type LinearLogpsBackwardOptions,
  linearLogps,
  linearLogpsBackward,
  policyUpdate,
  trajectoryPreferenceLoss,
  turnPreferenceLoss,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { randomHead, transposed } from '../helpers/linear.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, type DType, decode } from '../helpers/storage.ts';

// A pair of trajectories has more tokens than a chunk.
const [N, H, V, TURN] = [2800, 130, 131, 200];
const GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;

/** 14 turns in 5 trajectories; every seventh token is masked, some carry the ignored label. */
function batchOf(dtype: DType, withBias = false) {
  const head = randomHead({ N, H, V, dtype, withBias });
  const random = new Random(5);
  const labels = head.labels.map((label, i) => (i % 11 === 3 ? -100 : label));
  return {
    hidden: head.hidden,
    weight: head.weight,
    ...(head.bias && { bias: head.bias }),
    dtype,
    labels,
    mask: Uint8Array.from({ length: N }, (_, i) => Number(i % 7 !== 2)),
    refLogps: Float32Array.from({ length: N }, () => -6 + random.normal()),
    turnOffsets: Int32Array.from({ length: N / TURN + 1 }, (_, t) => t * TURN),
  };
}

const TRAJECTORIES = {
  trajectoryOffsets: Int32Array.of(0, 3, 5, 8, 12, 14),
  chosen: Int32Array.of(4, 0),
  rejected: Int32Array.of(1, 3),
};
const TURNS = { chosen: Int32Array.of(0, 5, 13, 9), rejected: Int32Array.of(7, 2, 3, 12) };

/** Some are 0; NaN at tokens that are masked or ignored. */
const TOKEN_WEIGHTS = Float32Array.from({ length: N }, (_, i) =>
  i % 7 === 2 || i % 11 === 3 ? NaN : ((i * 5) % 13) / 8,
);

const variants: [string, object][] = [
  ['plain', {}],
  ['temperature and token-mean', { temperature: 1.4, normalization: 'token-mean' }],
  ['a pair of weight 0', { pairWeights: 'without the first' }],
  ['a pair of weight 0 whose loss is infinite', { pairWeights: 'without the first', lossType: 'ipo', infinite: true }],
  ['hinge, far beyond its margin', { lossType: 'hinge', beta: 40 }],
  ['NLL', { nllCoef: 0.3 }],
  ['NLL and token-mean', { nllCoef: 0.3, normalization: 'token-mean', tokenWeights: TOKEN_WEIGHTS }],
  ['a type that is a sum of both sides', { lossType: 'nca_pair', pairWeights: 'without the first' }],
  ['the same and NLL', { lossType: ['bco_pair', 'sft'], lossWeights: [1, 0.2], normalization: 'sum' }],
  ['types of both kinds', { lossType: ['sigmoid', 'bco_pair'], lossWeights: [0.8, 0.2], beta: 0.02 }],
  ['a type of both sides, without a reference', { lossType: 'orpo', refLogps: undefined }],
  ['a type that divides by the length', { lossType: 'simpo', beta: 2, normalization: 'sum', refLogps: undefined }],
  ['types with and without a length', { lossType: ['cpo', 'sigmoid_norm'], normalization: 'sum', beta: 0.01 }],
  ['ldAlpha', { ldAlpha: 0.25, tokenWeights: TOKEN_WEIGHTS, normalization: 'token-mean' }],
  ['ldAlpha and NLL', { ldAlpha: 0.25, nllCoef: 0.1 }],
  ['weighting', { useWeighting: true, normalization: 'token-mean' }],
  ['weighting of a sum', { useWeighting: true, lossType: 'sppo_hard', beta: 0.5 }],
  ['DPO-Positive', { dpopLambda: 3, beta: 0.01 }],
  ['ranks', { lossType: 'aot', beta: 0.02 }],
  ['token weights', { tokenWeights: TOKEN_WEIGHTS }],
  ['token weights and token-mean', { tokenWeights: TOKEN_WEIGHTS, normalization: 'token-mean' }],
];

type Gradients = Partial<Record<(typeof GRADIENTS)[number], Float32Array>>;
type Result = Gradients & { logps: Float32Array; gradLogps: Float32Array; loss: number; margins: Float32Array };

/** firstToken: of the item that the first pair chooses. */
const subjects = {
  criticUpdate: {
    update: criticUpdate,
    loss: trajectoryPreferenceLoss,
    units: TRAJECTORIES,
    policy: false,
    firstToken: 12 * TURN,
  },
  policyUpdate: { update: policyUpdate, loss: turnPreferenceLoss, units: TURNS, policy: true, firstToken: 0 },
};

describe.each(Object.entries(subjects))('%s in one pass', (_, { update, loss, units, policy, firstToken }) => {
  const run = update as unknown as (options: object) => Result;
  const lossOf = loss as unknown as (options: object) => { gradLogps: Float32Array; loss: number };

  function optionsOf(variant: object, dtype: DType, withBias = false) {
    const { normalization, pairWeights, infinite, ...rest } = variant as Record<string, unknown>;
    const weights = Float32Array.from(units.chosen, (_u, p) => (p === 0 ? 0 : 1 + p));
    const batch = batchOf(dtype, withBias);
    if (infinite) batch.refLogps[firstToken] = -Infinity;
    return {
      ...batch,
      ...units,
      ...rest,
      ...(normalization !== undefined && !policy && { normalization }),
      ...(pairWeights !== undefined && { pairWeights: weights }),
    };
  }

  function partsOf({ refLogps, turnOffsets, ...options }: ReturnType<typeof optionsOf>) {
    const { hidden, weight, labels, mask, dtype } = options;
    const { bias, temperature } = options as { bias?: Float32Array; temperature?: number };
    const head = { hidden, weight, labels, mask, dtype, ...(bias && { bias }), ...(temperature && { temperature }) };
    const kept = mask.map((m, i) => Number(m !== 0 && labels[i]! >= 0));
    const { logps, lse } = linearLogps(head);
    const { trajectoryOffsets, chosen, rejected } = options as unknown as typeof TRAJECTORIES;
    const {
      dtype: _d,
      hidden: _h,
      weight: _w,
      bias: _b,
      temperature: _t,
      labels: _l,
      mask: _m,
      ...given
    } = options as Record<string, unknown>;
    const { sumSquaredProbs } = linearLogps({ ...head, sumSquaredProbs: true });
    const result = lossOf({
      logps,
      refLogps,
      mask: kept,
      turnOffsets,
      ...(trajectoryOffsets && { trajectoryOffsets }),
      chosen,
      rejected,
      ...given,
      ...(given.useWeighting === true && { sumSquaredProbs }),
    });
    const gradients = linearLogpsBackward({ ...head, lse, gradLogps: result.gradLogps } as LinearLogpsBackwardOptions);
    return { ...result, logps, gradients: gradients as Gradients };
  }

  function expectGradients(ours: Gradients, expected: Gradients, relative: number) {
    for (const name of GRADIENTS) {
      if (!expected[name]) continue;
      const largest = expected[name].reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expectClose(name, ours[name]!, expected[name], () => relative * largest);
    }
  }

  forEachBackend(() => {
    it.each(variants)('gives what the parts give: %s', (_name, variant) => {
      const options = optionsOf(variant, 'float32', true);
      const [ours, parts] = [run(options), partsOf(options)];
      expect(ours.loss).toBeCloseTo(parts.loss, 6);
      expectSameBits('logps', ours.logps, parts.logps);
      expectSameBits('gradLogps', ours.gradLogps, parts.gradLogps);
      expectGradients(ours, parts.gradients, 1e-5);
    });

    // Where the products take pairs, either way rounds the gradients of logits once to 16 bits, one before and one after
    // scaling: half a unit in the last place each, of terms that cancel.
    it.each(['bfloat16', 'float16'] as const)('gives what the parts give: %s', (dtype) => {
      const options = optionsOf({}, dtype);
      expectGradients(run(options), partsOf(options).gradients, 2 ** -7);
    });

    it('leaves a token of weight 0 without a gradient where the loss of its pair is infinite', () => {
      const tokenWeights = TOKEN_WEIGHTS.map((w, i) => (i === firstToken ? 1 : i === firstToken + 1 ? 0 : w));
      const { gradHidden } = run(optionsOf({ lossType: 'ipo', infinite: true, tokenWeights }, 'float32'));
      const rowOf = (token: number) => Array.from(gradHidden!.subarray(token * H, (token + 1) * H));
      expect(rowOf(firstToken + 1)).toEqual(new Array(H).fill(0));
      expect(rowOf(firstToken + 4).some(Number.isFinite)).toBe(false);
    });

    // A weight beside which float32 has no digits for a gradient, until it is multiplied by the factor of its pair.
    it('keeps the digits of tokens of tiny weights', () => {
      const tokenWeights = Float32Array.from({ length: N }, (_, i) => (i % 5 === 1 ? 2 ** -140 : 1));
      for (const normalization of ['sum', 'token-mean']) {
        const huge = { lossType: 'ipo', beta: 1e-30, tokenWeights, nllCoef: 0 };
        const reduction = policy ? { reduction: normalization === 'sum' ? 'sum' : 'mean' } : { normalization };
        const options = { ...optionsOf(huge, 'float32'), ...reduction };
        const [ours, parts] = [run(options).gradHidden!, partsOf(options as never).gradients.gradHidden!];
        const tiny = Array.from(tokenWeights.keys()).filter((i) => i % 5 === 1 && parts[i * H] !== 0);
        expect(tiny.length).toBeGreaterThan(50);
        for (const i of tiny) {
          const [mine, expected] = [ours, parts].map((rows) => rows.subarray(i * H, (i + 1) * H)) as [
            Float32Array,
            Float32Array,
          ];
          const largest = expected.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
          expectClose(`gradHidden of token ${i}`, mine, expected, () => 1e-5 * largest);
        }
      }
    });

    it.each(DTYPES)('gives the gradients of a weight [H, V] and of one of float32: %s', (dtype) => {
      const { weight, ...options } = optionsOf({}, dtype);
      const HV = { weight: transposed(weight, V, H), weightLayout: 'HV' };
      const plain = run({ ...options, weight });
      const ours = run({ ...options, ...HV });
      expectGradients({ ...ours, gradWeight: transposed(ours.gradWeight!, H, V) }, plain, 0);
      const widened = Float32Array.from(decode(weight, dtype));
      const mixed = run({ ...options, weight: widened, weightDtype: 'float32' });
      const hidden = Float32Array.from(decode(options.hidden, dtype));
      expectGradients(mixed, run({ ...options, hidden, weight: widened, dtype: 'float32' }), 0);
    });

    it.each(variants)('gives the gradient at the hidden states where the weight is frozen: %s', (_name, variant) => {
      const options = optionsOf(variant, 'float32', true);
      const [ours, parts] = [run({ ...options, frozenWeight: true }), partsOf(options)];
      expect(GRADIENTS.filter((name) => name in ours)).toEqual(['gradHidden']);
      expectSameBits('logps', ours.logps, parts.logps);
      expectSameBits('gradLogps', ours.gradLogps, parts.gradLogps);
      const { gradHidden } = parts.gradients as Required<Gradients>;
      expectGradients(ours, { gradHidden }, 1e-5);
      const out = { gradHidden: gradHidden.map((_x, i) => ((i % 13) - 6) / 64) };
      const sum = out.gradHidden.map((x, i) => x + ours.gradHidden![i]!);
      run({ ...options, frozenWeight: true, accumulate: true, out });
      expectClose('gradHidden', out.gradHidden, sum, () => 1e-7);
    });

    it('gives the gradients at weight and bias where the hidden states are frozen', () => {
      const options = optionsOf({}, 'float32', true);
      const [{ gradHidden: _h, ...whole }, { gradHidden, ...ours }] = [
        run(options),
        run({ ...options, frozenHidden: true }),
      ];
      expect(gradHidden).toBeUndefined();
      for (const name of ['gradWeight', 'gradBias'] as const) expectSameBits(name, ours[name]!, whole[name]!);
    });

    it('adds to gradients that are there', () => {
      const options = optionsOf({}, 'float32', true);
      const fresh = run(options);
      const before = Object.fromEntries(
        GRADIENTS.map((name) => [name, fresh[name]!.map((_x, i) => ((i % 13) - 6) / 64)]),
      ) as Required<Gradients>;
      const out = Object.fromEntries(GRADIENTS.map((name) => [name, before[name].slice()]));
      run({ ...options, accumulate: true, out });
      for (const name of GRADIENTS) {
        expectClose(
          name,
          out[name]!,
          fresh[name]!.map((x, i) => x + before[name][i]!),
          () => 1e-7,
        );
      }
    });

    it('overwrites what is in out otherwise', () => {
      const options = optionsOf({}, 'float32', true);
      const fresh = run(options);
      const names = [...GRADIENTS, 'logps'] as const;
      const out = Object.fromEntries(names.map((name) => [name, new Float32Array(fresh[name]!.length).fill(7)]));
      run({ ...options, out });
      for (const name of names) expectSameBits(name, out[name]!, fresh[name]!);
    });

    it('gives the same bits for any number of threads', () => {
      for (const frozen of [{}, { frozenWeight: true }, { frozenHidden: true }]) {
        const given = { ...optionsOf({ tokenWeights: TOKEN_WEIGHTS }, 'float32', true), ...frozen };
        const [first, ...others] = underThreadCounts(() => run(given));
        for (const { result } of others) {
          for (const name of GRADIENTS) if (name in result) expectSameBits(name, result[name]!, first!.result[name]!);
        }
      }
    });
  });
});
