/** Every mistake that checkGrad and checkLogps know is planted and must be named; correct training steps must pass. */
import { type CheckGradOptions, checkGrad, criticUpdate, type GradReport, policyUpdate, tokenLogps } from 'sweet-rl';
import type { CriticBatch, PolicyBatch } from 'sweet-rl/jax';
import { describe, expect, it } from 'vitest';
import { derivative } from '../../dist/debug/derivative.js';
import { randomPairs, randomStructure } from '../helpers/batches.ts';
import { Random } from '../helpers/random.ts';
import { gradientOf, logitsOf, type Model, randomModel, type Sizes } from '../helpers/small-model.ts';

type Batch = CriticBatch | PolicyBatch;

/** A training step: the model, what it reads, the batch and the reference's logits. */
interface Step {
  random: Random;
  model: Model;
  forward: (model: Model) => Float32Array;
  backward: (model: Model, gradLogits: Float32Array) => Model;
  batch: Batch &
    Record<'labels' | 'turnOffsets' | 'chosen' | 'rejected', Int32Array> & {
      refLogps: Float32Array;
      mask?: Uint8Array;
    };
  refLogits: Float32Array;
}

const updateOf = (batch: Batch, logits: Float32Array) =>
  'trajectoryOffsets' in batch ? criticUpdate({ ...batch, logits }) : policyUpdate({ ...batch, logits } as never);

function randomStep(seed: number, options: Partial<CriticBatch> & { critic?: boolean; weighted?: boolean } = {}): Step {
  const random = new Random(seed);
  const { critic = random.uniform() < 0.5, weighted = false, ...others } = options;
  const { mask, turnOffsets, trajectoryOffsets } = randomStructure(random, 4, 3, 6);
  // At least two rows that a forgotten mask would let in.
  for (const at of turnOffsets.filter((end, t) => end - (turnOffsets[t - 1] ?? end) > 1).slice(0, 2)) mask[at - 1] = 0;
  const items = critic ? trajectoryOffsets.length - 1 : turnOffsets.length - 1;
  const sizes: Sizes = { rows: mask.length, inputs: 4, width: 5, words: random.integer(5, 12) };
  const x = Float32Array.from(random.normals(sizes.rows * sizes.inputs));
  const forward = (model: Model) => logitsOf(model, x, sizes);
  const labels = random.integers(sizes.rows, 0, sizes.words);
  const refLogits = forward(randomModel(random, sizes));
  const { temperature } = others;
  const { logps: refLogps } = tokenLogps({ labels, mask, temperature, logits: refLogits });
  const structure = {
    ...(critic ? { turnOffsets, trajectoryOffsets } : { turnOffsets }),
    ...(weighted && { tokenWeights: Float32Array.from(mask, () => 0.2 + 2 * random.uniform()) }),
  };
  const pairs = randomPairs(random, items, random.integer(3, 6));
  return {
    random,
    model: randomModel(random, sizes),
    forward,
    backward: (model, gradLogits) => gradientOf(model, x, gradLogits, sizes),
    batch: { labels, mask, refLogps, ...structure, ...pairs, beta: 0.5, ...others } as Step['batch'],
    refLogits,
  };
}

/** The gradient that a step with this batch computes. */
function gradient({ model, forward, backward }: Step, batch: Batch, logits = forward(model)): Model {
  return backward(model, updateOf(batch, logits).gradLogits as Float32Array);
}

const scaled = (model: Model, by: number) =>
  Object.fromEntries(Object.entries(model).map(([name, array]) => [name, array.map((x) => by * x)])) as Model;

function check(step: Step, given: Model, more: Partial<CheckGradOptions<Model>> = {}): Promise<GradReport> {
  const { model, forward, batch } = step;
  return checkGrad<Model>({ parameters: model, gradient: given, forward, batch, ...more });
}

const SEEDS = Array.from({ length: 8 }, (_, i) => i + 1);

