/** binaryValueLoss and valueAdvantages (the value head) against the oracle. */
import { binaryValueLoss, valueAdvantages } from 'sweet-rl';
import { expect, it } from 'vitest';
import { expectClose, expectSameBits, lossTolerance, oneRounding } from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import { Random } from '../helpers/random.ts';
import { sharedView, shifted } from '../helpers/storage.ts';
import {
  type BinaryValueOptions,
  binaryValueLoss as oracle,
  valueAdvantages as oracleAdvantages,
} from '../reference/binary-value.ts';

function dialogues(seed: number, count: number, most: number, scale = 3) {
  const random = new Random(seed);
  const trajectoryOffsets = random.offsets(count, most);
  return {
    valueLogits: Float32Array.from(random.normals(trajectoryOffsets[count]!, scale)),
    trajectoryOffsets,
    outcomes: Float32Array.from(random.mask(count, 0.5)),
  };
}

const batch = dialogues(41, 12, 10);
const turns = batch.valueLogits.length;
const mask = new Random(42).mask(turns, 0.4);
const ARRAYS = ['valueLosses', 'values', 'gradValueLogits'] as const;

function expectAgreement(given: BinaryValueOptions & Parameters<typeof binaryValueLoss>[0]) {
  const [ours, expected] = [binaryValueLoss(given), oracle(given)];
  expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
  for (const name of ARRAYS) expectClose(name, ours[name], expected[name], oneRounding);
}

it.each([
  ['defaults', batch],
  ['a mask', { ...batch, mask }],
  ['shares of tests', { ...batch, outcomes: Float64Array.from(batch.outcomes, (_, k) => (k % 11) / 10) }],
  ['a denominator', { ...batch, valueDenominator: 7.5 }],
  ['single turns', dialogues(43, 40, 1)],
  ['many long dialogues', dialogues(44, 300, 30)],
  ['outliers', dialogues(45, 50, 9, 300)],
])('agrees with the oracle: %s', (_name, given) => expectAgreement(given));

it('has the gradient that finite differences give', () => {
  for (const call of [oracle, binaryValueLoss]) {
    const at = (moved: Float64Array) => call({ ...batch, mask, valueLogits: Float32Array.from(moved) }).loss;
    const differences = centralDifferences(batch.valueLogits, 2 ** -8, at);
    expectClose('gradValueLogits', binaryValueLoss({ ...batch, mask }).gradValueLogits, differences, () => 1e-6);
  }
});

it('stays exact where the head is sure, right or wrong', () => {
  const sure = (v: number, outcome: number) =>
    binaryValueLoss({
      valueLogits: Float32Array.of(v),
      trajectoryOffsets: Int32Array.of(0, 1),
      outcomes: Float32Array.of(outcome),
    });
  const near = (x: number, expected: number) => expectClose('', [x], [expected], (e) => 1e-6 * Math.abs(e));
  near(sure(40, 1).loss, Math.exp(-40));
  near(sure(40, 1).gradValueLogits[0]!, -Math.exp(-40));
  near(sure(-40, 0).gradValueLogits[0]!, Math.exp(-40));
  expect([sure(1e30, 0).loss, sure(1e30, 0).gradValueLogits[0]]).toEqual([Math.fround(1e30), 1]);
  expect([sure(Infinity, 1).loss, sure(-Infinity, 0).loss, sure(-Infinity, 1).loss]).toEqual([0, 0, Infinity]);
  expect([sure(Infinity, 1).gradValueLogits[0], sure(-Infinity, 1).gradValueLogits[0]]).toEqual([0, -1]);
  expect([sure(NaN, 1).loss, sure(NaN, 0).values[0], sure(NaN, 0.5).gradValueLogits[0]]).toEqual([NaN, NaN, NaN]);
});

it('never reads a masked turn, and gives 0 where all are masked', () => {
  const spoiled = batch.valueLogits.map((v, t) => (mask[t] === 0 ? NaN : v));
  expect(binaryValueLoss({ ...batch, mask, valueLogits: spoiled })).toEqual(binaryValueLoss({ ...batch, mask }));
  const none = new Float32Array(turns);
  expect(binaryValueLoss({ ...batch, mask: new Uint8Array(turns) })).toEqual({
    loss: 0,
    valueLosses: none,
    values: none,
    gradValueLogits: none,
  });
});

it('adds up over micro-batches that are given the number of turns of the whole', () => {
  const whole = binaryValueLoss(batch);
  const parts = Array.from(batch.outcomes.keys(), (k) => {
    const [begin, end] = [batch.trajectoryOffsets[k]!, batch.trajectoryOffsets[k + 1]!];
    return binaryValueLoss({
      valueLogits: batch.valueLogits.slice(begin, end),
      trajectoryOffsets: Int32Array.of(0, end - begin),
      outcomes: batch.outcomes.slice(k, k + 1),
      valueDenominator: turns,
    });
  });
  expectClose('loss', [parts.reduce((sum, { loss }) => sum + loss, 0)], [whole.loss], lossTolerance);
  const gradient = Float32Array.from(parts.flatMap((part) => [...part.gradValueLogits]));
  expectSameBits('gradValueLogits', gradient, whole.gradValueLogits);
});

it('takes views and shared memory and writes into out', () => {
  const plain = binaryValueLoss({ ...batch, mask });
  const out = Object.fromEntries(ARRAYS.map((name, k) => [name, shifted(plain[name], k).fill(7)]));
  const views = { ...batch, valueLogits: sharedView(batch.valueLogits), mask: shifted(mask, 3), out };
  const result = binaryValueLoss(views);
  for (const name of ARRAYS) {
    expect(result[name]).toBe(out[name]);
    expectSameBits(name, result[name], plain[name]);
  }
});

it('gives the advantages of the oracle, which add up to the outcome less the first value', () => {
  const { values } = binaryValueLoss(batch);
  const given = { values, trajectoryOffsets: batch.trajectoryOffsets, outcomes: batch.outcomes };
  const advantages = valueAdvantages(given);
  expectClose('advantages', advantages, oracleAdvantages(given), oneRounding);
  for (const [k, outcome] of batch.outcomes.entries()) {
    const [begin, end] = [batch.trajectoryOffsets[k]!, batch.trajectoryOffsets[k + 1]!];
    const sum = advantages.subarray(begin, end).reduce((a, b) => a + b, 0);
    expect(sum).toBeCloseTo(outcome - values[begin]!, 5);
  }
});

it('takes any values for advantages, empty dialogues, and a buffer for them', () => {
  const values = Float32Array.of(3, -2, 7);
  const out = { advantages: new Float32Array(3) };
  const structure = { trajectoryOffsets: Int32Array.of(0, 0, 2, 2, 3), outcomes: Float64Array.of(1, 0.5, 0, 1) };
  expect(valueAdvantages({ values, ...structure, out })).toBe(out.advantages);
  expect(Array.from(out.advantages)).toEqual([-5, 2.5, -6]);
  const none = { trajectoryOffsets: Int32Array.of(0), outcomes: new Float32Array(0) };
  expect(valueAdvantages({ values: new Float32Array(0), ...none })).toEqual(new Float32Array(0));
});
