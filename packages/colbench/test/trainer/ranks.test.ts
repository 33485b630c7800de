import { join } from 'node:path';
import { readSafetensors } from 'sweet-rl/safetensors';
import { describe, expect, it } from 'vitest';
import { Session } from '../../src/trainer/session.js';
import { accumulate } from '../../src/trainer/steps.js';
import { CONFIGS, distance, makeModel, open, python, randomSequences, temporaryFolder } from './helpers.js';

describe.skipIf(!python)('gradients of two ranks', () => {
  it('sum to those of one process', async () => {
    const model = await makeModel(CONFIGS['llama tied, biases']!, 61);
    const sequences = randomSequences(6, 2, 61, 62);
    const items = [0, 2, 4].map((k) => ({ chosen: sequences[k]!, rejected: sequences[k + 1] }));
    const references = new Map(
      sequences.map(({ id, turns }) => [
        id,
        new Float32Array(turns.reduce((sum, { start, end }) => sum + end - start, 0)).fill(-4),
      ]),
    );
    const loss = { method: 'critic', beta: 0.1, nllCoef: 0.01, normalization: 'turn-mean' } as const;
    const gradients = async (session: Session, rank: number, world: number, microTokens: number) => {
      await session.reserve(200);
      await accumulate(session, items, references, { loss, microTokens, rank: { rank, world } });
      const folder = temporaryFolder();
      await session.trainer.request('save', { folder, what: 'gradients' });
      // The gradients are those of the next batch again.
      await session.trainer.request('step', { learningRate: 0, sums: [] });
      return readSafetensors(join(folder, 'gradients.safetensors')).tensors;
    };
    const whole = await gradients(await open(model), 0, 1, 10_000);
    const env = { WORLD_SIZE: '2', MASTER_ADDR: '127.0.0.1', MASTER_PORT: String(20_000 + (process.pid % 20_000)) };
    const options = { model, device: 'cpu', dtype: 'float32', threads: 1, seed: 1, checkpointing: false } as const;
    const sessions = await Promise.all(
      [0, 1].map((rank) =>
        Session.open({
          ...options,
          python: python as string,
          env: { ...env, RANK: String(rank), LOCAL_RANK: String(rank) },
        }),
      ),
    );
    try {
      // In 1, 2 and 3 micro-batches: the second rank has none, one of two, one of three.
      for (const microTokens of [10_000, 100, 30]) {
        const both = await Promise.all(sessions.map((session, rank) => gradients(session, rank, 2, microTokens)));
        for (const tensors of both) expect(distance(tensors, whole)).toBeLessThan(1e-6);
      }
    } finally {
      await Promise.all(sessions.map((session) => session.close()));
    }
  });
});
