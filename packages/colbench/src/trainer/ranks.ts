/** Data parallel training: one Node process and one trainer a rank, each computing every k-th micro-batch. */
import { type ChildProcess, spawn } from 'node:child_process';
import { type AddressInfo, createServer } from 'node:net';
import { CommandError } from '../errors.js';
import type { Rank } from './steps.js';

/** Marks a process that --processes has started: it ends when its standard input does. */
const CHILD = 'COLBENCH_RANK_OF_PARENT';
const TAIL_LINES = 20;
/** Milliseconds in which the error of another rank is waited for: it is the cause where rank 0 lost its connection. */
const CAUSE_WAIT = 2000;

export interface Ranks {
  rank: Rank;
  /** Variables for this rank's trainer, by which torch.distributed finds the others. */
  env: Record<string, string>;
  /**
   * Runs this rank's part; the error of any rank ends all.
   *
   * @param part ends soon once its signal is aborted: another rank has failed
   */
  run<T>(part: (abort?: AbortSignal) => Promise<T>): Promise<T>;
}

/**
 * The ranks of this command: those of the environment (torchrun), else `processes` of them, this one and others that run the same
 * command line.
 *
 * @throws CommandError ERR_RANKS where both are given and differ
 */
export async function startRanks(processes: number): Promise<Ranks> {
  const { RANK, WORLD_SIZE } = process.env;
  if (WORLD_SIZE !== undefined && RANK !== undefined) {
    const rank = { rank: Number(RANK), world: Number(WORLD_SIZE) };
    if (processes > 1 && processes !== rank.world) {
      const message = `--processes ${processes}, but WORLD_SIZE is ${WORLD_SIZE}: torchrun starts the processes itself`;
      throw new CommandError('ERR_RANKS', message);
    }
    if (process.env[CHILD]) endWithParent();
    return { rank, env: {}, run: (part) => part() };
  }
  if (processes === 1) return { rank: { rank: 0, world: 1 }, env: {}, run: (part) => part() };

  const env = (rank: number) => ({
    ...{ RANK: String(rank), LOCAL_RANK: String(rank), WORLD_SIZE: String(processes) },
    ...{ MASTER_ADDR: '127.0.0.1', MASTER_PORT: port },
  });
  const port = String(await freePort());
  const run: Ranks['run'] = async (part) => {
    const children = Array.from({ length: processes - 1 }, (_, i) => startChild({ ...env(i + 1), [CHILD]: '1' }));
    const failures = children.map((child, i) => failureOf(child, i + 1));
    const failed = Promise.race(failures.map(({ failure }) => failure));
    const stop = new AbortController();
    failed.catch((error) => stop.abort(error));
    const own = part(stop.signal);
    try {
      const result = await Promise.race([own, failed]);
      await Promise.all(failures.map(({ closed }) => closed));
      return result;
    } catch (error) {
      // A lost connection is the consequence of another rank's end: its error says more.
      if ((error as CommandError).code === 'ERR_TRAINER') {
        await Promise.race([failed, new Promise((resolve) => setTimeout(resolve, CAUSE_WAIT))]);
      }
      throw error;
    } finally {
      for (const child of children) child.kill('SIGKILL');
      // Nothing of a failed command is left: neither its trainer nor the other ranks.
      await Promise.allSettled([own, ...failures.map(({ closed }) => closed)]);
    }
  };
  return { rank: { rank: 0, world: processes }, env: env(0), run };
}

function startChild(env: Record<string, string>): ChildProcess {
  return spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env: { ...process.env, ...env },
    stdio: ['pipe', 'ignore', 'pipe'],
  });
}

/** `failure` rejects when the child fails and never resolves; `closed` when it ends. */
function failureOf(child: ChildProcess, rank: number): { failure: Promise<never>; closed: Promise<void> } {
  let text = '';
  child.stderr?.on('data', (data) => {
    text = (text + data).slice(-10_000);
  });
  let end = () => {};
  const closed = new Promise<void>((resolve) => {
    end = resolve;
  });
  const failure = new Promise<never>((_, reject) => {
    child.on('close', (code, signal) => {
      end();
      if (code === 0 || code === 130) return;
      const tail = text.trim().split('\n').slice(-TAIL_LINES).join('\n  ');
      const what = signal ? `signal ${signal}` : `exit code ${code}`;
      reject(new CommandError('ERR_RANK', `Rank ${rank} ended with ${what}${tail && `:\n  ${tail}`}`));
    });
  });
  failure.catch(() => {});
  return { failure, closed };
}

function endWithParent(): void {
  process.stdin.on('error', () => process.exit(1));
  process.stdin.on('end', () => process.exit(1));
  process.stdin.resume();
  (process.stdin as unknown as { unref(): void }).unref();
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address() as AddressInfo;
      server.close(() => resolve(port));
    });
  });
}
