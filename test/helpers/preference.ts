/** What must hold of both preference losses, on trajectories and on turns. */
import type { LossType, PreferenceResult } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { lossTypes } from '../../scripts/loss-types.js';
import type { LossParameters } from '../reference/pair-losses.ts';
import type { Preference } from '../reference/preference.ts';
import { type Pairs, pairsBetween, randomWeights } from './batches.ts';
import { expectClose, expectSameBits, lossTolerance, oneRounding, type Tolerance } from './compare.ts';
import { centralDifferences } from './differences.ts';
import { underThreadCounts } from './machine.ts';
import { sharedView, shifted } from './storage.ts';
import type { VectorCase } from './vectors.ts';

export const PER_PAIR = ['pairLosses', 'margins', 'chosenRewards', 'rejectedRewards'] as const;
export const ARRAYS = [...PER_PAIR, 'turnAdvantages', 'gradLogps'] as const;
export const SCALARS = ['loss', 'preferenceLoss', 'nllLoss', 'accuracy'] as const;

export interface LossOptions extends Partial<Pairs & LossParameters> {
  logps?: Float32Array;
  refLogps?: Float32Array | undefined;
  mask?: Uint8Array;
  tokenWeights?: Float32Array;
  sumSquaredProbs?: Float32Array;
  lossType?: LossType | readonly LossType[];
  lossWeights?: readonly number[];
  ldAlpha?: number;
  useWeighting?: boolean;
  referenceFree?: boolean;
  pairWeights?: Float32Array;
  pairDenominator?: number;
  nllCoef?: number;
  nllDenominator?: number;
  out?: Partial<Record<(typeof ARRAYS)[number], Float32Array>>;
}

/** A loss and its oracle, each on the same batch unless the options say otherwise. */
export interface Subject {
  loss: (options: LossOptions) => PreferenceResult;
  oracle: (options: LossOptions) => Preference;
  batch: { logps: Float32Array; refLogps: Float32Array; mask: Uint8Array; turnOffsets: Int32Array } & Pairs;
  /** The tokens of a trajectory or a turn that count. */
  tokensOf: (unit: number) => number[];
}

export function expectPreference(ours: PreferenceResult, expected: Preference): void {
  for (const name of SCALARS) expectClose(name, [ours[name]], [expected[name]], lossTolerance);
  for (const name of ARRAYS) expectClose(name, ours[name], expected[name], oneRounding);
}

export function expectSamePreference(ours: PreferenceResult, expected: PreferenceResult): void {
  for (const name of SCALARS) expect(ours[name], name).toBe(expected[name]);
  for (const name of ARRAYS) expectSameBits(name, ours[name], expected[name]);
}

/** Different weights, in no order. */
function weightsOf(pairs: number): Float32Array {
  return Float32Array.from({ length: pairs }, (_, p) => (p % 3) / 2 + 0.25);
}

/** Of every loss type: options that it takes, and log-probs below 0 where their odds are compared. */
function typeSets(batch: Subject['batch'], beta: number): [string, LossOptions][] {
  return lossTypes.map(({ name, kind }) => [
    `type ${name}`,
    {
      lossType: name as LossType,
      beta,
      ...(name === 'exo_pair' && { labelSmoothing: 0.1 }),
      ...(name === 'orpo' && { logps: batch.logps.map((x) => -Math.abs(x) - 0.01) }),
      ...(kind !== 'batch' && kind !== 'nll' && { pairWeights: weightsOf(batch.chosen.length) }),
    },
  ]);
}

