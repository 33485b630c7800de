/** Starts trainer.py and exchanges requests and answers with it. */
import { type ChildProcess, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { CommandError } from '../errors.js';
import type { CandidateAnswer, Requests } from './protocol.js';

const SCRIPT = fileURLToPath(new URL('../../trainer.py', import.meta.url));
/**
 * glibc gives large blocks back at once and every new one is mapped page by page: a step of 4 x 128, 3039 tokens, one thread, took
 * 309 ms in bf16 and 423 ms in float32; with these settings 203 and 351 ms (CPU time, minima of 5).
 */
const MALLOC = { MALLOC_MMAP_THRESHOLD_: String(32 * 2 ** 20), MALLOC_TRIM_THRESHOLD_: String(2 ** 40) };
/** Lines of the trainer's stderr that an error shows. */
const TAIL_LINES = 20;
/** The trainer's own notes begin so; they are passed on. */
const NOTE = 'trainer: ';

export interface StartOptions {
  /** The interpreter; the first of python3 and /usr/bin/python3 that has torch if absent. */
  python?: string | undefined;
  /** Added to the environment: the variables of a rank. */
  env?: Record<string, string> | undefined;
  /** Ends the trainer at once when it is aborted: another rank has failed. */
  abort?: AbortSignal | undefined;
  /** Receives the trainer's notes. */
  progress?: { write(text: string): unknown } | undefined;
}

/** Exit status of `python -c code`, with what it printed; undefined where the program does not exist. */
function tryPython(python: string, code: string): Promise<{ status: number | null; stderr: string } | undefined> {
  return new Promise((resolve) => {
    const child = spawn(python, ['-c', code], { stdio: ['ignore', 'ignore', 'pipe'] });
    let stderr = '';
    child.stderr.on('data', (data) => {
      stderr += data;
    });
    child.on('error', () => resolve(undefined));
    child.on('close', (status) => resolve({ status, stderr }));
  });
}

/**
 * The interpreter that runs the trainer.
 *
 * @param given the one to use; the first of python3 and /usr/bin/python3 that has torch and numpy if absent
 * @throws CommandError ERR_TRAINER saying what each one lacks
 */
export async function findPython(given?: string): Promise<string> {
  const found: string[] = [];
  for (const python of given === undefined ? ['python3', '/usr/bin/python3'] : [given]) {
    // find_spec does not import: torch takes seconds.
    const code =
      'import importlib.util as u, sys; sys.exit(4 * (not u.find_spec("torch")) or 5 * (not u.find_spec("numpy")))';
    const result = await tryPython(python, code);
    if (result?.status === 0) return python;
    const reasons: Record<number, string> = { 4: 'has no torch', 5: 'has no numpy' };
    const reason = result && (reasons[result.status ?? -1] ?? `fails: ${result.stderr.trim().split('\n').at(-1)}`);
    found.push(`${python} ${reason ?? 'does not exist'}`);
  }
  const help = 'The trainer needs python3-torch (Debian, Ubuntu) or pip install torch numpy; --trainer-python names it';
  throw new CommandError('ERR_TRAINER', `No Python with torch: ${found.join(', ')}. ${help}`);
}

interface Waiting {
  kind: string;
  resolve(answer: Record<string, unknown>): void;
  reject(error: Error): void;
}

/** A running trainer.py. One request at a time. */
export class Trainer {
  readonly #child: ChildProcess;
  readonly #requests: Writable;
  readonly #answers: Record<string, unknown>[] = [];
  readonly #stderr: string[] = [];
  readonly #closed: Promise<void>;
  #waiting: Waiting | undefined;
  #gone: string | undefined;

  private constructor(child: ChildProcess, progress: StartOptions['progress']) {
    this.#child = child;
    this.#requests = child.stdio[3] as Writable;
    // A write after the trainer has ended: `exit` tells more.
    this.#requests.on('error', () => {});
    onLines(child.stdio[4] as Readable, (line) => this.#answer(line));
    for (const stream of [child.stdout, child.stderr]) {
      onLines(stream as Readable, (line) => {
        if (line.startsWith(NOTE)) progress?.write(`${line}\n`);
        this.#stderr.push(line);
        if (this.#stderr.length > TAIL_LINES) this.#stderr.shift();
      });
    }
    this.#closed = new Promise((resolve) => {
      // close, not exit: all that was written has been read then.
      child.on('close', (code, signal) => {
        this.#gone = signal ? `signal ${signal}` : `exit code ${code}`;
        this.#waiting?.reject(this.#error(this.#waiting.kind));
        this.#waiting = undefined;
        resolve();
      });
    });
  }

  /** Starts one trainer. @throws CommandError ERR_TRAINER where there is no Python with torch */
  static async start({ python, env, abort, progress }: StartOptions = {}): Promise<Trainer> {
    const interpreter = await findPython(python);
    abort?.throwIfAborted();
    const child = spawn(interpreter, [SCRIPT], {
      stdio: ['ignore', 'pipe', 'pipe', 'pipe', 'pipe'],
      env: { ...MALLOC, ...process.env, PYTHONUNBUFFERED: '1', ...env },
    });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', (error) => reject(new CommandError('ERR_TRAINER', error.message)));
    });
    const kill = () => child.kill('SIGKILL');
    abort?.addEventListener('abort', kill, { once: true });
    child.once('close', () => abort?.removeEventListener('abort', kill));
    return new Trainer(child, progress);
  }

  get isRunning(): boolean {
    return this.#gone === undefined;
  }

  get pid(): number {
    return this.#child.pid as number;
  }

  /**
   * Sends a request and waits for its answer.
   *
   * @throws CommandError with the trainer's code, or ERR_TRAINER where it has ended: exit code or signal and the last lines of stderr
   */
  async request<K extends Exclude<keyof Requests, 'sample'>>(kind: K, fields: Requests[K][0]): Promise<Requests[K][1]> {
    this.#send(kind, fields);
    return (await this.#next(kind)) as Requests[K][1];
  }

  /** Samples: yields each candidate when it ends, in no fixed order. All must be consumed before the next request. */
  async *sample(fields: Requests['sample'][0]): AsyncGenerator<CandidateAnswer> {
    this.#send('sample', fields);
    for (;;) {
      const answer = (await this.#next('sample')) as unknown as Requests['sample'][1];
      if ('done' in answer) return;
      yield answer;
    }
  }

  /** Ends the trainer and waits until it is gone. */
  async end(): Promise<void> {
    if (this.#gone === undefined && this.#waiting === undefined) await this.request('end', {}).catch(() => {});
    else this.#child.kill('SIGKILL');
    await this.#closed;
  }

  /** Ends the trainer at once. */
  async kill(): Promise<void> {
    this.#child.kill('SIGKILL');
    await this.#closed;
  }

  #send(kind: string, fields: object): void {
    if (this.#gone !== undefined) throw this.#error(kind);
    this.#requests.write(`${JSON.stringify({ request: kind, ...fields })}\n`);
  }

  #next(kind: string): Promise<Record<string, unknown>> {
    if (this.#waiting)
      throw new CommandError('ERR_PROTOCOL', `${kind} was sent while ${this.#waiting.kind} was running`);
    return new Promise((resolve, reject) => {
      const waiting = { kind, resolve, reject };
      const answer = this.#answers.shift();
      if (answer !== undefined) settle(waiting, answer);
      else if (this.#gone !== undefined) reject(this.#error(kind));
      else this.#waiting = waiting;
    });
  }

  #answer(line: string): void {
    const answer = JSON.parse(line) as Record<string, unknown>;
    const waiting = this.#waiting;
    if (waiting === undefined) {
      this.#answers.push(answer);
      return;
    }
    this.#waiting = undefined;
    settle(waiting, answer);
  }

  #error(kind: string): CommandError {
    const tail = this.#stderr.map((line) => `\n  ${line}`).join('');
    return new CommandError('ERR_TRAINER', `The trainer ended with ${this.#gone} during ${kind}${tail && `:${tail}`}`);
  }
}

function settle({ resolve, reject }: Waiting, answer: Record<string, unknown>): void {
  const error = answer.error as { code: string; message: string; where: string | null } | undefined;
  if (error === undefined) resolve(answer);
  else reject(Object.assign(new CommandError(error.code, error.message), { where: error.where ?? undefined }));
}

function onLines(stream: Readable, line: (text: string) => void): void {
  let rest = '';
  stream.setEncoding('utf8');
  stream.on('data', (data: string) => {
    const lines = (rest + data).split('\n');
    rest = lines.pop() as string;
    for (const each of lines) line(each);
  });
  stream.on('end', () => rest && line(rest));
}
