/** examples/sharded-head on devices, by what stands in for NCCL. */
import { dirname, join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { buildExample, mpi, trained } from '../../examples/sharded-head/test/ranks.ts';

describe.runIf(mpi)('ranks of NCCL', () => {
  beforeAll(buildExample, 120_000);

  const folder = dirname(process.env.SWEET_RL_CUDA ?? '');
  const env = { SWEET_RL_NCCL: join(folder, 'libnccl_plain.so'), CUDA_VISIBLE_DEVICES: '0' };

  it.each(['float32', 'bfloat16'])('have the gradients of one process, the same bits in every run: %s', (dtype) => {
    const options = ['--transport', 'nccl', '--steps', '2', '--check', '--dtype', dtype];
    const first = trained(3, options, env);
    expect(first.losses[0]).toBe(Number(Math.LN2.toFixed(6)));
    expect(first.losses[1]!).toBeLessThan(first.losses[0]!);
    expect(first.differences).toHaveLength(4);
    const [loss, ofHidden, ofWeight, ofBias] = first.differences;
    // Only the hidden states' gradient is summed over the words of all ranks.
    expect(Math.max(loss!, ofWeight!, ofBias!)).toBeLessThanOrEqual(1e-6);
    expect(ofHidden).toBeLessThanOrEqual(1e-5);
    expect(trained(3, options, env)).toEqual(first);
  });
});
