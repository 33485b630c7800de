/** debug: 'finite' names the first number that is not, of every argument and result, in every storage type. */
import {
  criticUpdate,
  linearLogps,
  mergeVocabParallelStats,
  policyGradientUpdate,
  setThreads,
  threads,
  tokenDivergence,
  tokenLogps,
  turnPreferenceLoss,
  vocabParallelStats,
} from 'sweet-rl';
import { afterEach, describe, expect, it } from 'vitest';
import { at, bytesIn, changed, type Options, tagOf } from '../helpers/arguments.ts';
import { floats, ints, SUBJECTS } from '../helpers/calls.ts';
import { OBJECTIVE_SUBJECTS } from '../helpers/objective-calls.ts';
import { Random } from '../helpers/random.ts';
import { type DType, encode } from '../helpers/storage.ts';

type Coded = Error & { code?: unknown };

function thrownBy(action: () => unknown): Coded | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    return error as Coded;
  }
}

const message = (name: string, value: number, place: string) =>
  `Expected finite numbers (debug: 'finite') for ${name} but received ${value} at ${place}`;

/** The floating-point inputs of an operation: what a row of them is and how wide it is. */
const MATRICES: Record<string, [unit: string, width?: (options: Options) => number]> = {
  logits: ['row', ({ logits, labels }) => lengthOf(logits) / lengthOf(labels)],
  refLogits: ['row', ({ refLogits, labels }) => lengthOf(refLogits) / lengthOf(labels)],
  hidden: ['row', ({ hidden, labels }) => lengthOf(hidden) / lengthOf(labels)],
  refHidden: ['row', ({ refHidden, labels }) => lengthOf(refHidden) / lengthOf(labels)],
  weight: ['vocabulary entry', ({ hidden, labels }) => lengthOf(hidden) / lengthOf(labels)],
  refWeight: ['vocabulary entry', ({ refHidden, labels }) => lengthOf(refHidden) / lengthOf(labels)],
  bias: ['vocabulary entry'],
  refBias: ['vocabulary entry'],
  teacherLogits: ['row', ({ teacherLogits, labels }) => lengthOf(teacherLogits) / lengthOf(labels)],
  teacherHidden: ['row', ({ teacherHidden, labels }) => lengthOf(teacherHidden) / lengthOf(labels)],
  teacherWeight: ['vocabulary entry', ({ teacherHidden, labels }) => lengthOf(teacherHidden) / lengthOf(labels)],
  teacherBias: ['vocabulary entry'],
  teacherLogps: ['row', ({ teacherLogps, labels }) => lengthOf(teacherLogps) / lengthOf(labels)],
  gradDivergence: ['row'],
  logps: ['row'],
  refLogps: ['row'],
  lse: ['row'],
  gradLogps: ['row'],
  advantages: ['row'],
  oldLogps: ['row'],
  importanceWeights: ['row'],
  gradAdvantages: ['turn'],
};
const OF_ROWS = [
  'teacherLogits',
  'teacherHidden',
  'teacherLogps',
  'gradDivergence',
  'logits',
  'hidden',
  'refLogits',
  'refHidden',
  'logps',
  'refLogps',
  'lse',
  'gradLogps',
  'advantages',
  'oldLogps',
  'importanceWeights',
];
const MASKED_WORDS = ['teacherLogits', 'teacherBias', 'teacherLogps', 'logits', 'refLogits', 'bias', 'refBias'];
const lengthOf = (array: unknown) => (array as Float32Array).length;

const operations = SUBJECTS.filter(({ arguments: all }) => all.some(({ path }) => path.join() === 'debug'));
const subjects = operations.filter(({ name }) => !name.endsWith(', later'));

