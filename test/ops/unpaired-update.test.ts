/** unpairedUpdate against the oracle and against its parts, on every backend. */
import {
  linearLogps,
  linearLogpsBackward,
  tokenLogps,
  tokenLogpsBackward,
  unpairedPreferenceLoss,
  unpairedUpdate,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { randomStructure, randomWeights } from '../helpers/batches.ts';
import { expectClose, expectGradient, expectSameBits, lossTolerance, specified } from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, type DType, type Stored, shifted, store } from '../helpers/storage.ts';
import { unpairedUpdate as oracle, type UnpairedUpdateOptions } from '../reference/unpaired-update.ts';
import type { Head, Reference } from '../reference/update.ts';

const OF_LOSS = ['unitLosses', 'rewards', 'chosenRewards', 'rejectedRewards', 'turnAdvantages', 'gradLogps'] as const;
const SCALARS = ['loss', 'accuracy', 'referencePoint'] as const;
const LINEAR = ['gradHidden', 'gradWeight', 'gradBias'] as const;
const OUT = ['logps', 'unitLosses', 'rewards', 'turnAdvantages', 'gradLogps', 'gradLogits', ...LINEAR] as const;

type Options = Record<string, unknown>;
type Result = Record<(typeof OF_LOSS)[number] | 'logps', Float32Array> &
  Record<(typeof SCALARS)[number], number> &
  Partial<Record<(typeof LINEAR)[number], Float32Array>> & { gradLogits?: Stored; running?: object };

// The helpers' options are records; the types of the library are tested in package/types.test.ts.
const update = (options: Options) => unpairedUpdate(options as never) as unknown as Result;
const lossOf = (options: Options) => unpairedPreferenceLoss(options as never) as unknown as Result;

const [V, H] = [37, 11];
const structure = randomStructure(new Random(51), 5, 3, 6);
const N = structure.mask.length;
const starts = new Set(structure.turnOffsets);
// A row is dropped by its mask or by its label; the first of each turn is not.
const labels = new Random(52).integers(N, 0, V).map((label, i) => (!starts.has(i) && i % 4 === 1 ? -100 : label));
const kept = structure.mask.map((m, i) => (labels[i] === -100 ? 0 : m));
const tokenWeights = randomWeights(53, { ...structure, mask: kept });
const { turnOffsets, trajectoryOffsets } = structure;
const TURNS = turnOffsets.length - 1;
const KL = { klLogps: Float32Array.of(2, -1), klRefLogps: Float32Array.of(1, -1.5) };
const kinds = (items: number) => Uint8Array.from({ length: items }, (_, k) => k % 3);
const ofTurns = { turnOffsets, desirable: kinds(TURNS) };
const ofTrajectories = { turnOffsets, trajectoryOffsets, desirable: kinds(5) };
const rows = { labels, mask: structure.mask };

interface Source<O> {
  name: string;
  options: Options;
  oracle: O;
}

function headsOf(dtype: DType, seed = 54): Source<Head>[] {
  const random = new Random(seed);
  const [logits, hidden] = [store(random.normals(N * V, 2), dtype), store(random.normals(N * H), dtype)];
  const [weight, bias] = [store(random.normals(V * H, 0.7), dtype), store(random.normals(V), dtype)];
  const linear = { hidden: hidden.data, weight: weight.data, bias: bias.data, dtype };
  return [
    {
      name: `logits, ${dtype}`,
      options: { logits: logits.data, dtype, vocabSize: V },
      oracle: { logits: logits.values },
    },
    {
      name: `hidden states, ${dtype}`,
      options: linear,
      oracle: { hidden: hidden.values, weight: weight.values, bias: bias.values },
    },
  ];
}

const refLogps = Float32Array.from(new Random(55).normals(N, 2));

function referencesOf(dtype: DType): Source<Reference>[] {
  const renamed = (options: Options) =>
    Object.fromEntries(
      Object.entries(options).map(([key, value]) => [`ref${key[0]!.toUpperCase()}${key.slice(1)}`, value]),
    );
  const heads = headsOf(dtype, 56).map(({ name, options, oracle }) => ({ name, options: renamed(options), oracle }));
  return [{ name: 'refLogps', options: { refLogps }, oracle: { refLogps } }, ...heads];
}

