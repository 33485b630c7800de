/** Runs a program on calls behind the wall, and tells how each call ended. */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { constants, tmpdir } from 'node:os';
import { join } from 'node:path';
import { environment, SandboxError } from './wall.js';

/**
 * A value has a digest, the same for equal values.
 * @typedef {{ kind: 'value', digest: string, shown: string }} Value
 */
/**
 * `loading`: the program failed before its first call.
 * @typedef {{ kind: 'error' | 'timeout' | 'crash' | 'flood', error: string, loading: boolean }} Failure
 */
/** How a call ended. @typedef {Value | Failure} Outcome */

/**
 * @typedef {object} Limits
 * @property {number} callSeconds by the clock, of one call and of loading the program
 * @property {number} totalSeconds by the clock, of all calls of a program
 * @property {number} memoryBytes of addresses
 * @property {number} fileBytes of one file
 * @property {number} files open at once
 * @property {number} printedBytes on standard output and standard error
 */

/** @type {Readonly<Limits>} */
export const defaultLimits = Object.freeze({
  callSeconds: 5,
  totalSeconds: 20,
  memoryBytes: 512 * 2 ** 20,
  fileBytes: 2 ** 20,
  files: 64,
  printedBytes: 4 * 2 ** 20,
});

/** The start of Python, before the program has any say. */
const startSeconds = 60;
/** More than this is no answer, and would be read before there are limits. */
const mostProgram = 2 ** 20;
/** What may be told of each call; a line is some hundred bytes. */
const mostTold = 2 ** 12;
const keptOfPrinted = 2000;

/**
 * @param {import('./wall.js').Wall} wall
 * @param {{ program: string, calls: readonly string[] }} job
 * @param {object} [options]
 * @param {Partial<Limits>} [options.limits]
 * @param {AbortSignal} [options.signal]
 * @returns {Promise<{ outcomes: Outcome[], printed: string }>} one outcome a call, and the start of what was printed
 */
export async function runProgram(wall, { program, calls }, { limits: given = {}, signal } = {}) {
  const limits = { ...defaultLimits, ...given };
  const end = performance.now() + 1000 * limits.totalSeconds;
  /** @type {Outcome[]} */
  const outcomes = [];
  let printed = '';
  const size = Buffer.byteLength(program);
  if (size > mostProgram) {
    const error = `the program has ${size} bytes, more than ${mostProgram}`;
    return { outcomes: calls.map(() => ({ kind: 'error', error, loading: true })), printed };
  }
  // A call that takes the process with it leaves the later ones to a new process.
  while (outcomes.length < calls.length) {
    const folder = wall.isolated ? undefined : await mkdtemp(join(tmpdir(), 'colbench-'));
    try {
      const attempt = new Attempt(wall, { program, calls: calls.slice(outcomes.length) }, limits, end, folder);
      const told = await attempt.run(signal);
      outcomes.push(...told);
      printed = (printed + attempt.printed).slice(0, keptOfPrinted);
      const rest = performance.now() >= end ? outOfTime(limits) : undefined;
      const failure = failedToLoad(told) ?? rest;
      while (failure !== undefined && outcomes.length < calls.length) outcomes.push(failure);
    } finally {
      if (folder !== undefined) await rm(folder, { recursive: true, force: true });
    }
  }
  return { outcomes, printed };
}

/** What fails before its first call does so in every process. @param {Outcome[]} outcomes */
function failedToLoad(outcomes) {
  const last = outcomes.at(-1);
  return last !== undefined && last.kind !== 'value' && last.loading ? last : undefined;
}

/** @param {Limits} limits @returns {Failure} */
const outOfTime = ({ totalSeconds }) => ({
  kind: 'timeout',
  error: `no time was left of the ${totalSeconds} s of all calls`,
  loading: false,
});

/** One process. */
class Attempt {
  printed = '';
  #isolated;
  #limits;
  #end;
  #calls;
  #child;
  /** @type {Outcome[]} */
  #outcomes = [];
  /** @type {'starting' | 'loading' | 'calling'} */
  #state = 'starting';
  /** Why the process was killed. @type {{ kind: 'timeout' | 'flood', error: string } | undefined} */
  #killed;
  /** @type {NodeJS.Timeout | undefined} */
  #timer;
  #told = 0;
  #line = '';
  #printedBytes = 0;

