/** filteredNll (rejection fine-tuning) against the oracle. */
import { filteredNll, trajectoryPreferenceLoss } from 'sweet-rl';
import { expect, it } from 'vitest';
import { type Batch, randomBatch, randomWeights } from '../helpers/batches.ts';
import { expectClose, expectSameBits, lossTolerance, oneRounding } from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import { Random } from '../helpers/random.ts';
import { sharedView, shifted } from '../helpers/storage.ts';
import { vectorCases } from '../helpers/vectors.ts';
import { filteredNll as oracle } from '../reference/filtered-nll.ts';

/** Rewards in tenths, some of them 1; the reference log-probs are of no use here. */
function rejectionBatch(seed: number, ...shape: [number?, number?, number?, number?]) {
  const { refLogps: _, ...batch } = randomBatch(seed, ...shape);
  const random = new Random(seed + 100);
  const tenths = random.integers(batch.trajectoryOffsets.length - 1, 0, 16);
  return { ...batch, rewards: Float64Array.from(tenths, (x) => Math.min(x, 10) / 10) };
}

const batch = rejectionBatch(31, 2, 9, 4, 7);
const { mask: _mask, ...unmasked } = batch;
const tokenWeights = randomWeights(34, batch);
const outliers = batch.logps.map((x, i) => (i % 5 === 0 ? -1e4 : x));

it.each([
  ['defaults', batch],
  ['no mask', unmasked],
  ['a low threshold', { ...batch, threshold: 0.3 }],
  ['everything', { ...batch, threshold: -Infinity }],
  ['a denominator', { ...batch, nllDenominator: 37.5 }],
  ['outliers', { ...batch, threshold: 0, logps: outliers }],
  ['single-token turns', rejectionBatch(32, 3, 30, 5, 1)],
  ['many long turns', rejectionBatch(33, 3, 60, 4, 200)],
  ['weights', { ...batch, tokenWeights, threshold: 0.3 }],
  ['weights and a denominator', { ...batch, tokenWeights, threshold: 0, nllDenominator: 37.5 }],
])('agrees with the oracle: %s', (_name, given) => {
  const [ours, expected] = [filteredNll(given), oracle(given)];
  expect(expected.keptTokens).toBeGreaterThan(0);
  expect([ours.keptTrajectories, ours.keptTokens]).toEqual([expected.keptTrajectories, expected.keptTokens]);
  expect(ours.keptWeight).toBeCloseTo(expected.keptWeight, 9);
  expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
  expectClose('gradLogps', ours.gradLogps, expected.gradLogps, oneRounding);
});

it('has the gradient that finite differences give', () => {
  for (const call of [oracle, filteredNll]) {
    const given = { ...batch, threshold: 0.5, tokenWeights };
    const at = (moved: Float64Array) => call({ ...given, logps: Float32Array.from(moved) }).loss;
    const differences = centralDifferences(batch.logps, 2 ** -4, at);
    expectClose('gradLogps', filteredNll(given).gradLogps, differences, () => 1e-6);
  }
});

it('is the NLL of the preference losses over the same trajectories', () => {
  const kept = Array.from(batch.rewards.keys()).filter((k) => batch.rewards[k]! >= 1);
  const other = batch.rewards.findIndex((reward) => reward < 1);
  const { nllLoss } = trajectoryPreferenceLoss({
    ...(({ rewards: _, ...rest }) => rest)(batch),
    refLogps: batch.logps,
    chosen: Int32Array.from(kept),
    rejected: Int32Array.from(kept, () => other),
  });
  expectClose('loss', [filteredNll(batch).loss], [nllLoss], lossTolerance);
});

it('compares as precisely as the rewards are stored', () => {
  const { rewards: _, ...trajectory } = { ...oneTrajectory(-2), rewards: 0 };
  for (const threshold of [0.1, 0.2, 0.3, 0.6, 0.7, 0.9]) {
    for (const Rewards of [Float32Array, Float64Array]) {
      const kept = (reward: number) =>
        filteredNll({ ...trajectory, rewards: Rewards.of(reward), threshold }).keptTrajectories;
      expect([kept(threshold), kept(threshold - 1e-6)]).toEqual([1, 0]);
    }
  }
});