const variants: [string, Options][] = [
  ['kto of turns', { ...ofTurns, ...KL }],
  ['kto of turns, means', { ...ofTurns, ...KL, reduction: 'mean', tokenWeights }],
  ['kto of trajectories', { ...ofTrajectories, ...KL, desirableWeight: 2, undesirableWeight: 0.5 }],
  ['apo_zero_unpaired', { ...ofTrajectories, lossType: 'apo_zero_unpaired', normalization: 'sum', beta: 0.4 }],
  ['bco', { ...ofTurns, lossType: 'bco', running: { mean: -1, count: 3 }, temperature: 0.7 }],
  [
    'bco of trajectories',
    { ...ofTrajectories, lossType: 'bco', normalization: 'token-mean', unitWeights: Float32Array.of(1, 0, 2, 3, 0.5) },
  ],
  ['bco, a given point', { ...ofTurns, lossType: 'bco', referencePoint: -2, tokenWeights }],
  ['without a reference', { ...ofTurns, referenceFree: true, klLogps: KL.klLogps, refLogps: undefined }],
];

const largest = (values: ArrayLike<number>) => Array.from(values).reduce((most, x) => Math.max(most, Math.abs(x)), 0);

function expectUpdate(ours: Result, expected: ReturnType<typeof oracle>, dtype: DType): void {
  expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
  expect(ours.accuracy).toBe(expected.accuracy);
  expectClose('logps', ours.logps, expected.logps, specified);
  const size = 1 + largest(expected.turnAdvantages);
  for (const name of OF_LOSS) expectClose(name, ours[name], expected[name], (x) => 2e-6 * size + 2e-6 * Math.abs(x));
  if (ours.gradLogits) {
    expectGradient('gradLogits', ours.gradLogits, expected.gradLogits, dtype, {
      upstream: largest(expected.gradLogps),
    });
  }
  for (const name of LINEAR) {
    // Storing a tile of gradients of the logits in the head's type, once, is allowed.
    const rounding = { float32: 4e-6, float16: 2 ** -11, bfloat16: 2 ** -8 }[dtype];
    if (ours[name]) expectClose(name, ours[name], expected[name]!, () => rounding * largest(expected[name]!));
  }
}

function expectSame(ours: Result, expected: Result): void {
  for (const name of SCALARS) expect(ours[name], name).toBe(expected[name]);
  expect(ours.running).toEqual(expected.running);
  for (const name of [...OF_LOSS, 'logps', 'gradLogits', ...LINEAR] as const) {
    if (expected[name]) expectSameBits(name, ours[name]!, expected[name]);
  }
}