describe('checkGrad', () => {
  it('passes 1000 correct training steps', { timeout: 120_000 }, async () => {
    const failed: string[] = [];
    for (let seed = 1; seed <= 1000; seed++) {
      const step = randomStep(seed, { weighted: seed % 4 === 0, ...(seed % 3 ? {} : { temperature: 0.7 }) });
      const report = await check(step, gradient(step, step.batch), { coordinates: 4, seed });
      if (!report.ok) failed.push(`${seed}: ${report.message}`);
    }
    expect(failed).toEqual([]);
  });

  /** By the suspicion that it must raise: what a wrong step computes, and what else is given to the check. */
  type Mistake = (step: Step) => [wrong: Model, more?: Partial<CheckGradOptions<Model>>];
  const altered =
    (change: (batch: Step['batch'], step: Step) => object): Mistake =>
    (step) => [gradient(step, { ...step.batch, ...change(step.batch, step) } as Batch)];
  const right = (step: Step) => gradient(step, step.batch);
  const earlier = ({ model, random }: Step) =>
    Object.fromEntries(
      Object.entries(model).map(([name, a]) => [name, a.map((x) => x + 0.1 * random.normal())]),
    ) as Model;

  const mistakes: [suspicion: string, what: string, plant: Mistake, options?: Parameters<typeof randomStep>[1]][] = [
    [
      'labels-shifted',
      'labels of the row before',
      altered(({ labels }) => ({ labels: shift(labels, -1), allowEmptyTurns: true })),
    ],
    [
      'labels-shifted',
      'labels of the row after',
      altered(({ labels }) => ({ labels: shift(labels, 1), allowEmptyTurns: true })),
    ],
    ['mask-forgotten', 'no mask', altered(() => ({ mask: undefined }))],
    ['weights-forgotten', 'no weights', altered(() => ({ tokenWeights: undefined })), { weighted: true }],
    [
      'pairs-swapped',
      'chosen for rejected',
      altered(({ chosen, rejected }) => ({ chosen: rejected, rejected: chosen })),
    ],
    ['another-model', 'no reference', altered(({ refLogps }) => ({ refLogps: new Float32Array(refLogps.length) }))],
    ['another-temperature', 'a forgotten temperature', altered(() => ({ temperature: 1 })), { temperature: 0.6 }],
    ['another-temperature', 'a temperature of 1.7', altered(() => ({ temperature: 1.7 }))],
    ['another-beta', 'another beta', altered(() => ({ beta: 0.2 }))],
    ['another-beta', 'another beta of the hinge loss', altered(() => ({ beta: 0.15 })), { lossType: 'hinge' }],
    ['wrong-denominator', 'another normalization', altered(() => ({ normalization: 'sum' })), { critic: true }],
    ['wrong-denominator', 'another reduction', altered(() => ({ reduction: 'mean' })), { critic: false }],
    ['wrong-denominator', 'a sum over pairs', altered(() => ({ pairDenominator: 1 }))],
    ['wrong-denominator', 'a factor of 0.37', (step) => [scaled(right(step), 0.37)]],
    ['sign-flipped', 'ascent', (step) => [scaled(right(step), -1)]],
    ['accumulated-twice', 'added up twice', (step) => [scaled(right(step), 2)]],
    ['gradient-not-passed', 'no gradient at all', (step) => [scaled(right(step), 0)]],
    [
      'gradient-not-passed',
      'none in one array',
      (step) => [{ ...right(step), up: new Float32Array(step.model.up.length) }],
    ],
    [
      'stale-logits',
      'logits of an earlier step',
      (step) => {
        const logits = step.forward(earlier(step));
        return [gradient(step, step.batch, logits), { logits }];
      },
    ],
    [
      'stale-logits',
      'logits that are overwritten',
      (step) => {
        const logits = step.forward(step.model);
        const { gradLogits } = updateOf(step.batch, logits);
        return [right(step), { logits: gradLogits as Float32Array }];
      },
    ],
    ['labels-shifted', 'the inputs for labels', (step) => [right(step), { inputIds: step.batch.labels as Int32Array }]],
    [
      'labels-shifted',
      'a shift done twice',
      (step) => {
        const inputIds = new Int32Array(step.batch.labels.length);
        inputIds.set(step.batch.labels.subarray(0, -2) as Int32Array, 2);
        return [right(step), { inputIds }];
      },
    ],
    [
      'not-log-probs',
      'a reference whose log-probs have the opposite sign',
      (step) => {
        const batch = { ...step.batch, refLogps: step.batch.refLogps.map((x) => -x) };
        const right = gradient(step, batch);
        step.batch = batch;
        return [right, {}];
      },
    ],
    [
      'pairs-swapped',
      'pairs that prefer the lower reward',
      (step) => {
        const { batch } = step;
        const offsets = 'trajectoryOffsets' in batch ? batch.trajectoryOffsets : batch.turnOffsets;
        const rewards = new Float32Array((offsets as Int32Array).length - 1);
        const given = { ...batch, chosen: batch.chosen.slice(0, 1), rejected: batch.rejected.slice(0, 1) };
        rewards[given.rejected[0]!] = 1;
        step.batch = { ...given, pairWeights: undefined } as typeof batch;
        return [gradient(step, step.batch), { rewards }];
      },
    ],
    [
      'another-model',
      'a reference of another model',
      (step) => [right(step), { refLogits: step.forward(earlier(step)) }],
    ],
    [
      'another-model',
      'log-probs of another model',
      (step) => {
        const { labels, mask } = step.batch;
        return [right(step), { logps: tokenLogps({ labels, mask, logits: step.forward(earlier(step)) }).logps }];
      },
    ],
    [
      'another-temperature',
      'log-probs of another temperature',
      (step) => {
        const { labels, mask } = step.batch;
        const logits = step.forward(step.model);
        return [right(step), { logps: tokenLogps({ labels, mask, logits, temperature: 0.7 }).logps }];
      },
    ],
    [
      'mask-forgotten',
      "a loss of one's own without the mask",
      (step) => [
        right(step),
        { loss: (model) => updateOf({ ...step.batch, mask: undefined } as Batch, step.forward(model)) },
      ],
    ],
    [
      'another-temperature',
      "a loss of one's own with another temperature",
      (step) => [
        right(step),
        { loss: (model) => updateOf({ ...step.batch, temperature: 2 } as Batch, step.forward(model)).loss },
      ],
    ],
    [
      'another-beta',
      "a loss of one's own with another beta",
      (step) => [
        right(step),
        { loss: (model) => updateOf({ ...step.batch, beta: 0.2 } as Batch, step.forward(model)).loss },
      ],
    ],
    [
      'wrong-denominator',
      "a loss of one's own that is a multiple",
      (step) => [right(step), { loss: (model) => 3.7 * updateOf(step.batch, step.forward(model)).loss }],
    ],
    [
      'not-deterministic',
      'dropout',
      (step) => [
        right(step),
        { loss: (model) => updateOf(step.batch, step.forward(model)).loss + 0.01 * step.random.uniform() },
      ],
    ],
    ['not-finite', 'a loss of NaN', (step) => [right(step), { loss: () => NaN }]],
  ];

  describe.each(mistakes)('%s: %s', (suspicion, _what, plant, options) => {
    it.each(SEEDS)('is named, seed %i', async (seed) => {
      const step = randomStep(seed, options);
      const [wrong, more] = plant(step);
      const report = await check(step, wrong, { seed, ...more });
      expect(report.suspicion, report.message).toBe(suspicion);
      expect(report.ok).toBe(false);
    });
  });
});

