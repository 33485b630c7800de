/**
 * What the guide's page on determinism promises: on one backend the bits of a result follow from the arrays and options of
 * the call alone; of a row's results, from that row alone. Across backends the difference is bounded.
 *
 * That no number of threads and no offset of a view changes a bit is tested with each operation (token-logps, linear-logps,
 * one-pass, turn-advantages, and helpers/preference and helpers/updates); workers at once by test/sanitize.
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
  turnAdvantagesBackward,
  turnPreferenceLoss,
  useBackend,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { pairsBetween, randomBatch, randomPairs } from '../helpers/batches.ts';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { inputsOf as headInputs, type LinearCase, randomHead } from '../helpers/linear.ts';
import {
  activeBackend,
  availableBackends,
  type BackendName,
  forEachBackend,
  underThreadCounts,
} from '../helpers/machine.ts';
import { expectSamePreference } from '../helpers/preference.ts';
import { Random } from '../helpers/random.ts';
import { type RowCase, randomRows, inputsOf as rowInputs } from '../helpers/rows.ts';
import { DTYPES, type DType, decode, padRows, type Stored, shifted, store } from '../helpers/storage.ts';
import { unitInLastPlace } from '../reference/half.ts';
import { range } from '../reference/range.ts';

type Arrays = Record<string, Stored | undefined>;

const STATISTICS = { entropy: true, argmax: true, sumSquaredProbs: true };

/** Every operation over rows and turns, by what it takes; results that are arrays. */
function operationsOf(dtype: DType): [string, () => Arrays][] {
  const rows = randomRows(70, 2111, dtype);
  const head = randomHead({ N: 70, H: 33, V: 613, dtype, withBias: true });
  const batch = { ...randomBatch(61, 2, 6, 4, 9), allowEmptyTurns: true };
  const { logps, trajectoryOffsets, ...turns } = batch;
  const N = logps.length;
  const pairs = randomPairs(new Random(62), 6, 5);
  const [own, linear] = [randomRows(N, 2111, dtype), randomHead({ N, H: 33, V: 613, dtype, withBias: true })];
  return [
    ['tokenLogps', () => ({ ...tokenLogps({ ...rowInputs(rows), ...STATISTICS }) }) as unknown as Arrays],
    [
      'tokenLogpsBackward',
      () => {
        const { lse } = tokenLogps(rowInputs(rows));
        return { ...tokenLogpsBackward({ ...rowInputs(rows), lse, gradLogps: rows.gradLogps }) } as Arrays;
      },
    ],
    ['linearLogps', () => ({ ...linearLogps({ ...headInputs(head), ...STATISTICS }) }) as unknown as Arrays],
    [
      'linearLogpsBackward',
      () => {
        const { lse } = linearLogps(headInputs(head));
        return { ...linearLogpsBackward({ ...headInputs(head), lse, gradLogps: head.gradLogps }) };
      },
    ],
    ['turnAdvantages', () => ({ advantages: turnAdvantages({ ...turns, logps }) })],
    [
      'turnAdvantagesBackward',
      () => {
        const { mask, turnOffsets } = turns;
        const gradAdvantages = new Float32Array(turnOffsets.length - 1).fill(0.3);
        return { gradLogps: turnAdvantagesBackward({ mask, turnOffsets, allowEmptyTurns: true, gradAdvantages }) };
      },
    ],
    ['trajectoryPreferenceLoss', () => arraysOf(trajectoryPreferenceLoss({ ...batch, ...pairs }))],
    ['turnPreferenceLoss', () => arraysOf(turnPreferenceLoss({ ...turns, logps, ...pairs }))],
    ['criticUpdate', () => arraysOf(criticUpdate({ ...rowInputs(own), ...turns, trajectoryOffsets, ...pairs }))],
    ['policyUpdate', () => arraysOf(policyUpdate({ ...headInputs(linear), ...turns, ...pairs }))],
  ];
}

function arraysOf(result: object): Arrays {
  return Object.fromEntries(Object.entries(result).filter(([, value]) => ArrayBuffer.isView(value))) as Arrays;
}

function expectSame(ours: Arrays, expected: Arrays): void {
  expect(Object.keys(ours)).toEqual(Object.keys(expected));
  for (const [name, array] of Object.entries(expected)) expectSameBits(name, ours[name]!, array!);
}

