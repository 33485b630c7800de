/** Builds the addons of examples/sharded-head and starts its ranks by mpirun. */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { ROOT } from '../../../test/helpers/processes.ts';

const EXAMPLE = join(ROOT, 'examples', 'sharded-head');

const runs = (program: string) => spawnSync(program, ['--version']).status === 0;

/** Whether MPI is available, which CI requires. */
export const mpi = process.env.CI !== undefined || (runs('mpirun') && runs('mpicxx'));

export function buildExample(): void {
  execFileSync('npx', ['cmake-js', 'compile', '-d', EXAMPLE, '--log-level', 'error'], { cwd: ROOT, stdio: 'pipe' });
}

// Open MPI needs permission to run as root, and to start more ranks than there are cores.
const OPEN_MPI = {
  OMPI_ALLOW_RUN_AS_ROOT: '1',
  OMPI_ALLOW_RUN_AS_ROOT_CONFIRM: '1',
  OMPI_MCA_rmaps_base_oversubscribe: '1',
};

/** The status and output of `count` ranks of a program. */
export function ranks(count: number, program: string[], env: NodeJS.ProcessEnv = {}) {
  const args = ['-n', String(count), process.execPath, ...program];
  const all = { ...process.env, ...OPEN_MPI, SWEET_RL_THREADS: '1', ...env };
  const { status, stdout, stderr } = spawnSync('mpirun', args, {
    cwd: ROOT,
    encoding: 'utf8',
    env: all,
    timeout: 100_000,
  });
  return { status, stdout, stderr };
}

/** The parsed output of the example; throws if it fails. */
export function trained(count: number, options: string[], env: NodeJS.ProcessEnv = {}) {
  const { status, stdout, stderr } = ranks(count, [join(EXAMPLE, 'main.js'), ...options], env);
  if (status !== 0) throw new Error(`${count} ranks ended with ${status}:\n${stdout}\n${stderr}`);
  const numbers = (pattern: RegExp) => [...stdout.matchAll(pattern)].map(([, number]) => Number(number));
  return {
    losses: numbers(/^step +\d+ {2}loss (\S+)/gm),
    digest: /^gradients ([0-9a-f]{64})$/m.exec(stdout)?.[1],
    differences: numbers(/ (?:off by|differs by) (\S+)/g),
  };
}
