/** turnAdvantages and turnAdvantagesBackward against the oracle, on every backend. */
import { backends, turnAdvantages, turnAdvantagesBackward } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { randomWeights } from '../helpers/batches.ts';
import { expectClose, expectSameBits, oneRounding } from '../helpers/compare.ts';
import { centralDifferences, weightedSum } from '../helpers/differences.ts';
import { thrownBy } from '../helpers/errors.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { sharedView, shifted } from '../helpers/storage.ts';
import { vectorCases } from '../helpers/vectors.ts';
import {
  turnAdvantages as oracle,
  turnAdvantagesBackward as oracleBackward,
  type Reduction,
} from '../reference/turn-advantages.ts';

const REDUCTIONS: Reduction[] = ['mean', 'sum'];
const vectors = vectorCases<{ reduction: Reduction }>('turn_advantages');

/** Ragged turns, some of a single token, each with at least one that counts unless `mask` says otherwise. */
function raggedTurns(seed: number, count: number, most: number, zeros: number) {
  const random = new Random(seed);
  const turnOffsets = random.offsets(count, most);
  const N = turnOffsets[count]!;
  const mask = random.mask(N, zeros);
  for (const begin of turnOffsets.subarray(0, count)) mask[begin] = 1;
  return {
    logps: Float32Array.from(random.normals(N, 5)),
    refLogps: Float32Array.from(random.normals(N, 5)),
    mask,
    turnOffsets,
    gradAdvantages: Float32Array.from(random.normals(count)),
  };
}

const { mask: _, ...unmasked } = raggedTurns(2, 9, 5, 0);
const cases = [
  { name: 'one token', ...raggedTurns(1, 1, 1, 0) },
  { name: 'single-token turns', ...raggedTurns(3, 40, 1, 0) },
  { name: 'no mask', ...unmasked },
  { name: 'ragged', ...raggedTurns(4, 61, 37, 0.4) },
  { name: 'long turns', ...raggedTurns(5, 3, 6000, 0.5) },
  ...[
    { name: 'ragged', ...raggedTurns(10, 61, 37, 0.4) },
    { name: 'single-token turns', ...raggedTurns(11, 40, 1, 0) },
    { name: 'long turns', ...raggedTurns(12, 3, 6000, 0.5) },
  ].map((turns) => ({ ...turns, name: `${turns.name}, with weights`, tokenWeights: randomWeights(13, turns) })),
];

describe('the oracle', () => {
  it.each(vectors)('agrees with the vector $name', (vector) => {
    const turns = { ...vector.oracleCounting(), turnOffsets: vector.integers('turn_offsets'), ...vector.options };
    const [logps, refLogps] = [vector.floats('logps'), vector.floats('ref_logps')];
    const exact = (x: number) => 1e-12 + 1e-12 * Math.abs(x);
    expectClose('advantages', oracle({ ...turns, logps, refLogps }), vector.values('expected.advantages'), exact);
    const gradLogps = oracleBackward({ ...turns, gradAdvantages: vector.floats('grad_advantages') });
    expectClose('gradLogps', gradLogps, vector.values('expected.grad_logps'), exact);
  });

  it.each(REDUCTIONS)('has the gradient of its %s', (reduction) => {
    const { logps, gradAdvantages, ...plain } = raggedTurns(6, 7, 4, 0.3);
    const turns = { ...plain, tokenWeights: randomWeights(14, plain) };
    const differences = centralDifferences(logps, 1e-3, (moved) =>
      weightedSum(oracle({ ...turns, logps: moved, reduction }), gradAdvantages),
    );
    expectClose('gradLogps', differences, oracleBackward({ ...turns, gradAdvantages, reduction }), () => 1e-9);
  });
});

