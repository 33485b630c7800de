/** Runs a program on calls in the sandbox; the outcome of each call. */

import { spawn } from 'node:child_process';
import { closeSync, openSync, statfsSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Writable } from 'node:stream';
import type { Wall } from './wall.js';
import { environment, SandboxError, scratchMount } from './wall.js';

/**
 * A returned value. Equal values have equal digests; values with a Counter also have `counted`, which is equal where only entries of 0
 * differ between Counters.
 */
export type Value = { kind: 'value'; digest: string; counted?: string; shown: string };
/**
 * A call without a value. `loading`: the program failed before its first call.
 */
export type Failure = { kind: 'error' | 'timeout' | 'crash' | 'flood'; error: string; loading: boolean };
/** The outcome of a call. */
export type Outcome = Value | Failure;

/** Whether two values are equal. */
export const areEqual = (a: Value, b: Value): boolean =>
  a.digest === b.digest || (a.counted !== undefined && a.counted === b.counted);

export interface Limits {
  /** Wall-clock time of one call, and of loading the program. */
  callSeconds: number;
  /** Wall-clock time of all calls of a program. */
  totalSeconds: number;
  /** Of address space. */
  memoryBytes: number;
  /** Size of one file. */
  fileBytes: number;
  /** Open descriptors. */
  files: number;
  /** On standard output and standard error. */
  printedBytes: number;
}

export const defaultLimits: Readonly<Limits> = Object.freeze({
  callSeconds: 5,
  totalSeconds: 20,
  memoryBytes: 512 * 2 ** 20,
  fileBytes: 2 ** 20,
  files: 64,
  printedBytes: 4 * 2 ** 20,
});

/** For the start of Python, before the program runs. */
const startSeconds = 60;
/** Longer programs are rejected: the harness reads the program before it sets limits. */
const maxProgramBytes = 2 ** 20;
/** Bytes of results per call; a line has a few hundred. */
const maxResultBytes = 2 ** 12;
/** Characters of the output that are kept. */
const keptOutput = 2000;

/** A program and the calls to evaluate on it. */
export interface Job {
  program: string;
  calls: readonly string[];
  /**
   * 'once' (default): the program is executed once and all calls see its globals. 'each': the program is executed anew
   * for each call in a function's scope, as the released evaluator does.
   */
  mode?: 'once' | 'each';
}

export interface RunOptions {
  limits?: Partial<Limits> | undefined;
  signal?: AbortSignal | undefined;
}

/**
 * @returns an outcome per call, the beginning of the output, and the number of files that the program left; 0 without a
 *   sandbox
 */
export async function runProgram(
  wall: Wall,
  { program, calls, mode = 'once' }: Job,
  { limits: given = {}, signal }: RunOptions = {},
): Promise<{ outcomes: Outcome[]; printed: string; files: number }> {
  const limits = { ...defaultLimits, ...given };
  const end = performance.now() + 1000 * limits.totalSeconds;
  const outcomes: Outcome[] = [];
  let printed = '';
  let files = 0;
  const size = Buffer.byteLength(program);
  if (size > maxProgramBytes) {
    const error = `the program has ${size} bytes, more than ${maxProgramBytes}`;
    return { outcomes: calls.map(() => ({ kind: 'error', error, loading: true })), printed, files };
  }
  // If a call ends the process, a new process runs the remaining calls.
  while (outcomes.length < calls.length) {
    const folder = wall.isolated ? undefined : await mkdtemp(join(tmpdir(), 'colbench-'));
    try {
      const attempt = new Attempt(wall, { program, mode, calls: calls.slice(outcomes.length) }, limits, end, folder);
      const ended = await attempt.run(signal);
      outcomes.push(...ended);
      printed = (printed + attempt.printed).slice(0, keptOutput);
      files = Math.max(files, attempt.files);
      const rest = performance.now() >= end ? outOfTime(limits) : undefined;
      const failure = failedToLoad(ended) ?? rest;
      while (failure !== undefined && outcomes.length < calls.length) outcomes.push(failure);
    } finally {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    }
  }
  return { outcomes, printed, files };
}

