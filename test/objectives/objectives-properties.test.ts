/** Properties of sweet-rl/objectives that hold for any batch. */
import fc from 'fast-check';
import * as objectives from 'sweet-rl/objectives';
import { describe, expect, it } from 'vitest';
import { expectClose } from '../helpers/compare.ts';
import { Random } from '../helpers/random.ts';

const RUNS = { numRuns: 60, seed: 7 };
const near = (expected: number) => 1e-10 + 1e-10 * Math.abs(expected);
const real = fc.double({ min: -5, max: 5, noNaN: true });
/** Trajectories of turns of tokens; each token with some numbers, and whether it counts. */
const token = fc.record({ x: real, y: real, z: real, counts: fc.boolean() });
type Token = { x: number; y: number; z: number; counts: boolean };
type Batch = Token[][][];
const batches = fc.array(fc.array(fc.array(token, { maxLength: 5 }), { maxLength: 4 }), { minLength: 1, maxLength: 6 });

const offsetsOf = (groups: readonly (readonly unknown[])[]) =>
  Int32Array.from([0, ...groups.map((_, k) => groups.slice(0, k + 1).flat().length)]);

function arraysOf(batch: Batch) {
  const turns = batch.flat();
  const tokens = turns.flat();
  const numbers = (of: (token: Token) => number) => Float64Array.from(tokens, of);
  return {
    tokens,
    layout: {
      mask: Uint8Array.from(tokens, ({ counts }) => Number(counts)),
      turnOffsets: offsetsOf(turns),
      trajectoryOffsets: offsetsOf(batch),
    },
    rewards: numbers(({ x, counts }) => (counts ? x : 0)),
    x: numbers(({ x }) => x),
    y: numbers(({ y }) => y),
    z: numbers(({ z }) => z),
  };
}

type Losses = Record<string, (batch: Batch, denominator?: number) => { loss: number; gradient: Float64Array }>;
const withDenominator = (denominator: number | undefined) => ({ denominator });
const policy =
  (settings: objectives.PolicyGradientSettings) =>
  (batch: Batch, denominator?: number): { loss: number; gradient: Float64Array } => {
    const { layout, x, y, z } = arraysOf(batch);
    const given = { logps: x, oldLogps: y, refLogps: z, advantages: z, ...layout, ...settings, klCoef: 0.1 };
    const { loss, gradLogps } = objectives.policyGradientLoss({ ...given, ...withDenominator(denominator) });
    return { loss, gradient: gradLogps };
  };
const valueGradient = ({ loss, gradValues }: { loss: number; gradValues: Float64Array }) => ({
  loss,
  gradient: gradValues,
});

/** By what they are divided: the counted tokens, or the trajectories that have one. */
const BY_TOKENS: Losses = {
  'policyGradientLoss token-mean': policy({}),
  'policyGradientLoss trajectory ratio': policy({ ratioLevel: 'trajectory', objective: 'sapo' }),
  clippedValueLoss: (batch, d) => {
    const { layout, x, y, z } = arraysOf(batch);
    const given = { values: x, oldValues: y, returns: z, mask: layout.mask };
    return valueGradient(objectives.clippedValueLoss({ ...given, ...withDenominator(d) }));
  },
  tdLoss: (batch, d) => {
    const { layout, x, y, z } = arraysOf(batch);
    const given = { values: x, rewards: y, nextValues: z, mask: layout.mask };
    return valueGradient(objectives.tdLoss({ ...given, ...withDenominator(d) }));
  },
  expectileLoss: (batch, d) => {
    const { layout, x, y } = arraysOf(batch);
    return valueGradient(objectives.expectileLoss({ values: x, targets: y, mask: layout.mask, ...withDenominator(d) }));
  },
  ilqlLoss: (batch, d) => {
    const { layout, rewards, x, y, z } = arraysOf(batch);
    const given = { q1: x, q2: y, targetQ1: z, targetQ2: x, values: z, rewards, qLogps1: y, qLogps2: z };
    return valueGradient(objectives.ilqlLoss({ ...given, ...layout, ...withDenominator(d) }));
  },
};
const BY_SEQUENCES: Losses = {
  'policyGradientLoss sequence-mean-token-mean': policy({ reduction: 'sequence-mean-token-mean' }),
  'policyGradientLoss sequence-mean-token-sum': policy({ reduction: 'sequence-mean-token-sum', ratioLevel: 'turn' }),
  implicitRewardLoss: (batch, d) => {
    const { layout, x, y } = arraysOf(batch);
    const outcomes = Float64Array.from(batch, (turns) => turns.length % 2);
    const given = { logps: x, refLogps: y, outcomes, ...layout };
    const { loss, gradLogps } = objectives.implicitRewardLoss({ ...given, ...withDenominator(d) });
    return { loss, gradient: gradLogps };
  },
};
const counted = (batch: Batch) => arraysOf(batch).layout.mask.filter((m) => m === 1).length;
const sequences = (batch: Batch) => batch.filter((turns) => counted([turns]) > 0).length;