describe.each(subjects)('$name', ({ name, call, valid }) => {
  const debug = (options: Options) => call({ ...options, debug: 'finite' } as never);
  const inputs = Object.keys(MATRICES).filter((name) => valid()[name] !== undefined);

  it('passes what is finite, with the same numbers', () => {
    expect(debug(valid())).toEqual(call(valid() as never));
  });

  it.each(inputs)('finds each place of %s', (name) => {
    const [unit, width] = MATRICES[name]!;
    const array = valid()[name] as Float32Array;
    for (const value of [NaN, Infinity, -Infinity]) {
      for (let i = 0; i < array.length; i++) {
        const options = { ...valid(), [name]: array.with(i, value) };
        const w = width?.(options) ?? 1;
        const place = `${unit} ${Math.floor(i / w)}${width ? `, column ${i % w}` : ''}`;
        const bytes = bytesIn(options);
        const thrown = thrownBy(() => debug(options));
        if (value === -Infinity && MASKED_WORDS.includes(name)) {
          // A masked entry is no fault; that it is the label is: updates name it, other calls its log-prob.
          if (thrown === undefined) continue;
          expect(thrown.code).toBe('ERR_NOT_FINITE');
          const named = thrown.message.includes(`for ${name} `);
          if (named) expect(thrown.message).toBe(`${message(name, value, place)}, its label`);
          continue;
        }
        expect([thrown?.constructor, thrown?.code, thrown?.message]).toEqual([
          RangeError,
          'ERR_NOT_FINITE',
          message(name, value, place),
        ]);
        expect(bytes.every(([now, before]) => now.every((byte, k) => byte === before[k]))).toBe(true);
        // Off, nothing is said, except of what is no log-prob.
        const refused = name === 'teacherLogps' && value === Infinity ? 'ERR_ARG_VALUE' : undefined;
        expect(thrownBy(() => call(options as never))?.code).toBe(refused);
      }
    }
  });

  /** The statistics of shards are of the mask and the labels that they were computed with: without a checksum, of any. */
  const withoutChecksum = () => {
    const options = valid();
    if (options.stats instanceof Float64Array) options.stats[6]! %= 4; // the flags stay
    return options;
  };

  it.runIf('mask' in valid())('does not look at masked rows', () => {
    const options = withoutChecksum();
    (options.mask as Uint8Array)[1] = 0;
    const { length } = options.mask as Uint8Array;
    for (const name of inputs.filter((each) => OF_ROWS.includes(each))) {
      const array = options[name] as Float32Array;
      array.fill(NaN, array.length / length, (2 * array.length) / length);
    }
    expect(thrownBy(() => debug(options))).toBeUndefined();
  });

  // The forward passes have an lse of such rows; whatever has a gradient does not read them.
  it.runIf('labels' in valid() && !/^((token|linear)Logps|vocabParallelStats)( |$)/.test(name))(
    'does not look at rows of an ignored label',
    () => {
      const options = withoutChecksum();
      const labels = options.labels as Int32Array;
      labels[1] = -100;
      for (const each of inputs.filter((input) => OF_ROWS.includes(input))) {
        const array = options[each] as Float32Array;
        array.fill(NaN, array.length / labels.length, (2 * array.length) / labels.length);
      }
      expect(thrownBy(() => debug(options))).toBeUndefined();
    },
  );

  it('refuses other words', () => {
    expect(thrownBy(() => call({ ...valid(), debug: 'nan' } as never))).toMatchObject({ code: 'ERR_ARG_VALUE' });
  });

  it('refuses devices', () => {
    const name = inputs[0] ?? 'stats';
    const standsFor = tagOf(valid()[name]);
    const device = { [Symbol.for('sweet-rl.standsFor')]: standsFor, dtype: 'float32', device: 0, length: 0 };
    const options = changed(valid(), [name], { ...device, length: lengthOf(at(valid(), [name])) });
    expect(thrownBy(() => debug(options))).toMatchObject({ code: expect.stringMatching(/^ERR_(DEVICE|BACKEND)$/) });
  });
});

const twins = operations.filter(({ name }) => name.endsWith(', later'));

describe.runIf(twins.length > 0).each(twins)('$name', ({ name, call, valid }) => {
  const debug = (options: Options) => call({ ...options, debug: 'finite' } as never) as Promise<unknown>;

  it('looks through inputs before it runs and through results after it', async () => {
    expect(await debug(valid())).toEqual(await call(valid() as never));
    const head = valid().logits === undefined ? 'hidden' : 'logits';
    const options = { ...valid(), [head]: (valid()[head] as Float32Array).with(1, NaN) };
    const bytes = bytesIn(options);
    await expect(debug(options)).rejects.toMatchObject({
      code: 'ERR_NOT_FINITE',
      message: message(head, NaN, 'row 0, column 1'),
    });
    expect(bytes.every(([now, before]) => now.every((byte, k) => byte === before[k]))).toBe(true);
    // That all words of one shard are masked is no fault.
    if (
      head === 'hidden' ||
      valid().lse !== undefined ||
      valid().saved !== undefined ||
      name.startsWith('vocabParallelStats')
    )
      return;
    const masked = (valid().logits as Float32Array).fill(-Infinity, 0, 2);
    const found = debug({ ...valid(), logits: masked.fill(-Infinity) });
    await expect(found).rejects.toMatchObject({
      code: 'ERR_NOT_FINITE',
      message: expect.stringMatching(/for (?!logits)|, its label$/),
    });
  });
});

it('names the row of merged partials that a NaN in one of their shards made', () => {
  const [labels, shard] = [ints(1, 2), { vocabOffset: 2, totalVocab: 4 }];
  const given = [
    vocabParallelStats({ logits: floats(1, 2, 3, 4), labels, totalVocab: 4 }),
    vocabParallelStats({ logits: floats(1, 2, 3, NaN), labels, ...shard }),
  ];
  const all = Float64Array.from(given.flatMap((each) => [...each.stats]));
  expect(() => mergeVocabParallelStats({ stats: all, labels, debug: 'finite' })).toThrow(message('lse', NaN, 'row 1'));
});