describe('what the message of checkGrad claims', () => {
  it('beta beside another cause that explains the same factor', async () => {
    const linear = { lossType: 'hinge', beta: 0.001, critic: true } as const; // all pairs are within the margin
    for (const [beta, text] of [
      [0.002, /accumulated twice.*, or that of the loss with beta 0\.002\.$/],
      [0.0005, /with beta 0\.0005, or 0\.5 times the gradient of the loss\.$/],
    ] as const) {
      const step = randomStep(3, linear);
      const report = await check(step, gradient(step, { ...step.batch, beta }));
      expect(report.message).toMatch(text);
      expect(report.message).not.toMatch(/temperature/);
    }
  });

  it('no temperature where the loss has another beta', async () => {
    for (const seed of SEEDS) {
      const step = randomStep(seed);
      const loss = (model: Model) => updateOf({ ...step.batch, beta: 0.1 } as Batch, step.forward(model)).loss;
      const { message } = await check(step, gradient(step, step.batch), { loss });
      expect(message).toMatch(/^The loss is that of the update with beta 0\.1/);
      expect(message).not.toMatch(/temperature/);
    }
  });

  it('each array without a gradient once, and the parameters alone where the array has one elsewhere', async () => {
    const step = randomStep(2);
    const given = gradient(step, step.batch);
    const all = Object.keys(given).join(', ');
    const { message } = await check(step, scaled(given, 0));
    expect(message).toMatch(new RegExp(`it is not propagated to ${all}\\.$`));
    const parameters = Float64Array.of(1, 2);
    const loss = ([x, y]: Float64Array) => 1000 * x! + y!;
    const report = await checkGrad({ parameters, gradient: Float64Array.of(1000, 0), loss });
    expect(report).toMatchObject({ ok: false, suspicion: 'gradient-not-passed' });
    expect(report.message).toMatch(/it is not propagated to parameters\[1\]\.$/);
  });

  it('labels and mask may be tensors', async () => {
    const step = randomStep(4);
    const { labels, mask } = step.batch as { labels: Int32Array; mask: Uint8Array };
    const dims = [labels.length];
    const batch = { ...step.batch, labels: { data: labels, dims }, mask: { data: mask, shape: dims } } as Batch;
    const [given, inputIds] = [gradient(step, step.batch), labels];
    expect((await check(step, given, { batch })).ok).toBe(true);
    expect((await check(step, given, { batch, inputIds })).suspicion).toBe('labels-shifted');
    expect((await check(step, scaled(given, 0.37), { batch })).suspicion).toBe('wrong-denominator');
  });
});

