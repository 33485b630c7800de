import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from 'sweet-rl/safetensors';
import { describe, expect, it } from 'vitest';
import type { Sequence } from '../../src/model.js';
import type { TrainingItem, TrainingSequence } from '../../src/trainer/batches.js';
import { type GroupLoss, isGroupLoss, type LossOptions, type Method, type PairLoss } from '../../src/trainer/heads.js';
import type { Lora } from '../../src/trainer/protocol.js';
import type { Session } from '../../src/trainer/session.js';
import { accumulate } from '../../src/trainer/steps.js';
import {
  CONFIGS,
  makeModel,
  open,
  oracle,
  python,
  randomSequences,
  relativeError,
  temporaryFolder,
} from './helpers.js';

const LOSS: Record<Method, LossOptions> = {
  critic: { method: 'critic', beta: 0.3, nllCoef: 0.05, normalization: 'turn-mean' },
  policy: { method: 'policy', beta: 0.1, nllCoef: 0.05, normalization: 'turn-mean' },
  dpo: { method: 'dpo', beta: 0.1, nllCoef: 0.05, normalization: 'turn-mean' },
  sft: { method: 'sft', beta: 1, nllCoef: 0, normalization: 'turn-mean' },
  grpo: {
    ...{ method: 'grpo', scale: 'group', gamma: null, stepCoef: null, clipLow: 0.2, clipHigh: 0.28, klCoef: 0 },
    reduction: 'sequence-mean-token-mean',
  },
  gigpo: {
    ...{ method: 'gigpo', scale: 'none', gamma: 0.95, stepCoef: 1, clipLow: 0.3, clipHigh: 0.3, klCoef: 0.04 },
    reduction: 'token-mean',
  },
};

/** Pairs in which one sequence is chosen twice, and one both chosen and rejected. */
const PAIRS: readonly (readonly [number, number])[] = [
  [0, 1],
  [0, 2],
  [3, 0],
  [4, 5],
];

/** Of each turn: both signs, and 0. */
const advantagesOf = ({ turns }: TrainingSequence, k: number) =>
  Float64Array.from(turns, (_, t) => (k === 2 ? 0 : Math.sin(2 * k + 5 * t + 1)));

function itemsOf(method: Method, sequences: readonly TrainingSequence[]): TrainingItem[] {
  if (isGroupLoss(LOSS[method])) {
    return sequences.map((chosen, k) => ({ chosen, advantages: advantagesOf(chosen, k), reward: k / 8 }));
  }
  return PAIRS.map(([chosen, rejected]) => ({
    chosen: sequences[chosen]!,
    rejected: method === 'sft' ? undefined : sequences[rejected],
  }));
}

/** Log-probs of a reference that differs from the model: margins away from 0. */
function referencesOf(sequences: readonly Sequence[]): Map<string, Float32Array> {
  return new Map(
    sequences.map(({ id, turns }, k) => [
      id,
      Float32Array.from(
        turns.flatMap(({ start, end }) => Array.from({ length: end - start }, (_, i) => -3 - Math.sin(i + start + k))),
      ),
    ]),
  );
}

async function gradientsOf(session: Session): Promise<Record<string, ArrayLike<number>>> {
  const folder = temporaryFolder();
  await session.trainer.request('save', { folder, what: 'gradients' });
  const { tensors } = readSafetensors(join(folder, 'gradients.safetensors'));
  return Object.fromEntries(Object.entries(tensors).map(([name, { data }]) => [name, data as Float32Array]));
}

async function expectedGradients(
  model: string,
  adapter: string | undefined,
  loss: LossOptions,
  sequences: readonly TrainingSequence[],
  references: ReadonlyMap<string, Float32Array>,
): Promise<{ grads: Record<string, number[]>; loss: number }> {
  const folder = temporaryFolder();
  const spec = {
    ...{ model, adapter, ...loss, pairs: PAIRS, advantages: sequences.map((each, k) => [...advantagesOf(each, k)]) },
    sequences: sequences.map(({ ids, turns, starts = [] }) => ({
      ids: [...ids],
      starts,
      turns: turns.map(({ start, end }) => [start, end]),
    })),
    references: sequences.map(({ id, turns }) => {
      const all = [...references.get(id)!];
      return turns.map(({ start, end }) => all.splice(0, end - start));
    }),
  };
  writeFileSync(join(folder, 'spec.json'), JSON.stringify(spec));
  await oracle('gradients', join(folder, 'spec.json'), join(folder, 'out.safetensors'));
  const { tensors } = readSafetensors(join(folder, 'out.safetensors'));
  const data = (name: string) => tensors[name]!.data as Float32Array;
  const names = Object.keys(tensors).filter((name) => name !== 'loss' && !name.endsWith('#rest'));
  const sum = (name: string) => [...data(name)].map((x, i) => x + data(`${name}#rest`)[i]!);
  return { grads: Object.fromEntries(names.map((name) => [name, sum(name)])), loss: data('loss')[0]! };
}

