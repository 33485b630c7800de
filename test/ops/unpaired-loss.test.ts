/** unpairedPreferenceLoss against the oracle, on every backend: turns and trajectories, each kind of reference point. */
import { type RunningMean, unpairedPreferenceLoss } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { randomBatch, randomWeights } from '../helpers/batches.ts';
import {
  expectClose,
  expectSameBits,
  lossTolerance,
  oneRounding,
  specified,
  type Tolerance,
} from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { sharedView, shifted } from '../helpers/storage.ts';
import { type VectorCase, vectorCases } from '../helpers/vectors.ts';
import { range } from '../reference/range.ts';
import {
  type UnpairedOptions as OracleOptions,
  unpairedPreferenceLoss as oracle,
  type Unpaired,
} from '../reference/unpaired-loss.ts';

const ARRAYS = ['unitLosses', 'rewards', 'chosenRewards', 'rejectedRewards', 'turnAdvantages', 'gradLogps'] as const;
const SCALARS = ['loss', 'accuracy', 'referencePoint'] as const;
/** Their lengths are known to the caller. */
const OUT = ['unitLosses', 'rewards', 'turnAdvantages', 'gradLogps'] as const;

type Result = Record<(typeof ARRAYS)[number], Float32Array> &
  Record<(typeof SCALARS)[number], number> & { running?: RunningMean; lossType: string; beta: number };
type Options = Record<string, unknown>;

// The helpers' options are records; the types of the library are tested in package/types.test.ts.
const loss = (options: Options) => unpairedPreferenceLoss(options as never) as unknown as Result;
const expectedOf = (options: Options) => oracle(options as unknown as OracleOptions);

const { trajectoryOffsets, ...turns } = randomBatch(41, 2, 6, 4, 9);
const KL = { klLogps: Float32Array.of(3, 5, -1), klRefLogps: Float32Array.of(1, 2.5, 2) };

/** The items of a level, with what their scores need. */
const LEVELS: [string, Options, number][] = [
  ['turns, sum', turns, turns.turnOffsets.length - 1],
  ['turns, mean', { ...turns, reduction: 'mean' }, turns.turnOffsets.length - 1],
  ...(['turn-mean', 'token-mean', 'sum'] as const).map((normalization): [string, Options, number] => [
    `trajectories, ${normalization}`,
    { ...turns, trajectoryOffsets, normalization },
    6,
  ]),
];

function desirableOf(items: number): Uint8Array {
  const random = new Random(42);
  const kinds = random.integers(items, 0, 2);
  return Uint8Array.from(kinds, (kind, k) => (k < 2 ? k : kind * 3));
}

/** Option sets that reach every branch. */
function optionSets(items: number): [string, Options][] {
  const unitWeights = Float32Array.from({ length: items }, (_, k) => (k % 3 === 1 ? 0 : 0.25 + (k % 4)));
  const tokenWeights = randomWeights(43, turns);
  return [
    ['kto', KL],
    ['kto, a reference point below 0 becomes 0', { klLogps: KL.klRefLogps, klRefLogps: KL.klLogps }],
    ['kto, a given point', { lossType: 'kto', referencePoint: -0.7, beta: 0.5 }],
    ['kto, weights of the kinds', { ...KL, desirableWeight: 1.5, undesirableWeight: 0.8, beta: 0.6 }],
    ['kto, one kind without weight', { ...KL, undesirableWeight: 0 }],
    ['kto, weights of items', { ...KL, unitWeights, unitDenominator: 37.5 }],
    ['kto, token weights', { ...KL, tokenWeights, beta: 0.7 }],
    ['apo_zero_unpaired', { lossType: 'apo_zero_unpaired', beta: 0.8 }],
    ['bco', { lossType: 'bco' }],
    ['bco, running', { lossType: 'bco', running: { mean: 0.75, count: 12 }, beta: 0.3, unitWeights }],
    ['bco, a given point', { lossType: 'bco', referencePoint: 1.5, beta: 2, tokenWeights }],
    ['without a reference', { referenceFree: true, refLogps: undefined, klLogps: KL.klLogps }],
    ['all desirable', { ...KL, desirable: new Uint8Array(items).fill(1) }],
    ['all undesirable', { lossType: 'bco', desirable: new Uint8Array(items) }],
  ];
}