describe.each([
  ...Object.entries(BY_TOKENS).map(([name, loss]) => ({ name, loss, count: counted })),
  ...Object.entries(BY_SEQUENCES).map(([name, loss]) => ({ name, loss, count: sequences })),
])('$name', ({ loss, count }) => {
  it('adds up over micro-batches that are given the count of the whole', () => {
    fc.assert(
      fc.property(batches, fc.nat(6), (batch, at) => {
        const whole = loss(batch);
        const denominator = count(batch) || undefined;
        const parts = [batch.slice(0, at), batch.slice(at)].map((part) => loss(part, denominator));
        expectClose('loss', [parts[0]!.loss + parts[1]!.loss], [whole.loss], near);
        expectClose('gradient', [...parts[0]!.gradient, ...parts[1]!.gradient], whole.gradient, near);
      }),
      RUNS,
    );
  });

  it('is 0 where nothing counts, and does not read what does not count', () => {
    fc.assert(
      fc.property(batches, (batch) => {
        const change = (change: (token: Token) => Token) => batch.map((turns) => turns.map((turn) => turn.map(change)));
        const none = loss(change((each) => ({ ...each, counts: false })));
        expect(none.loss).toBe(0);
        expect(none.gradient.every((g) => g === 0)).toBe(true);
        const spoiled = change((each) => (each.counts ? each : { ...each, x: NaN, y: NaN, z: NaN }));
        expect(loss(spoiled)).toEqual(loss(batch));
      }),
      RUNS,
    );
  });

  it('shows a NaN that counts', () => {
    fc.assert(
      fc.property(batches, (batch) => {
        const first = batch.flat(2).find(({ counts }) => counts);
        const change = (each: Token) => (each === first ? { ...each, x: NaN } : each);
        const spoiled = loss(batch.map((turns) => turns.map((turn) => turn.map(change))));
        expect(Number.isNaN(spoiled.loss)).toBe(first !== undefined);
      }),
      RUNS,
    );
  });
});