const rowOf = (array: Stored, i: number, width: number) => array.slice(i * width, (i + 1) * width);

/** The batch with row `from` in the place of row `at` as well. */
function withRowAt(rows: RowCase, from: number, at: number): RowCase {
  const logits = rows.logits.slice();
  logits.set(rowOf(rows.logits, from, rows.V), at * rows.V);
  const labels = rows.labels.slice();
  const gradLogps = rows.gradLogps.slice();
  labels[at] = rows.labels[from]!;
  gradLogps[at] = rows.gradLogps[from]!;
  return { ...rows, logits, labels, gradLogps };
}

function bothOfRows(rows: RowCase): Arrays {
  const { logps, lse, entropy } = tokenLogps({ ...rowInputs(rows), entropy: true });
  const { gradLogits } = tokenLogpsBackward({ ...rowInputs(rows), lse, gradLogps: rows.gradLogps });
  return { logps, lse, entropy, gradLogits: gradLogits as Stored };
}

function bothOfHead(head: LinearCase): Record<'logps' | 'lse' | 'entropy' | 'gradHidden' | 'gradWeight', Float32Array> {
  const { logps, lse, entropy } = linearLogps({ ...headInputs(head), entropy: true });
  const { gradHidden, gradWeight } = linearLogpsBackward({ ...headInputs(head), lse, gradLogps: head.gradLogps });
  return { logps, lse, entropy: entropy!, gradHidden, gradWeight };
}