describe('checkGrad of a loss alone', () => {
  const parameters = Float64Array.from(new Random(3).normals(40));
  const loss = (x: Float64Array) => x.reduce((sum, y, i) => sum + Math.sin(y + i) / (1 + i), 0);
  const right = parameters.map((y, i) => Math.cos(y + i) / (1 + i));

  it('agrees to nine digits in float64, and awaits promises', async () => {
    const report = await checkGrad({ parameters, gradient: right, loss: async (x) => loss(x), tolerance: 1e-9 });
    expect(report.message).toMatch(/agrees with the loss/);
    for (const { error, analytic } of [report.direction, ...report.coordinates]) {
      expect(error).toBeLessThan(1e-3 * Math.abs(analytic) + 1e-9);
    }
  });

  it('finds one wrong parameter by its coordinate and a small error in many by the direction', async () => {
    const one = right.map((g, i) => (i === 7 ? 1.5 * g : g));
    expect((await checkGrad({ parameters, gradient: one, loss, coordinates: 400 })).ok).toBe(false);
    const many = right.map((g) => 1.02 * g);
    const report = await checkGrad({ parameters, gradient: many, loss, coordinates: 1 });
    expect([report.suspicion, report.message]).toEqual(['wrong-denominator', expect.stringMatching(/1\.02 times/)]);
  });

  it('says so where rounding hides the gradient', async () => {
    const noisy = (x: Float64Array) => 1e9 + Math.round(1e6 * x[0]!) / 1e6;
    const report = await checkGrad({ parameters: Float64Array.of(1e-9), gradient: Float64Array.of(1), loss: noisy });
    expect(report.suspicion).toBe('inconclusive');
  });

  it('is not misled by kinks, by zeros and by parameters that nothing depends on', async () => {
    for (const seed of SEEDS) {
      const random = new Random(seed);
      const kinked = random.normals(30);
      const weights = random.normals(30);
      const relu = (x: Float64Array) =>
        x.reduce((sum, y, i) => sum + weights[i]! * Math.max(y, 0) * (i < 20 ? 1 : 0), 1);
      const gradient = kinked.map((y, i) => (y > 0 && i < 20 ? weights[i]! : 0));
      const report = await checkGrad({ parameters: kinked, gradient, loss: relu, seed });
      expect(report.ok, report.message).toBe(true);
    }
    const zeros = { parameters: new Float32Array(9), gradient: new Float32Array(9).fill(1) };
    expect((await checkGrad({ ...zeros, loss: (x) => x.reduce((a, b) => a + b, 2) })).ok).toBe(true);
    const unused = { parameters: new Float32Array(9), gradient: new Float32Array(9) };
    expect((await checkGrad({ ...unused, loss: () => 3 })).ok).toBe(true);
  });

  it('names the fault of a batch that the loss does not read', async () => {
    const step = randomStep(1);
    const labels = step.batch.labels.slice();
    labels[step.batch.mask!.indexOf(1)] = -7;
    const wrong: [object, string][] = [
      [{ labels }, 'ERR_LABEL'],
      [{ labels: undefined }, 'ERR_ARG_TYPE'],
      [{ chosen: [0] }, 'ERR_ARG_TYPE'],
      [{ colour: 1 }, 'ERR_UNKNOWN_OPTION'],
    ];
    for (const [change, code] of wrong) {
      const batch = { ...step.batch, ...change } as never;
      const whole = updateOf(step.batch, step.forward(step.model)).loss;
      await expect(check(step, gradient(step, step.batch), { loss: () => whole, batch })).rejects.toMatchObject({
        code,
      });
    }
  });

  it('gives copies to the loss and leaves the parameters as they are', async () => {
    const before = parameters.slice();
    await checkGrad({
      parameters,
      gradient: right,
      loss: (x) => {
        const value = loss(x);
        if (x !== parameters) x.fill(NaN);
        return value;
      },
    });
    expect(parameters).toEqual(before);
  });
});

