/** Laws that hold of any input, tried on generated ones. A failure prints the smallest case it found and its seed. */
import fc from 'fast-check';
import {
  criticUpdate,
  linearLogps,
  tokenLogps,
  tokenLogpsBackward,
  trajectoryPreferenceLoss,
  turnAdvantages,
  turnPreferenceLoss,
} from 'sweet-rl';
import { describe, it } from 'vitest';
import { expectClose, expectSameBits, halfUlp, lossTolerance, specified, type Tolerance } from '../helpers/compare.ts';
import { forEachBackend } from '../helpers/machine.ts';
import { ARRAYS, expectSamePreference, SCALARS } from '../helpers/preference.ts';
import { decode, encode, padRows, unpadRows } from '../helpers/storage.ts';

// SWEET_RL_SEED=... runs the cases of a failure again.
const seed = process.env.SWEET_RL_SEED;
const settings = { numRuns: 60, ...(seed === undefined ? {} : { seed: Number(seed) }) };

function law<T>(name: string, cases: fc.Arbitrary<T>, holds: (each: T) => void): void {
  it(name, () => fc.assert(fc.property(cases, holds), settings));
}

/** Multiples of 1/64: their differences and sums are exact in float32. */
const exact = (most: number) => fc.integer({ min: -64 * most, max: 64 * most }).map((x) => x / 64);
const listOf = <T>(item: fc.Arbitrary<T>, length: number) => fc.array(item, { minLength: length, maxLength: length });
const float32s = (item: fc.Arbitrary<number>, length: number) => listOf(item, length).map((x) => Float32Array.from(x));
const bytes = (length: number) => listOf(fc.integer({ min: 0, max: 1 }), length).map((x) => Uint8Array.from(x));

/** Rows of up to 70 words around several widths of registers. */
const rows = fc.record({ N: fc.integer({ min: 1, max: 6 }), V: fc.integer({ min: 1, max: 70 }) }).chain(({ N, V }) =>
  fc.record({
    N: fc.constant(N),
    V: fc.constant(V),
    logits: float32s(exact(20), N * V),
    labels: listOf(fc.integer({ min: 0, max: V - 1 }), N).map((x) => Int32Array.from(x)),
    gradLogps: float32s(exact(4), N),
    mask: bytes(N),
  }),
);

/** Turns in trajectories; each keeps its first token, so that none is empty. */
const batches = fc
  .array(fc.array(fc.integer({ min: 1, max: 5 }), { minLength: 1, maxLength: 3 }), { minLength: 2, maxLength: 5 })
  .chain((lengths) => {
    const [N, K] = [lengths.flat().reduce((a, b) => a + b), lengths.length];
    const pair = fc.tuple(fc.integer({ min: 0, max: K - 1 }), fc.integer({ min: 1, max: K - 1 }));
    return fc.record({
      lengths: fc.constant(lengths),
      logps: float32s(exact(8), N),
      refLogps: float32s(exact(8), N),
      mask: bytes(N).map((mask) => {
        for (const begin of offsetsOf(lengths.flat()).subarray(0, -1)) mask[begin] = 1;
        return mask;
      }),
      pairs: fc
        .array(pair, { minLength: 2, maxLength: 6 })
        .map((pairs) => pairs.map(([a, b]) => [a, (a + b) % K] as const)),
      options: fc.record({
        beta: fc.constantFrom(0.1, 1, 3),
        normalization: fc.constantFrom('turn-mean' as const, 'token-mean' as const, 'sum' as const),
        lossType: fc.constantFrom('sigmoid' as const, 'hinge' as const, 'ipo' as const),
        nllCoef: fc.constantFrom(0, 0.01, 1),
      }),
    });
  });
type Batch = typeof batches extends fc.Arbitrary<infer T> ? T : never;

function offsetsOf(lengths: number[]): Int32Array {
  const offsets = new Int32Array(lengths.length + 1);
  lengths.forEach((length, i) => {
    offsets[i + 1] = offsets[i]! + length;
  });
  return offsets;
}

function callOf({ lengths, pairs, logps, refLogps, mask, options }: Batch) {
  return {
    ...{ logps, refLogps, mask, ...options },
    turnOffsets: offsetsOf(lengths.flat()),
    trajectoryOffsets: offsetsOf(lengths.map((turns) => turns.length)),
    chosen: Int32Array.from(pairs, ([chosen]) => chosen),
    rejected: Int32Array.from(pairs, ([, rejected]) => rejected),
  };
}

