/** policyGradientUpdate against the oracle, its three parts and the shared cases, on every backend, in one pass and in two. */
import {
  linearLogps,
  linearLogpsBackward,
  policyGradientUpdate,
  policyGradientUpdateAsync,
  tokenLogps,
  tokenLogpsBackward,
} from 'sweet-rl';
import { policyGradientLoss } from 'sweet-rl/objectives';
import { describe, expect, it } from 'vitest';
import { randomStructure } from '../helpers/batches.ts';
import { expectClose, expectSameBits, specified } from '../helpers/compare.ts';
import { centralDifferences } from '../helpers/differences.ts';
import { expectCase, jsonVectors } from '../helpers/json-vectors.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, type DType, decode, shifted, store } from '../helpers/storage.ts';
import { policyGradientUpdate as oracle } from '../reference/policy-gradient-update.ts';
import { range } from '../reference/range.ts';

const SCALARS = ['loss', 'policyLoss', 'klLoss', 'entropyBonus', 'clipFraction', 'approxKl'] as const;
const GRADIENTS = ['gradLogits', 'gradHidden', 'gradWeight', 'gradBias'] as const;

type Options = Record<string, unknown>;
type Result = Record<(typeof SCALARS)[number], number> & { logps: Float32Array; entropy?: Float32Array } & {
  [name in (typeof GRADIENTS)[number]]?: Float32Array;
};

// The helpers' options are records; the types of the library are tested in package/types.test.ts.
const update = (options: Options) => policyGradientUpdate(options as never) as unknown as Result;

const V = 37;

interface Batch {
  rows: number;
  labels: Int32Array;
  mask: Uint8Array;
  turnOffsets: Int32Array;
  trajectoryOffsets: Int32Array;
  arrays: Record<'advantages' | 'oldLogps' | 'importanceWeights' | 'refLogps', Float32Array>;
}

/** Rows are dropped by the mask or by their label; NaN stands in the dropped ones. */
function batchOf(seed: number, trajectories: number): Batch {
  const structure = randomStructure(new Random(seed), trajectories, 3, 6);
  const rows = structure.mask.length;
  const labels = new Random(seed + 1).integers(rows, 0, V).map((label, i) => (i % 5 === 2 ? -100 : label));
  const random = new Random(seed + 2);
  const array = (values: ArrayLike<number>) =>
    Float32Array.from(values, (x, i) => (structure.mask[i] === 0 || labels[i] === -100 ? NaN : x));
  const logps = () => Array.from(random.normals(rows, 1), (x) => -3 - x);
  const arrays = {
    advantages: array(random.normals(rows)),
    oldLogps: array(logps()),
    importanceWeights: array(Array.from(random.normals(rows), Math.abs)),
    refLogps: array(logps()),
  };
  const { mask, turnOffsets, trajectoryOffsets } = structure;
  return { rows, labels: Int32Array.from(labels), mask: Uint8Array.from(mask), turnOffsets, trajectoryOffsets, arrays };
}

/** The options of a head, and the numbers that its arrays store. */
function headOf(rows: number, kind: 'logits' | 'linear', dtype: DType, H = 19) {
  const random = new Random(9);
  const data = (n: number, scale: number) => store(random.normals(n, scale), dtype);
  if (kind === 'logits') {
    const logits = data(rows * V, 2);
    return { options: { logits: logits.data, vocabSize: V, dtype }, numbers: { logits: logits.values } };
  }
  const parts = { weight: data(V * H, 1.7 / Math.sqrt(H)), bias: data(V, 1), hidden: data(rows * H, 1) };
  const each = (name: 'data' | 'values') =>
    Object.fromEntries(Object.entries(parts).map(([part, stored]) => [part, stored[name]]));
  return { options: { ...each('data'), vocabSize: V, hiddenSize: H, dtype } as Options, numbers: each('values') };
}

