/** examples/sharded-head: the critic's update with a vocabulary-parallel head over MPI processes. */
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../../test/helpers/processes.ts';
import { buildExample, mpi, ranks, trained } from './ranks.ts';

describe.runIf(mpi)('ranks of MPI (Debian: openmpi-bin, libopenmpi-dev)', () => {
  beforeAll(buildExample, 120_000);

  it.each(['float32', 'bfloat16'])('have the gradients of one process, the same bits in every run: %s', (dtype) => {
    const first = trained(4, ['--dtype', dtype, '--check']);
    expect(first.losses).toHaveLength(5);
    expect(first.losses[0]).toBe(Number(Math.LN2.toFixed(6)));
    for (let i = 1; i < 5; i++) expect(first.losses[i]!).toBeLessThan(first.losses[i - 1]!);
    // Of the loss, and of the three gradients relative to their largest element.
    expect(first.differences).toHaveLength(4);
    for (const difference of first.differences) expect(difference).toBeLessThanOrEqual(1e-6);
    expect(first.digest).toBeDefined();
    expect(trained(4, ['--dtype', dtype, '--check'])).toEqual(first);
  });

  it('can be a single one', () => {
    expect(trained(1, ['--check', '--steps', '2']).differences).toEqual([0, 0, 0, 0]);
  });

  it('with different lengths all get an error, instead of waiting forever', () => {
    const addon = join(ROOT, 'examples', 'sharded-head', 'build', 'Release', 'mpi.node');
    const program = `
      import { createRequire } from 'node:module';
      const mpi = createRequire(import.meta.url)(${JSON.stringify(addon)});
      const { rank, size } = mpi.init();
      const refused = (own, all) => {
        try { mpi.allGather(own, all); return 'none'; } catch (error) { return error.name + ': ' + error.message; }
      };
      const messages = [
        refused(new Float32Array(rank === 1 ? 3 : 2), new Float32Array(size * (rank === 1 ? 3 : 2))),
        refused(new Float32Array(2), new Float32Array(rank === 0 ? 5 : 2 * size)),
        refused([1], new Float32Array(2)),
      ];
      const all = new Float64Array(size);
      mpi.allGather(Float64Array.of(rank / 2), all);
      process.stdout.write(JSON.stringify({ rank, messages, all: [...all] }) + '\\n');
      mpi.finalize();
    `;
    const { status, stdout, stderr } = ranks(3, ['--input-type=module', '--eval', program]);
    expect(status, stderr).toBe(0);
    const results = stdout
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as { rank: number; messages: string[]; all: number[] });
    expect(results.map(({ rank }) => rank).sort()).toEqual([0, 1, 2]);
    for (const { messages, all } of results) {
      expect(messages[0]).toMatch(/^RangeError: .*rank 1 has 12 bytes/);
      expect(messages[1]).toMatch(/^RangeError: .*rank 0 has others/);
      expect(messages[2]).toMatch(/^TypeError: .*own/);
      expect(all).toEqual([0, 0.5, 1]);
    }
  });

  it('all end if one of them fails', () => {
    const { status, stderr } = ranks(2, ['examples/sharded-head/main.js', '--transport', 'nccl'], {
      SWEET_RL_NCCL: '/nonexistent/libnccl.so',
    });
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/NCCL was not found[\s\S]*\/nonexistent\/libnccl\.so/);
  });
});