function oneTrajectory(...logps: number[]) {
  return {
    logps: Float32Array.from(logps),
    turnOffsets: Int32Array.of(0, logps.length),
    trajectoryOffsets: Int32Array.of(0, 1),
  };
}

it('never reads a token that does not count', () => {
  const kept = (i: number) => oracle(batch).gradLogps[i] !== 0;
  const spoiled = batch.logps.map((x, i) => (kept(i) ? x : NaN));
  expect(filteredNll({ ...batch, logps: spoiled })).toEqual(filteredNll(batch));
});

it("looks with debug: 'finite' at tokens that count, at those alone, and at what it made of them", () => {
  const kept = Array.from(batch.logps.keys()).filter((i) => oracle(batch).gradLogps[i] !== 0);
  const spoiled = batch.logps.map((x, i) => (kept.includes(i) ? x : NaN));
  const debug = 'finite';
  expect(filteredNll({ ...batch, logps: spoiled, debug })).toEqual(filteredNll(batch));
  const gradLogps = new Float32Array(spoiled.length).fill(7);
  for (const [place, value] of [
    [kept[0]!, NaN],
    [kept.at(-1)!, -Infinity],
  ] as const) {
    expect(() => filteredNll({ ...batch, logps: spoiled.with(place, value), out: { gradLogps }, debug })).toThrow(
      `for logps but received ${value} at row ${place}`,
    );
  }
  expect(gradLogps.every((g) => g === 7)).toBe(true);
  const steep = {
    tokenWeights: Float32Array.of(1e30),
    nllDenominator: 1e-30,
    rewards: Float32Array.of(1),
    debug,
  } as const;
  expect(() => filteredNll({ ...oneTrajectory(0), ...steep })).toThrow('for gradLogps but received -Infinity at row 0');
});

it('shows a NaN and an infinity where they count', () => {
  expect(filteredNll({ ...oneTrajectory(-1, NaN), rewards: Float32Array.of(1) }).loss).toBeNaN();
  expect(filteredNll({ ...oneTrajectory(-1, -Infinity), rewards: Float32Array.of(1) }).loss).toBe(Infinity);
});

it('gives 0 where nothing is kept, or nothing that is kept counts', () => {
  const nothing = { loss: 0, keptTokens: 0, keptWeight: 0, gradLogps: new Float32Array(2) };
  const trajectory = oneTrajectory(-1, -2);
  expect(filteredNll({ ...trajectory, rewards: Float32Array.of(0.9) })).toEqual({ ...nothing, keptTrajectories: 0 });
  const masked = { ...trajectory, rewards: Float32Array.of(1), mask: new Uint8Array(2) };
  for (const denominator of [{}, { nllDenominator: 8 }]) {
    expect(filteredNll({ ...masked, ...denominator })).toEqual({ ...nothing, keptTrajectories: 1 });
    const weightless = { ...trajectory, rewards: Float32Array.of(1), tokenWeights: new Float32Array(2) };
    const kept = { keptTrajectories: 1, keptTokens: 2 };
    expect(filteredNll({ ...weightless, ...denominator })).toEqual({ ...nothing, ...kept });
  }
  const empty = { logps: new Float32Array(0), turnOffsets: Int32Array.of(0), trajectoryOffsets: Int32Array.of(0) };
  expect(filteredNll({ ...empty, rewards: new Float32Array(0) }).loss).toBe(0);
});

it('adds up over micro-batches that are given the weight of kept tokens of the whole', () => {
  const weighted = { ...batch, tokenWeights };
  const whole = filteredNll(weighted);
  const parts = Array.from(batch.rewards.keys(), (k) => {
    const part = trajectoryOf(weighted, k);
    const { keptWeight } = filteredNll({ ...part, rewards: batch.rewards.slice(k, k + 1) });
    const own = { ...part, rewards: batch.rewards.slice(k, k + 1), nllDenominator: whole.keptWeight };
    return { ...filteredNll(own), keptWeight };
  });
  const total = (f: (part: (typeof parts)[number]) => number) => parts.reduce((sum, part) => sum + f(part), 0);
  expect(total(({ keptTokens }) => keptTokens)).toBe(whole.keptTokens);
  expect(total(({ keptWeight }) => keptWeight)).toBeCloseTo(whole.keptWeight, 9);
  expectClose('loss', [total(({ loss }) => loss)], [whole.loss], lossTolerance);
  const gradLogps = Float32Array.from(parts.flatMap((part) => [...part.gradLogps]));
  expectSameBits('gradLogps', gradLogps, whole.gradLogps);
});