/** Option sets of more than one type, and of options that several types have. */
function mixedSets(batch: Subject['batch']): [string, LossOptions][] {
  const tokenWeights = randomWeights(21, batch);
  const sumSquaredProbs = batch.logps.map((x, i) => 1 / (1.5 + Math.abs(x) + (i % 5)));
  const negative = batch.logps.map((x) => -Math.abs(x) - 0.01);
  // Of ratios so small that an exponential of their sum has a difference quotient.
  const near = batch.refLogps.map((x, i) => x + 0.2 * batch.logps[i]!);
  const someZero = weightsOf(batch.chosen.length).fill(0, 1, 3);
  return [
    ['f: forward_kl', { fDivergence: 'forward_kl', beta: 0.2, logps: near }],
    ['f: js_divergence, nca_pair', { fDivergence: 'js_divergence', lossType: 'nca_pair', beta: 0.7 }],
    [
      'f: alpha_divergence, apo_down',
      { fDivergence: 'alpha_divergence', lossType: 'apo_down', fAlpha: 0.7, logps: near },
    ],
    [
      'f: alpha_divergence of 1, sigmoid_norm',
      { fDivergence: 'alpha_divergence', lossType: 'sigmoid_norm', fAlpha: 1 },
    ],
    [
      'f, a target and label smoothing, simpo',
      { lossType: 'simpo', fDivergence: 'alpha_divergence', fAlpha: 0.75, gamma: 0.2, beta: 2, labelSmoothing: 0.1 },
    ],
    ['f: js_divergence, sigmoid_norm', { fDivergence: 'js_divergence', lossType: 'sigmoid_norm', tokenWeights }],
    ['discopopTau', { lossType: 'discopop', discopopTau: 0.7, beta: 0.3 }],
    ['robust, smoothed', { lossType: 'robust', labelSmoothing: 0.3, beta: 0.3 }],
    ['aot, smoothed', { lossType: 'aot', labelSmoothing: 0.2, tokenWeights }],
    ['DPO-Positive', { dpopLambda: 5, beta: 0.2, labelSmoothing: 0.05 }],
    ['ldAlpha', { ldAlpha: 0.3, tokenWeights, nllCoef: 0.2 }],
    ['ldAlpha 0, several types', { ldAlpha: 0, lossType: ['simpo', 'nca_pair'], beta: 0.5, pairWeights: someZero }],
    ['ldAlpha, aot', { ldAlpha: 0.4, lossType: ['aot', 'aot_unpaired'], beta: 0.3 }],
    ['MPO', { lossType: ['sigmoid', 'bco_pair', 'sft'], lossWeights: [0.8, 0.2, 1] }],
    ['RPO', { lossType: ['sft', 'sigmoid'], lossWeights: [0.5, 1], tokenWeights }],
    [
      'many types',
      {
        lossType: ['orpo', 'apo_down', 'sigmoid_norm', 'aot', 'cpo'],
        lossWeights: [2, 0.5, 1, 0, 0.3],
        logps: negative,
      },
    ],
    ['weighting', { useWeighting: true, sumSquaredProbs, tokenWeights, pairWeights: someZero }],
    [
      'weighting, several types',
      { useWeighting: true, sumSquaredProbs, lossType: ['nca_pair', 'ipo'], pairDenominator: 3, beta: 0.6 },
    ],
    ['referenceFree', { referenceFree: true, refLogps: undefined, lossType: 'hinge', beta: 0.3 }],
    ['no reference', { refLogps: undefined, lossType: ['cpo', 'simpo'], nllCoef: 1 }],
    ['a reference that is not needed', { lossType: 'cpo', beta: 0.3 }],
  ];
}

/** Option sets that reach every branch of the losses. */
function optionSets(batch: Subject['batch']): [string, LossOptions][] {
  const weights = weightsOf(batch.chosen.length);
  const tokenWeights = randomWeights(17, batch);
  const someZero = weights.map((w, p) => (p % 2 === 0 ? 0 : w));
  return [
    ['defaults', {}],
    ['beta', { beta: 0.7 }],
    ['label smoothing', { labelSmoothing: 0.2, beta: 1.5 }],
    ['hinge', { lossType: 'hinge', beta: 0.4 }],
    ['ipo', { lossType: 'ipo', beta: 0.4 }],
    ['pair weights', { pairWeights: weights }],
    ['pair weights, some 0', { pairWeights: someZero, lossType: 'ipo' }],
    ['pair denominator', { pairDenominator: 37.5, pairWeights: weights }],
    ['nll', { nllCoef: 0.3 }],
    ['nll denominator', { nllCoef: 0.3, nllDenominator: 1234 }],
    ['no nll', { nllCoef: 0 }],
    [
      'everything',
      { beta: 2, labelSmoothing: 0.1, pairWeights: weights, pairDenominator: 3, nllCoef: 1, nllDenominator: 9 },
    ],
    ['one pair', pairsBetween(batch, 0, 1)],
    ['token weights', { tokenWeights }],
    ['token weights and nll', { tokenWeights, nllCoef: 0.3, beta: 0.6, pairWeights: weights }],
    ['token weights and nll denominator', { tokenWeights, nllCoef: 0.3, nllDenominator: 12.5, lossType: 'ipo' }],
    ...typeSets(batch, 0.4),
    ...mixedSets(batch),
  ];
}