forEachBackend(() => {
  describe.each(DTYPES)('%s', (dtype) => {
    it.each(operationsOf(dtype))('again and again the same bits: %s', (_name, run) => {
      const first = run();
      for (const { result } of underThreadCounts(run)) expectSame(result, first);
      expectSame(run(), first);
    });

    // A few long rows are cut into segments, many short ones are shared out whole.
    it.each([
      [19, 1037],
      [70, 2111],
      [3, 40_009],
    ])('a row of logits by itself, at any place and among any others: %d rows of %d', (N, V) => {
      const rows = randomRows(N, V, dtype);
      const whole = bothOfRows(rows);
      const expected = (i: number, name: string) => rowOf(whole[name]!, i, name === 'gradLogits' ? V : 1);
      for (const i of [0, N >> 1, N - 1]) {
        const alone = bothOfRows({
          ...rows,
          logits: rowOf(rows.logits, i, V),
          labels: rows.labels.slice(i, i + 1),
          gradLogps: rows.gradLogps.slice(i, i + 1),
        });
        for (const name of Object.keys(whole)) expectSameBits(`${name} alone`, alone[name]!, expected(i, name));

        const at = (i + 5) % N;
        const moved = bothOfRows(withRowAt(rows, i, at));
        const masked = bothOfRows({ ...rows, options: { mask: new Uint8Array(N).fill(1, i, i + 1) } });
        const ignored = bothOfRows({ ...rows, labels: rows.labels.map((label, k) => (k === i ? label : -100)) });
        for (const name of Object.keys(whole)) {
          const width = name === 'gradLogits' ? V : 1;
          expectSameBits(`${name} elsewhere`, rowOf(moved[name]!, at, width), expected(i, name));
          expectSameBits(`${name} among masked rows`, rowOf(masked[name]!, i, width), expected(i, name));
          expectSameBits(`${name} among ignored rows`, rowOf(ignored[name]!, i, width), expected(i, name));
        }
      }
    });

    it('a row of logits at any distance from the others and from an aligned address', () => {
      const [N, V] = [7, 1037];
      const rows = randomRows(N, V, dtype);
      const { logps, gradLogits } = bothOfRows(rows);
      for (const [rowStride, offset] of [
        [V, 1],
        [V + 1, 0],
        [V + 3, 5],
        [V + 11, 2],
      ] as const) {
        const padded = shifted(padRows(rows.logits, V, rowStride, dtype), offset);
        const given = { ...rowInputs(rows), logits: padded, rowStride, vocabSize: V };
        const forward = tokenLogps(given);
        expectSameBits('logps', forward.logps, logps!);
        const gradient = tokenLogpsBackward({ ...given, lse: forward.lse, gradLogps: rows.gradLogps });
        for (const i of range(0, N)) {
          const row = (gradient.gradLogits as Stored).slice(i * rowStride, i * rowStride + V);
          expectSameBits('gradLogits', row, rowOf(gradLogits!, i, V));
        }
      }
    });

    // More rows than one chunk of the forward pass, and than one of the backward pass.
    it.each([
      [23, 37, 203],
      [1100, 9, 130],
    ])('a row of hidden states by itself, at any place and among any others: %d x %d x %d', (N, H, V) => {
      const head = randomHead({ N, H, V, dtype, withBias: true });
      const whole = bothOfHead(head);
      const names = ['logps', 'lse', 'entropy', 'gradHidden'] as const;
      for (const i of [0, N >> 1, N - 1]) {
        const own = {
          ...head,
          hidden: rowOf(head.hidden, i, H),
          labels: head.labels.slice(i, i + 1),
          gradLogps: head.gradLogps.slice(i, i + 1),
        };
        const at = (i + N - 3) % N;
        const moved = { ...head, hidden: head.hidden.slice(), labels: head.labels.slice() };
        const gradLogps = head.gradLogps.slice();
        moved.hidden.set(own.hidden, at * H);
        moved.labels[at] = own.labels[0]!;
        gradLogps[at] = own.gradLogps[0]!;
        const [alone, elsewhere] = [bothOfHead(own), bothOfHead({ ...moved, gradLogps })];
        const masked = bothOfHead({ ...head, options: { mask: new Uint8Array(N).fill(1, i, i + 1) } });
        for (const name of names) {
          const width = name === 'gradHidden' ? H : 1;
          const expected = rowOf(whole[name], i, width);
          expectSameBits(`${name} alone`, alone[name], expected);
          expectSameBits(`${name} elsewhere`, rowOf(elsewhere[name], at, width), expected);
          expectSameBits(`${name} among masked rows`, rowOf(masked[name], i, width), expected);
        }
      }
    });

    it('sums over rows, which rows that count nothing do not change', () => {
      const head = randomHead({ N: 90, H: 21, V: 205, dtype, withBias: true });
      const mask = Uint8Array.from({ length: 90 }, (_, i) => Number(i % 3 !== 1));
      const rows = range(0, 90).filter((i) => mask[i] === 1);
      const hidden = store(
        rows.flatMap((i) => Array.from(decode(rowOf(head.hidden, i, 21), dtype))),
        dtype,
      ).data;
      const only = {
        ...head,
        hidden,
        labels: Int32Array.from(rows, (i) => head.labels[i]!),
        gradLogps: Float32Array.from(rows, (i) => head.gradLogps[i]!),
      };
      const among = bothOfHead({ ...head, options: { mask } });
      expectSameBits('gradWeight', among.gradWeight, bothOfHead(only).gradWeight);
    });
  });

  it('pairs: no score of another pair gets into a margin', () => {
    const batch = { ...randomBatch(97), ...randomPairs(new Random(98), 6, 9) };
    for (const normalization of ['turn-mean', 'token-mean', 'sum'] as const) {
      const { margins, pairLosses } = trajectoryPreferenceLoss({ ...batch, normalization });
      for (const p of range(0, 9)) {
        const alone = trajectoryPreferenceLoss({ ...batch, normalization, ...pairsBetween(batch, p, p + 1) });
        expectSameBits('margins', alone.margins, margins.slice(p, p + 1));
        expectSameBits('pairLosses', alone.pairLosses, pairLosses.slice(p, p + 1));
      }
    }
  });

  it('turns: their advantages do not depend on the turns around them', () => {
    const { logps, refLogps, mask, turnOffsets } = randomBatch(63, 3, 7, 5, 30);
    const whole = turnAdvantages({ logps, refLogps, mask, turnOffsets });
    for (const t of range(0, whole.length)) {
      const [begin, end] = [turnOffsets[t]!, turnOffsets[t + 1]!];
      const own = {
        logps: logps.slice(begin, end),
        refLogps: refLogps.slice(begin, end),
        mask: mask.slice(begin, end),
      };
      const alone = turnAdvantages({ ...own, turnOffsets: Int32Array.of(0, end - begin) });
      expectSameBits('advantage', alone, whole.slice(t, t + 1));
    }
  });
});