function trajectoryOf(
  {
    logps,
    mask,
    tokenWeights,
    turnOffsets,
    trajectoryOffsets,
  }: Omit<Batch, 'refLogps'> & { tokenWeights: Float32Array },
  k: number,
) {
  const turns = turnOffsets.slice(trajectoryOffsets[k], trajectoryOffsets[k + 1]! + 1);
  const [begin, end] = [turns[0]!, turns.at(-1)!];
  return {
    logps: logps.slice(begin, end),
    mask: mask.slice(begin, end),
    tokenWeights: tokenWeights.slice(begin, end),
    turnOffsets: turns.map((offset) => offset - begin),
    trajectoryOffsets: Int32Array.of(0, turns.length - 1),
  };
}

it('takes views and shared memory and writes into out', () => {
  const plain = filteredNll(batch);
  const out = { gradLogps: shifted(plain.gradLogps, 2).fill(7) };
  const views = { ...batch, logps: sharedView(batch.logps), mask: shifted(batch.mask, 3), out };
  const result = filteredNll({ ...views, turnOffsets: shifted(batch.turnOffsets, 1) });
  expect(result.gradLogps).toBe(out.gradLogps);
  expectSameBits('gradLogps', result.gradLogps, plain.gradLogps);
  expect(result.loss).toBe(plain.loss);
});

it('takes a token of weight 0 as a masked one and weights of 1 as none, and reads no weight of a masked one', () => {
  const ones = Float32Array.from(batch.mask, (m) => (m === 0 ? NaN : 1));
  expect(filteredNll({ ...batch, tokenWeights: ones })).toEqual(filteredNll(batch));
  const plain = filteredNll({ ...batch, tokenWeights });
  const others = tokenWeights.map((w, i) => (batch.mask[i] === 0 ? -i : w));
  const spoiled = batch.logps.map((x, i) => (batch.mask[i] !== 0 && tokenWeights[i] !== 0 ? x : NaN));
  expect(filteredNll({ ...batch, logps: spoiled, tokenWeights: others })).toEqual(plain);
  expect(filteredNll({ ...batch, logps: spoiled, tokenWeights, debug: 'finite' })).toEqual(plain);
});

it('refuses a weight that is negative or not finite, of whichever trajectory, and writes nothing', () => {
  const gradLogps = new Float32Array(batch.logps.length).fill(7);
  const kept = batch.mask.lastIndexOf(1);
  for (const weight of [-1, NaN, Infinity, -(2 ** -149)]) {
    const given = { ...batch, tokenWeights: tokenWeights.with(kept, weight), out: { gradLogps } };
    expect(() => filteredNll(given)).toThrow(
      `Expected a finite weight >= 0 for tokenWeights[${kept}] but received ${weight}`,
    );
  }
  expect(gradLogps.every((g) => g === 7)).toBe(true);
});

const vectors = vectorCases<{ threshold: number; ignoreIndex: number }>('filtered_nll');

it.each(vectors)('meets the vector $name, as the oracle does', (vector) => {
  const given = {
    logps: vector.floats('logps'),
    turnOffsets: vector.integers('turn_offsets'),
    trajectoryOffsets: vector.integers('trajectory_offsets'),
    rewards: vector.floats('rewards'),
  };
  const { threshold } = vector.options;
  const ours = filteredNll({ ...given, ...vector.options, ...vector.counting() });
  const expected = oracle({ ...given, threshold, ...vector.oracleCounting() });
  for (const [result, tolerance] of [
    [ours, lossTolerance],
    [expected, (x: number) => 1e-12 * Math.abs(x)],
  ] as const) {
    expectClose('loss', [result.loss], vector.values('expected.loss'), tolerance);
    expectClose('keptWeight', [result.keptWeight], vector.values('expected.kept_weight'), tolerance);
  }
  expectClose('gradLogps', ours.gradLogps, vector.values('expected.grad_logps'), oneRounding);
  expectClose('gradLogps', expected.gradLogps, vector.values('expected.grad_logps'), (x) => 1e-12 * Math.abs(x));
});
