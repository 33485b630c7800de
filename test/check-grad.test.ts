/** Every mistake that checkGrad and checkLogps know is planted and must be named; right wirings must pass. */
import {
  type CheckGradOptions,
  checkGrad,
  checkLogps,
  criticUpdate,
  type GradReport,
  policyUpdate,
  tokenLogps,
} from 'sweet-rl';
import type { CriticBatch, PolicyBatch } from 'sweet-rl/jax';
import { describe, expect, it } from 'vitest';
import { randomPairs, randomStructure } from './helpers/batches.ts';
import { Random } from './helpers/random.ts';
import { gradientOf, logitsOf, type Model, randomModel, type Sizes } from './helpers/small-model.ts';

type Batch = CriticBatch | PolicyBatch;

/** A training step: the model, what it reads, the batch and the reference's logits. */
interface Step {
  random: Random;
  model: Model;
  forward: (model: Model) => Float32Array;
  backward: (model: Model, gradLogits: Float32Array) => Model;
  batch: Batch & { refLogps: Float32Array };
  refLogits: Float32Array;
}

const updateOf = (batch: Batch, logits: Float32Array) =>
  'trajectoryOffsets' in batch ? criticUpdate({ ...batch, logits }) : policyUpdate({ ...batch, logits } as never);

function randomStep(seed: number, options: Partial<CriticBatch> & { critic?: boolean } = {}): Step {
  const random = new Random(seed);
  const { critic = random.uniform() < 0.5, ...others } = options;
  const { mask, turnOffsets, trajectoryOffsets } = randomStructure(random, 4, 3, 5);
  const units = critic ? trajectoryOffsets.length - 1 : turnOffsets.length - 1;
  const sizes: Sizes = { rows: mask.length, inputs: 4, width: 5, words: random.integer(5, 12) };
  const x = Float32Array.from(random.normals(sizes.rows * sizes.inputs));
  const forward = (model: Model) => logitsOf(model, x, sizes);
  const labels = random.integers(sizes.rows, 0, sizes.words);
  const refLogits = forward(randomModel(random, sizes));
  const { temperature } = others;
  const { logps: refLogps } = tokenLogps({ labels, mask, temperature, logits: refLogits });
  const structure = critic ? { turnOffsets, trajectoryOffsets } : { turnOffsets };
  const pairs = randomPairs(random, units, random.integer(3, 6));
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
  it('passes 1000 right wirings', { timeout: 120_000 }, async () => {
    const failed: string[] = [];
    for (let seed = 1; seed <= 1000; seed++) {
      const step = randomStep(seed, seed % 3 ? {} : { temperature: 0.7 });
      const report = await check(step, gradient(step, step.batch), { coordinates: 4, seed });
      if (!report.ok) failed.push(`${seed}: ${report.message}`);
    }
    expect(failed).toEqual([]);
  });
});