forEachBackend(() => {
  const heads = headsOf('float32');
  const [ofLogits, ofHidden] = heads as [Source<Head>, Source<Head>];

  const combinations = DTYPES.flatMap((dtype) =>
    headsOf(dtype).flatMap((head) => referencesOf(dtype).map((reference) => ({ dtype, head, reference }))),
  );
  it.each(combinations.map((each) => ({ ...each, name: `${each.head.name} against ${each.reference.name}` })))(
    'agrees with the oracle: $name',
    ({ dtype, head, reference }) => {
      const given = { ...rows, ...ofTurns, ...KL };
      const ours = update({ ...given, ...head.options, ...reference.options });
      expectUpdate(ours, oracle({ ...given, head: head.oracle, reference: reference.oracle } as never), dtype);
    },
  );

  describe.each(variants)('%s', (_name, variant) => {
    it.each(heads)('agrees with the oracle: $name', (head) => {
      const reference = 'refLogps' in variant ? {} : { refLogps };
      const sources = { head: head.oracle, reference };
      const ours = update({ ...rows, ...head.options, refLogps, ...variant });
      expectUpdate(ours, oracle({ ...rows, ...sources, ...variant } as never as UnpairedUpdateOptions), 'float32');
    });

    it('is the loss of its own log-probs, and its gradient theirs at the head', () => {
      const { temperature, ...loss } = { temperature: 1, ...variant } as { temperature: number };
      const { vocabSize: _, ...logits } = ofLogits.options;
      for (const head of [logits, ofHidden.options]) {
        const ours = update({ ...rows, ...head, refLogps, ...variant });
        const given = { ...rows, ...head, temperature } as never;
        const forward = 'logits' in head ? tokenLogps(given) : linearLogps(given);
        expectClose('logps', ours.logps, forward.logps, specified);
        const alone = lossOf({ logps: ours.logps, refLogps, mask: kept, ...loss });
        for (const name of SCALARS) expect(ours[name], name).toBe(alone[name]);
        for (const name of OF_LOSS) expectSameBits(name, ours[name], alone[name]);
        const upstream = { ...(given as object), lse: forward.lse, gradLogps: ours.gradLogps } as never;
        const backward = ('logits' in head ? tokenLogpsBackward : linearLogpsBackward) as (options: never) => unknown;
        const gradients = backward(upstream) as Result;
        for (const name of ['gradLogits', ...LINEAR] as const) {
          if (!gradients[name]) continue;
          expectClose(name, ours[name]!, gradients[name], () => 2e-6 * largest(gradients[name]!));
        }
      }
    });
  });

  it.each(heads)('never reads a dropped row, and writes into out buffers: $name', (head) => {
    const given = { ...rows, ...ofTurns, ...KL, refLogps };
    const plain = update({ ...given, ...head.options });
    const dropped = (i: number) => structure.mask[i] === 0 || labels[i] === -100;
    const spoil = (name: string, width: number) => {
      const values = head.options[name] as Float32Array | undefined;
      return values && { [name]: values.map((x, at) => (dropped(Math.floor(at / width)) ? NaN : x)) };
    };
    const spoiled = {
      refLogps: refLogps.map((x, i) => (dropped(i) ? NaN : x)),
      ...spoil('logits', V),
      ...spoil('hidden', H),
    };
    expectSame(update({ ...given, ...head.options, ...spoiled }), plain);
    const buffers = OUT.filter((name) => name in plain).map(
      (name, k) => [name, shifted(plain[name]!, k).fill(7)] as const,
    );
    const result = update({ ...given, ...head.options, out: Object.fromEntries(buffers) });
    for (const [name, buffer] of buffers) expect(result[name]).toBe(buffer);
    expectSame(result, plain);
  });

  it('puts the gradient in the place of the logits where it is asked to', () => {
    const { logits } = ofLogits.options as { logits: Float32Array };
    const given = { ...rows, ...ofTurns, ...KL, refLogps, vocabSize: V };
    const plain = update({ ...given, logits });
    const own = logits.slice();
    expectSame(update({ ...given, logits: own, out: { gradLogits: own } }), plain);
  });

  it('computes the gradients alone whose part of the head is trained, and adds to those that are there', () => {
    const given = { ...rows, ...ofTurns, ...KL, refLogps, ...ofHidden.options };
    const whole = update(given);
    const parts = { ...update({ ...given, frozenHidden: true }), ...update({ ...given, frozenWeight: true }) };
    for (const name of LINEAR) expectClose(name, parts[name]!, whole[name]!, () => 2e-6 * largest(whole[name]!));
    const out = Object.fromEntries(LINEAR.map((name) => [name, whole[name]!.map((_, i) => i % 3)]));
    update({ ...given, accumulate: true, out });
    for (const name of LINEAR) {
      const sums = Float64Array.from(whole[name]!, (g, i) => (i % 3) + g);
      expectClose(name, out[name]!, sums, () => 4e-7);
    }
  });

  it('gives the statistics of rows that are asked for', () => {
    const asked = { entropy: true, argmax: true, sumSquaredProbs: true };
    const ours = update({ ...rows, ...ofTurns, ...KL, refLogps, ...ofLogits.options, ...asked }) as unknown as Options;
    const { logits } = ofLogits.options as { logits: Float32Array };
    const forward = tokenLogps({ logits, vocabSize: V, labels, mask: kept, ...asked }) as unknown as Options;
    for (const name of Object.keys(asked))
      expectSameBits(name, ours[name] as Float32Array, forward[name] as Float32Array);
  });

  it.each(DTYPES)('gives the same bits for any number of threads: %s', (dtype) => {
    for (const head of headsOf(dtype)) {
      const given = { ...rows, ...ofTrajectories, lossType: 'bco', refLogps, ...head.options, tokenWeights };
      const [first, ...others] = underThreadCounts(() => update(given));
      for (const { result } of others) expectSame(result, first!.result);
    }
  });

  it('has the gradients that finite differences give', () => {
    const given = { ...rows, ...ofTurns, ...KL, refLogps, beta: 0.5, temperature: 0.9, tokenWeights };
    for (const [head, name, gradient] of [
      [ofLogits, 'logits', 'gradLogits'],
      [ofHidden, 'hidden', 'gradHidden'],
      [ofHidden, 'weight', 'gradWeight'],
      [ofHidden, 'bias', 'gradBias'],
    ] as const) {
      const values = head.options[name] as Float32Array;
      // Every seventh, to keep it quick; log-probs are float32, so that differences are good to a few 1e-5 only.
      const some = values.filter((_, at) => at % 7 === 0);
      const differences = centralDifferences(some, 2 ** -5, (moved) => {
        const all = values.map((x, at) => (at % 7 === 0 ? moved[at / 7]! : x));
        return update({ ...given, ...head.options, [name]: all }).loss;
      });
      const own = Array.from(update({ ...given, ...head.options })[gradient]!).filter((_, at) => at % 7 === 0);
      expectClose(name, own, differences, () => 1e-4);
    }
  });
});