forEachBackend(() => {
  it.each(vectors)('meets the vector $name', (vector) => {
    const turns = { ...vector.counting(), turnOffsets: vector.integers('turn_offsets'), ...vector.options };
    const advantages = turnAdvantages({
      ...turns,
      logps: vector.floats('logps'),
      refLogps: vector.floats('ref_logps'),
    });
    expectClose('advantages', advantages, vector.values('expected.advantages'), oneRounding);
    const gradLogps = turnAdvantagesBackward({ ...turns, gradAdvantages: vector.floats('grad_advantages') });
    expectClose('gradLogps', gradLogps, vector.values('expected.grad_logps'), oneRounding);
  });

  describe.each(REDUCTIONS)('%s', (reduction) => {
    it.each(cases)('gives advantages and gradient: $name', ({ name: _name, gradAdvantages, ...turns }) => {
      const { logps: _logps, refLogps: _refLogps, ...structure } = turns;
      expectClose('advantages', turnAdvantages({ ...turns, reduction }), oracle({ ...turns, reduction }), oneRounding);
      const gradLogps = turnAdvantagesBackward({ ...structure, gradAdvantages, reduction });
      expectClose('gradLogps', gradLogps, oracleBackward({ ...structure, gradAdvantages, reduction }), oneRounding);
    });

    it('has the gradient that finite differences give', () => {
      const { logps, refLogps, gradAdvantages, ...plain } = raggedTurns(6, 7, 4, 0.3);
      const turns = { ...plain, tokenWeights: randomWeights(15, plain) };
      const differences = centralDifferences(logps, 2 ** -4, (moved) =>
        weightedSum(turnAdvantages({ ...turns, logps: Float32Array.from(moved), refLogps, reduction }), gradAdvantages),
      );
      const gradLogps = turnAdvantagesBackward({ ...turns, gradAdvantages, reduction });
      expectClose('gradLogps', gradLogps, differences, () => 1e-4);
    });

    it('never reads a masked token', () => {
      const { gradAdvantages: _grad, ...turns } = raggedTurns(7, 9, 6, 0.5);
      const spoiled = turns.logps.map((x, i) => (turns.mask[i] === 0 ? NaN : x));
      expectSameBits(
        'advantages',
        turnAdvantages({ ...turns, logps: spoiled, reduction }),
        turnAdvantages({ ...turns, reduction }),
      );
    });

    it('takes a token of weight 0 as a masked one, and weights of 1 as none, to the bit', () => {
      const { gradAdvantages, logps, refLogps, ...structure } = raggedTurns(16, 20, 9, 0.3);
      const call = (given: { mask?: Uint8Array; tokenWeights?: Float32Array }, spoil: (i: number) => boolean) => [
        turnAdvantages({
          ...structure,
          logps: logps.map((x, i) => (spoil(i) ? NaN : x)),
          refLogps,
          reduction,
          ...given,
        }),
        turnAdvantagesBackward({ ...structure, gradAdvantages, reduction, ...given }),
      ];
      const none = call({}, () => false);
      const tokenWeights = Float32Array.from(structure.mask, (m) => (m === 0 ? NaN : 1));
      expect(call({ tokenWeights }, () => false)).toEqual(none);
      const zeros = tokenWeights.map((w, i) => (i % 3 === 1 && !structure.turnOffsets.includes(i) ? 0 : w));
      const mask = structure.mask.map((m, i) => (zeros[i] === 0 ? 0 : m));
      expect(call({ tokenWeights: zeros }, (i) => zeros[i] === 0)).toEqual(call({ mask }, () => false));
      const infinite = { ...structure, gradAdvantages: gradAdvantages.map(() => Infinity), reduction };
      for (const given of [{}, { tokenWeights: zeros }]) {
        const gradLogps = turnAdvantagesBackward({ ...infinite, ...given });
        const counts = (i: number) => structure.mask[i] !== 0 && !('tokenWeights' in given && zeros[i] === 0);
        expect(Array.from(gradLogps)).toEqual(Array.from(gradLogps, (_, i) => (counts(i) ? Infinity : 0)));
      }
    });

    it('weighs tokens as the specification counts', () => {
      const turns = {
        logps: Float32Array.of(1, 2, 5, 7),
        refLogps: Float32Array.of(0, 0, 1, 7),
        turnOffsets: Int32Array.of(0, 3, 4),
        tokenWeights: Float32Array.of(0.5, 0, 1.5, 2),
        reduction,
      };
      const divisor = reduction === 'mean' ? 2 : 1;
      expect(Array.from(turnAdvantages(turns))).toEqual([6.5 / divisor, 0]);
      const { logps: _, refLogps: __, ...structure } = turns;
      const gradLogps = turnAdvantagesBackward({ ...structure, gradAdvantages: Float32Array.of(4, 1) });
      expect(Array.from(gradLogps)).toEqual([2 / divisor, 0, 6 / divisor, 2 / divisor]);
      const empty = { ...turns, tokenWeights: Float32Array.of(0.5, 0, 1.5, 0) };
      if (reduction === 'mean') expect(() => turnAdvantages(empty)).toThrow(/weight above 0 in turn 1 but/);
      const allowed = turnAdvantages({ ...empty, allowEmptyTurns: true });
      expect(Array.from(allowed)).toEqual([6.5 / divisor, 0]);
    });

    it('gives an empty turn 0 and no gradient with allowEmptyTurns', () => {
      const logps = Float32Array.of(1, 2, 3, 4);
      const structure = {
        mask: Uint8Array.of(1, 1, 0, 0),
        turnOffsets: Int32Array.of(0, 2, 2, 4),
        reduction,
        allowEmptyTurns: true,
      };
      const advantages = turnAdvantages({ ...structure, logps, refLogps: new Float32Array(4) });
      expect(Array.from(advantages)).toEqual([reduction === 'mean' ? 1.5 : 3, 0, 0]);
      const gradLogps = turnAdvantagesBackward({ ...structure, gradAdvantages: Float32Array.of(1, 1, 1) });
      const share = reduction === 'mean' ? 0.5 : 1;
      expect(Array.from(gradLogps)).toEqual([share, share, 0, 0]);
    });

    it('gives the same bits for any number of threads, from views and from shared memory', () => {
      const { logps, refLogps, mask, turnOffsets } = raggedTurns(8, 300, 70, 0.3);
      const plain = turnAdvantages({ logps, refLogps, mask, turnOffsets, reduction });
      for (const { count, result } of underThreadCounts(() =>
        turnAdvantages({ logps, refLogps, mask, turnOffsets, reduction }),
      )) {
        expectSameBits(`advantages by ${count}`, result, plain);
      }
      const views = {
        logps: shifted(logps, 3),
        refLogps: sharedView(refLogps),
        mask: shifted(mask, 1),
        turnOffsets: shifted(turnOffsets, 1),
      };
      expectSameBits('advantages of views', turnAdvantages({ ...views, reduction }), plain);
    });
  });

  it('takes the mean unless told otherwise', () => {
    const { gradAdvantages: _grad, ...turns } = raggedTurns(9, 4, 5, 0);
    expectSameBits('advantages', turnAdvantages(turns), turnAdvantages({ ...turns, reduction: 'mean' }));
  });

  it('allows empty turns under "sum" without being asked', () => {
    const turns = { logps: Float32Array.of(5), refLogps: Float32Array.of(3), turnOffsets: Int32Array.of(0, 0, 1) };
    expect(Array.from(turnAdvantages({ ...turns, reduction: 'sum' }))).toEqual([0, 2]);
  });

  it('takes the offsets of trajectories that a packed batch has, and checks them', () => {
    const turnOffsets = Int32Array.of(0, 2, 3);
    const [logps, refLogps, gradAdvantages] = [Float32Array.of(-1, -2, -3), new Float32Array(3), Float32Array.of(1, 2)];
    const forward = (more: object) => turnAdvantages({ logps, refLogps, turnOffsets, ...more });
    const backward = (more: object) => turnAdvantagesBackward({ gradAdvantages, turnOffsets, ...more });
    const onDevice = backends().some(({ name }) => (name as string) === 'device');
    for (const call of [forward, backward]) {
      expect(call({ trajectoryOffsets: Int32Array.of(0, 1, 2) })).toEqual(call({}));
      if (onDevice) continue; // their numbers are not read there
      expect(thrownBy(() => call({ trajectoryOffsets: Int32Array.of(0, 3) }))).toMatchObject({ code: 'ERR_OFFSETS' });
      expect(thrownBy(() => call({ trajectoryOffsets: [0, 2] }))).toMatchObject({ code: 'ERR_ARG_TYPE' });
    }
  });

  it('takes no turns at all', () => {
    const empty = new Float32Array(0);
    const turnOffsets = Int32Array.of(0);
    expect(turnAdvantages({ logps: empty, refLogps: empty, turnOffsets })).toEqual(empty);
    expect(turnAdvantagesBackward({ gradAdvantages: empty, turnOffsets })).toEqual(empty);
  });

  it('weighs a turn of 10 and one of 90 tokens alike, as the specification counts', () => {
    const logps = Float32Array.from({ length: 100 }, (_x, i) => (i < 10 ? 1 : 0));
    const advantages = turnAdvantages({
      logps,
      refLogps: new Float32Array(100),
      turnOffsets: Int32Array.of(0, 10, 100),
    });
    expect(Array.from(advantages)).toEqual([1, 0]);
  });
});