/** The weights of useWeighting depend on the log-probs, and have no gradient. */
const differentiable = (batch: Subject['batch']) => optionSets(batch).filter(([, { useWeighting }]) => !useWeighting);

/** The oracle's gradients are those of its losses; what the library gives is compared with the oracle. */
export function describeOracleGradient({ oracle, batch }: Subject): void {
  it.each(differentiable(batch))('the oracle has the gradient of its loss: %s', (_name, given) => {
    // hinge has a kink where u = 1; none of these margins stands within a step of it.
    const differences = centralDifferences(
      given.logps ?? batch.logps,
      1e-4,
      (moved) => oracle({ ...given, logps: moved as unknown as Float32Array }).loss,
    );
    expectClose('gradLogps', oracle(given).gradLogps, differences, (g) => 1e-8 + 1e-6 * Math.abs(g));
  });
}

export function describePreference({ loss, oracle, batch, tokensOf }: Subject): void {
  const pairs = batch.chosen.length;
  const weights = weightsOf(pairs);
  const options = optionSets(batch);

  it.each(options)('agrees with the oracle: %s', (_name, given) => {
    expectPreference(loss(given), oracle(given));
  });

  it.each([1e4, -1e4])('stays finite at margins about %d', (margin) => {
    // The units of the first pair are pushed apart; in a sum of float32 log-ratios by some 1e4 each.
    for (const [, { pairWeights: _, logps = batch.logps, ...given }] of typeSets(batch, 1)) {
      const isOrpo = given.lossType === 'orpo';
      const moved = logps.map((x) => x * (isOrpo ? Math.abs(margin) : margin));
      const far = { ...given, ...pairsBetween(batch, 0, 1), logps: moved };
      const result = loss(far);
      expect(Math.abs(result.margins[0]!)).toBeGreaterThan(given.lossType === 'sigmoid_norm' || isOrpo ? 100 : 1e3);
      expect([...result.pairLosses, ...result.gradLogps, result.loss].every(Number.isFinite)).toBe(true);
      expectPreference(result, oracle(far));
    }
  });

  it.each(typeSets(batch, 0.4).filter((_, j) => lossTypes[j]!.reference))(
    'agrees with the oracle where all scores are equal: %s',
    (_name, given) => {
      const equal = { ...given, logps: batch.refLogps };
      expectPreference(loss(equal), oracle(equal));
    },
  );

  it('weights pairs by the likelihood of their items, without a gradient of the weights', () => {
    const [, given] = mixedSets(batch).find(([name]) => name === 'weighting')!;
    const { useWeighting: _, sumSquaredProbs: squares, ...plain } = given;
    const weightOf = (i: number) => given.tokenWeights![i]!;
    const log = (unit: number) => {
      const tokens = tokensOf(unit);
      const total = tokens.reduce((sum, i) => sum + weightOf(i), 0);
      return tokens.reduce((sum, i) => sum + weightOf(i) * (batch.logps[i]! - Math.log(squares![i]!)), 0) / total;
    };
    const pairWeights = given.pairWeights!.map((w, p) => w * Math.exp(log(batch.chosen[p]!) + log(batch.rejected[p]!)));
    const pairDenominator = given.pairWeights!.reduce((sum, w) => sum + w, 0);
    const [ours, expected] = [loss(given), loss({ ...plain, pairWeights, pairDenominator })];
    expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
    expectClose('gradLogps', ours.gradLogps, expected.gradLogps, (g) => 1e-6 * Math.abs(g) + 1e-9);
  });

  it.each(differentiable(batch))('has the gradient that finite differences give: %s', (_name, given) => {
    const differences = centralDifferences(
      given.logps ?? batch.logps,
      2 ** -8,
      (moved) => loss({ ...given, logps: Float32Array.from(moved) }).loss,
    );
    expectClose('gradLogps', loss(given).gradLogps, differences, (g) => 2e-5 + 1e-4 * Math.abs(g));
  });

  it('never reads a masked token', () => {
    const spoiled = batch.logps.map((x, i) => (batch.mask[i] === 0 ? NaN : x));
    expectSamePreference(loss({ logps: spoiled, nllCoef: 0.1 }), loss({ nllCoef: 0.1 }));
  });

  it('takes a token of weight 0 as a masked one, and reads no weight of a masked one', () => {
    const tokenWeights = randomWeights(18, batch);
    const counts = (i: number) => batch.mask[i] !== 0 && tokenWeights[i] !== 0;
    const plain = loss({ tokenWeights, nllCoef: 0.1 });
    const spoiled = batch.logps.map((x, i) => (counts(i) ? x : NaN));
    expectSamePreference(loss({ logps: spoiled, tokenWeights, nllCoef: 0.1 }), plain);
    const others = tokenWeights.map((w, i) => (batch.mask[i] === 0 ? [-1, Infinity, NaN, 3][i % 4]! : w));
    expectSamePreference(loss({ tokenWeights: others, nllCoef: 0.1 }), plain);
    const masked = { mask: batch.mask.map((m, i) => (counts(i) ? m : 0)), tokenWeights };
    expectSamePreference(loss({ ...masked, nllCoef: 0.1 }), plain);
    expect(Array.from(plain.gradLogps.entries()).every(([i, g]) => counts(i) || g === 0)).toBe(true);
  });

  it.each(options)('gives the same bits with weights of 1 as without: %s', (_name, { tokenWeights: _, ...given }) => {
    const ones = Float32Array.from(batch.mask, (m) => (m === 0 ? NaN : 1));
    expectSamePreference(loss({ ...given, tokenWeights: ones }), loss(given));
  });

  it('counts equal scores as no win', () => {
    const result = loss({ logps: batch.refLogps });
    expect(result.accuracy).toBe(0);
    expect(Array.from(result.margins).every((margin) => margin === 0)).toBe(true);
    expectClose('pairLosses', result.pairLosses, new Float64Array(pairs).fill(Math.LN2), oneRounding);
  });

  it('turns rewards and margins round when chosen and rejected change places', () => {
    const straight = loss({ nllCoef: 0 });
    const swapped = loss({ nllCoef: 0, chosen: batch.rejected, rejected: batch.chosen });
    expectSameBits('rewards', swapped.chosenRewards, straight.rejectedRewards);
    expectSameBits(
      'margins',
      swapped.margins,
      straight.margins.map((margin) => -margin),
    );
    expect(swapped.accuracy).toBeCloseTo(1 - straight.accuracy, 12);
  });

  it('takes a pair twice as it takes a pair of weight 2', () => {
    const { chosen, rejected } = batch;
    const twice = loss({
      chosen: Int32Array.of(...chosen, chosen[0]!),
      rejected: Int32Array.of(...rejected, rejected[0]!),
      nllCoef: 0,
    });
    const heavy = loss({ pairWeights: new Float32Array(pairs).fill(1).fill(2, 0, 1), nllCoef: 0 });
    expectClose('loss', [twice.loss], [heavy.loss], lossTolerance);
    expectClose('gradLogps', twice.gradLogps, heavy.gradLogps, (g) => 2 * oneRounding(g, 0));
  });

  it.each([
    ['', {}],
    [', with token weights', { tokenWeights: randomWeights(19, batch) }],
  ])('adds up over micro-batches that are given the denominators of the whole%s', (_name, weighted: LossOptions) => {
    const whole = loss({ ...weighted, nllCoef: 0.5, pairWeights: weights });
    const weightOf = (i: number) => weighted.tokenWeights?.[i] ?? 1;
    const total = (values: ArrayLike<number>) => Array.from(values).reduce((a, b) => a + b, 0);
    const nllDenominator = total(Array.from(batch.chosen).flatMap((unit) => tokensOf(unit).map(weightOf)));
    const parts = [0, 1, Math.floor(pairs / 2)].map((begin, k, begins) => {
      const end = begins[k + 1] ?? pairs;
      const own = { ...pairsBetween(batch, begin, end), pairWeights: weights.slice(begin, end) };
      return loss({ ...own, ...weighted, nllCoef: 0.5, pairDenominator: total(weights), nllDenominator });
    });
    expectClose('loss', [total(parts.map((part) => part.loss))], [whole.loss], lossTolerance);
    const gradLogps = Float64Array.from(whole.gradLogps, (_, i) => total(parts.map((part) => part.gradLogps[i]!)));
    const largest = Math.max(...whole.gradLogps.map(Math.abs));
    expectClose('gradLogps', gradLogps, whole.gradLogps, () => parts.length * 2 ** -24 * largest);
  });

  it('gives the same bits for any number of threads, from views and from shared memory', () => {
    const given = { nllCoef: 0.1, tokenWeights: randomWeights(20, batch) };
    const plain = loss(given);
    for (const { result } of underThreadCounts(() => loss(given))) expectSamePreference(result, plain);
    const views = {
      tokenWeights: shifted(given.tokenWeights, 5),
      logps: shifted(batch.logps, 1),
      refLogps: sharedView(batch.refLogps),
      mask: shifted(batch.mask, 3),
      chosen: shifted(batch.chosen, 1),
      rejected: sharedView(batch.rejected),
    };
    expectSamePreference(loss({ ...views, nllCoef: 0.1 }), plain);
  });

  it('writes into out buffers', () => {
    const plain = loss({});
    const out = Object.fromEntries(ARRAYS.map((name, k) => [name, shifted(plain[name], k).fill(7)]));
    const result = loss({ out });
    for (const name of ARRAYS) expect(result[name]).toBe(out[name]);
    expectSamePreference(result, plain);
  });
}

