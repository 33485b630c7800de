/** What must hold of both updates: head -> log-probs -> loss -> gradient at the head, in one call. */
import {
  backends,
  linearLogps,
  linearLogpsBackward,
  type PreferenceResult,
  tokenLogps,
  tokenLogpsBackward,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import type { LinearGradients } from '../reference/linear-logps.ts';
import type { Head, Reference, Update } from '../reference/update.ts';
import { type Pairs, pairsBetween, randomPairs, randomStructure, randomWeights, type Structure } from './batches.ts';
import { expectClose, expectGradient, expectSameBits, lossTolerance, specified } from './compare.ts';
import { centralDifferences } from './differences.ts';
import { transposed } from './linear.ts';
import { underThreadCounts } from './machine.ts';
import { ARRAYS, expectSamePreference } from './preference.ts';
import { Random } from './random.ts';
import { DTYPES, type DType, padRows, type Stored, sharedView, shifted, store, unpadRows } from './storage.ts';

const LINEAR_GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;

type LinearFloats = Partial<Record<keyof LinearGradients, Float32Array>>;
type Result = PreferenceResult &
  LinearFloats & {
    logps: Float32Array;
    gradLogits?: Stored;
    sumSquaredProbs?: Float32Array;
  };
type Options = Record<string, unknown>;

/** An update, the loss it is made of, and its oracle. */
export interface UpdateSubject {
  update: (options: Options) => Result;
  loss: (options: Options) => PreferenceResult;
  oracle: (options: OracleOptions) => Update;
  /** Option sets that reach into every part of the loss. */
  variants: [string, Options][];
  structureOf: (structure: Structure) => Options;
  units: (structure: Structure) => number;
}

interface OracleOptions extends Options, Structure, Pairs {
  head: Head;
  reference: Reference;
  labels: Int32Array;
}

/** A head or a reference: its options of the call and the same for the oracle. */
interface Source<O> {
  name: string;
  options: Options;
  oracle: O;
}

/** [V, H], and below it what threads share. */
type HeadShape = readonly [V: number, H: number];
const [V, H]: HeadShape = [37, 11];
const WIDE: HeadShape = [2051, 24];

function batchOf(subject: UpdateSubject, words: number, ...shape: [number, number, number]) {
  const random = new Random(31);
  const structure = randomStructure(random, ...shape);
  const N = structure.mask.length;
  const starts = new Set(structure.turnOffsets);
  // A row is dropped by its mask or by its label; the first of each turn is not.
  const labels = random.integers(N, 0, words).map((label, i) => (!starts.has(i) && i % 4 === 1 ? -100 : label));
  const pairs = randomPairs(random, subject.units(structure), 9);
  const lossOptions = { ...subject.structureOf(structure), ...pairs };
  const kept = structure.mask.map((m, i) => (labels[i] === -100 ? 0 : m));
  const tokenWeights = randomWeights(36, { ...structure, mask: kept });
  return {
    N,
    labels,
    structure,
    kept,
    tokenWeights,
    pairs,
    lossOptions,
    options: { ...lossOptions, labels, mask: structure.mask },
  };
}

function headsOf(N: number, dtype: DType, [words, width]: HeadShape = [V, H], seed = 32): Source<Head>[] {
  const random = new Random(seed);
  const logits = store(random.normals(N * words, 2), dtype);
  const hidden = store(random.normals(N * width), dtype);
  const weight = store(random.normals(words * width, 0.7), dtype);
  const bias = store(random.normals(words), dtype);
  const linear = { hidden: hidden.data, weight: weight.data, dtype };
  return [
    { name: `logits, ${dtype}`, options: { logits: logits.data, dtype }, oracle: { logits: logits.values } },
    { name: `hidden, ${dtype}`, options: linear, oracle: { hidden: hidden.values, weight: weight.values } },
    {
      name: `hidden with bias, ${dtype}`,
      options: { ...linear, bias: bias.data },
      oracle: { hidden: hidden.values, weight: weight.values, bias: bias.values },
    },
  ];
}

/** Other heads of the same kinds, under the names of a reference. */
function referencesOf(N: number, dtype: DType, shape?: HeadShape): Source<Reference>[] {
  const refLogps = Float32Array.from(new Random(34).normals(N, 2));
  const heads = headsOf(N, dtype, shape, 33).map(({ name, options, oracle }) => {
    const renamed = Object.entries(options).map(([key, value]) => [
      `ref${key[0]!.toUpperCase()}${key.slice(1)}`,
      value,
    ]);
    return { name, options: Object.fromEntries(renamed) as Options, oracle };
  });
  return [{ name: 'refLogps', options: { refLogps }, oracle: { refLogps } }, ...heads];
}

function expectUpdate(ours: Result, expected: Update, dtype: DType): void {
  expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
  expect(ours.accuracy).toBe(expected.accuracy);
  expectClose('logps', ours.logps, expected.logps, specified);
  for (const name of ARRAYS) expectClose(name, ours[name], expected[name], scaled(expected.turnAdvantages));
  const upstream = Math.max(...expected.gradLogps.map(Math.abs));
  if (ours.gradLogits) expectGradient('gradLogits', ours.gradLogits, expected.gradLogits, dtype, { upstream });
  for (const name of LINEAR_GRADIENTS) {
    // Storing a tile of gradients of the logits in the head's type, once, is allowed.
    const rounding = { float32: 4e-6, float16: 2 ** -11, bfloat16: 2 ** -8 }[dtype];
    if (ours[name]) expectClose(name, ours[name], expected[name]!, () => rounding * largest(expected[name]!));
  }
}

/** Scores add up the errors of a few log-probs: the specified tolerance at the size of the scores. */
function scaled(advantages: Float64Array) {
  const size = 1 + largest(advantages);
  return (expected: number) => 2e-6 * size + 2e-6 * Math.abs(expected);
}

function largest(values: Float64Array): number {
  return values.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
}

function expectSameUpdate(ours: Result, expected: Result): void {
  expectSamePreference(ours, expected);
  for (const name of ['logps', 'gradLogits', ...LINEAR_GRADIENTS] as const) {
    if (expected[name]) expectSameBits(name, ours[name]!, expected[name]);
  }
}

export function describeUpdate(subject: UpdateSubject): void {
  const { update, oracle } = subject;
  const { N, labels, structure, kept, tokenWeights, pairs, lossOptions, options } = batchOf(subject, V, 5, 3, 6);
  const variants: UpdateSubject['variants'] = [
    ...subject.variants,
    ['token weights', { tokenWeights }],
    ['token weights and NLL', { tokenWeights, nllCoef: 0.3, beta: 0.7 }],
    ['MPO', { lossType: ['sigmoid', 'bco_pair', 'sft'], lossWeights: [0.8, 0.2, 1] }],
    ['types without a reference', { lossType: ['simpo', 'orpo', 'cpo'], refLogps: undefined, beta: 0.6 }],
    ['aot', { lossType: 'aot', labelSmoothing: 0.1, tokenWeights }],
    ['ldAlpha', { ldAlpha: 0.4, lossType: ['nca_pair', 'sigmoid_norm'], nllCoef: 0.1 }],
    ['weighting', { useWeighting: true, tokenWeights, nllCoef: 0.1 }],
  ];
  const float32Heads = headsOf(N, 'float32');
  const [logitsHead, , linearHead] = float32Heads as [Source<Head>, Source<Head>, Source<Head>];
  const [refLogps] = referencesOf(N, 'float32') as [Source<Reference>];

  const combinations = DTYPES.flatMap((dtype) =>
    headsOf(N, dtype).flatMap((head) => referencesOf(N, dtype).map((reference) => ({ dtype, head, reference }))),
  );

  it.each(combinations.map((each) => ({ ...each, name: `${each.head.name} against ${each.reference.name}` })))(
    'agrees with the oracle: $name',
    ({ dtype, head, reference }) => {
      const ours = update({ ...options, ...head.options, ...reference.options });
      const sources = { head: head.oracle, reference: reference.oracle };
      expectUpdate(ours, oracle({ ...structure, ...pairs, labels, ...sources }), dtype);
    },
  );

  it('takes a reference of another storage type', () => {
    const reference = referencesOf(N, 'bfloat16')[1]!;
    const ours = update({ ...options, ...logitsHead.options, ...reference.options });
    const sources = { head: logitsHead.oracle, reference: reference.oracle };
    expectUpdate(ours, oracle({ ...structure, ...pairs, labels, ...sources }), 'float32');
  });

  describe.each(variants)('%s', (_name, variant) => {
    it.each(float32Heads)('agrees with the oracle: $name', (head) => {
      const ours = update({ ...options, ...head.options, ...refLogps.options, ...variant });
      const reference = 'refLogps' in variant ? {} : refLogps.oracle;
      const sources = { head: head.oracle, reference };
      expectUpdate(ours, oracle({ ...structure, ...pairs, labels, ...sources, ...variant }), 'float32');
    });

    const { temperature } = variant;
    const rows = { labels, mask: structure.mask, ...(temperature ? { temperature: temperature as number } : {}) };
    const { temperature: _, ...lossVariant } = variant;
    const loss = (logps: Float32Array, sumSquaredProbs?: Float32Array) => {
      const squares = lossVariant.useWeighting ? { sumSquaredProbs } : {};
      return subject.loss({ ...lossOptions, mask: kept, logps, ...refLogps.options, ...lossVariant, ...squares });
    };

    it('is the loss of its own log-probs, and its gradient theirs at the logits', () => {
      const logits = logitsHead.options as { logits: Float32Array };
      const ofLogits = update({ ...options, ...logits, ...refLogps.options, ...variant });
      const forward = tokenLogps({ ...logits, ...rows, sumSquaredProbs: true });
      expectSameBits('logps', ofLogits.logps, forward.logps);
      expectSamePreference(ofLogits, loss(forward.logps, forward.sumSquaredProbs));
      const gradient = { lse: forward.lse, gradLogps: ofLogits.gradLogps };
      const { gradLogits } = tokenLogpsBackward({ ...logits, ...rows, ...gradient });
      expectClose('gradLogits', ofLogits.gradLogits!, gradLogits, relative(gradLogits));
    });

    it('is the loss of its own log-probs, and its gradient theirs at the hidden states', () => {
      const head = linearHead.options as { hidden: Float32Array; weight: Float32Array; bias: Float32Array };
      const ofHidden = update({ ...options, ...head, ...refLogps.options, ...variant });
      const linear = linearLogps({ ...head, ...rows });
      expectClose('logps', ofHidden.logps, linear.logps, specified);
      const { sumSquaredProbs } = update({
        ...options,
        ...head,
        ...refLogps.options,
        ...variant,
        sumSquaredProbs: true,
      });
      expectSamePreference(ofHidden, loss(ofHidden.logps, sumSquaredProbs));
      const linearGradient = { lse: linear.lse, gradLogps: ofHidden.gradLogps };
      const gradients = linearLogpsBackward({ ...head, ...rows, ...linearGradient });
      for (const name of LINEAR_GRADIENTS)
        expectClose(name, ofHidden[name]!, gradients[name]!, relative(gradients[name]!));
    });
  });

  it.each(float32Heads)('never reads a dropped row: $name', (head) => {
    const dropped = (i: number) => structure.mask[i] === 0 || labels[i] === -100;
    const spoil = (name: string, width: number) => {
      const rows = head.options[name] as Float32Array | undefined;
      return rows && { [name]: rows.map((x, at) => (dropped(Math.floor(at / width)) ? NaN : x)) };
    };
    const illegal = labels.map((label, i) => (structure.mask[i] === 0 ? V + 5 : label));
    const plain = update({ ...options, ...head.options, ...refLogps.options });
    const spoiled = { ...spoil('logits', V), ...spoil('hidden', H), labels: illegal };
    expectSameUpdate(update({ ...options, ...head.options, ...refLogps.options, ...spoiled }), plain);
    const rowsOf = (gradient: Stored | undefined, width: number) =>
      Array.from(gradient ?? []).filter((_, at) => dropped(Math.floor(at / width)));
    expect(rowsOf(plain.gradLogits, V).every((g) => g === 0)).toBe(true);
    expect(rowsOf(plain.gradHidden, H).every((g) => g === 0)).toBe(true);
  });

  it.each(float32Heads)(
    'takes weights of 1 as none, and computes the log-probs of tokens of weight 0: $name',
    (head) => {
      const given = { ...options, ...head.options, ...refLogps.options, nllCoef: 0.1 };
      const plain = update(given);
      const ones = Float32Array.from(kept, (k) => (k === 0 ? NaN : 1));
      expectSameUpdate(update({ ...given, tokenWeights: ones }), plain);
      const weighted = update({ ...given, tokenWeights });
      expectSameBits('logps', weighted.logps, plain.logps);
      const counts = (i: number) => kept[i] !== 0 && tokenWeights[i] !== 0;
      expect(weighted.gradLogps.every((g, i) => counts(i) || g === 0)).toBe(true);
      const rows = (gradient: Stored | undefined, width: number) =>
        Array.from(gradient ?? []).filter((_, at) => !counts(Math.floor(at / width)));
      expect([...rows(weighted.gradLogits, V), ...rows(weighted.gradHidden, H)].every((g) => g === 0)).toBe(true);
    },
  );

  it('reads padded rows of logits and of the reference', () => {
    const logits = logitsHead.options.logits as Float32Array;
    const reference = referencesOf(N, 'float32')[1]!.options;
    const plain = update({ ...options, ...logitsHead.options, ...reference });
    const padding = { rowStride: V + 3, vocabSize: V };
    const padded = { ...padding, logits: padRows(logits, V, V + 3, 'float32') };
    const refLogits = padRows(reference.refLogits as Float32Array, V, V + 3, 'float32');
    for (const given of [{}, { refLogits }]) {
      const result = update({ ...options, ...reference, ...padded, ...given });
      expectSameUpdate({ ...result, gradLogits: unpadRows(result.gradLogits!, N, V, V + 3) }, plain);
    }
  });

  it('reads hidden states with elements between them, of the head and of the reference', () => {
    const reference = referencesOf(N, 'float32')[2]!.options;
    const plain = update({ ...options, ...linearHead.options, ...reference });
    const hidden = padRows(linearHead.options.hidden as Float32Array, H, H + 3, 'float32');
    const refHidden = padRows(reference.refHidden as Float32Array, H, H + 5, 'float32', false);
    for (const given of [{}, { refHidden, refHiddenStride: H + 5 }]) {
      const strided = { hidden, hiddenStride: H + 3, hiddenSize: H };
      expectSameUpdate(update({ ...options, ...linearHead.options, ...reference, ...strided, ...given }), plain);
    }
  });

  const types = DTYPES.flatMap((dtype) => DTYPES.map((weightDtype) => ({ dtype, weightDtype })));
  it.each(types)('takes hidden states of $dtype and a weight [H, V] of $weightDtype', ({ dtype, weightDtype }) => {
    const ofHidden = headsOf(N, dtype)[2]!;
    const ofWeight = headsOf(N, weightDtype)[2]!;
    const { hidden } = ofHidden.options;
    const { weight, bias } = ofWeight.options as { weight: Stored; bias: Stored };
    const head = {
      ...(ofWeight.oracle as Extract<Head, { hidden: unknown }>),
      hidden: (ofHidden.oracle as Extract<Head, { hidden: unknown }>).hidden,
    };
    const given = { hidden, weight: transposed(weight, V, H), bias, dtype, weightDtype, weightLayout: 'HV' };
    const own = { ...options, ...given, ...refLogps.options };
    const expected = oracle({ ...structure, ...pairs, labels, head, reference: refLogps.oracle });
    const gradWeight = transposed(expected.gradWeight!, V, H);
    expectUpdate(update(own), { ...expected, gradWeight }, dtype === weightDtype ? dtype : 'float32');
    const frozen = update({ ...own, frozenWeight: true });
    expect(LINEAR_GRADIENTS.filter((name) => name in frozen)).toEqual(['gradHidden']);
    // The reference is stored as the trained head, whose options need not be repeated.
    const reference = { refHidden: hidden, refWeight: given.weight, refBias: bias };
    const { logps } = update(own);
    expectSameUpdate(update({ ...options, ...given, ...reference }), update({ ...own, refLogps: logps }));
  });

  it('takes a reference with options of its own', () => {
    const [hidden, weight] = [headsOf(N, 'float16', [V, 7], 91)[2]!.options, headsOf(N, 'bfloat16', [V, 7], 92)[2]!];
    const { weight: refWeight, bias } = weight.options as { weight: Stored; bias: Stored };
    const HV = { weight: transposed(refWeight, V, 7), weightDtype: 'bfloat16', weightLayout: 'HV', bias } as const;
    const rows = { labels, mask: structure.mask };
    const spread = padRows(hidden.hidden as Stored, 7, 9, 'float16');
    const ofHidden = { hidden: spread, hiddenStride: 9, hiddenSize: 7, dtype: 'float16', temperature: 1.7 } as const;
    const { logps } = linearLogps({ ...ofHidden, ...HV, ...rows } as never);
    const expected = update({ ...options, ...linearHead.options, refLogps: logps, temperature: 0.9 });
    const asReference = (head: object) =>
      Object.fromEntries(Object.entries(head).map(([k, v]) => [`ref${k[0]!.toUpperCase()}${k.slice(1)}`, v]));
    const own = { ...options, ...linearHead.options, temperature: 0.9 };
    const reference = asReference({ ...ofHidden, ...HV, vocabSize: V });
    const ours = update({ ...own, ...reference });
    expectClose('loss', [ours.loss], [expected.loss], lossTolerance);
    for (const name of ARRAYS) expectClose(name, ours[name], expected[name], scaled(Float64Array.of(1)));

    const logits = headsOf(N, 'bfloat16', [V, H], 93)[0]!.options.logits as Stored;
    const padded = {
      logits: padRows(logits, V, V + 5, 'bfloat16', false),
      rowStride: V + 5,
      dtype: 'bfloat16',
    } as const;
    const ofLogits = { ...padded, vocabSize: V, temperature: 3 };
    const { logps: refLogps } = tokenLogps({ ...ofLogits, ...rows });
    const against = update({ ...options, ...logitsHead.options, ...asReference(ofLogits) });
    expectSameUpdate(against, update({ ...options, ...logitsHead.options, refLogps }));
  });

  it('leaves the logits alone, unless it is asked to put the gradient in their place', () => {
    for (const dtype of DTYPES) {
      const { logits } = headsOf(N, dtype)[0]!.options as { logits: Stored };
      const before = logits.slice();
      const plain = update({ ...options, logits, dtype, ...refLogps.options });
      expectSameBits('logits', logits, before);
      const inPlace = update({ ...options, logits, dtype, ...refLogps.options, out: { gradLogits: logits } });
      expect(inPlace.gradLogits).toBe(logits);
      expectSameUpdate(inPlace, plain);
    }
  });

  it.each(float32Heads)('writes into out buffers: $name', (head) => {
    const plain = update({ ...options, ...head.options, ...refLogps.options });
    const names = ['logps', 'gradLogits', ...LINEAR_GRADIENTS, ...ARRAYS].filter((name) => name in plain);
    const buffers = names.map((name, k) => [name, shifted(plain[name as 'logps'], k).fill(7)] as const);
    const result = update({ ...options, ...head.options, ...refLogps.options, out: Object.fromEntries(buffers) });
    for (const [name, buffer] of buffers) expect(result[name as 'logps']).toBe(buffer);
    expectSameUpdate(result, plain);
  });

  it.each(float32Heads)('gives the same bits from views at an offset and from shared memory: $name', (head) => {
    const plain = update({ ...options, ...head.options, ...refLogps.options });
    for (const view of [(array: Stored) => shifted(array, 3), sharedView<Stored>]) {
      const { dtype, ...arrays } = head.options;
      const views = Object.fromEntries(Object.entries(arrays).map(([name, array]) => [name, view(array as Stored)]));
      expectSameUpdate(update({ ...options, dtype, ...views, ...refLogps.options }), plain);
    }
  });

  it.each(DTYPES)('computes the gradients alone whose part of the head is trained: %s', (dtype) => {
    const head = headsOf(N, dtype)[2]!;
    const severalChunks = backends().some(({ name }) => (name as string) === 'device') ? { chunkBytes: 2000 } : {};
    for (const given of [{}, { nllCoef: 0.2, ...severalChunks }]) {
      const call = { ...options, ...head.options, ...refLogps.options, ...given };
      const whole = update(call);
      const ofHidden = update({ ...call, frozenWeight: true });
      const ofWeight = update({ ...call, frozenHidden: true });
      expectSamePreference(ofHidden, whole);
      expectSamePreference(ofWeight, whole);
      expect(LINEAR_GRADIENTS.filter((name) => name in ofHidden)).toEqual(['gradHidden']);
      expect(LINEAR_GRADIENTS.filter((name) => name in ofWeight)).toEqual(['gradWeight', 'gradBias']);
      const rounding = { float32: 1e-6, float16: 2 ** -11, bfloat16: 2 ** -8 }[dtype];
      for (const name of LINEAR_GRADIENTS) {
        const most = largest(Float64Array.from(whole[name]!));
        expectClose(name, (ofHidden[name] ?? ofWeight[name])!, whole[name]!, () => 2 * rounding * most);
      }
      const out = { gradHidden: new Float32Array(N * H).fill(1) };
      update({ ...call, frozenWeight: true, accumulate: true, out });
      const plusOne = Float64Array.from(ofHidden.gradHidden!, (g) => 1 + g);
      expectClose('gradHidden', out.gradHidden, plusOne, () => 4e-7);
    }
  });

  it.each(DTYPES)('gives the same bits for any number of threads: %s', (dtype) => {
    const wide = batchOf(subject, WIDE[0], 8, 4, 6);
    const references = referencesOf(wide.N, dtype, WIDE);
    headsOf(wide.N, dtype, WIDE).forEach((head, kind) => {
      const { tokenWeights } = wide;
      const given = { ...wide.options, ...head.options, ...references[kind + 1]!.options, tokenWeights };
      const [first, ...others] = underThreadCounts(() => update(given));
      for (const { result } of others) expectSameUpdate(result, first!.result);
    });
  });

  it.each(DTYPES)('adds the gradients of micro-batches up to those of the whole: %s', (dtype) => {
    const head = headsOf(N, dtype)[2]!.options;
    const common = {
      ...options,
      ...head,
      ...refLogps.options,
      pairDenominator: pairs.chosen.length,
      nllDenominator: 50,
      nllCoef: 0.1,
    };
    const whole = update(common);
    const out = {
      gradHidden: new Float32Array(N * H).fill(7),
      gradWeight: new Float32Array(V * H).fill(7),
      gradBias: new Float32Array(V).fill(7),
    };
    const bounds = [0, 2, 5, pairs.chosen.length];
    const losses = bounds.slice(1).map((end, k) => {
      const own = pairsBetween(pairs, bounds[k]!, end);
      // The first micro-batch overwrites what stood there.
      return update({ ...common, ...own, accumulate: k > 0, out }).loss;
    });
    expectClose('loss', [losses.reduce((a, b) => a + b)], [whole.loss], lossTolerance);
    const rounding = { float32: 1e-6, float16: 2 ** -11, bfloat16: 2 ** -8 }[dtype];
    for (const name of LINEAR_GRADIENTS) {
      const most = largest(Float64Array.from(whole[name]!));
      expectClose(name, out[name], whole[name]!, () => 2 * rounding * most);
    }
  });

  it('takes labels as BigInt64Array', () => {
    const wide = BigInt64Array.from(labels, BigInt);
    const given = { ...options, ...logitsHead.options, ...refLogps.options };
    expectSameUpdate(update({ ...given, labels: wide }), update(given));
  });

  it('has the gradients that finite differences give', () => {
    const given = { ...options, ...refLogps.options, beta: 0.5, nllCoef: 0.2, temperature: 0.9, tokenWeights };
    const compare = (head: Options, name: string, gradient: ArrayLike<number>) => {
      const values = head[name] as Float32Array;
      // Every seventh, to keep it quick; log-probs are float32, so that differences are good to a few 1e-5 only.
      const some = values.filter((_, at) => at % 7 === 0);
      const differences = centralDifferences(some, 2 ** -5, (moved) => {
        const all = values.map((x, at) => (at % 7 === 0 ? moved[at / 7]! : x));
        return update({ ...given, ...head, [name]: all }).loss;
      });
      expectClose(
        name,
        Array.from(gradient).filter((_, at) => at % 7 === 0),
        differences,
        () => 1e-4,
      );
    };
    compare(logitsHead.options, 'logits', update({ ...given, ...logitsHead.options }).gradLogits!);
    const linear = update({ ...given, ...linearHead.options });
    compare(linearHead.options, 'hidden', linear.gradHidden!);
    compare(linearHead.options, 'weight', linear.gradWeight!);
    compare(linearHead.options, 'bias', linear.gradBias!);
  });
}

/** The same sums, possibly in another order: a few roundings at the size of the largest. */
function relative(values: ArrayLike<number>) {
  const size = largest(Float64Array.from(values));
  return () => 2e-6 * size;
}
