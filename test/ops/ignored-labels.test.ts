/** Tokens whose label is ignored do not count, wherever their log-probs go: as in the updates, to the bit. */
import {
  backends,
  binaryValueLoss,
  criticUpdate,
  filteredNll,
  policyUpdate,
  tokenLogps,
  trajectoryPreferenceLoss,
  turnAdvantages,
  turnAdvantagesBackward,
  turnPreferenceLoss,
  useBackend,
  valueAdvantages,
} from 'sweet-rl';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { randomPairs, randomStructure } from '../helpers/batches.ts';
import { Random } from '../helpers/random.ts';

const names = backends().flatMap(({ name, available }) => (available && name !== 'cuda' ? [name] : []));
const V = 11;

function randomBatch(seed: number) {
  const random = new Random(seed);
  const { mask, turnOffsets, trajectoryOffsets } = randomStructure(random, 5, 3, 6);
  const N = mask.length;
  const ignoreIndex = seed % 2 === 0 ? -100 : 3;
  const labels = random.integers(N, 0, V).map((label) => (label === ignoreIndex ? 0 : label));
  const kept = mask.slice();
  // Every third token but the first of its turn is ignored and not masked.
  for (let i = 0; i < N; i += 3) if (!turnOffsets.includes(i)) labels[i] = ignoreIndex;
  for (let i = 0; i < N; i++) if (labels[i] === ignoreIndex) kept[i] = 0;
  const refLogps = Float32Array.from(random.normals(N), (x) => -Math.abs(x));
  const logits = Float32Array.from(random.normals(N * V), (x) => 3 * x);
  const given = seed % 3 === 0 ? { mask } : {};
  const ignored = { labels: seed % 5 === 0 ? BigInt64Array.from(labels, BigInt) : labels, ignoreIndex, ...given };
  // Without the mask, what it masks counts.
  const counts = 'mask' in given ? kept : Uint8Array.from(labels, (label) => (label === ignoreIndex ? 0 : 1));
  const { logps } = tokenLogps({ logits, vocabSize: V, ...ignored });
  return { random, N, turnOffsets, trajectoryOffsets, refLogps, logits, logps, ignored, counts };
}

describe.each(names)('%s', (name) => {
  let before = '';
  beforeAll(() => {
    before = backends().find(({ active }) => active)!.name;
    useBackend(name);
  });
  afterAll(() => useBackend(before as never));

  it.each(Array.from({ length: 12 }, (_, seed) => seed))(
    'batch %i: the updates, and their parts with labels',
    (seed) => {
      const { random, turnOffsets, trajectoryOffsets, refLogps, logits, logps, ignored, counts } = randomBatch(seed);
      const ofTrajectories = randomPairs(random, trajectoryOffsets.length - 1, 4);
      const ofTurns = randomPairs(random, turnOffsets.length - 1, 4);
      const given = { logps, refLogps, turnOffsets };
      const nll = { nllCoef: 0.3, allowEmptyTurns: true };

      const critic = criticUpdate({
        ...{ logits, vocabSize: V, ...ignored, refLogps },
        ...{ turnOffsets, trajectoryOffsets, ...ofTrajectories, ...nll },
      });
      const ofCritic = { ...given, trajectoryOffsets, ...ofTrajectories, ...nll };
      const { logps: _, gradLogits: __, ...criticLoss } = critic;
      expect(trajectoryPreferenceLoss({ ...ofCritic, ...ignored })).toEqual(criticLoss);
      expect(trajectoryPreferenceLoss({ ...ofCritic, mask: counts })).toEqual(criticLoss);
      const advantages = turnAdvantages({ ...given, ...ignored, allowEmptyTurns: true });
      expect(advantages).toEqual(critic.turnAdvantages);

      const policy = policyUpdate({ logits, vocabSize: V, ...ignored, refLogps, turnOffsets, ...ofTurns, ...nll });
      const { logps: ___, gradLogits: ____, ...policyLoss } = policy;
      expect(turnPreferenceLoss({ ...given, ...ofTurns, ...nll, ...ignored })).toEqual(policyLoss);

      const gradAdvantages = Float32Array.from(random.normals(turnOffsets.length - 1));
      const backward = { gradAdvantages, turnOffsets, allowEmptyTurns: true };
      expect(turnAdvantagesBackward({ ...backward, ...ignored })).toEqual(
        turnAdvantagesBackward({ ...backward, mask: counts }),
      );
      const rewards = Float32Array.from(trajectoryOffsets.slice(1), () => Number(random.uniform() < 0.7));
      const selected = { logps, turnOffsets, trajectoryOffsets, rewards };
      expect(filteredNll({ ...selected, ...ignored })).toEqual(filteredNll({ ...selected, mask: counts }));
    },
  );
});

it('the values of tokens: those of ignored labels do not count', () => {
  const valueLogits = Float32Array.of(0.5, NaN, -1, 2, NaN);
  const labels = Int32Array.of(1, -100, 2, 0, -100);
  const batch = { trajectoryOffsets: Int32Array.of(0, 3, 5), outcomes: Float32Array.of(1, 0) };
  const kept = { ...batch, trajectoryOffsets: Int32Array.of(0, 2, 3) };
  const { loss, values, gradValueLogits } = binaryValueLoss({ ...batch, valueLogits, labels });
  const alone = binaryValueLoss({ ...kept, valueLogits: Float32Array.of(0.5, -1, 2) });
  expect(loss).toBe(alone.loss);
  const [a, b, c] = alone.gradValueLogits as unknown as [number, number, number];
  expect(gradValueLogits).toEqual(Float32Array.of(a, 0, b, c, 0));

  const all = valueAdvantages({ ...batch, values: values.map((v, i) => (labels[i] === -100 ? NaN : v)), labels });
  const [x, y, z] = valueAdvantages({ ...kept, values: alone.values }) as unknown as [number, number, number];
  expect(all).toEqual(Float32Array.of(x, 0, y, z, 0));
});

it('the figures of a batch without a mask', () => {
  const logps = Float32Array.of(-1, 0, -2, -3);
  const batch = { logps, refLogps: Float32Array.of(-2, -2, -2, -2), turnOffsets: Int32Array.of(0, 2, 4) };
  const labels = Int32Array.of(7, -100, 7, 7);
  expect(turnAdvantages({ ...batch, labels })).toEqual(Float32Array.of(1, -0.5));
  expect(turnAdvantages(batch)).toEqual(Float32Array.of(1.5, -0.5)); // the ignored token counts
});
