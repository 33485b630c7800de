/** policyGradientUpdate against its three parts and the shared cases, on every backend, in one pass and in two. */
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
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { thrownBy } from '../helpers/errors.ts';
import { expectCase, jsonVectors } from '../helpers/json-vectors.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, type DType, decode, shifted, store } from '../helpers/storage.ts';

const SCALARS = ['loss', 'policyLoss', 'klLoss', 'entropyBonus', 'clipFraction', 'approxKl'] as const;
const GRADIENTS = ['gradLogits', 'gradHidden', 'gradWeight', 'gradBias'] as const;

type Options = Record<string, unknown>;
type Result = Record<(typeof SCALARS)[number], number> & { logps: Float32Array; entropy?: Float32Array } & {
  [name in (typeof GRADIENTS)[number]]?: Float32Array;
};

// The helpers' options are records; the types of the library are tested in package/types.test.ts.
const update = (options: Options) => policyGradientUpdate(options as never) as unknown as Result;

const [V, H] = [37, 19];

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

function headOf(batch: Batch, kind: 'logits' | 'linear', dtype: DType): Options {
  const random = new Random(9);
  const data = (n: number, scale: number) => store(random.normals(n, scale), dtype).data;
  if (kind === 'logits') return { logits: data(batch.rows * V, 2), vocabSize: V, dtype };
  const weight = { weight: data(V * H, 0.4), bias: data(V, 1) };
  return { hidden: data(batch.rows * H, 1), ...weight, vocabSize: V, hiddenSize: H, dtype };
}

/** Options of the loss; `uses`: the arrays that they need. */
const variants: [name: string, settings: Options, uses: (keyof Batch['arrays'])[]][] = [
  ['first epoch', {}, ['advantages']],
  ['clip, KL', { klCoef: 0.1, dualClip: 1.5 }, ['advantages', 'oldLogps', 'refLogps']],
  ['entropy', { entropyCoef: 0.03, clipHigh: 0.28 }, ['advantages', 'oldLogps', 'importanceWeights']],
  ['reinforce, k1', { objective: 'reinforce', klCoef: 0.2, klType: 'k1', klMax: 1 }, ['advantages', 'refLogps']],
  ['cispo of turns', { objective: 'cispo', ratioLevel: 'turn', clipLow: 0.9 }, ['advantages', 'oldLogps']],
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

const largest = (values: ArrayLike<number>) => Array.from(values).reduce((most, x) => Math.max(most, Math.abs(x)), 0);

/** Of a gradient: the largest error of one that was rounded to this type, relative to its largest entry. */
const ROUNDING = { float32: 4e-6, float16: 2 ** -10, bfloat16: 2 ** -7 };

const numbersOf = (values: ArrayLike<number>, dtype: DType) =>
  values instanceof Uint16Array ? decode(values, dtype) : Float64Array.from(values);

forEachBackend(() => {
  // Few rows take two passes over logits, many take one.
  const batches = { 'few rows': batchOf(71, 2), 'many rows': batchOf(75, 40) };
  const combinations = Object.entries(batches).flatMap(([size, batch]) =>
    (['logits', 'linear'] as const).flatMap((kind) =>
      DTYPES.flatMap((dtype) => variants.map((variant) => ({ size, batch, kind, dtype, variant }))),
    ),
  );
  const optionsOf = (
    batch: Batch,
    kind: 'logits' | 'linear',
    dtype: DType,
    [, settings, uses]: (typeof variants)[0],
  ) => ({
    ...headOf(batch, kind, dtype),
    ...{ labels: batch.labels, mask: batch.mask },
    ...{ turnOffsets: batch.turnOffsets, trajectoryOffsets: batch.trajectoryOffsets },
    ...Object.fromEntries(uses.map((name) => [name, batch.arrays[name]])),
    ...settings,
  });

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

  it('adds to gradients, and leaves out those of frozen parts', () => {
    const options = optionsOf(batches['many rows'], 'linear', 'float32', variants[2]!);
    const all = update(options);
    const out = {
      gradHidden: new Float32Array(all.gradHidden!.length).fill(1),
      gradWeight: new Float32Array(V * H).fill(1),
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
    ...headOf(batch, 'logits', 'float32'),
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
    ['weights of tokens', { tokenWeights: arrays.advantages }, 'ERR_UNKNOWN_OPTION', /tokenWeights/],
    ['turns without offsets', { ratioLevel: 'turn' }, 'ERR_ARG_TYPE', /turnOffsets/],
    ['sequences without offsets', { reduction: 'sequence-mean-token-sum' }, 'ERR_ARG_TYPE', /trajectoryOffsets/],
    ['no denominator', { reduction: 'constant' }, 'ERR_ARG_TYPE', /denominator/],
    ['offsets that decrease', { turnOffsets: Int32Array.of(0, 3, 2, batch.rows) }, 'ERR_OFFSETS', /turnOffsets\[2\]/],
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
    expect(thrownBy(() => update({ ...good, ...options, out: { gradLogits } }))).toMatchObject({ code, message });
    expect(gradLogits.every((x) => x === 7)).toBe(true);
  });
});