describe('over time', () => {
  const compute = (batch: Batch) => {
    const { rewards, y, layout } = arraysOf(batch);
    const values = y.map((v, i) => (layout.mask[i] === 0 ? NaN : v));
    return [
      objectives.discountedReturns({ rewards, ...layout, gamma: 0.9 }).returns,
      ...(['element', 'bilevel'] as const).flatMap((level) => {
        const result = objectives.generalizedAdvantages({ rewards, values, ...layout, gamma: 0.9, level });
        return [result.advantages, result.returns];
      }),
    ];
  };

  it('masked elements take no time, and are 0', () => {
    fc.assert(
      fc.property(batches, (batch) => {
        const kept = batch.map((turns) => turns.map((turn) => turn.filter(({ counts }) => counts)));
        const { mask } = arraysOf(batch).layout;
        for (const [k, with_] of compute(batch).entries()) {
          const without = compute(kept)[k]!;
          expect(with_.filter((_, i) => mask[i] === 1)).toEqual(without);
          expect(with_.filter((x, i) => mask[i] === 0 && x !== 0)).toHaveLength(0);
        }
      }),
      RUNS,
    );
  });

  it('trajectories do not depend on each other', () => {
    fc.assert(
      fc.property(batches, (batch) => {
        const reversed = batch.toReversed();
        for (const [k, all] of compute(batch).entries()) {
          const other = compute(reversed)[k]!;
          const ranges = arraysOf(reversed).layout;
          const parts = reversed.map((_, t) => {
            const [from, to] = [t, t + 1].map((u) => ranges.turnOffsets[ranges.trajectoryOffsets[u]!]!);
            return [...other.subarray(from, to)];
          });
          expect(parts.toReversed().flat()).toEqual([...all]);
        }
      }),
      RUNS,
    );
  });

  it('turns of one token are the same as no turns; one long trajectory of lambda 1 has the returns', () => {
    fc.assert(
      fc.property(fc.array(real, { minLength: 1, maxLength: 8 }), (list) => {
        const rewards = Float64Array.from(list);
        const values = rewards.map((r) => r / 2 + 1);
        const trajectoryOffsets = Int32Array.of(0, list.length);
        const given = { rewards, values, trajectoryOffsets, gamma: 0.9 };
        const turnOffsets = Int32Array.from({ length: list.length + 1 }, (_, i) => i);
        expect(objectives.generalizedAdvantages({ ...given, turnOffsets })).toEqual(
          objectives.generalizedAdvantages(given),
        );
        const { returns } = objectives.generalizedAdvantages({ ...given, lambda: 1 });
        const { values: _, ...withoutValues } = given;
        expectClose('returns', returns, objectives.discountedReturns(withoutValues).returns, near);
        const turnwise = { turnGamma: 0.9, turnLambda: 0.95 };
        expectClose(
          'bilevel of single tokens',
          objectives.generalizedAdvantages({ ...given, level: 'bilevel', ...turnwise }).advantages,
          objectives.generalizedAdvantages(given).advantages,
          near,
        );
      }),
      RUNS,
    );
  });

  it('broadcasts to tokens what the offsets say', () => {
    fc.assert(
      fc.property(batches, (batch) => {
        const { layout, tokens } = arraysOf(batch);
        const ofTurns = Float64Array.from(batch.flat(), (_, t) => t + 1);
        const { mask, turnOffsets, trajectoryOffsets } = layout;
        const expected = batch.flat().flatMap((turn, t) => turn.map(({ counts }) => (counts ? t + 1 : 0)));
        expect([...objectives.broadcastTurns({ advantages: ofTurns, mask, turnOffsets })]).toEqual(expected);
        const ofTrajectories = Float64Array.from(batch, (_, k) => k + 1);
        const perTurn = objectives.broadcastTurns({ advantages: ofTrajectories, trajectoryOffsets });
        expect(objectives.broadcastTurns({ advantages: ofTrajectories, ...layout })).toEqual(
          objectives.broadcastTurns({ advantages: perTurn, mask, turnOffsets }),
        );
        expect(tokens).toHaveLength(expected.length);
      }),
      RUNS,
    );
  });
});