function expectUnpaired(
  ours: Result,
  expected: Unpaired,
  scalars: Tolerance = lossTolerance,
  arrays: Tolerance = oneRounding,
) {
  for (const name of SCALARS) expectClose(name, [ours[name]], [expected[name]], scalars);
  for (const name of ARRAYS) expectClose(name, ours[name], expected[name], arrays);
  expect(ours.running === undefined).toBe(expected.running === undefined);
  if (expected.running === undefined) return;
  expectClose('running.mean', [ours.running!.mean], [expected.running.mean], scalars);
  expect(ours.running!.count).toBe(expected.running.count);
}

function expectSame(ours: Result, expected: Result) {
  for (const name of SCALARS) expect(ours[name], name).toBe(expected[name]);
  for (const name of ARRAYS) expectSameBits(name, ours[name], expected[name]);
  expect(ours.running).toEqual(expected.running);
}

const vectors = vectorCases<Options>('pair_losses', 'unpaired_preference');

function vectorInputs(vector: VectorCase<Options>) {
  const optional = ['ref_logps', 'unit_weights', 'kl_logps', 'kl_ref_logps'].filter((name) => vector.has(name));
  const named = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return {
    logps: vector.floats('logps'),
    turnOffsets: vector.integers('turn_offsets'),
    ...(vector.has('trajectory_offsets') && { trajectoryOffsets: vector.integers('trajectory_offsets') }),
    desirable: vector.stored('desirable').data,
    ...Object.fromEntries(optional.map((name) => [named(name), vector.floats(name)])),
    ...vector.options,
  };
}

/** All that a vector expects, where `running` is two numbers. */
function expectMeetsVector(
  ours: Result | Unpaired,
  vector: VectorCase<Options>,
  [scalars, arrays]: [Tolerance, Tolerance],
) {
  const { runningMean, runningCount, ...expected } = vector.expected();
  expect(ours.running).toEqual(runningMean && { mean: expect.closeTo(runningMean[0]!, 5), count: runningCount![0] });
  for (const [name, values] of Object.entries(expected)) {
    const own = ours[name as keyof Unpaired] as unknown as number | Float32Array;
    if (typeof own === 'number') expectClose(name, [own], values, scalars);
    else expectClose(name, own, values, arrays);
  }
}

it('has all vectors of single items', () => {
  expect(vectors.map(({ name }) => name)).toEqual(
    ['apo-zero', 'bco-running', 'bco', 'kto-reference-point', 'kto-trajectories', 'kto'].map(
      (name) => `unpaired-${name}`,
    ),
  );
});

it.each(vectors)('the oracle agrees with the vector $name', (vector) => {
  const exact: Tolerance = (expected) => 1e-12 + 1e-11 * Math.abs(expected);
  expectMeetsVector(expectedOf({ ...vectorInputs(vector), ...vector.oracleCounting() }), vector, [exact, exact]);
});

describe.each(LEVELS)('%s', (_name, batch, items) => {
  const desirable = desirableOf(items);
  // The running mean moves with the log-probs, and has no gradient: at a given point of its value it is the same loss.
  const fixed = (options: Options): Options => {
    const { running: _, ...given } = options;
    const { referencePoint } = expectedOf({ ...batch, desirable, ...options });
    return options.lossType === 'bco' ? { ...given, referencePoint } : options;
  };

  it.each(optionSets(items))('the oracle has the gradient of its loss: %s', (_set, options) => {
    const given = { ...batch, desirable, ...fixed(options) };
    const differences = centralDifferences(turns.logps, 1e-4, (logps) => expectedOf({ ...given, logps }).loss);
    const { gradLogps } = expectedOf({ ...batch, desirable, ...options });
    expectClose('gradLogps', gradLogps, differences, (g) => 1e-8 + 1e-6 * Math.abs(g));
  });
});

