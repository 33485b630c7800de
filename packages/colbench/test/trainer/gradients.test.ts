import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { readSafetensors } from 'sweet-rl/safetensors';
import { describe, expect, it } from 'vitest';
import type { Sequence } from '../../src/model.js';
import type { TrainingItem } from '../../src/trainer/batches.js';
import type { LossOptions, Method } from '../../src/trainer/heads.js';
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
};

/** Pairs in which one sequence is chosen twice, and one both chosen and rejected. */
const PAIRS: readonly (readonly [number, number])[] = [
  [0, 1],
  [0, 2],
  [3, 0],
  [4, 5],
];

function itemsOf(method: Method, sequences: readonly Sequence[]): TrainingItem[] {
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
  sequences: readonly Sequence[],
  references: ReadonlyMap<string, Float32Array>,
): Promise<{ grads: Record<string, number[]>; loss: number }> {
  const folder = temporaryFolder();
  const spec = {
    ...{ model, adapter, ...loss, pairs: PAIRS },
    sequences: sequences.map(({ ids, turns }) => ({
      ids: [...ids],
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

const CASES: [string, Method, number][] = [
  ['llama', 'critic', 10_000],
  ['llama', 'policy', 40],
  ['llama', 'sft', 40],
  ['llama', 'dpo', 40],
  ['llama tied, biases', 'critic', 40],
  ['llama tied, biases', 'sft', 10_000],
  ['qwen2', 'critic', 40],
  ['qwen2', 'policy', 10_000],
  ['qwen3', 'dpo', 10_000],
  ['smollm3', 'policy', 40],
];

describe.skipIf(!python)('gradients of every parameter', () => {
  it.each(CASES)('%s, %s, micro-batches of %d tokens', async (name, method, microTokens) => {
    const model = await makeModel(CONFIGS[name]!, 11);
    const sequences = randomSequences(6, method === 'policy' ? 1 : 3, 61, 5);
    const references = referencesOf(sequences);
    const session = await open(model, { checkpointing: method === 'dpo' });
    await session.reserve(200);
    const { sums } = await accumulate(session, itemsOf(method, sequences), references, {
      ...{ loss: LOSS[method], microTokens, rank: { rank: 0, world: 1 } },
    });
    const expected = await expectedGradients(model, undefined, LOSS[method], sequences, references);
    expect(sums.loss).toBeCloseTo(expected.loss, 5);
    const [error, tensor] = worst(await gradientsOf(session), expected.grads);
    expect(error, tensor).toBeLessThan(3e-6);
  });

  it.each(['critic', 'sft'] as const)('LoRA, %s', async (method) => {
    const model = await makeModel(CONFIGS.qwen2!, 12);
    const lora: Lora = { r: 3, alpha: 6, targets: ['q_proj', 'v_proj', 'o_proj', 'down_proj'] };
    const sequences = randomSequences(6, 2, 61, 6);
    const references = referencesOf(sequences);
    const session = await open(model, { lora });
    await session.reserve(200);
    const options = { loss: LOSS[method], microTokens: 40, rank: { rank: 0, world: 1 } };
    const items = itemsOf(method, sequences);
    // One step, so that B is not 0 and A has a gradient.
    await accumulate(session, items, references, options);
    await session.trainer.request('step', { learningRate: 0.05, sums: [] });
    const adapter = temporaryFolder();
    mkdirSync(adapter, { recursive: true });
    await session.trainer.request('save', { folder: adapter, what: 'weights' });
    await accumulate(session, items, references, options);
    const expected = await expectedGradients(model, adapter, LOSS[method], sequences, references);
    const [error, tensor] = worst(await gradientsOf(session), expected.grads);
    expect(error, tensor).toBeLessThan(3e-6);
  });
});
