/** sweet-rl/objectives on random ragged batches: definitions as plain sums, and finite differences of every loss. */
import * as objectives from 'sweet-rl/objectives';
import { describe, expect, it } from 'vitest';
import { expectClose } from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import { Random } from '../helpers/random.ts';
import * as oracle from '../reference/objectives.ts';

const near = (expected: number) => 1e-12 + 1e-11 * Math.abs(expected);

/** Turns and trajectories of which some are empty, tokens of which some are masked, a whole trajectory among them. */
function layoutOf(seed: number, trajectories = 9) {
  const random = new Random(seed);
  const sizes = (count: number, most: number) => random.integers(count, 0, most);
  const offsetsOf = (lengths: Int32Array) => {
    const offsets = new Int32Array(lengths.length + 1);
    for (const [k, length] of lengths.entries()) offsets[k + 1] = offsets[k]! + length;
    return offsets;
  };
  const trajectoryOffsets = offsetsOf(sizes(trajectories, 5));
  const turnOffsets = offsetsOf(sizes(trajectoryOffsets.at(-1)!, 7));
  const tokens = turnOffsets.at(-1)!;
  const mask = random.mask(tokens, 0.3);
  const [from, to] = [3, 4].map((k) => turnOffsets[trajectoryOffsets[k]!]!);
  mask.fill(0, from, to);
  return { random, tokens, trajectories, layout: { mask, turnOffsets, trajectoryOffsets } };
}