describe('in groups', () => {
  const sample = fc.record({ reward: fc.integer({ min: -3, max: 3 }), group: fc.integer({ min: 0, max: 3 }) });
  const samples = fc.array(sample, { minLength: 1, maxLength: 12 });
  type Sample = { reward: number; group: number };
  const settings = fc.record({
    baseline: fc.constantFrom('mean', 'leave-one-out', 'none'),
    scale: fc.constantFrom('group', 'batch', 'none'),
    singletons: fc.constantFrom('zero', 'reward'),
  }) as fc.Arbitrary<Pick<objectives.GroupAdvantagesOptions, 'baseline' | 'scale' | 'singletons'>>;
  const of = (list: Sample[], given: object = {}, change = (reward: number) => reward) =>
    objectives.groupAdvantages({
      rewards: Float64Array.from(list, ({ reward }) => change(reward)),
      groupIds: Int32Array.from(list, ({ group }) => group),
      ...given,
    });

  it('the order of the samples does not matter', () => {
    fc.assert(
      fc.property(samples, settings, (list, given) => {
        const order = new Random(list.length).integers(list.length, 0, 1e9);
        const permuted = [...list.keys()].sort((a, b) => order[a]! - order[b]!);
        const [ours, other] = [
          of(list, given),
          of(
            permuted.map((i) => list[i]!),
            given,
          ),
        ];
        expectClose(
          'advantages',
          other.advantages,
          permuted.map((i) => ours.advantages[i]!),
          near,
        );
        expect(other.zeroVarianceGroups).toBe(ours.zeroVarianceGroups);
      }),
      RUNS,
    );
  });

  it('a shift of all rewards changes nothing, a scale only scales', () => {
    fc.assert(
      fc.property(samples, fc.constantFrom('mean', 'leave-one-out'), (list, baseline) => {
        const base = of(list, { baseline, epsilon: 0 }).advantages;
        const moved = of(list, { baseline, epsilon: 0 }, (reward) => 4 * reward + 32).advantages;
        expectClose('advantages', moved, base, near);
        const unscaled = of(list, { baseline, scale: 'none' }).advantages;
        expectClose(
          '4 A',
          of(list, { baseline, scale: 'none' }, (r) => 4 * r + 32).advantages,
          unscaled.map((a) => 4 * a),
          near,
        );
      }),
      RUNS,
    );
  });

  it('advantages of a group add up to 0 and are 0 where all rewards are equal, also of 0.1', () => {
    fc.assert(
      fc.property(samples, (list) => {
        const { advantages, groups, means, sizes } = of(list, { scale: 'none' });
        for (const g of means.keys()) {
          const own = advantages.filter((_, i) => groups[i] === g);
          expect(own).toHaveLength(sizes[g]!);
          expect(Math.abs(own.reduce((sum, a) => sum + a, 0))).toBeLessThan(1e-12);
        }
        const equal = of(list, {}, () => 0.1);
        expect(equal.advantages.every((a) => a === 0)).toBe(true);
        expect(equal.stds.every((s) => s === 0)).toBe(true);
      }),
      RUNS,
    );
  });

  it('whitened advantages have mean 0 and deviation 1, whatever their shift and scale', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: -9, max: 9 }), { minLength: 2, maxLength: 20 }), (list) => {
        const white = (change: (x: number) => number) =>
          objectives.whiten({ advantages: Float64Array.from(list, change), epsilon: 0 });
        const { advantages, std } = white((x) => x);
        expectClose('advantages', white((x) => 8 * x - 64).advantages, advantages, near);
        if (std === 0) return;
        const again = objectives.whiten({ advantages, epsilon: 0 });
        expectClose('moments', [again.mean, again.std], [0, 1], near);
      }),
      RUNS,
    );
  });

  it('tasks of turns do not depend on each other, nor on the numbers of their ids', () => {
    const turn = fc.record({ value: fc.integer({ min: -3, max: 3 }), observation: fc.integer({ min: 0, max: 2 }) });
    const trajectory = fc.record({ task: fc.integer({ min: 0, max: 2 }), turns: fc.array(turn, { maxLength: 5 }) });
    const all = fc.array(trajectory, { minLength: 1, maxLength: 6 });
    fc.assert(
      fc.property(all, fc.constantFrom('gigpo', 'hgpo'), fc.boolean(), (list, method, withEpisode) => {
        const compute = (some: typeof list, id = (n: number) => n) =>
          objectives.stepGroupAdvantages({
            returns: Float64Array.from(some.flatMap(({ turns }) => turns.map(({ value }) => value))),
            observationIds: Int32Array.from(some.flatMap(({ turns }) => turns.map((each) => id(each.observation)))),
            trajectoryOffsets: offsetsOf(some.map(({ turns }) => turns)),
            groupIds: Int32Array.from(some, ({ task }) => id(task)),
            ...(withEpisode && { episodeRewards: Float64Array.from(some, ({ turns }) => turns.length) }),
            method: method as 'gigpo' | 'hgpo',
          });
        const ours = compute(list);
        expect(compute(list, (n) => 1000 - 7 * n)).toEqual(ours);
        const ofTask = (task: number) => compute(list.filter((each) => each.task === task)).advantages;
        const tasks = list.flatMap(({ task, turns }) => turns.map(() => task));
        for (const task of [0, 1, 2]) {
          expect(ours.advantages.filter((_, t) => tasks[t] === task)).toEqual(ofTask(task));
        }
      }),
      RUNS,
    );
  });
});