/** The failure of a program that does not load: every new process would fail alike. */
function failedToLoad(outcomes: Outcome[]) {
  const last = outcomes.at(-1);
  return last !== undefined && last.kind !== 'value' && last.loading ? last : undefined;
}

const outOfTime = ({ totalSeconds }: Limits): Failure => ({
  kind: 'timeout',
  error: `the ${totalSeconds} s of all calls are used up`,
  loading: false,
});

/** One process in the sandbox. */
class Attempt {
  printed = '';
  files = 0;
  /** The folder of the answer, which lives as long as this descriptor. */
  #folder: number | undefined;
  #isolated;
  #limits;
  #end;
  #calls;
  #job;
  #child;
  #outcomes: Outcome[] = [];
  #state: 'starting' | 'loading' | 'calling' = 'starting';
  /** The reason why the process was killed. */
  #killed: { kind: 'timeout' | 'flood'; error: string } | undefined;
  #timer: NodeJS.Timeout | undefined;
  #resultBytes = 0;
  #line = '';
  #printedBytes = 0;

  constructor(wall: Wall, job: Job, limits: Limits, end: number, folder: string | undefined) {
    this.#isolated = wall.isolated;
    this.#limits = limits;
    this.#end = end;
    this.#calls = job.calls.length;
    this.#child = spawn(wall.command, wall.args, {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe', wall.filter === undefined ? 'ignore' : 'pipe'],
      env: folder === undefined ? { PATH: process.env.PATH } : { ...environment, HOME: folder, TMPDIR: folder },
      cwd: folder ?? '/',
      // A session of its own, so that all its processes can be killed at once.
      detached: true,
    });
    const [, stdout, stderr, results, filter] = this.#child.stdio;
    // A process that exits before it has read its job closes the pipe.
    for (const stream of this.#child.stdio) stream?.on('error', () => {});
    const { memoryBytes, fileBytes, files } = limits;
    const cpuSeconds = Math.ceil(limits.totalSeconds) + 1;
    this.#job = JSON.stringify({ ...job, limits: { memoryBytes, fileBytes, files, cpuSeconds } });
    if (wall.filter !== undefined) (filter as Writable).end(wall.filter);
    for (const stream of [stdout, stderr]) stream?.on('data', (chunk) => this.#onPrinted(chunk));
    results?.on('data', (chunk) => this.#onResults(chunk));
  }

  run(signal?: AbortSignal): Promise<Outcome[]> {
    return new Promise((resolve, reject) => {
      const abort = () => this.#kill();
      signal?.addEventListener('abort', abort, { once: true });
      if (signal?.aborted) abort();
      this.#arm(startSeconds);
      this.#child.on('error', (error) => {
        clearTimeout(this.#timer);
        reject(error);
      });
      this.#child.on('exit', () => {
        // Without isolation, processes may remain, and one that left the session may still hold the pipes open.
        if (!this.#isolated) this.#killSession();
        const late = setTimeout(() => {
          for (const stream of this.#child.stdio) stream?.destroy();
        }, 1000);
        this.#child.once('close', () => clearTimeout(late));
      });
      this.#child.on('close', (code, name) => {
        clearTimeout(this.#timer);
        signal?.removeEventListener('abort', abort);
        this.#countFiles();
        if (signal?.aborted) reject(signal.reason);
        else if (this.#state === 'starting') reject(this.#didNotStart());
        else resolve(this.#ended(code, name));
      });
    });
  }

  /** Python waits for its job. */
  #start() {
    try {
      if (this.#isolated) this.#folder = openSync(`/proc/${this.#child.pid}/root${scratchMount}`, 'r');
    } catch (error) {
      this.#killed = { kind: 'timeout', error: (error as Error).message };
      this.#kill();
      return;
    }
    this.#state = 'loading';
    this.#child.stdin?.end(this.#job);
    this.#arm(this.#limits.callSeconds);
  }

  /** From outside, since the answer can falsify what its own process reports. */
  #countFiles() {
    if (this.#folder === undefined) return;
    const { files, ffree } = statfsSync(`/proc/self/fd/${this.#folder}`);
    // Without the folder itself.
    this.files = files - ffree - 1;
    closeSync(this.#folder);
  }

  #didNotStart() {
    const why = this.#killed?.error ?? this.printed.trim();
    return new SandboxError(`The sandbox did not start: ${why}`);
  }

  #ended(code: number | null, name: NodeJS.Signals | null): Outcome[] {
    if (this.#outcomes.length === this.#calls) return this.#outcomes;
    if (failedToLoad(this.#outcomes) !== undefined) return this.#outcomes;
    return [...this.#outcomes, { ...this.#cause(code, name), loading: this.#state === 'loading' }];
  }

  #cause(code: number | null, name: NodeJS.Signals | null): Omit<Failure, 'loading'> {
    if (this.#killed !== undefined) return this.#killed;
    const signal = name ?? signalOf(code);
    if (signal === 'SIGXCPU') return { kind: 'timeout', error: 'the CPU time was used up' };
    const error = signal === undefined ? `the process ended with code ${code}` : `the process died of ${signal}`;
    return { kind: 'crash', error };
  }

  #arm(seconds: number) {
    clearTimeout(this.#timer);
    const left = Math.max(0, this.#end - performance.now()) / 1000;
    const total = this.#state !== 'starting' && left < seconds;
    const error = total ? outOfTime(this.#limits).error : `no end within ${seconds} s`;
    this.#timer = setTimeout(
      () => {
        this.#killed ??= { kind: 'timeout', error };
        this.#kill();
      },
      1000 * (total ? left : seconds),
    );
  }

  #kill() {
    const { exitCode, signalCode } = this.#child;
    if (exitCode === null && signalCode === null) this.#killSession();
  }

  /** In the sandbox, all processes end with the first one. */
  #killSession() {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has already ended.
    }
  }

  #flood(error: string) {
    this.#killed ??= { kind: 'flood', error };
    this.#kill();
  }

  #onPrinted(chunk: Buffer) {
    this.#printedBytes += chunk.length;
    if (this.printed.length < keptOutput) {
      this.printed = (this.printed + chunk.toString('utf8')).slice(0, keptOutput);
    }
    const { printedBytes } = this.#limits;
    if (this.#printedBytes > printedBytes) this.#flood(`more than ${printedBytes} bytes were printed`);
  }

  #onResults(chunk: Buffer) {
    if (this.#killed !== undefined || this.#outcomes.length === this.#calls) return;
    this.#resultBytes += chunk.length;
    const lines = (this.#line + chunk.toString('latin1')).split('\n');
    this.#line = lines.pop() as string;
    for (const line of lines) this.#onLine(line);
    if (this.#resultBytes > maxResultBytes * (this.#calls + 2)) this.#flood('the channel of the results was flooded');
  }

  /** A line of results. The program may have written it itself, so nothing in it is trusted. */
  #onLine(text: string) {
    if (this.#outcomes.length === this.#calls) return;
    const { kind, ...fields } = parsed(text);
    const { callSeconds } = this.#limits;
    if (this.#state === 'starting') {
      this.#start();
    } else if (this.#state === 'loading') {
      this.#state = 'calling';
      if (kind !== 'loaded') this.#outcomes.push({ kind: 'error', error: textOf(fields.error), loading: true });
      this.#arm(callSeconds);
    } else {
      this.#outcomes.push(
        kind === 'value'
          ? {
              ...{ kind, digest: textOf(fields.digest), shown: textOf(fields.shown) },
              ...(fields.counted !== undefined && { counted: textOf(fields.counted) }),
            }
          : { kind: 'error', error: textOf(fields.error), loading: false },
      );
      this.#arm(callSeconds);
    }
    // Do not wait for threads that are still running.
    if (this.#outcomes.length === this.#calls || kind === 'failed') this.#kill();
  }
}

function parsed(text: string): Record<string, unknown> {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

const textOf = (value: unknown) => (typeof value === 'string' ? value.slice(0, 300) : 'no result was reported');

/** Bubblewrap exits with 128 + the signal that ended its child. */
function signalOf(code: number | null) {
  if (code === null || code <= 128) return undefined;
  return Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
}