/** The vectors hold whatever of the result their case is about. */
function expectMeetsVector(
  ours: PreferenceResult | Preference,
  vector: VectorCase<unknown>,
  [scalars, arrays]: [Tolerance, Tolerance],
): void {
  for (const [name, expected] of Object.entries(vector.expected())) {
    const own = ours[name as keyof Preference];
    if (typeof own === 'number') expectClose(name, [own], expected, scalars);
    else expectClose(name, own, expected, arrays);
  }
}

/** The vectors were computed in float64, as the oracle computes. */
export function describeOracle<V extends VectorCase<unknown>>(vectors: V[], oracle: (vector: V) => Preference): void {
  const exact: Tolerance = (expected) => 1e-12 + 1e-11 * Math.abs(expected);
  describe('the oracle', () => {
    it.each(vectors)('agrees with the vector $name', (vector) => {
      expectMeetsVector(oracle(vector), vector, [exact, exact]);
    });
  });
}

export function describeVectors<V extends VectorCase<unknown>>(
  vectors: V[],
  loss: (vector: V) => PreferenceResult,
): void {
  it.each(vectors)('meets the vector $name', (vector) => {
    // The statistic of the rows is given in float32.
    const arrays = vector.has('log_power_sums') ? lossTolerance : oneRounding;
    expectMeetsVector(loss(vector), vector, [lossTolerance, arrays]);
  });
}

/** The inputs of a vector of a preference loss that it may have or not; `exact` for the oracle. */
export function optionalInputs(vector: VectorCase<unknown>, exact: boolean) {
  const squares = vector.has('log_power_sums') ? Array.from(vector.values('log_power_sums'), Math.exp) : undefined;
  return {
    ...(vector.has('ref_logps') && { refLogps: vector.floats('ref_logps') }),
    ...(vector.has('pair_weights') && { pairWeights: vector.floats('pair_weights') }),
    ...(squares && { sumSquaredProbs: exact ? (squares as unknown as Float32Array) : Float32Array.from(squares) }),
  };
}