describe('values', () => {
  it('of a tree are the same by children and by leaves where all leaves are equally deep', () => {
    fc.assert(
      fc.property(fc.array(real, { minLength: 8, maxLength: 8 }), (leaves) => {
        const parents = Int32Array.of(-1, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6);
        const leafValues = Float64Array.of(...new Array(7).fill(NaN), ...leaves);
        const [byChildren, byLeaves] = (['children', 'leaves'] as const).map((average) =>
          objectives.treeValues({ parents, leafValues, average }),
        );
        expectClose('values', byChildren!.values, byLeaves!.values, near);
        const sums = [1, 2].map((i) => byChildren!.advantages[i]!);
        expect(Math.abs(sums[0]! + sums[1]!)).toBeLessThan(1e-12);
      }),
      RUNS,
    );
  });

  it('of a soft policy are <p, q> - lambda kl, between the mean under the prior and the largest q', () => {
    const action = fc.record({ weight: fc.double({ min: 0.01, max: 1, noNaN: true }), q: real });
    const lambdas = fc.double({ min: 0.05, max: 10, noNaN: true });
    fc.assert(
      fc.property(fc.array(action, { minLength: 1, maxLength: 6 }), lambdas, (actions, lambda) => {
        const total = actions.reduce((sum, { weight }) => sum + weight, 0);
        const logPrior = Float64Array.from([...actions.map(({ weight }) => Math.log(weight / total)), -Infinity]);
        const q = Float64Array.from([...actions.map((each) => each.q), 1e6]);
        const actionOffsets = Int32Array.of(0, q.length);
        const { values, logPolicy, kl } = objectives.softValue({ logPrior, q, actionOffsets, lambda });
        const expectation = (logs: Float64Array) => q.reduce((sum, x, a) => sum + Math.exp(logs[a]!) * x, 0);
        expectClose('V', values, [expectation(logPolicy) - lambda * kl[0]!], near);
        expect(values[0]).toBeGreaterThanOrEqual(expectation(logPrior) - 1e-9);
        expect(values[0]).toBeLessThanOrEqual(Math.max(...q.subarray(0, -1)) + 1e-9);
        expect(logPolicy.at(-1)).toBe(-Infinity);
      }),
      RUNS,
    );
  });

  it('of a debate lie between the scores, and without others or a future are the own score', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 6 }), (list) => {
        const scores = Float64Array.from(list);
        const one = { scores, agents: 1, trajectoryOffsets: Int32Array.of(0, list.length) };
        expect(objectives.collaborativeReturns({ ...one, gamma: 0 }).returns).toEqual(scores);
        expect(objectives.collaborativeReturns({ ...one, horizon: 'current' }).returns).toEqual(scores);
        const { returns } = objectives.collaborativeReturns(one);
        expect(Math.max(...returns)).toBeLessThanOrEqual(Math.max(...scores) + 1e-12);
        expect(Math.min(...returns)).toBeGreaterThanOrEqual(Math.min(...scores) - 1e-12);
      }),
      RUNS,
    );
  });
});
