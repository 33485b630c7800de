/** The async forms of divergences give the bits of the sync ones. */
import {
  linearDivergence,
  linearDivergenceAsync,
  linearDivergenceBackward,
  linearDivergenceBackwardAsync,
  tokenDivergence,
  tokenDivergenceAsync,
  tokenDivergenceBackward,
  tokenDivergenceBackwardAsync,
} from 'sweet-rl';
import { expect, it } from 'vitest';
import { expectSameBits } from '../helpers/compare.ts';
import { KINDS } from '../helpers/divergence.ts';
import { Random } from '../helpers/random.ts';

const [N, V, H] = [9, 70, 5];
const random = new Random(5);
const floats = (n: number) => Float32Array.from(random.normals(n, 2));
const gradDivergence = floats(N);

it.each(KINDS)('of logits: $divergence $jsdBeta', async (kind) => {
  const options = { logits: floats(N * V), teacherLogits: floats(N * V), vocabSize: V, ...kind };
  const now = tokenDivergence(options);
  const later = await tokenDivergenceAsync(options);
  expectSameBits('divergence', later.divergence, now.divergence);
  expectSameBits('saved', later.saved, now.saved);
  const backward = { ...options, saved: now.saved, gradDivergence };
  const { gradLogits } = await tokenDivergenceBackwardAsync(backward);
  expectSameBits('gradLogits', gradLogits, tokenDivergenceBackward(backward).gradLogits);
});

it.each(KINDS)('of hidden states: $divergence $jsdBeta', async (kind) => {
  const teacher = { teacherHidden: floats(N * 3), teacherWeight: floats(V * 3) };
  const options = { hidden: floats(N * H), weight: floats(V * H), hiddenSize: H, ...teacher, ...kind };
  const now = linearDivergence(options);
  const later = await linearDivergenceAsync(options);
  expectSameBits('divergence', later.divergence, now.divergence);
  const backward = { ...options, saved: now.saved, gradDivergence };
  const gradients = await linearDivergenceBackwardAsync(backward);
  const expected = linearDivergenceBackward(backward);
  expectSameBits('gradHidden', gradients.gradHidden, expected.gradHidden);
  expectSameBits('gradWeight', gradients.gradWeight, expected.gradWeight);
});

it('rejects with what the sync form throws', async () => {
  const options = { logits: floats(N * V), teacherLogits: floats(V), vocabSize: V, divergence: 'jsd' } as const;
  await expect(tokenDivergenceAsync(options)).rejects.toMatchObject({ code: 'ERR_ARG_LENGTH' });
});
