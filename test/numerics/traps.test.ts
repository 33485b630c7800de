/**
 * Mistakes that other libraries shipped; each is a test here, on every backend. Values that depend on the batch around them:
 * determinism.test.ts.
 */
import {
  criticUpdate,
  linearLogps,
  linearLogpsBackward,
  policyUpdate,
  tokenLogps,
  tokenLogpsBackward,
  trajectoryPreferenceLoss,
  turnAdvantages,
  turnPreferenceLoss,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { pairsBetween, randomBatch, randomPairs } from '../helpers/batches.ts';
import { expectClose, expectGradient, expectSameBits, lossTolerance, specified } from '../helpers/compare.ts';
import { inputsOf as headInputs, randomHead } from '../helpers/linear.ts';
import { availableBackends, forEachBackend } from '../helpers/machine.ts';
import { expectSamePreference } from '../helpers/preference.ts';
import { Random } from '../helpers/random.ts';
import { expectedOf, inputsOf, randomRows, rowCase } from '../helpers/rows.ts';
import { DTYPES, encode, type Stored } from '../helpers/storage.ts';
import { decodeHalf, encodeHalf } from '../reference/half.ts';
import { range } from '../reference/range.ts';

const ints = (...values: number[]) => Int32Array.from(values);
const floats = (...values: number[]) => Float32Array.from(values);

forEachBackend((backend) => {
  describe('padded vocabulary columns that count as exp(0)', () => {
    it('are not words of padded logits', () => {
      const [N, V, rowStride] = [3, 50, 64];
      const logits = new Float32Array(N * rowStride);
      for (const at of range(0, N * rowStride)) if (at % rowStride < V) logits[at] = -100 - (at % 7);
      const { logps, lse } = tokenLogps({ logits, labels: ints(1, 2, 3), rowStride, vocabSize: V });
      expect(Math.max(...logps)).toBeLessThan(0);
      expect(Math.max(...lse)).toBeLessThan(-90);
    });

    it.each(DTYPES)('are not words of the last tile of a linear head, %s', (dtype) => {
      for (const V of [1, 15, 65, 97]) {
        const head = randomHead({ N: 5, H: 8, V, dtype, withBias: true });
        const bias = encode(new Float64Array(V).fill(-150), dtype);
        const { logps, lse } = linearLogps({ ...headInputs(head), bias });
        expect(Math.max(...logps)).toBeLessThanOrEqual(0);
        expect(Math.max(...lse)).toBeLessThan(-130);
      }
    });
  });

  it('a running maximum that starts at 0 instead of -inf', () => {
    for (const level of [-90, -1e4, -3e38]) {
      const { logps, lse } = tokenLogps({ logits: new Float32Array(2000).fill(level), labels: ints(3, 700) });
      expectClose('logps', logps, [-Math.log(1000), -Math.log(1000)], specified);
      expectClose('lse', lse, [level + Math.log(1000), level + Math.log(1000)], specified);
    }
  });

  describe('log-probs that were rounded to 16 bits', () => {
    it.each(['bfloat16', 'float16'] as const)('are as exact as from float32, and never positive: %s', (dtype) => {
      const V = 500;
      const row = randomRows(1, V, dtype).logits;
      const logits = (row.constructor as Uint16ArrayConstructor).from({ length: V * V }, (_, at) => row[at % V]!);
      const every = rowCase('every word of one row', Int32Array.from(range(0, V)), new Float64Array(V * V), dtype);
      const { logps } = tokenLogps({ ...inputsOf(every), logits });
      expect(Math.max(...logps)).toBeLessThanOrEqual(0);
      expect(logps.reduce((sum, logp) => sum + Math.exp(logp), 0)).toBeCloseTo(1, 5);
      const rounded = logps.map((logp) => decodeHalf(encodeHalf(logp, dtype), dtype));
      expect(rounded.filter((logp, i) => logp !== logps[i]).length).toBeGreaterThan(V / 2);
    });

    it('make a policy differ from a reference that is the same', () => {
      const { logits, labels, dtype } = randomRows(6, 300, 'bfloat16');
      const turns = { turnOffsets: ints(0, 2, 3, 6), chosen: ints(0), rejected: ints(1) };
      const result = policyUpdate({ logits, dtype, refLogits: logits.slice(), labels, ...turns, nllCoef: 0 });
      expect(Array.from(result.turnAdvantages)).toEqual([0, 0, 0]);
      expect(result.loss).toBeCloseTo(Math.LN2, 12);
    });
  });

  it.each(['bfloat16', 'float16'] as const)('a weight gradient accumulated in 16 bits: %s', (dtype) => {
    const [N, H, V] = [96, 24, 70];
    const head = randomHead({ N, H, V, dtype, withBias: true });
    const { lse } = linearLogps(headInputs(head));
    const whole = linearLogpsBackward({ ...headInputs(head), lse, gradLogps: head.gradLogps });
    const out = { gradHidden: new Float32Array(H), gradWeight: new Float32Array(V * H), gradBias: new Float32Array(V) };
    for (const i of range(0, N)) {
      const row = { hidden: head.hidden.subarray(i * H, (i + 1) * H), labels: head.labels.subarray(i, i + 1) };
      const rowGradients = { lse: lse.subarray(i, i + 1), gradLogps: head.gradLogps.subarray(i, i + 1) };
      linearLogpsBackward({ ...headInputs(head), ...row, ...rowGradients, accumulate: true, out });
    }
    // The same terms in another order of float32 additions: far below what one 16-bit rounding would leave.
    const largest = Math.max(...whole.gradWeight.map(Math.abs));
    expectClose('gradWeight', out.gradWeight, whole.gradWeight, () => N * 2 ** -24 * largest);
    expectClose('gradBias', out.gradBias, whole.gradBias!, () => N * 2 ** -24 * largest);
  });

  it.each(['bfloat16', 'float16'] as const)("the label's gradient rounded before it is complete: %s", (dtype) => {
    // p is 0.99966, which 16 bits round to 1 or nearly; 1 - p must keep its own digits.
    const rows = rowCase('nearly sure', ints(0, 0, 1), Float64Array.of(8, 0, 7, -1, -6, 3), dtype);
    const { lse } = tokenLogps(inputsOf(rows));
    const { gradLogits } = tokenLogpsBackward({ ...inputsOf(rows), lse, gradLogps: rows.gradLogps });
    const expected = expectedOf(rows);
    expectGradient('gradLogits', gradLogits as Stored, expected.gradLogits, dtype, expected.gradTolerance);
    expect(gradLogits[0]).not.toBe(0);
  });

  describe('NaN out of what is masked', () => {
    it('-inf * 0: masked words have gradient 0 and no part in the entropy', () => {
      const logits = floats(1, -Infinity, 2, -Infinity, 0, -Infinity, 3, -Infinity);
      const labels = ints(0, 3);
      const { lse, entropy, logps } = tokenLogps({ logits, labels, entropy: true });
      expect([...lse, ...entropy!].every(Number.isFinite)).toBe(true);
      expect(logps[1]).toBe(-Infinity);
      const { gradLogits } = tokenLogpsBackward({ logits, labels, lse, gradLogps: floats(1, 0) });
      expect(gradLogits.every(Number.isFinite)).toBe(true);
      expect(gradLogits[1] === 0 && gradLogits[3] === 0).toBe(true);
      expect(Array.from(gradLogits.subarray(4)).every((g) => g === 0)).toBe(true);
    });

    it('words that a linear head masks by its bias', () => {
      const head = randomHead({ N: 3, H: 4, V: 20, dtype: 'float32', withBias: true });
      const bias = (head.bias as Float32Array).map((b, v) => (v % 4 === 3 ? -Infinity : b));
      const inputs = { ...headInputs(head), bias, labels: ints(0, 1, 2) };
      const { lse } = linearLogps(inputs);
      const gradients = linearLogpsBackward({ ...inputs, lse, gradLogps: head.gradLogps });
      for (const gradient of Object.values(gradients)) expect(gradient.every(Number.isFinite)).toBe(true);
      expect(gradients.gradBias!.every((g, v) => v % 4 !== 3 || g === 0)).toBe(true);
    });

    it('a batch that is masked wholly', () => {
      const head = randomHead({ N: 4, H: 3, V: 9, dtype: 'float32' }, { mask: new Uint8Array(4) });
      head.hidden.fill(NaN);
      const { logps, lse } = linearLogps(headInputs(head));
      const gradients = linearLogpsBackward({ ...headInputs(head), lse, gradLogps: floats(NaN, 1, 2, 3) });
      for (const array of [logps, lse, gradients.gradHidden, gradients.gradWeight]) {
        expect(array.every((x) => x === 0)).toBe(true);
      }
    });

    it('an empty turn', () => {
      const turns = { mask: Uint8Array.of(0, 0, 1), turnOffsets: ints(0, 2, 3), allowEmptyTurns: true };
      const logps = floats(NaN, -Infinity, -1);
      expect(Array.from(turnAdvantages({ ...turns, logps, refLogps: floats(NaN, 0, -2) }))).toEqual([0, 1]);
    });
  });

  describe('a mean over the wrong denominator', () => {
    const batch = { ...randomBatch(91), ...randomPairs(new Random(92), 6, 4), nllCoef: 0.1 };
    const parts = [pairsBetween(batch, 0, 1), pairsBetween(batch, 1, 4)];
    const sumOf = (options: object) =>
      parts.map((pairs) => trajectoryPreferenceLoss({ ...batch, ...pairs, ...options }).loss).reduce((a, b) => a + b);

    it('micro-batches of 1 and 3 pairs add up with the denominators of the whole, and not without', () => {
      const nllDenominator = 100;
      const whole = trajectoryPreferenceLoss({ ...batch, nllDenominator }).loss;
      expectClose('loss', [sumOf({ pairDenominator: 4, nllDenominator })], [whole], lossTolerance);
      expect(Math.abs(sumOf({ nllDenominator }) - whole)).toBeGreaterThan(0.1);
    });

    it("dropped tokens do not count in a turn's mean", () => {
      const turns = { turnOffsets: ints(0, 4), mask: Uint8Array.of(1, 0, 0, 1) };
      expect(turnAdvantages({ ...turns, logps: floats(2, 9, 9, 4), refLogps: new Float32Array(4) })[0]).toBe(3);
    });
  });

  describe('an option that is accepted and ignored', () => {
    const rows = randomRows(6, 40, 'float32');
    const head = randomHead({ N: 6, H: 5, V: 40, dtype: 'float32' });
    const batch = { ...randomBatch(93, 2, 3, 3, 4), ...randomPairs(new Random(94), 3, 3) };
    const { trajectoryOffsets: _, ...turnBatch } = batch;
    const N = batch.logps.length;
    const logits = Float32Array.from(new Random(95).normals(N * 7));
    const labels = new Random(96).integers(N, 0, 7);
    // Ignoring one more label may leave a turn without tokens.
    const { logps: _logps, ...structure } = { ...batch, allowEmptyTurns: true };
    const { trajectoryOffsets: _offsets, ...turnStructure } = structure;

    const rowOptions = { temperature: 0.5, mask: Uint8Array.of(1, 1, 0, 1, 1, 1), ignoreIndex: rows.labels[0]! };
    const lossOptions = {
      beta: 0.7,
      lossType: 'ipo',
      labelSmoothing: 0.2,
      pairWeights: floats(1, 0, 3),
      pairDenominator: 5,
      nllCoef: 0.4,
    };
    const updateOptions = { ...lossOptions, temperature: 0.5, ignoreIndex: labels.at(-1)! };

    const calls: [string, (options: object) => { logps?: Float32Array; loss?: number }, object][] = [
      ['tokenLogps', (o) => tokenLogps({ ...inputsOf(rows), ...o }), rowOptions],
      [
        'linearLogps',
        (o) => linearLogps({ ...headInputs(head), ...o }),
        { ...rowOptions, ignoreIndex: head.labels[0]! },
      ],
      [
        'trajectoryPreferenceLoss',
        (o) => trajectoryPreferenceLoss({ ...batch, ...o }),
        { ...lossOptions, normalization: 'sum' },
      ],
      ['turnPreferenceLoss', (o) => turnPreferenceLoss({ ...turnBatch, ...o }), { ...lossOptions, reduction: 'mean' }],
      [
        'criticUpdate',
        (o) => criticUpdate({ logits, labels, ...structure, ...o }),
        { ...updateOptions, normalization: 'sum' },
      ],
      [
        'policyUpdate',
        (o) => policyUpdate({ logits, labels, ...turnStructure, ...o }),
        { ...updateOptions, reduction: 'mean' },
      ],
    ];

    it.each(calls)('changes the result of %s', (_name, call, options) => {
      const plain = call({});
      for (const [name, value] of Object.entries(options)) {
        const result = call({ [name]: value });
        const same = result.loss === plain.loss && String(result.logps) === String(plain.logps);
        expect(same, name).toBe(false);
      }
    });

    it('is refused where it has no meaning: label smoothing of a loss that has none', () => {
      expect(() => trajectoryPreferenceLoss({ ...batch, lossType: 'hinge', labelSmoothing: 0.1 })).toThrow(
        /labelSmoothing/,
      );
    });
  });

  it.each(['float16', 'bfloat16'] as const)("a reference's dtype that is taken for the model's: %s", (refDtype) => {
    const rows = randomRows(4, 70, refDtype === 'float16' ? 'bfloat16' : 'float16');
    const ref = randomRows(4, 70, refDtype);
    const { logps: refLogps } = tokenLogps({ ...inputsOf(ref), labels: rows.labels });
    const turns = { turnOffsets: ints(0, 2, 4), chosen: ints(0), rejected: ints(1), allowEmptyTurns: true };
    const expected = policyUpdate({ ...inputsOf(rows), ...turns, refLogps });
    const ours = policyUpdate({ ...inputsOf(rows), ...turns, refLogits: ref.logits, refDtype });
    expectSameBits('margins', ours.margins, expected.margins);
    expectSameBits('gradLogits', ours.gradLogits as Stored, expected.gradLogits as Stored);
  });

  it('a backward pass that overwrites what the caller still needs', () => {
    for (const dtype of DTYPES) {
      const rows = randomRows(4, 70, dtype);
      const [logits, kept] = [rows.logits, rows.logits.slice()];
      const { lse } = tokenLogps(inputsOf(rows));
      tokenLogpsBackward({ ...inputsOf(rows), lse, gradLogps: rows.gradLogps });
      const turns = { turnOffsets: ints(0, 2, 4), chosen: ints(0), rejected: ints(1), refLogps: new Float32Array(4) };
      policyUpdate({ logits, dtype, labels: rows.labels, ...turns });
      criticUpdate({ logits, dtype, labels: rows.labels, ...turns, trajectoryOffsets: ints(0, 1, 2) });
      expectSameBits('logits', logits, kept);
    }
  });

  it.each([1, 3, 16, 17])('results of %s numbers that the next call of their size overwrites', (n) => {
    const [first, second] = [randomRows(n, 5, 'float32'), randomRows(n, 7, 'float32')];
    const { logps, lse } = tokenLogps(inputsOf(first));
    const kept = { logps: logps.slice(), lse: lse.slice() };
    tokenLogps(inputsOf(second));
    expectSameBits('logps', logps, kept.logps);
    expectSameBits('lse', lse, kept.lse);
  });

  it('32-bit offsets: rows that start beyond 2^31 elements', () => {
    // Each row's distance fits 31 bits, that of the last one does not. Forward only the pages of the rows are touched;
    // backward all 4 GiB, since padding becomes 0: once, for the backends differ within a row alone.
    const [N, V, rowStride] = [5, 64, 2 ** 29 + 7];
    const rows = randomRows(N, V, 'bfloat16');
    const logits = new Uint16Array((N - 1) * rowStride + V);
    for (const i of range(0, N)) logits.set(rows.logits.subarray(i * V, (i + 1) * V), i * rowStride);
    const inputs = { logits, dtype: 'bfloat16', labels: rows.labels, rowStride } as const;
    const forward = tokenLogps(inputs);
    expectSameBits('logps', forward.logps, tokenLogps(inputsOf(rows)).logps);
    if (backend !== availableBackends[0]) return;
    const gradient = { lse: forward.lse, gradLogps: rows.gradLogps };
    const expected = tokenLogpsBackward({ ...inputsOf(rows), ...gradient }).gradLogits as Uint16Array;
    tokenLogpsBackward({ ...inputs, ...gradient, out: { gradLogits: logits } });
    for (const i of range(0, N)) {
      const row = logits.subarray(i * rowStride, i * rowStride + V);
      expectSameBits(`gradLogits of row ${i}`, row, expected.subarray(i * V, (i + 1) * V));
    }
  }, 300_000);

  it('a loss written twice that drifts apart', () => {
    const { trajectoryOffsets: _, ...turns } = { ...randomBatch(99), beta: 0.4, nllCoef: 0.2 };
    const count = turns.turnOffsets.length - 1;
    const pairs = randomPairs(new Random(100), count, 9);
    // Trajectories of one turn each are turns.
    const trajectoryOffsets = Int32Array.from(range(0, count + 1));
    for (const lossType of ['sigmoid', 'hinge', 'ipo'] as const) {
      const options = { ...turns, ...pairs, lossType };
      const sums = trajectoryPreferenceLoss({ ...options, trajectoryOffsets, normalization: 'sum' });
      expectSamePreference(sums, turnPreferenceLoss({ ...options, reduction: 'sum' }));
      const means = trajectoryPreferenceLoss({ ...options, trajectoryOffsets, normalization: 'turn-mean' });
      expectSamePreference(means, turnPreferenceLoss({ ...options, reduction: 'mean' }));
    }
  });
});
