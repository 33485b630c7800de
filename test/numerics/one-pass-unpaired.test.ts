/**
 * Unpaired updates from hidden states whose items are long form the gradients of an item right after its logits, and scale them
 * later. What comes out must be what the parts give: linearLogps, the loss, linearLogpsBackward.
 */
import { linearLogps, linearLogpsBackward, unpairedPreferenceLoss, unpairedUpdate } from 'sweet-rl';
import { expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { randomHead } from '../helpers/linear.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';

const [N, H, V, TURN] = [2800, 130, 131, 280];
const GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;
const head = randomHead({ N, H, V, dtype: 'float32', withBias: true });
const labels = head.labels.map((label, i) => (i % 11 === 3 ? -100 : label));
const mask = Uint8Array.from({ length: N }, (_, i) => Number(i % 7 !== 2));
const linear = {
  ...{ hidden: head.hidden as Float32Array, weight: head.weight as Float32Array, bias: head.bias as Float32Array },
  ...{ labels, mask },
};
const random = new Random(61);
const refLogps = Float32Array.from({ length: N }, () => -6 + random.normal());
const turnOffsets = Int32Array.from({ length: N / TURN + 1 }, (_, t) => t * TURN);
const ofTurns = { desirable: Uint8Array.from({ length: N / TURN }, (_, k) => k % 2) };
const ofTrajectories = { trajectoryOffsets: Int32Array.of(0, 3, 5, 10), desirable: Uint8Array.of(1, 0, 1) };
const KL = { klLogps: Float32Array.of(-300, -310), klRefLogps: Float32Array.of(-305, -311) };
/** Some are 0; NaN at tokens that are masked or ignored. */
const tokenWeights = Float32Array.from({ length: N }, (_, i) =>
  i % 7 === 2 || i % 11 === 3 ? NaN : ((i * 5) % 13) / 8,
);
const unitWeights = Float32Array.from({ length: N / TURN }, (_, k) => (k === 2 ? 0 : 1 + k / 4));

const variants: [string, object][] = [
  ['kto of turns', { ...ofTurns, ...KL, beta: 0.01 }],
  ['kto of trajectories', { ...ofTrajectories, ...KL }],
  ['weights of items and tokens', { ...ofTurns, ...KL, unitWeights, tokenWeights, reduction: 'mean' }],
  ['apo_zero_unpaired, token-mean', { ...ofTrajectories, lossType: 'apo_zero_unpaired', normalization: 'token-mean' }],
  ['bco at a given point', { ...ofTurns, lossType: 'bco', referencePoint: -20, beta: 0.02 }],
  ['bco at the running mean, in two passes', { ...ofTurns, lossType: 'bco', beta: 0.02 }],
];
type Gradients = Partial<Record<(typeof GRADIENTS)[number], Float32Array>>;
type Result = Gradients & { logps: Float32Array; gradLogps: Float32Array; loss: number };
const run = (options: object) =>
  unpairedUpdate({ ...linear, refLogps, turnOffsets, ...options } as never) as unknown as Result;

function expectGradients(ours: Gradients, expected: Gradients, relative: number) {
  for (const name of GRADIENTS) {
    if (!expected[name]) continue;
    const largest = expected[name].reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    expectClose(name, ours[name]!, expected[name], () => relative * largest);
  }
}

function partsOf(variant: object) {
  const { logps, lse } = linearLogps(linear);
  const given = { logps, refLogps, turnOffsets, labels, mask, ...variant };
  const loss = unpairedPreferenceLoss(given as never);
  const gradients = linearLogpsBackward({ ...linear, lse, gradLogps: loss.gradLogps });
  return { loss, logps, gradients: gradients as Required<Gradients> };
}

forEachBackend(() => {
  it.each(variants)('gives what the parts give: %s', (_name, variant) => {
    const { loss, logps, gradients } = partsOf(variant);
    const ours = run(variant);
    expect(ours.loss).toBe(loss.loss);
    expectSameBits('logps', ours.logps, logps);
    expectSameBits('gradLogps', ours.gradLogps, loss.gradLogps);
    expectGradients(ours, gradients, 1e-5);
    const frozen = run({ ...variant, frozenWeight: true });
    expectGradients(frozen, { gradHidden: gradients.gradHidden }, 1e-5);
    expect(frozen.gradWeight).toBeUndefined();
    const { gradWeight, gradBias } = run({ ...variant, frozenHidden: true });
    expectSameBits('gradWeight', gradWeight!, ours.gradWeight!);
    expectSameBits('gradBias', gradBias!, ours.gradBias!);
  });

  it('keeps the digits of tokens of tiny weights', () => {
    const tiny = tokenWeights.map((w, i) => (i % 5 === 1 && w > 0 ? 2 ** -140 : w));
    // Far from the point, where the slope of an item is beta.
    const options = { ...ofTurns, lossType: 'bco', beta: 1e30, referencePoint: 1e6, tokenWeights: tiny };
    const [ours, expected] = [run(options).gradHidden!, partsOf(options).gradients.gradHidden!];
    const tokens = Array.from(tiny.keys()).filter((i) => tiny[i] === Math.fround(2 ** -140) && expected[i * H] !== 0);
    expect(tokens.length).toBeGreaterThan(20);
    for (const i of tokens) {
      const row = (of: Float32Array) => of.subarray(i * H, (i + 1) * H);
      const largest = row(expected).reduce((most, x) => Math.max(most, Math.abs(x)), 0);
      expectClose(`gradHidden of token ${i}`, row(ours), row(expected), () => 1e-5 * largest);
    }
  });

  it('adds to gradients that are there, and overwrites them otherwise', () => {
    const fresh = run({ ...ofTurns, ...KL });
    const before = Object.fromEntries(
      GRADIENTS.map((name) => [name, fresh[name]!.map((_x, i) => ((i % 13) - 6) / 64)]),
    );
    const out = Object.fromEntries(GRADIENTS.map((name) => [name, before[name]!.slice()]));
    run({ ...ofTurns, ...KL, accumulate: true, out });
    for (const name of GRADIENTS) {
      const sums = fresh[name]!.map((x, i) => x + before[name]![i]!);
      expectClose(name, out[name]!, sums, () => 1e-7);
    }
    run({ ...ofTurns, ...KL, out });
    for (const name of GRADIENTS) expectSameBits(name, out[name]!, fresh[name]!);
  });

  it('gives the same bits for any number of threads', () => {
    const [first, ...others] = underThreadCounts(() => run({ ...ofTurns, ...KL, tokenWeights }));
    for (const { result } of others) {
      for (const name of GRADIENTS) expectSameBits(name, result[name]!, first!.result[name]!);
    }
  });
});