  /**
   * @param {import('./wall.js').Wall} wall
   * @param {{ program: string, calls: readonly string[] }} job
   * @param {Limits} limits
   * @param {number} end
   * @param {string | undefined} folder
   */
  constructor(wall, job, limits, end, folder) {
    this.#isolated = wall.isolated;
    this.#limits = limits;
    this.#end = end;
    this.#calls = job.calls.length;
    this.#child = spawn(wall.command, wall.args, {
      stdio: ['pipe', 'pipe', 'pipe', 'pipe', wall.filter === undefined ? 'ignore' : 'pipe'],
      env: folder === undefined ? { PATH: process.env.PATH } : { ...environment, HOME: folder, TMPDIR: folder },
      cwd: folder ?? '/',
      // A session of its own, so that all of it can be killed at once.
      detached: true,
    });
    const [stdin, stdout, stderr, results, filter] = this.#child.stdio;
    // A process that ends before it has read its job closes the other end.
    for (const stream of this.#child.stdio) stream?.on('error', () => {});
    const { memoryBytes, fileBytes, files } = limits;
    const cpuSeconds = Math.ceil(limits.totalSeconds) + 1;
    const forHarness = { memoryBytes, fileBytes, files, cpuSeconds };
    /** @type {import('node:stream').Writable} */ (stdin).end(JSON.stringify({ ...job, limits: forHarness }));
    if (wall.filter !== undefined) /** @type {import('node:stream').Writable} */ (filter).end(wall.filter);
    for (const stream of [stdout, stderr]) stream?.on('data', (chunk) => this.#onPrinted(chunk));
    results?.on('data', (chunk) => this.#onTold(chunk));
  }

  /** @param {AbortSignal} [signal] @returns {Promise<Outcome[]>} */
  run(signal) {
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
        // Without a wall, processes may be left, and one that left the session may still hold the pipes.
        if (!this.#isolated) this.#killSession();
        const late = setTimeout(() => {
          for (const stream of this.#child.stdio) stream?.destroy();
        }, 1000);
        this.#child.once('close', () => clearTimeout(late));
      });
      this.#child.on('close', (code, name) => {
        clearTimeout(this.#timer);
        signal?.removeEventListener('abort', abort);
        if (signal?.aborted) reject(signal.reason);
        else if (this.#state === 'starting') reject(this.#didNotStart());
        else resolve(this.#ended(code, name));
      });
    });
  }

  #didNotStart() {
    const why = this.#killed?.error ?? this.printed.trim();
    return new SandboxError(`The sandbox did not start: ${why}`);
  }

  /** @param {number | null} code @param {NodeJS.Signals | null} name @returns {Outcome[]} */
  #ended(code, name) {
    if (this.#outcomes.length === this.#calls) return this.#outcomes;
    if (failedToLoad(this.#outcomes) !== undefined) return this.#outcomes;
    return [...this.#outcomes, { ...this.#cause(code, name), loading: this.#state === 'loading' }];
  }

  /** @param {number | null} code @param {NodeJS.Signals | null} name @returns {Omit<Failure, 'loading'>} */
  #cause(code, name) {
    if (this.#killed !== undefined) return this.#killed;
    const signal = name ?? signalOf(code);
    if (signal === 'SIGXCPU') return { kind: 'timeout', error: 'the processor time was used up' };
    const error = signal === undefined ? `the process ended with code ${code}` : `the process died of ${signal}`;
    return { kind: 'crash', error };
  }

  /** @param {number} seconds */
  #arm(seconds) {
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

  /** Behind a wall, all processes go with the first. */
  #killSession() {
    const { pid } = this.#child;
    if (pid === undefined) return;
    try {
      process.kill(-pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }

  /** @param {string} error */
  #flood(error) {
    this.#killed ??= { kind: 'flood', error };
    this.#kill();
  }

  /** @param {Buffer} chunk */
  #onPrinted(chunk) {
    this.#printedBytes += chunk.length;
    if (this.printed.length < keptOfPrinted) {
      this.printed = (this.printed + chunk.toString('utf8')).slice(0, keptOfPrinted);
    }
    const { printedBytes } = this.#limits;
    if (this.#printedBytes > printedBytes) this.#flood(`more than ${printedBytes} bytes were printed`);
  }

  /** @param {Buffer} chunk */
  #onTold(chunk) {
    if (this.#killed !== undefined || this.#outcomes.length === this.#calls) return;
    this.#told += chunk.length;
    const lines = (this.#line + chunk.toString('latin1')).split('\n');
    this.#line = /** @type {string} */ (lines.pop());
    for (const line of lines) this.#onLine(line);
    if (this.#told > mostTold * (this.#calls + 2)) this.#flood('the channel of the results was flooded');
  }

  /** What the program may have written itself: anything. @param {string} text */
  #onLine(text) {
    if (this.#outcomes.length === this.#calls) return;
    const { kind, ...told } = parsed(text);
    const { callSeconds } = this.#limits;
    if (this.#state === 'starting') {
      this.#state = 'loading';
      this.#arm(callSeconds);
    } else if (this.#state === 'loading') {
      this.#state = 'calling';
      if (kind !== 'loaded') this.#outcomes.push({ kind: 'error', error: textOf(told.error), loading: true });
      this.#arm(callSeconds);
    } else {
      this.#outcomes.push(
        kind === 'value'
          ? { kind, digest: textOf(told.digest), shown: textOf(told.shown) }
          : { kind: 'error', error: textOf(told.error), loading: false },
      );
      this.#arm(callSeconds);
    }
    // Nothing that runs on is waited for.
    if (this.#outcomes.length === this.#calls || kind === 'failed') this.#kill();
  }
}

/** @param {string} text @returns {Record<string, unknown>} */
function parsed(text) {
  try {
    const value = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** @param {unknown} value */
const textOf = (value) => (typeof value === 'string' ? value.slice(0, 300) : 'no result was told');

/** Bubblewrap ends with 128 + the signal that its child died of. @param {number | null} code */
function signalOf(code) {
  if (code === null || code <= 128) return undefined;
  return Object.entries(constants.signals).find(([, number]) => number === code - 128)?.[0];
}