// Each extrapolation rids the central differences of one more even power of the step: of x + x^3 + x^5 the second leaves nothing.
it('a derivative is exact where the powers of the step end', async () => {
  const { value, uncertainty, step } = await derivative(async (h) => 1 + h ** 2 + h ** 4, 1, 0);
  expect(Math.abs(value - 1)).toBeLessThan(1e-14);
  expect(uncertainty).toBeLessThan(1e-14);
  expect(step).toBe(1 / 8); // the fourth, which finds nothing more to gain
});

/** labels[i + by] in row i. */
function shift<L extends { length: number }>(labels: L, by: number): Int32Array {
  return Int32Array.from(labels as unknown as Int32Array, (_, i) => (labels as unknown as Int32Array)[i + by] ?? -100);
}

/** Of logits that a softcap of 30 changes: they are the parameters themselves. */
describe('a softcap', () => {
  const [rows, words] = [12, 5];
  const turns = {
    turnOffsets: Int32Array.of(0, 3, 6, 9, 12),
    chosen: Int32Array.of(0, 3),
    rejected: Int32Array.of(1, 2),
  };

  function stepOf(seed: number) {
    const random = new Random(seed);
    const parameters = Float32Array.from({ length: rows * words }, () => 25 + 2 * random.normal());
    const labels = random.integers(rows, 0, words);
    return { parameters, batch: { ...turns, labels, refLogps: new Float32Array(rows).fill(-1.5) } };
  }

  const mistakes: [what: string, right: number | null | undefined, wrong: number | null, said: RegExp][] = [
    ['that was forgotten', 30, null, /without softcap/],
    ['of the attention', 30, 50, /softcap 50/],
    ['that the model does not have', undefined, 30, /softcap 30/],
    ['that is null', null, 30, /softcap 30/],
  ];

  it.each(mistakes)('%s is named, in the gradient, the loss and the log-probs', async (_what, right, wrong, said) => {
    for (const seed of [1, 2, 3, 4]) {
      const { parameters, batch } = stepOf(seed);
      const lossOf = (softcap: number | null | undefined, logits: Float32Array) =>
        policyUpdate({ ...batch, softcap, vocabSize: words, logits });
      const forward = (logits: Float32Array) => logits;
      const call = { parameters, forward, batch: { ...batch, softcap: right } };
      const gradient = lossOf(right, parameters).gradLogits;
      expect(await checkGrad({ ...call, gradient })).toMatchObject({ ok: true });
      const { labels } = batch;
      const { logps } = tokenLogps({ logits: parameters, labels, vocabSize: words, softcap: wrong });
      const reports = [
        await checkGrad({ ...call, gradient: lossOf(wrong, parameters).gradLogits }),
        await checkGrad({ ...call, gradient, loss: (logits) => lossOf(wrong, logits).loss }),
        await checkGrad({ ...call, gradient, logps }),
      ];
      for (const { suspicion, message } of reports) {
        expect(suspicion, message).toBe('another-softcap');
        expect(message).toMatch(said);
      }
    }
  });
});