/** Options of the loss; `uses`: the arrays that they need. */
const variants: [name: string, settings: Options, uses: (keyof Batch['arrays'])[]][] = [
  ['first epoch', {}, ['advantages']],
  ['clip, KL', { klCoef: 0.1, dualClip: 1.5 }, ['advantages', 'oldLogps', 'refLogps']],
  ['entropy', { entropyCoef: 0.03, clipHigh: 0.28 }, ['advantages', 'oldLogps', 'importanceWeights']],
  ['reinforce, k1', { objective: 'reinforce', klCoef: 0.2, klType: 'k1', klMax: 1 }, ['advantages', 'refLogps']],
  ['cispo of turns', { objective: 'cispo', ratioLevel: 'turn', clipLow: 0.9 }, ['advantages', 'oldLogps']],
  ['numbers of two types', { klCoef: 0.1 }, ['advantages', 'oldLogps', 'refLogps', 'importanceWeights']],
  ['sapo', { objective: 'sapo', reduction: 'sequence-mean-token-sum' }, ['advantages', 'oldLogps']],
  ['dppo', { objective: 'dppo', reduction: 'constant', denominator: 12 }, ['advantages', 'oldLogps']],
  [
    'trajectories, entropy, k2',
    {
      ...{ ratioLevel: 'trajectory', reduction: 'sequence-mean-token-mean', clipLow: 0.3 },
      ...{ entropyCoef: -0.02, klCoef: 0.05, klType: 'k2', temperature: 0.7, softcap: 6 },
    },
    ['advantages', 'oldLogps', 'refLogps', 'importanceWeights'],
  ],
];

/** What the three calls give. */
function threeParts(options: Options, linear: boolean): Result {
  const { refLogps, advantages, oldLogps, importanceWeights, labels, mask, turnOffsets, trajectoryOffsets, ...rest } =
    options;
  const settings = ['objective', 'ratioLevel', 'clipLow', 'clipHigh', 'dualClip', 'reduction', 'denominator'].concat([
    ...['klCoef', 'klType', 'klMax', 'entropyCoef'],
  ]);
  const head = Object.fromEntries(Object.entries(rest).filter(([name]) => !settings.includes(name)));
  const chosen = Object.fromEntries(Object.entries(rest).filter(([name]) => settings.includes(name)));
  const withEntropy = chosen.entropyCoef !== undefined;
  const rows = { ...head, labels, mask };
  const forward = { ...rows, entropy: withEntropy } as never;
  const { logps, lse, entropy } = linear ? linearLogps(forward) : tokenLogps(forward);
  const counted = Uint8Array.from(labels as Int32Array, (label, i) => (label === -100 ? 0 : (mask as Uint8Array)[i]!));
  const loss = policyGradientLoss({
    ...{ logps, advantages, oldLogps, importanceWeights, refLogps, entropy, turnOffsets, trajectoryOffsets },
    ...{ ...chosen, mask: counted },
  } as never);
  const upstream = { lse, gradLogps: loss.gradLogps, ...(withEntropy && { entropy, gradEntropy: loss.gradEntropy }) };
  const backward = { ...rows, ...upstream } as never;
  const gradients = linear ? linearLogpsBackward(backward) : tokenLogpsBackward(backward);
  const kept = (values?: Float32Array) => values?.map((x, i) => (counted[i] ? x : 0));
  return { ...loss, logps: kept(logps)!, entropy: kept(entropy), ...gradients } as never;
}

/** The trajectories from ... to - 1. */
function between({ trajectoryOffsets, turnOffsets, rows }: Batch, options: Options, from: number, to: number): Options {
  const [firstTurn, lastTurn] = [trajectoryOffsets[from]!, trajectoryOffsets[to]!];
  const [first, last] = [turnOffsets[firstTurn]!, turnOffsets[lastTurn]!];
  const names = ['labels', 'mask', 'logits', 'hidden', 'advantages', 'oldLogps', 'importanceWeights', 'refLogps'];
  const ofRows = names
    .filter((name) => options[name] !== undefined)
    .map((name) => {
      const array = options[name] as Float32Array;
      const width = array.length / rows;
      return [name, array.slice(first * width, last * width)];
    });
  return {
    ...Object.fromEntries(ofRows),
    turnOffsets: turnOffsets.slice(firstTurn, lastTurn + 1).map((x) => x - first),
    trajectoryOffsets: trajectoryOffsets.slice(from, to + 1).map((x) => x - firstTurn),
  };
}

const largest = (values: ArrayLike<number>) => Array.from(values).reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** Of a gradient: the largest error of one that was rounded to this type, relative to its largest entry. */
const ROUNDING = { float32: 4e-6, float16: 2 ** -10, bfloat16: 2 ** -7 };

const numbersOf = (values: ArrayLike<number>, dtype: DType) =>
  values instanceof Uint16Array ? decode(values, dtype) : Float64Array.from(values);