/** Elements `order[0]`, `order[1]`, ... */
function picked<T extends Float32Array | Int32Array | Uint8Array>(array: T, order: number[]): T {
  return array.constructor.prototype.constructor.from(order, (i: number) => array[i]!);
}

/** By so much two results that are each as exact as specified may differ. */
const twice: Tolerance = (expected) => 2 * specified(expected, 0);

forEachBackend(() => {
  describe('rows', () => {
    law(
      'a shift of all logits leaves log-probs as they are',
      fc.tuple(rows, exact(50)),
      ([{ logits, labels }, shift]) => {
        const before = tokenLogps({ logits, labels, entropy: true });
        const after = tokenLogps({ logits: logits.map((x) => x + shift), labels, entropy: true });
        expectSameBits('logps', after.logps, before.logps);
        expectSameBits('entropy', after.entropy!, before.entropy!);
        expectClose(
          'lse',
          after.lse,
          before.lse.map((x) => x + shift),
          twice,
        );
      },
    );

    law('a row of the gradient adds up to 0', rows, ({ N, V, logits, labels, gradLogps }) => {
      const { lse } = tokenLogps({ logits, labels });
      const { gradLogits } = tokenLogpsBackward({ logits, labels, lse, gradLogps });
      const sums = Float64Array.from({ length: N }, (_, i) =>
        gradLogits.subarray(i * V, (i + 1) * V).reduce((a, b) => a + b, 0),
      );
      expectClose('sums', sums, new Float64Array(N), (_, i) => Math.abs(gradLogps[i]!) * (2e-6 + halfUlp(lse[i]!)));
    });

    const powers = fc.integer({ min: -4, max: 4 }).map((k) => 2 ** k);
    law('a temperature divides the logits', fc.tuple(rows, powers), ([{ logits, labels, gradLogps }, temperature]) => {
      const divided = { logits: logits.map((x) => x / temperature), labels };
      const [ours, expected] = [tokenLogps({ logits, labels, temperature }), tokenLogps(divided)];
      for (const name of ['logps', 'lse'] as const) expectSameBits(name, ours[name], expected[name]);
      const { lse } = ours;
      const { gradLogits } = tokenLogpsBackward({ logits, labels, lse, gradLogps, temperature });
      const { gradLogits: whole } = tokenLogpsBackward({ ...divided, lse, gradLogps });
      // Subnormal gradients alone are rounded otherwise.
      expectClose(
        'gradLogits',
        gradLogits,
        whole.map((x) => x / temperature),
        () => 1e-37,
      );
    });

    law('padding is not seen', fc.tuple(rows, fc.integer({ min: 1, max: 9 })), ([each, more]) => {
      const { N, V, labels, gradLogps } = each;
      const [given, spread] = [
        { logits: each.logits, labels },
        { vocabSize: V, rowStride: V + more },
      ];
      const logits = padRows(given.logits, V, V + more, 'float32') as Float32Array;
      const [ours, expected] = [tokenLogps({ logits, labels, ...spread }), tokenLogps(given)];
      for (const name of ['logps', 'lse'] as const) expectSameBits(name, ours[name], expected[name]);
      const { lse } = expected;
      const { gradLogits } = tokenLogpsBackward({ logits, labels, lse, gradLogps, ...spread });
      const packed = tokenLogpsBackward({ ...given, lse, gradLogps }).gradLogits;
      expectSameBits('gradLogits', unpadRows(gradLogits, N, V, V + more), packed);
    });

    law('a masked row is as good as none', rows, ({ V, logits, labels, gradLogps, mask }) => {
      const kept = [...mask.keys()].filter((i) => mask[i] !== 0);
      if (kept.length === 0) return;
      const words = kept.flatMap((i) => Array.from({ length: V }, (_, v) => i * V + v));
      const few = { logits: picked(logits, words), labels: picked(labels, kept), gradLogps: picked(gradLogps, kept) };
      const [ours, expected] = [
        tokenLogps({ logits, labels, mask }),
        tokenLogps({ logits: few.logits, labels: few.labels }),
      ];
      for (const name of ['logps', 'lse'] as const) expectSameBits(name, picked(ours[name], kept), expected[name]);
      const { gradLogits } = tokenLogpsBackward({ logits, labels, gradLogps, mask, lse: ours.lse });
      expectSameBits(
        'gradLogits',
        picked(gradLogits, words),
        tokenLogpsBackward({ ...few, lse: expected.lse }).gradLogits,
      );
    });

    const halves = fc.constantFrom('bfloat16' as const, 'float16' as const);
    law(
      '16-bit logits are the numbers that they stand for',
      fc.tuple(rows, halves),
      ([{ labels, ...given }, dtype]) => {
        const logits = encode(given.logits, dtype) as Uint16Array;
        const wide = tokenLogps({ logits: Float32Array.from(decode(logits, dtype)), labels });
        const ours = tokenLogps({ logits, labels, dtype });
        for (const name of ['logps', 'lse'] as const) expectClose(name, ours[name], wide[name], twice);
      },
    );

    const heads = fc
      .tuple(fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 9 }))
      .chain(([N, V, H]) =>
        fc.record({
          ...{ N: fc.constant(N), V: fc.constant(V), H: fc.constant(H) },
          hidden: float32s(exact(2), N * H),
          weight: float32s(exact(2), V * H),
          labels: listOf(fc.integer({ min: 0, max: V - 1 }), N).map((x) => Int32Array.from(x)),
        }),
      );
    law('a linear head is its logits', heads, ({ N, V, H, hidden, weight, labels }) => {
      const logit = (i: number, v: number) =>
        hidden.subarray(i * H, (i + 1) * H).reduce((sum, h, k) => sum + h * weight[v * H + k]!, 0);
      const logits = Float32Array.from({ length: N * V }, (_, at) => logit(Math.floor(at / V), at % V));
      const [ours, expected] = [linearLogps({ hidden, weight, labels }), tokenLogps({ logits, labels })];
      for (const name of ['logps', 'lse'] as const) expectClose(name, ours[name], expected[name], twice);
    });
  });

  describe('losses', () => {
    const shuffled = batches.chain((batch) => {
      const order = [...batch.lengths.keys()];
      return fc.tuple(fc.constant(batch), fc.shuffledSubarray(order, { minLength: order.length }));
    });
    law('the order of the trajectories does not matter', shuffled, ([batch, order]) => {
      const { lengths, logps, refLogps, mask, pairs } = batch;
      const begins = offsetsOf(lengths.map((turns) => turns.reduce((a, b) => a + b)));
      const tokens = order.flatMap((k) => [...logps.keys()].slice(begins[k], begins[k + 1]));
      const moved = {
        ...batch,
        lengths: order.map((k) => lengths[k]!),
        ...{ logps: picked(logps, tokens), refLogps: picked(refLogps, tokens), mask: picked(mask, tokens) },
        pairs: pairs.map(([a, b]) => [order.indexOf(a), order.indexOf(b)] as const),
      };
      const [ours, expected] = [trajectoryPreferenceLoss(callOf(moved)), trajectoryPreferenceLoss(callOf(batch))];
      const turns = [...expected.turnAdvantages.keys()];
      const firsts = offsetsOf(lengths.map((own) => own.length));
      const turnOrder = order.flatMap((k) => turns.slice(firsts[k], firsts[k + 1]));
      expectSamePreference(ours, {
        ...expected,
        gradLogps: picked(expected.gradLogps, tokens),
        turnAdvantages: picked(expected.turnAdvantages, turnOrder),
      });
    });

    law('a masked token is as good as none', batches, (batch) => {
      const { lengths, mask, logps, refLogps } = batch;
      const kept = [...mask.keys()].filter((i) => mask[i] !== 0);
      const begins = offsetsOf(lengths.flat());
      const firsts = offsetsOf(lengths.map((own) => own.length));
      const counts = lengths.flat().map((_, t) => kept.filter((i) => i >= begins[t]! && i < begins[t + 1]!).length);
      const few = {
        ...batch,
        lengths: lengths.map((_, k) => counts.slice(firsts[k], firsts[k + 1])),
        ...{ logps: picked(logps, kept), refLogps: picked(refLogps, kept), mask: picked(mask, kept) },
      };
      const [ours, expected] = [trajectoryPreferenceLoss(callOf(batch)), trajectoryPreferenceLoss(callOf(few))];
      expectSamePreference({ ...ours, gradLogps: picked(ours.gradLogps, kept) }, expected);
      const dropped = [...mask.keys()].filter((i) => mask[i] === 0);
      expectClose('gradLogps', picked(ours.gradLogps, dropped), new Float32Array(dropped.length), () => 0);
    });

    law('the parts of a batch add up to the whole', batches, (batch) => {
      const whole = trajectoryPreferenceLoss(callOf(batch));
      const { mask, lengths, pairs } = batch;
      const begins = offsetsOf(lengths.map((turns) => turns.reduce((a, b) => a + b)));
      const tokensOf = (k: number) => mask.subarray(begins[k], begins[k + 1]).reduce((a, b) => a + b, 0);
      const nllDenominator = pairs.reduce((sum, [chosen]) => sum + tokensOf(chosen), 0);
      const parts = [pairs.slice(0, 1), pairs.slice(1)].map((some) =>
        trajectoryPreferenceLoss({
          ...callOf({ ...batch, pairs: some }),
          pairDenominator: pairs.length,
          nllDenominator,
        }),
      );
      for (const name of ['loss', 'preferenceLoss', 'nllLoss'] as const) {
        expectClose(name, [parts[0]![name] + parts[1]![name]], [whole[name]], lossTolerance);
      }
      const size = parts.reduce((most, { gradLogps }) => gradLogps.reduce((m, x) => Math.max(m, Math.abs(x)), most), 0);
      const sums = parts[0]!.gradLogps.map((x, i) => x + parts[1]!.gradLogps[i]!);
      expectClose('gradLogps', sums, whole.gradLogps, () => 4 * 2 ** -24 * size);
    });

    law('chosen and rejected mirror each other', batches, (batch) => {
      const swapped = { ...batch, pairs: batch.pairs.map(([a, b]) => [b, a] as const) };
      const [ours, expected] = [trajectoryPreferenceLoss(callOf(swapped)), trajectoryPreferenceLoss(callOf(batch))];
      expectSameBits('rewards', ours.chosenRewards, expected.rejectedRewards);
      expectSameBits('rewards', ours.rejectedRewards, expected.chosenRewards);
      expectClose(
        'margins',
        ours.margins,
        expected.margins.map((x) => -x),
        () => 0,
      );
    });

    law('the sums of turns add up to what all tokens do', batches, (batch) => {
      const { logps, refLogps, mask } = batch;
      const { turnOffsets } = callOf(batch);
      const sums = turnAdvantages({ logps, refLogps, mask, turnOffsets, reduction: 'sum' });
      const all = logps.reduce((sum, logp, i) => sum + (mask[i] ? logp - refLogps[i]! : 0), 0);
      // Multiples of 1/64: every sum is exact.
      expectClose('sum', [sums.reduce((a, b) => a + b, 0)], [all], () => 0);
    });

    law('a trajectory of one turn is a turn', batches, (batch) => {
      const { logps, refLogps, mask, turnOffsets, chosen, rejected, beta, lossType, nllCoef } = callOf(batch);
      const given = { logps, refLogps, mask, turnOffsets, chosen, rejected, beta, lossType, nllCoef };
      const trajectoryOffsets = Int32Array.from(turnOffsets.keys());
      const ours = turnPreferenceLoss({ ...given, reduction: 'sum' });
      expectSamePreference(ours, trajectoryPreferenceLoss({ ...given, trajectoryOffsets, normalization: 'sum' }));
    });
  });

  const V = 11;
  const updates = batches.chain((batch) => {
    const N = batch.logps.length;
    return fc.record({
      batch: fc.constant(batch),
      logits: float32s(exact(8), N * V),
      labels: listOf(fc.integer({ min: 0, max: V - 1 }), N).map((x) => Int32Array.from(x)),
    });
  });
  law('an update is its three parts', updates, ({ batch, logits, labels }) => {
    const { logps: _, ...loss } = callOf(batch);
    const update = criticUpdate({ ...loss, logits, labels });
    const { mask } = batch;
    const { logps, lse } = tokenLogps({ logits, labels, mask });
    expectSameBits('logps', update.logps, logps);
    const preference = trajectoryPreferenceLoss({ ...loss, logps });
    const shown = Object.fromEntries([...SCALARS, ...ARRAYS].map((name) => [name, update[name]]));
    expectSamePreference(shown as never, preference);
    const { gradLogps } = preference;
    const { gradLogits } = tokenLogpsBackward({ logits, labels, mask, lse, gradLogps });
    // An update keeps the lse in float64 in between.
    const slack: Tolerance = (expected, at) =>
      2 ** -23 * Math.abs(expected) + 2 * Math.abs(gradLogps[Math.floor(at / V)]!) * halfUlp(lse[Math.floor(at / V)]!);
    expectClose('gradLogits', update.gradLogits, gradLogits, slack);
  });
});