describe.each([1, 2, 3, 4])('batch %i', (seed) => {
  const { random, tokens, trajectories, layout } = layoutOf(seed);
  const numbers = (scale = 1) => random.normals(tokens, scale);
  const rewards = numbers().map((r, i) => (layout.mask[i] === 0 ? 0 : r));
  const [values, bootstrapValues] = [numbers(), random.normals(trajectories)];

  it('has the returns and advantages of the definitions', () => {
    const given = { rewards, ...layout, gamma: 0.9, bootstrapValues };
    expectClose('returns', objectives.discountedReturns(given).returns, oracle.discountedReturns(given), near);
    const ours = objectives.generalizedAdvantages({ ...given, values, lambda: 0.8 });
    const expected = oracle.generalizedAdvantages({ ...given, values, lambda: 0.8 });
    expectClose('advantages', ours.advantages, expected, near);
    const targets = expected.map((a, i) => (layout.mask[i] === 0 ? 0 : a + values[i]!));
    expectClose('returns', ours.returns, targets, near);
  });

  it('has the group advantages of the definition', () => {
    const groupIds = random.integers(tokens, -3, 5);
    const ours = objectives.groupAdvantages({ rewards: values, groupIds, epsilon: 1e-3 }).advantages;
    expectClose('advantages', ours, oracle.groupAdvantages(values, groupIds, 1e-3), near);
  });

  const logps = numbers(0.5);
  const oldLogps = logps.map((x) => x + random.normal() * 0.3);
  const refLogps = logps.map((x) => x + random.normal() * 0.3);
  const batch = { logps, oldLogps, refLogps, entropy: numbers(), advantages: numbers(), ...layout };

  it.each(['token', 'turn', 'trajectory'] as const)('has the policy loss of the definition: %s', (ratioLevel) => {
    const settings = { ratioLevel, clipLow: 0.1, reduction: 'sequence-mean-token-mean' } as const;
    const ours = objectives.policyGradientLoss({ ...batch, ...settings, klCoef: 0.2, entropyCoef: 0.05 });
    expectClose('loss', [ours.loss], [oracle.clippedPolicyLoss(batch, ratioLevel, 0.1, [0.2, 0.05])], near);
  });

  type Loss = { loss: number };
  /** The gradient of a loss at one input, against differences of the loss, where the input is masked as well. */
  const expectGradient = <T extends Loss>(
    call: (input: Float64Array) => T,
    input: Float64Array,
    gradient: (result: T) => Float64Array,
  ) => {
    const differences = centralDifferences(input, 1e-6, (moved) => call(moved).loss);
    expectClose('gradient', gradient(call(input)), differences, (g) => 1e-8 + 1e-6 * Math.abs(g));
  };

  const bounds = {
    clip: { clipLow: 0.1, clipHigh: 0.3, dualClip: 1.5 },
    sapo: { sapoTauNeg: 2 },
    dppo: { clipLow: 0.1 },
  };
  it.each([
    ...(['token', 'turn', 'trajectory'] as const).flatMap((ratioLevel) =>
      (['clip', 'sapo'] as const).map((objective) => ({ objective, ratioLevel, ...bounds[objective] })),
    ),
    { objective: 'dppo' as const, ...bounds.dppo },
  ])('has the gradient of the policy loss: $objective $ratioLevel', (settings) => {
    const weights = numbers().map(Math.abs);
    const rest = { ...batch, importanceWeights: weights, klCoef: 0.3, klMax: 0.2, entropyCoef: 0.1, ...settings };
    for (const reduction of ['token-mean', 'sequence-mean-token-sum', 'sequence-mean-token-mean'] as const) {
      const at = (moved: object) => objectives.policyGradientLoss({ ...rest, reduction, ...moved });
      expectGradient(
        (moved) => at({ logps: moved }),
        logps,
        (result) => result.gradLogps as Float64Array,
      );
      expectGradient(
        (moved) => at({ entropy: moved }),
        batch.entropy,
        (result) => result.gradEntropy as Float64Array,
      );
    }
  });

  it.each(['k1', 'k2', 'k3'] as const)('has the gradient of REINFORCE and of the KL term %s', (klType) => {
    const { oldLogps: _, ...rest } = { ...batch, klType, klCoef: 2, objective: 'reinforce' as const };
    const at = (moved: Float64Array) => objectives.policyGradientLoss({ ...rest, logps: moved });
    expectGradient(at, logps, (result) => result.gradLogps);
  });

  it.each(['token', 'turn', 'trajectory'] as const)(
    'has the gradient of CISPO with its factor constant: %s',
    (level) => {
      const settings = { objective: 'cispo', ratioLevel: level, clipLow: 0.1, clipHigh: 0.2 } as const;
      const { gradLogps } = objectives.policyGradientLoss({ ...batch, ...settings });
      const { mask } = layout;
      const factors = oracle.unitsOf(layout, tokens);
      const units = {
        token: factors.turns.flat().map((i) => [i]),
        turn: factors.turns,
        trajectory: factors.trajectories,
      };
      const expected = new Float64Array(tokens);
      for (const unit of units[level]) {
        const r = Math.exp(unit.reduce((sum, i) => sum + logps[i]! - oldLogps[i]!, 0) / unit.length);
        for (const i of unit) {
          expected[i] = (-Math.min(Math.max(r, 0.9), 1.2) * batch.advantages[i]!) / mask.filter((m) => m).length;
        }
      }
      expectClose('gradLogps', gradLogps, expected, near);
    },
  );

  it('has the gradients of the value losses', () => {
    const { mask } = layout;
    const [old, returns] = [values.map((v) => v + random.normal() * 0.5), numbers()];
    const terminated = random.mask(tokens, 0.5);
    const gradient = (result: { gradValues: Float64Array }) => result.gradValues;
    const losses = [
      (moved: Float64Array) => objectives.clippedValueLoss({ values: moved, oldValues: old, returns, mask }),
      (moved: Float64Array) => objectives.clippedValueLoss({ values: moved, returns, mask, coef: 2 }),
      (moved: Float64Array) => objectives.tdLoss({ values: moved, rewards, nextValues: old, terminated, mask }),
      (moved: Float64Array) => objectives.expectileLoss({ values: moved, targets: returns, mask, expectile: 0.9 }),
    ];
    for (const loss of losses) expectGradient(loss, values, gradient);
  });

  it('has the gradients of ILQL, the targets constant', () => {
    const rest = { targetQ1: numbers(), targetQ2: numbers(), rewards, ...layout, bootstrapValues, cqlCoef: 0.3 };
    const own = { q1: numbers(), q2: numbers(), values, qLogps1: numbers(), qLogps2: numbers() };
    const gradients = { q1: 'gradQ1', q2: 'gradQ2', qLogps1: 'gradQLogps1', qLogps2: 'gradQLogps2' } as const;
    for (const name of ['q1', 'q2', 'qLogps1', 'qLogps2'] as const) {
      const at = (moved: Float64Array) => objectives.ilqlLoss({ ...rest, ...own, [name]: moved });
      expectGradient(at, own[name], (result) => result[gradients[name]]!);
    }
    // The values are in the targets of Q too, where they are constants: only the value loss moves.
    const at = (moved: Float64Array) => ({ ...objectives.ilqlLoss({ ...rest, ...own, values: moved }) });
    const valueLoss = (moved: Float64Array) => ({ ...at(moved), loss: at(moved).valueLoss });
    expectGradient(valueLoss, values, (result) => result.gradValues);
  });

  it('has the gradient of the implicit reward', () => {
    const outcomes = Float64Array.from({ length: trajectories }, (_, k) => [0, 1, 0.25][k % 3]!);
    const at = (moved: Float64Array) =>
      objectives.implicitRewardLoss({ logps: moved, refLogps, outcomes, ...layout, beta: 0.7 });
    expectGradient(at, logps, (result) => result.gradLogps);
  });

  it('gives a gradient the class of its array', () => {
    const single = { ...batch, logps: Float32Array.from(logps), entropy: Float32Array.from(batch.entropy) };
    const ours = objectives.policyGradientLoss({ ...single, entropyCoef: 0.1 });
    const double = objectives.policyGradientLoss({ ...batch, entropyCoef: 0.1 });
    expect([ours.gradLogps, ours.gradEntropy].map((array) => array?.constructor)).toEqual([Float32Array, Float32Array]);
    expectClose('gradLogps', ours.gradLogps, double.gradLogps, () => 1e-6);
  });
});

it('fills the missing values at the end of a trajectory, over masked elements and with a bootstrap', () => {
  const given = {
    rewards: Float64Array.of(1, 0, 2, 0, 0, 4),
    mask: Uint8Array.of(1, 0, 1, 0, 0, 1),
    trajectoryOffsets: Int32Array.of(0, 4, 6),
    bootstrapValues: Float64Array.of(8, 1),
    gamma: 0.5,
    lambda: 0,
  };
  const values = Float64Array.of(0.25, NaN, NaN, 9, NaN, NaN);
  const { advantages, returns } = objectives.generalizedAdvantages({ ...given, values, fillMissing: true });
  expect([...returns]).toEqual([4, 0, 6, 0, 0, 4.5]);
  expect([...advantages]).toEqual([3.75, 0, 0, 0, 0, 0]);
});

it('gives an only child of a tree the advantage 0, whatever its value', () => {
  const tree = { parents: Int32Array.of(-1, 0, 1, 1), leafValues: Float64Array.of(NaN, NaN, Infinity, 0) };
  const { values, advantages } = objectives.treeValues(tree);
  expect([...values]).toEqual([Infinity, Infinity, Infinity, 0]);
  expect([...advantages]).toEqual([0, 0, NaN, -Infinity]);
});