forEachBackend(() => {
  // Few rows take two passes over logits, many take one.
  const batches = { 'few rows': batchOf(71, 2), 'many rows': batchOf(75, 40) };
  // The losses are those of float32 log-probs whatever the head's type is: of 16 bits some, with and without entropy.
  const variantsOf = (dtype: DType) => variants.filter((_, k) => dtype === 'float32' || k % 4 === 2 || k === 0);
  const combinations = Object.entries(batches).flatMap(([size, batch]) =>
    (['logits', 'linear'] as const).flatMap((kind) =>
      DTYPES.flatMap((dtype) => variantsOf(dtype).map((variant) => ({ size, batch, kind, dtype, variant }))),
    ),
  );
  const optionsOf = (
    batch: Batch,
    kind: 'logits' | 'linear',
    dtype: DType,
    [name, settings, uses]: (typeof variants)[0],
  ) => ({
    ...headOf(batch.rows, kind, dtype).options,
    ...{ labels: batch.labels, mask: batch.mask },
    ...{ turnOffsets: batch.turnOffsets, trajectoryOffsets: batch.trajectoryOffsets },
    ...Object.fromEntries(uses.map((name) => [name, batch.arrays[name]])),
    ...(name === 'numbers of two types' && {
      advantages: Float64Array.from(batch.arrays.advantages),
      oldLogps: Float64Array.from(batch.arrays.oldLogps, (x) => x + 1e-3),
    }),
    ...settings,
  });

  it.each(variants.flatMap((variant) => (['logits', 'linear'] as const).map((kind) => ({ kind, variant }))))(
    'agrees with the oracle: $variant.0, $kind',
    ({ kind, variant }) => {
      const batch = batches['few rows'];
      const options = optionsOf(batch, kind, 'float32', variant);
      const { numbers } = headOf(batch.rows, kind, 'float32');
      const ours = update(options);
      const { refLogps, ...given } = options as Options & { refLogps?: Float32Array };
      const expected = oracle({ ...given, head: numbers, reference: { refLogps } } as never);
      for (const name of SCALARS) expectClose(name, [ours[name]], [expected[name]], (x) => 2e-6 + 4e-6 * Math.abs(x));
      const counted = (i: number) => batch.mask[i] !== 0 && batch.labels[i] !== -100;
      expectClose('logps', ours.logps, expected.logps, specified);
      if (ours.entropy) {
        const entropy = expected.entropy.map((x, i) => (counted(i) ? x : 0));
        expectClose('entropy', ours.entropy, entropy, specified);
      }
      for (const name of GRADIENTS) {
        if (!ours[name]) continue;
        expectClose(name, ours[name], expected[name]!, () => 4e-6 * largest(expected[name]!));
      }
    },
  );

  it.each(
    combinations.map((each) => ({ ...each, name: `${each.variant[0]}, ${each.kind}, ${each.dtype}, ${each.size}` })),
  )('is its three parts: $name', ({ batch, kind, dtype, variant }) => {
    const options = optionsOf(batch, kind, dtype, variant);
    const ours = update(options);
    const expected = threeParts(options, kind === 'linear');
    for (const name of SCALARS) expectClose(name, [ours[name]], [expected[name]], (x) => 2e-6 + 4e-6 * Math.abs(x));
    expectClose('logps', ours.logps, expected.logps, (x) => 2e-6 + 2e-6 * Math.abs(x));
    if (expected.entropy) expectClose('entropy', ours.entropy!, expected.entropy, (x) => 2e-6 + 2e-6 * Math.abs(x));
    for (const name of GRADIENTS) {
      if (expected[name] === undefined) continue;
      const values = numbersOf(expected[name], dtype);
      expectClose(name, numbersOf(ours[name]!, dtype), values, () => ROUNDING[dtype] * largest(values));
    }
  });

  it.each(variants)(
    'has the same bits with any number of threads, in place and on another thread: %s',
    async (...variant) => {
      for (const kind of ['logits', 'linear'] as const) {
        const options = optionsOf(batches['many rows'], kind, 'float32', variant);
        const expected = update(options);
        underThreadCounts(() => {
          const ours = update(options);
          for (const name of ['logps', ...GRADIENTS] as const)
            if (expected[name]) expectSameBits(name, ours[name]!, expected[name]);
        });
        const again = (await policyGradientUpdateAsync(options as never)) as unknown as Result;
        for (const name of SCALARS) expect(again[name], name).toBe(expected[name]);
        if (kind === 'linear') continue;
        const logits = shifted((options as Options).logits as Float32Array, 3);
        const { gradLogits } = update({ ...options, logits, out: { gradLogits: logits } });
        expect(gradLogits).toBe(logits);
        expectSameBits('gradLogits', gradLogits!, expected.gradLogits!);
      }
    },
  );

  it.each(variants.filter(([, { ratioLevel = 'token' }]) => ratioLevel === 'token'))(
    'gives with ratios of turns of one token, which take two passes, what ratios of tokens give: %s',
    (...variant) => {
      const [, { objective }] = variant;
      if (objective === 'reinforce' || objective === 'dppo') return;
      for (const [kind, size] of [
        ['logits', 'many rows'],
        ['linear', 'many rows'],
        ['linear', 'few rows'],
      ] as const) {
        const batch = batches[size];
        const options = optionsOf(batch, kind, 'float32', variant);
        const turnOffsets = Int32Array.from({ length: batch.rows + 1 }, (_, i) => i);
        const trajectoryOffsets = batch.trajectoryOffsets.map((t) => batch.turnOffsets[t]!);
        const alone = { turnOffsets, trajectoryOffsets };
        const [ours, twoPasses] = [
          update({ ...options, ...alone }),
          update({ ...options, ...alone, ratioLevel: 'turn' }),
        ];
        for (const name of SCALARS) {
          expectClose(name, [ours[name]], [twoPasses[name]], (x) => 1e-14 + 1e-12 * Math.abs(x));
        }
        expectSameBits('logps', ours.logps, twoPasses.logps);
        for (const name of GRADIENTS) {
          if (ours[name]) expectClose(name, ours[name], twoPasses[name]!, () => 1e-6 * largest(twoPasses[name]!));
        }
      }
    },
  );

  it.each(['token-mean', 'sequence-mean-token-sum', 'sequence-mean-token-mean', 'constant'])(
    'adds up over micro-batches that have the denominator of the batch: %s',
    (reduction) => {
      const batch = batches['many rows'];
      const sequences = batch.trajectoryOffsets.length - 1;
      const isCounted = Array.from(batch.labels, (label, i) => label !== -100 && batch.mask[i] !== 0);
      const firstOf = (k: number) => batch.turnOffsets[batch.trajectoryOffsets[k]!]!;
      const full = range(0, sequences).filter((k) => isCounted.slice(firstOf(k), firstOf(k + 1)).some(Boolean));
      const denominator = reduction === 'token-mean' ? isCounted.filter(Boolean).length : full.length;
      const settings = { reduction, denominator, klCoef: 0.1, entropyCoef: 0.02 };
      const uses: (typeof variants)[0][2] = ['advantages', 'oldLogps', 'refLogps', 'importanceWeights'];
      for (const kind of ['logits', 'linear'] as const) {
        const options: Options = optionsOf(batch, kind, 'float32', ['', settings, uses]);
        const whole = update(options);
        const byDefault = reduction === 'constant' ? whole : update({ ...options, denominator: undefined });
        expect(byDefault.loss).toBe(whole.loss);
        const parts = [
          [0, 15],
          [15, sequences],
        ].map(([from, to]) => update({ ...options, ...between(batch, options, from!, to!) }));
        for (const name of ['loss', 'policyLoss', 'klLoss', 'entropyBonus'] as const) {
          expectClose(name, [parts[0]![name] + parts[1]![name]], [whole[name]], (x) => 1e-12 + 1e-12 * Math.abs(x));
        }
        const joined = (name: 'gradLogits' | 'gradHidden') => parts.flatMap((part) => Array.from(part[name]!));
        const close = (name: string, ours: ArrayLike<number>, of: Float32Array) =>
          expectClose(name, ours, of, () => 1e-6 * largest(of));
        if (kind === 'logits') close('gradLogits', joined('gradLogits'), whole.gradLogits!);
        else {
          close('gradHidden', joined('gradHidden'), whole.gradHidden!);
          for (const name of ['gradWeight', 'gradBias'] as const) {
            close(
              name,
              parts[0]![name]!.map((x, i) => x + parts[1]![name]![i]!),
              whole[name]!,
            );
          }
        }
      }
    },
  );

  it('has the gradients that finite differences give', () => {
    const settings = {
      ratioLevel: 'turn',
      klCoef: 0.2,
      klMax: Infinity,
      entropyCoef: 0.05,
      temperature: 0.9,
      clipLow: 1,
      clipHigh: Infinity,
    };
    for (const [kind, name, gradient] of [
      ['logits', 'logits', 'gradLogits'],
      ['linear', 'hidden', 'gradHidden'],
      ['linear', 'weight', 'gradWeight'],
      ['linear', 'bias', 'gradBias'],
    ] as const) {
      const given: Options = optionsOf(batches['few rows'], kind, 'float32', [
        '',
        settings,
        ['advantages', 'refLogps'],
      ]);
      const values = given[name] as Float32Array;
      // Without old log-probs the ratio is 1 at any logits; these and the reference's are others, close to the policy's.
      const [oldLogps, refLogps] = [0.1, -0.2].map((by) => update(given).logps.map((x, i) => x + ((i % 5) - 2) * by));
      const options = { ...given, oldLogps, refLogps };
      // Every seventh, to keep it quick; log-probs are float32, so that differences are good to a few 1e-5 only.
      const some = values.filter((_, at) => at % 7 === 0);
      const [wide, narrow] = [2 ** -4, 2 ** -5].map((step) =>
        centralDifferences(some, step, (moved) => {
          const all = values.map((x, at) => (at % 7 === 0 ? moved[at / 7]! : x));
          return update({ ...options, [name]: all }).loss;
        }),
      ) as [Float64Array, Float64Array];
      const differences = narrow.map((x, at) => (4 * x - wide[at]!) / 3);
      const own = Array.from(update(options)[gradient]!).filter((_, at) => at % 7 === 0);
      expectClose(name, own, differences, () => 1e-4);
    }
  });

  it('has the entropy in gradients at a frozen weight of long hidden states', () => {
    const batch = batches['many rows'];
    const options = {
      ...optionsOf(batch, 'linear', 'float32', variants.at(-1)!),
      ...headOf(batch.rows, 'linear', 'float32', 130).options,
    };
    const all = update(options);
    const frozen = update({ ...options, frozenWeight: true });
    expectClose('gradHidden', frozen.gradHidden!, all.gradHidden!, () => 4e-6 * largest(all.gradHidden!));
  });

  it('adds to gradients, and leaves out those of frozen parts', () => {
    const options = optionsOf(batches['many rows'], 'linear', 'float32', variants[2]!);
    const all = update(options);
    const out = {
      gradHidden: new Float32Array(all.gradHidden!.length).fill(1),
      gradWeight: new Float32Array(all.gradWeight!.length).fill(1),
    };
    const added = update({ ...options, accumulate: true, out: { ...out, gradBias: new Float32Array(V).fill(1) } });
    for (const name of ['gradHidden', 'gradWeight', 'gradBias'] as const) {
      expectClose(
        name,
        added[name]!,
        all[name]!.map((x) => x + 1),
        () => 1e-6,
      );
    }
    const frozen = update({ ...options, frozenWeight: true });
    expect(frozen).not.toHaveProperty('gradWeight');
    expectClose('gradHidden', frozen.gradHidden!, all.gradHidden!, () => 4e-6 * largest(all.gradHidden!));
    expect(update({ ...options, frozenHidden: true })).not.toHaveProperty('gradHidden');
  });

  it.each(['k1', 'k2', 'k3'] as const)(
    'bounds the KL term of a log-prob of -inf, which has no gradient: %s',
    (klType) => {
      const logits = Float32Array.of(1, -Infinity, 2, 0, 1, 0);
      const labels = Int32Array.of(1, 1);
      const head = { logits, vocabSize: 3, labels };
      const terms = { advantages: new Float32Array(2), klCoef: 1, klType, klMax: 4 };
      const call = (refLogps: Float32Array) => {
        const { klLoss, gradLogits, logps } = update({ ...head, ...terms, refLogps });
        const host = policyGradientLoss({ ...terms, logps, refLogps });
        expect(host.klLoss).toBe(klLoss);
        return { klLoss, gradients: decode(gradLogits!, 'float32'), host: host.gradLogps };
      };
      // The second row's terms are 0, since its log-prob is that of the reference.
      const equal = tokenLogps(head).logps[1]!;
      const { klLoss, gradients, host } = call(Float32Array.of(-1, equal));
      expect([klLoss, Math.abs(host[0]!)]).toEqual([klType === 'k1' ? -2 : 2, 0]);
      expect(Array.from(gradients.subarray(0, 3), Math.abs)).toEqual([0, 0, 0]);

      const missing = call(Float32Array.of(-1, NaN));
      expect([missing.klLoss, missing.host[1], missing.gradients[4]]).toEqual([NaN, NaN, NaN]);
    },
  );

  it('is 0 where no row counts', () => {
    for (const kind of ['logits', 'linear'] as const) {
      const batch = batches['many rows'];
      const options = { ...optionsOf(batch, kind, 'float32', variants[2]!), mask: new Uint8Array(batch.rows) };
      const ours = update(options);
      for (const name of SCALARS) expect(ours[name], name).toBe(0);
      for (const name of GRADIENTS) if (ours[name]) expect(largest(ours[name]), name).toBe(0);
    }
  });
});

