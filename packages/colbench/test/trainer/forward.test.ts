import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { CONFIGS, makeModel, open, oracle, python, randomSequences, readJson, relativeError } from './helpers.js';

describe.skipIf(!python)('forward', () => {
  it.each(Object.keys(CONFIGS))('has the logits of the float64 NumPy oracle: %s', async (name) => {
    const folder = await makeModel(CONFIGS[name]!, 7);
    // Lengths from 1 to 90: ragged groups of the attention, and positions beyond the original context.
    const sequences = randomSequences(4, 2, 61, 3).map(({ ids }) => [...ids]);
    sequences.push(
      [5],
      Array.from({ length: 90 }, (_, i) => (i * i + 3) % 61),
    );
    writeFileSync(join(folder, 'ids.json'), JSON.stringify(sequences));
    await oracle('logits', folder, join(folder, 'ids.json'), join(folder, 'logits.json'));
    const expected = (readJson(join(folder, 'logits.json')) as number[][][]).flat();

    const session = await open(folder);
    const ids = sequences.flat();
    const offsets = [0];
    for (const each of sequences) offsets.push((offsets.at(-1) as number) + each.length);
    const { hidden, weight } = await session.reserve(ids.length);
    const rows = ids.map((_, i) => i);
    await session.trainer.request('forward', { ids, sequenceOffsets: offsets, rows, train: false });
    const { H, V } = session.model;
    const logits = rows.map((row) =>
      Array.from({ length: V }, (_, v) => {
        let sum = 0;
        for (let h = 0; h < H; h++) sum += (hidden[row * H + h] as number) * (weight[v * H + h] as number);
        return sum;
      }),
    );
    expect(relativeError(logits.flat(), expected.flat())).toBeLessThan(1e-5);
  });

  it('gives each sequence the same hidden states alone and packed with others', async () => {
    const session = await open(await makeModel(CONFIGS.qwen3!, 8));
    const sequences = randomSequences(5, 3, 61, 4);
    const together = [];
    for await (const logps of session.logps(sequences, { microTokens: 10_000 })) together.push(...logps);
    const alone = [];
    for await (const logps of session.logps(sequences, { microTokens: 1 })) alone.push(...logps);
    expect(relativeError(together, alone)).toBeLessThan(1e-6);
  });

  it('computes a shared prompt once, with the log-probs of whole sequences', async () => {
    const session = await open(await makeModel(CONFIGS.smollm3!, 9));
    const [a, b] = randomSequences(2, 3, 61, 5).map(({ ids }) => ids);
    // Candidates of one token, of many, and longer than a block of queries; scored with the last tokens of the prompt.
    const sequences = [a!, b!].flatMap((prompt, p) =>
      [1, 2, 30, 25, 400].slice(p).map((length, c) => {
        const ids = Int32Array.from([...prompt, ...Array.from({ length }, (_, i) => (i * i + 7 * c) % 61)]);
        return { id: `${p}/${c}`, ids, turns: [{ start: prompt.length - 2 * p, end: ids.length }], prompt };
      }),
    );
    const logps = async (given: typeof sequences, microTokens: number) => {
      const all: number[] = [];
      for await (const each of session.logps(given, { microTokens })) all.push(...each);
      return all;
    };
    const plain = sequences.map(({ prompt: _, ...each }) => each) as typeof sequences;
    const expected = await logps(plain, 10_000);
    for (const microTokens of [10_000, 60, 1]) {
      expect(relativeError(await logps(sequences, microTokens), expected)).toBeLessThan(1e-6);
    }
    const parents = [-1, -1, 0];
    const forward = { ids: [1, 2, 3], sequenceOffsets: [0, 1, 2, 3], rows: [2], train: false };
    await session.trainer.request('forward', { ...forward, parents });
    for (const bad of [{ parents: [-1, 0, 1] }, { parents: [-1] }, { parents, train: true }]) {
      await expect(session.trainer.request('forward', { ...forward, ...bad })).rejects.toThrow(/parents/);
    }
  });
});