forEachBackend(() => {
  it.each(vectors)('meets the vector $name', (vector) => {
    expectMeetsVector(loss({ ...vectorInputs(vector), ...vector.counting() }), vector, [lossTolerance, oneRounding]);
  });

  describe.each(LEVELS)('%s', (_name, batch, items) => {
    const desirable = desirableOf(items);
    const own = (options: Options) => loss({ ...batch, desirable, ...options });
    const sets = optionSets(items);

    it.each(sets)('agrees with the oracle: %s', (_set, options) => {
      const result = own(options);
      expectUnpaired(result, expectedOf({ ...batch, desirable, ...options }));
      expect(result.lossType).toBe(options.lossType ?? 'kto');
      expect(result.beta).toBe(options.beta ?? 0.1);
    });

    it.each(sets)('has the gradient that finite differences give: %s', (_set, options) => {
      const point = own(options).referencePoint;
      const { running: _, ...given } = options;
      const fixed = options.lossType === 'bco' ? { ...given, referencePoint: point } : options;
      const differences = centralDifferences(
        turns.logps,
        2 ** -8,
        (moved) => own({ ...fixed, logps: Float32Array.from(moved) }).loss,
      );
      expectClose('gradLogps', own(options).gradLogps, differences, (g) => 2e-5 + 1e-4 * Math.abs(g));
    });

    it.each([1e4, -1e4])('stays finite at scores about %d', (far) => {
      for (const lossType of ['kto', 'apo_zero_unpaired', 'bco']) {
        const given = { lossType, beta: 1, logps: turns.logps.map((x) => x * far), ...(lossType === 'kto' && KL) };
        const result = own(given);
        expect(Math.max(...result.rewards.map(Math.abs))).toBeGreaterThan(1e4);
        expect([...result.unitLosses, ...result.gradLogps, result.loss].every(Number.isFinite)).toBe(true);
        expectUnpaired(result, expectedOf({ ...batch, desirable, ...given }));
      }
    });

    it('counts a score at the reference point as no win, of either kind', () => {
      const equal = own({ logps: turns.refLogps, lossType: 'apo_zero_unpaired' });
      expect(equal.accuracy).toBe(0);
      expect([...equal.unitLosses]).toEqual(new Array(items).fill(0.5));
      const running = own({ logps: turns.refLogps, lossType: 'bco' });
      expect([running.accuracy, running.referencePoint]).toEqual([0, 0]);
      expectClose('unitLosses', running.unitLosses, new Float64Array(items).fill(Math.LN2), oneRounding);
    });

    it('is kto at 0 as apo_zero_unpaired', () => {
      expectSame(own({ lossType: 'apo_zero_unpaired' }), own({ referencePoint: 0 }));
    });

    it('goes on with the running mean of the call before', () => {
      const first = own({ lossType: 'bco' });
      const second = own({ lossType: 'bco', running: first.running, logps: turns.logps.map((x) => x + 0.25) });
      expect(second.running!.count).toBe(2 * items);
      const total = [...first.rewards, ...second.rewards].reduce((sum, reward) => sum + reward / 0.1, 0);
      expectClose('the mean', [second.referencePoint], [total / (2 * items)], specified);
      expect(second.running!.mean).toBe(second.referencePoint);
    });

    it('never reads a masked token, and takes a token of weight 0 as one', () => {
      const spoiled = turns.logps.map((x, i) => (turns.mask[i] === 0 ? NaN : x));
      expectSame(own({ ...KL, logps: spoiled }), own(KL));
      const tokenWeights = randomWeights(44, turns);
      const counts = (i: number) => turns.mask[i] !== 0 && tokenWeights[i] !== 0;
      const plain = own({ ...KL, tokenWeights });
      expectSame(own({ ...KL, tokenWeights, logps: turns.logps.map((x, i) => (counts(i) ? x : NaN)) }), plain);
      expectSame(own({ ...KL, tokenWeights, mask: turns.mask.map((m, i) => (counts(i) ? m : 0)) }), plain);
      const ones = Float32Array.from(turns.mask, (m) => (m === 0 ? NaN : 1));
      expectSame(own({ ...KL, tokenWeights: ones }), own(KL));
    });

    it('takes labels for the mask', () => {
      const labels = Int32Array.from(turns.mask, (m) => (m === 0 ? -100 : 5));
      expectSame(own({ ...KL, mask: undefined, labels }), own(KL));
    });

    it('takes an item of weight 0 for absent, be its loss infinite, but in the running mean', () => {
      const first = turns.turnOffsets[0]!;
      const logps = turns.logps.map((x, i) => (i === first ? -Infinity : x));
      const unitWeights = Float32Array.from({ length: items }, (_, k) => (k === 0 ? 0 : 1));
      const given = {
        unitWeights,
        lossType: 'bco',
        referencePoint: 0.5,
        desirable: desirable.map((_, k) => 1 - (k % 2)),
      };
      const result = own({ ...given, logps });
      expect(result.unitLosses[0]).toBe(Infinity);
      const plain = own(given);
      expect(result.loss).toBe(plain.loss);
      expectSameBits('gradLogps', result.gradLogps, plain.gradLogps);
      const { referencePoint } = own({ lossType: 'bco', unitWeights });
      expect(referencePoint).toBe(own({ lossType: 'bco' }).referencePoint);
    });

    it('adds up over micro-batches that are given the denominator and the reference point of the whole', () => {
      if ('trajectoryOffsets' in batch) return;
      const whole = own(KL);
      const bounds = [0, 3, 4, items];
      const { turnOffsets } = turns;
      const parts = bounds.slice(1).map((end, j) => {
        const [begin, from, to] = [bounds[j]!, turnOffsets[bounds[j]!]!, turnOffsets[end]!];
        const cut = <A extends Float32Array | Uint8Array>(array: A) => array.slice(from, to) as A;
        return loss({
          ...batch,
          ...{ logps: cut(turns.logps), refLogps: cut(turns.refLogps), mask: cut(turns.mask) },
          turnOffsets: turnOffsets.slice(begin, end + 1).map((offset) => offset - from),
          desirable: desirable.slice(begin, end),
          ...{ unitDenominator: items, referencePoint: whole.referencePoint },
        });
      });
      expectClose('loss', [parts.reduce((sum, part) => sum + part.loss, 0)], [whole.loss], lossTolerance);
      const gradients = Float32Array.from(parts.flatMap((part) => [...part.gradLogps]));
      expectSameBits('gradLogps', gradients, whole.gradLogps);
    });

    it('gives the same bits for any number of threads, from views and from shared memory', () => {
      const given = { ...KL, tokenWeights: randomWeights(45, turns), unitWeights: new Float32Array(items).fill(0.5) };
      const plain = own(given);
      for (const { result } of underThreadCounts(() => own(given))) expectSame(result, plain);
      const views = {
        logps: shifted(turns.logps, 1),
        refLogps: sharedView(turns.refLogps),
        mask: shifted(turns.mask, 3),
        desirable: shifted(desirable, 5),
        klLogps: shifted(KL.klLogps, 2),
        klRefLogps: sharedView(KL.klRefLogps),
        unitWeights: shifted(given.unitWeights, 3),
      };
      expectSame(own({ ...given, ...views }), plain);
    });

    it('writes into out buffers', () => {
      const plain = own(KL);
      const out = Object.fromEntries(OUT.map((name, k) => [name, shifted(plain[name], k).fill(7)]));
      const result = own({ ...KL, out });
      for (const name of OUT) expect(result[name]).toBe(out[name]);
      expectSame(result, plain);
    });
  });

  it('agrees with the oracle on many items', () => {
    const many = randomBatch(46, 1, 700, 2, 3);
    const items = many.turnOffsets.length - 1;
    const { trajectoryOffsets: _, ...batch } = many;
    for (const lossType of ['kto', 'bco']) {
      const given = { ...batch, desirable: desirableOf(items), lossType, ...(lossType === 'kto' && KL) };
      expectUnpaired(loss(given), expectedOf(given));
    }
    const sequences = Float32Array.from(new Random(47).normals(1000, 2));
    const given = {
      ...batch,
      desirable: desirableOf(items),
      klLogps: sequences,
      klRefLogps: sequences.map((x, j) => x - (j % 3)),
    };
    expectUnpaired(loss(given), expectedOf(given));
  });

  it('counts empty turns 0 where that is allowed', () => {
    const given = {
      logps: Float32Array.of(-1, -3),
      refLogps: new Float32Array(2),
      turnOffsets: Int32Array.of(0, 0, 2),
      desirable: Uint8Array.of(1, 0),
      beta: 1,
      referencePoint: 0,
    };
    const sum = loss(given);
    expect([sum.rewards[0], sum.unitLosses[0], sum.accuracy]).toEqual([0, 0.5, 0.5]);
    expect(() => loss({ ...given, reduction: 'mean' })).toThrow(expect.objectContaining({ code: 'ERR_EMPTY_TURN' }));
    const mean = loss({ ...given, reduction: 'mean', allowEmptyTurns: true });
    expect([mean.rewards[0], mean.rewards[1]]).toEqual([0, -2]);
    expect([...mean.gradLogps].every(Number.isFinite)).toBe(true);
  });

  it('propagates NaN of a sequence', () => {
    const given = { ...turns, desirable: desirableOf(turns.turnOffsets.length - 1), ...KL };
    expect(loss({ ...given, klLogps: Float32Array.of(NaN, 0, 0) }).referencePoint).toBeNaN();
  });
});

it('sorts the rewards by kind', () => {
  const given = { ...turns, desirable: desirableOf(turns.turnOffsets.length - 1), ...KL };
  const { rewards, chosenRewards, rejectedRewards } = loss(given);
  const of = (kind: boolean) => range(0, rewards.length).filter((k) => (given.desirable[k] !== 0) === kind);
  expect([...chosenRewards]).toEqual(of(true).map((k) => rewards[k]));
  expect([...rejectedRewards]).toEqual(of(false).map((k) => rewards[k]));
  expect(chosenRewards.buffer).not.toBe(rejectedRewards.buffer);
});