describe('the shared cases', () => {
  const vectors = jsonVectors('objectives').filter(({ op }) => op === 'policyGradientUpdate');
  it.each(vectors.flatMap(({ cases }) => cases))('$name', (each) => expectCase(policyGradientUpdate as never, each));
});

describe('bad input', () => {
  const batch = batchOf(81, 3);
  const good = {
    ...headOf(batch.rows, 'logits', 'float32').options,
    ...{ labels: batch.labels, mask: batch.mask, advantages: batch.arrays.advantages },
  };
  const { turnOffsets, trajectoryOffsets, arrays } = batch;
  it.each<[string, Options, string, RegExp]>([
    ['no advantages', { advantages: undefined }, 'ERR_ARG_TYPE', /advantages/],
    ['advantages of another length', { advantages: new Float64Array(2) }, 'ERR_ARG_LENGTH', /advantages/],
    ['advantages of integers', { advantages: new Int32Array(batch.rows) }, 'ERR_ARG_TYPE', /advantages/],
    ['an unknown objective', { objective: 'ppo' }, 'ERR_ARG_VALUE', /objective/],
    ['an option that the objective does not use', { sapoTauPos: 2 }, 'ERR_ARG_VALUE', /sapoTauPos .*'clip'/],
    ['KL without a reference', { klCoef: 0.1 }, 'ERR_ARG_TYPE', /refLogps/],
    ['a reference without KL', { refLogps: arrays.refLogps }, 'ERR_ARG_VALUE', /refLogps .*klCoef/],
    ['entropy', { entropy: true }, 'ERR_UNKNOWN_OPTION', /entropy/],
    ['a buffer for entropies', { out: { entropy: new Float32Array(batch.rows) } }, 'ERR_UNKNOWN_OPTION', /entropyCoef/],
    ['weights of tokens', { tokenWeights: arrays.advantages }, 'ERR_UNKNOWN_OPTION', /tokenWeights/],
    ['turns without offsets', { ratioLevel: 'turn' }, 'ERR_ARG_TYPE', /turnOffsets/],
    ['sequences without offsets', { reduction: 'sequence-mean-token-sum' }, 'ERR_ARG_TYPE', /trajectoryOffsets/],
    ['no denominator', { reduction: 'constant' }, 'ERR_ARG_TYPE', /denominator/],
    [
      'offsets that decrease',
      { turnOffsets: Int32Array.of(0, 3, 2, batch.rows) },
      'ERR_OFFSETS',
      /turnOffsets .*2 at index 2/,
    ],
    [
      'trajectories beyond the turns',
      {
        turnOffsets,
        trajectoryOffsets: trajectoryOffsets.map((x, k) => (k === trajectoryOffsets.length - 1 ? x + 1 : x)),
      },
      'ERR_OFFSETS',
      /trajectoryOffsets/,
    ],
    [
      'a label outside of the vocabulary',
      { labels: batch.labels.map(() => V), mask: undefined },
      'ERR_LABEL',
      /labels/,
    ],
    ['klMax NaN', { klCoef: 1, refLogps: arrays.refLogps, klMax: NaN }, 'ERR_ARG_VALUE', /klMax/],
  ])('%s', (_, options, code, message) => {
    const gradLogits = new Float32Array(batch.rows * V).fill(7);
    const out = { gradLogits, ...(options.out as object) };
    expect(() => update({ ...good, ...options, out })).toThrow(
      expect.objectContaining({ code, message: expect.stringMatching(message) }),
    );
    expect(gradLogits.every((x) => x === 7)).toBe(true);
  });
});