/** The largest relative error of a tensor. */
function worst(ours: Record<string, ArrayLike<number>>, expected: Record<string, number[]>): [number, string] {
  expect(Object.keys(ours).sort()).toEqual(Object.keys(expected).sort());
  const errors = Object.entries(expected).map(([name, grad]): [number, string] => [
    relativeError(ours[name]!, grad),
    name,
  ]);
  return errors.reduce((a, b) => (a[0] > b[0] ? a : b));
}

/** With heads that share keys and values (GQA), tied and untied. */
const MODELS = ['llama', 'llama tied, biases', 'qwen2', 'qwen2 untied'] as const;
const METHODS = ['critic', 'policy', 'sft', 'dpo', 'grpo', 'gigpo'] as const;

/** Each method on each model, with one micro-batch or several. */
const CASES: [string, Method, number][] = MODELS.flatMap((model, m) =>
  METHODS.map((method, k): [string, Method, number] => [model, method, (m + k) % 2 === 0 ? 40 : 10_000]),
);

const LORA: Lora = { r: 3, alpha: 6, targets: ['q_proj', 'v_proj', 'o_proj', 'down_proj'] };

/** Sequences with tokens between the scored ones; one consists of parts that do not attend to each other. */
function sequencesFor(method: Method, seed: number): TrainingSequence[] {
  const sequences = randomSequences(6, method === 'policy' ? 1 : 3, 61, seed);
  if (method === 'policy') return sequences;
  return sequences.map((each, k) => (k === 3 ? { ...each, starts: [each.turns[0]!.end] } : each));
}

describe.skipIf(!python)('gradients of every parameter', () => {
  /** Compares the gradients of all parameters, or of a LoRA adapter after a step. */
  async function check(name: string, loss: LossOptions, microTokens: number, lora?: Lora): Promise<void> {
    const model = await makeModel(CONFIGS[name]!, 11);
    const sequences = sequencesFor(loss.method, 5);
    const references = referencesOf(sequences);
    const session = await open(model, { checkpointing: loss.method === 'dpo', ...(lora && { lora }) });
    await session.reserve(200);
    const items = itemsOf(loss.method, sequences);
    const options = { loss, microTokens, rank: { rank: 0, world: 1 } };
    let adapter: string | undefined;
    if (lora) {
      // One step, so that B is not 0 and A has a gradient.
      await accumulate(session, items, references, options);
      await session.trainer.request('step', { learningRate: 0.05, sums: [] });
      adapter = temporaryFolder();
      await session.trainer.request('save', { folder: adapter, what: 'weights' });
    }
    const { sums } = await accumulate(session, items, references, options);
    const expected = await expectedGradients(model, adapter, loss, sequences, references);
    expect(sums.loss).toBeCloseTo(expected.loss, 5);
    // Tokens inside the bounds and outside.
    if (isGroupLoss(loss)) expect(Math.abs(sums.clipped / sums.rows - 0.5)).toBeLessThan(0.45);
    const [error, tensor] = worst(await gradientsOf(session), expected.grads);
    expect(error, tensor).toBeLessThan(3e-6);
  }

  it.each([...CASES, ['qwen3', 'dpo', 10_000], ['smollm3', 'policy', 40]] as const)(
    '%s, %s, micro-batches of %d tokens',
    (name, method, microTokens) => check(name, LOSS[method], microTokens),
  );

  it.each(CASES)('LoRA, %s, %s, micro-batches of %d tokens', (name, method, microTokens) =>
    check(name, LOSS[method], microTokens, LORA),
  );

  it('gigpo, sums of sequences', () =>
    check('llama', { ...(LOSS.gigpo as GroupLoss), reduction: 'sequence-mean-token-sum' }, 40));

  it.each(['token-mean', 'sum'] as const)('critic, normalization %s', (normalization) =>
    check('llama', { ...(LOSS.critic as PairLoss), normalization }, 40),
  );
});