it('names the row of an infinite divergence', () => {
  const teacherLogits = floats(1, 2, 3, -Infinity);
  const options = { logits: floats(1, 2, 3, 4), vocabSize: 2, teacherLogits, divergence: 'reverse_kl' } as const;
  expect(() => tokenDivergence({ ...options, debug: 'finite' })).toThrow(message('divergence', Infinity, 'row 1'));
});

it('is an option of every operation over numbers', () => {
  // Those of sweet-rl/objectives are plain float64 arithmetic on a few numbers per token: a NaN stays visible.
  const without = SUBJECTS.filter(
    (subject) => !operations.includes(subject) && !OBJECTIVE_SUBJECTS.includes(subject),
  ).map(({ call }) => call.name);
  // The losses of value and reward heads are over a few numbers a turn, in which a NaN is seen.
  expect([...new Set(without)]).toEqual([
    'binaryValueLoss',
    'valueAdvantages',
    'bradleyTerryLoss',
    'rankCandidates',
    'samplePairs',
    'trajectoryPairs',
    'checkLogps',
    'checkGrad',
  ]);
});

describe('results', () => {
  const labels = Int32Array.of(1, 2);

  it('names a row of masked words alone by its lse', () => {
    const logits = Float32Array.of(0, 1, 2, 3, -Infinity, -Infinity, -Infinity, -Infinity);
    const out = { logps: new Float32Array(2) };
    expect(() => tokenLogps({ logits, labels, out, debug: 'finite' })).toThrow(message('lse', NaN, 'row 1'));
    // Written all the same.
    expect(out.logps[0]).toBeCloseTo(-2.44, 2);
  });

  it('names a masked word that was said by its logp', () => {
    const logits = Float32Array.of(0, 1, 2, 3, 0, 1, -Infinity, 3);
    expect(() => tokenLogps({ logits, labels, debug: 'finite' })).toThrow(message('logps', -Infinity, 'row 1'));
  });

  it('names the masked logit of a label in an update, by row and column', () => {
    const batch = { turnOffsets: Int32Array.of(0, 1, 2), trajectoryOffsets: Int32Array.of(0, 1, 2) };
    const pair = { chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
    const masked = Float32Array.of(0, 1, 2, 3, 0, 1, -Infinity, 3);
    const finite = new Float32Array(8);
    const refLogps = new Float32Array(2);
    const debug = 'finite' as const;
    expect(() => criticUpdate({ ...batch, ...pair, logits: masked, labels, refLogps, debug })).toThrow(
      message('logits', -Infinity, 'row 1, column 2, its label'),
    );
    expect(() => criticUpdate({ ...batch, ...pair, logits: finite, refLogits: masked, labels, debug })).toThrow(
      message('refLogits', -Infinity, 'row 1, column 2, its label'),
    );
    const half = Uint16Array.from(masked, (x) => (x === -Infinity ? 0xff80 : 0x3f80));
    expect(() => criticUpdate({ ...batch, ...pair, logits: half, dtype: 'bfloat16', labels, refLogps, debug })).toThrow(
      message('logits', -Infinity, 'row 1, column 2, its label'),
    );
    // A masked row, and another entry of a row, may be -inf.
    const mask = Uint8Array.of(1, 0);
    const allowed = { ...batch, ...pair, logits: masked, labels, refLogps, debug, allowEmptyTurns: true };
    expect(criticUpdate({ ...allowed, mask }).loss).toBeGreaterThan(0);
    expect(criticUpdate({ ...allowed, labels: Int32Array.of(1, 3) }).loss).toBeGreaterThan(0);
  });

  it('names gradients that overflow, and losses', () => {
    const batch = { turnOffsets: Int32Array.of(0, 1, 2), trajectoryOffsets: Int32Array.of(0, 1, 2) };
    const pair = { chosen: Int32Array.of(0), rejected: Int32Array.of(1), refLogps: new Float32Array(2) };
    const logits = Uint16Array.from({ length: 8 }, (_, i) => (i % 4) << 8);
    const scaled = { ...batch, ...pair, logits, labels, dtype: 'float16', pairDenominator: 1e-9 } as const;
    expect(() => criticUpdate({ ...scaled, debug: 'finite' })).toThrow(
      /for gradLogits but received -?Infinity at row 0, column \d/,
    );
    const steep = {
      ...{ logits: new Float32Array(4), vocabSize: 4, labels: Int32Array.of(0) },
      ...{ advantages: Float64Array.of(-1e308), oldLogps: Float32Array.of(-30), clipHigh: Infinity },
    };
    expect(() => policyGradientUpdate({ ...steep, debug: 'finite' })).toThrow(/for loss but received Infinity$/);
  });
});

it('skips what lies between hidden states', () => {
  const hidden = Float32Array.of(1, 2, NaN, 3, 4, Infinity);
  const call = {
    hidden,
    weight: floats(1, 2, 3, 4, 5, 6, 7, 8),
    hiddenStride: 3,
    hiddenSize: 2,
    labels: ints(0, 1),
    debug: 'finite',
  } as const;
  expect(thrownBy(() => linearLogps(call))).toBeUndefined();
  hidden[4] = NaN;
  expect(thrownBy(() => linearLogps(call))?.message).toBe(message('hidden', NaN, 'row 1, column 1'));
});

it('names row and column of a weight [H, V]', () => {
  const weight = new Uint16Array(8).fill(0x3c00);
  const call = { hidden: floats(1, 2), weight, weightDtype: 'float16', weightLayout: 'HV', labels: ints(0) } as const;
  const debug = { debug: 'finite' } as const;
  expect(thrownBy(() => linearLogps({ ...call, ...debug }))).toBeUndefined();
  weight[6] = 0x7c00;
  expect(thrownBy(() => linearLogps({ ...call, ...debug }))?.message).toBe(
    message('weight', Infinity, 'row 1, column 2'),
  );
});

describe('large arrays', () => {
  const before = threads();
  afterEach(() => setThreads(before));
  const [N, V, stride] = [37, 20_011, 20_016];

  it.each<DType>(['float32', 'bfloat16', 'float16'])(
    'finds the first place of %s with any number of threads',
    (dtype) => {
      const random = new Random(4);
      const logits = encode(random.normals(N * stride), dtype);
      const bits = (x: number) => encode([x], dtype)[0]!;
      for (let i = 0; i < N; i++) logits.fill(bits(NaN), i * stride + V, (i + 1) * stride); // padding is nobody's
      const labels = random.integers(N, 0, V);
      const call = (array: typeof logits) =>
        tokenLogps({
          logits: array,
          labels,
          rowStride: stride,
          vocabSize: V,
          ...(dtype === 'float32' ? {} : { dtype }),
          debug: 'finite',
        } as never);
      expect(thrownBy(() => call(logits))).toBeUndefined();
      for (let round = 0; round < 12; round++) {
        const bad = logits.slice();
        const places = Array.from(
          { length: 1 + 3 * round },
          () => [random.integer(0, N), random.integer(0, V)] as const,
        );
        const values = places.map(([row, column]) => {
          const value = random.uniform() < 0.5 ? NaN : Infinity;
          bad[row * stride + column] = bits(value);
          return { row, column, value };
        });
        const last = new Map(values.map((each) => [each.row * V + each.column, each]));
        const { row, column, value } = last.get(Math.min(...last.keys()))!;
        for (const n of [1, 2, 5]) {
          setThreads(n);
          expect(thrownBy(() => call(bad))?.message).toBe(message('logits', value, `row ${row}, column ${column}`));
        }
      }
    },
  );
});

it('checks the statistic of weighting, before it writes', () => {
  const out = { gradLogps: new Float32Array(4).fill(7) };
  const batch = {
    ...{ logps: Float32Array.of(-1, -2, -3, -0.5), refLogps: Float32Array.of(-2, -2, -3, -1) },
    ...{ turnOffsets: Int32Array.of(0, 2, 4), chosen: Int32Array.of(0), rejected: Int32Array.of(1) },
    ...{ useWeighting: true, sumSquaredProbs: Float32Array.of(0.5, NaN, 0.5, 0.5) },
  };
  expect(thrownBy(() => turnPreferenceLoss({ ...batch, debug: 'finite', out }))).toMatchObject({
    code: 'ERR_NOT_FINITE',
    message: message('sumSquaredProbs', NaN, 'row 1'),
  });
  expect([...out.gradLogps]).toEqual([7, 7, 7, 7]);
});

it('finds float64 numbers of a loss, but at masked rows', () => {
  const head = { logits: new Float32Array(9), vocabSize: 3, labels: ints(0, 1, 2), mask: Uint8Array.of(1, 0, 1) };
  const call = (...advantages: number[]) =>
    policyGradientUpdate({ ...head, advantages: Float64Array.from(advantages), debug: 'finite' });
  expect(thrownBy(() => call(1, NaN, 1))).toBeUndefined();
  expect(thrownBy(() => call(1, NaN, -Infinity))).toMatchObject({
    code: 'ERR_NOT_FINITE',
    message: message('advantages', -Infinity, 'row 2'),
  });
});