describe('across backends', () => {
  function onEach<T>(compute: () => T): Map<BackendName, T> {
    const before = activeBackend();
    try {
      return new Map(
        availableBackends.map((name) => {
          useBackend(name);
          return [name, compute()];
        }),
      );
    } finally {
      useBackend(before);
    }
  }

  /** Wide and confident rows, words that cannot be said, outliers, everything equal. */
  function hardRows(dtype: DType): RowCase {
    const [N, V] = [24, 5003];
    const rows = randomRows(N, V, dtype);
    const random = new Random(64);
    const values = Float64Array.from({ length: N * V }, (_, at) => {
      const [i, v] = [Math.floor(at / V), at % V];
      if (i % 6 === 1) return 25 * random.normal();
      if (i % 6 === 2) return v % 3 === 0 ? random.normal() : -Infinity;
      if (i % 6 === 3) return v === rows.labels[i] ? 30 : random.normal();
      if (i % 6 === 4) return 2.5;
      if (i % 6 === 5) return -80 + (160 * v) / V;
      return 4 * random.normal();
    });
    const labels = rows.labels.map((label, i) => (i % 6 === 2 ? label - (label % 3) : label));
    return { ...rows, labels, logits: store(values, dtype).data };
  }

  it.each(DTYPES)(
    'log-probs, lse and entropy lie within 4e-6 (1 + |x|), gradients within two roundings: %s',
    (dtype) => {
      const rows = hardRows(dtype);
      const lse = tokenLogps(rowInputs(rows)).lse;
      const results = onEach(() => {
        const forward = tokenLogps({ ...rowInputs(rows), entropy: true });
        const { gradLogits } = tokenLogpsBackward({ ...rowInputs(rows), lse, gradLogps: rows.gradLogps });
        return { ...forward, gradLogits: decode(gradLogits as Stored, dtype) };
      });
      const reference = results.get('portable')!;
      for (const [backend, ours] of results) {
        for (const name of ['logps', 'lse', 'entropy'] as const) {
          expectClose(`${name} of ${backend}`, ours[name]!, reference[name]!, (x) => 4e-6 * (1 + Math.abs(x)));
        }
        expectClose(`gradLogits of ${backend}`, ours.gradLogits, reference.gradLogits, (x) =>
          dtype === 'float32' ? 4e-6 * (1 + Math.abs(x)) : 2 * unitInLastPlace(x, dtype),
        );
      }
    },
  );

  it.each(DTYPES)('sums of a linear head lie within a few roundings of their terms: %s', (dtype) => {
    const head = randomHead({ N: 60, H: 130, V: 401, dtype, withBias: true });
    const results = onEach(() => bothOfHead(head));
    const reference = results.get('portable')!;
    const tile = { float32: 0, float16: 2 ** -11, bfloat16: 2 ** -8 }[dtype];
    for (const [backend, ours] of results) {
      for (const name of ['logps', 'lse', 'entropy'] as const) {
        expectClose(`${name} of ${backend}`, ours[name], reference[name], (x) => 1e-5 * (1 + Math.abs(x)));
      }
      for (const name of ['gradHidden', 'gradWeight'] as const) {
        const most = reference[name].reduce((a, b) => Math.max(a, Math.abs(b)), 0);
        expectClose(`${name} of ${backend}`, ours[name], reference[name], () => (1e-5 + tile) * most);
      }
    }
  });

  it('turns and losses have the same bits: they are computed in float64, outside of the kernels', () => {
    const { trajectoryOffsets, ...turns } = randomBatch(65, 3, 9, 5, 20);
    const pairs = randomPairs(new Random(66), 9, 12);
    const results = onEach(() => ({
      advantages: turnAdvantages(turns),
      critic: trajectoryPreferenceLoss({ ...turns, trajectoryOffsets, ...pairs, nllCoef: 0.1 }),
      policy: turnPreferenceLoss({ ...turns, ...pairs }),
    }));
    const reference = results.get('portable')!;
    for (const ours of results.values()) {
      expectSameBits('advantages', ours.advantages, reference.advantages);
      expectSamePreference(ours.critic, reference.critic);
      expectSamePreference(ours.policy, reference.policy);
    }
  });
});
