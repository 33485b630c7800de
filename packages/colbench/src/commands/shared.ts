/** What several commands share: invalid lines, the sandbox, order and concurrency. */
import { availableParallelism } from 'node:os';
import { Evaluator } from '../benchmark/evaluate.js';
import { createLimiter, mapInOrder } from '../benchmark/limiter.js';
import type { Fault } from '../benchmark/records.js';
import { defaultLimits, type Limits } from '../benchmark/sandbox/run.js';
import { buildWall } from '../benchmark/sandbox/wall.js';
import { CommandError } from '../errors.js';
import type { Values } from '../values.js';

const MiB = 2 ** 20;

/** Reports and counts invalid lines, which are skipped. */
export class Faults {
  count = 0;
  readonly #progress: NodeJS.WriteStream;

  constructor(progress: NodeJS.WriteStream) {
    this.#progress = progress;
  }

  report = ({ file, line, fault }: Fault): void => {
    this.count += 1;
    this.#progress.write(`${file}${line > 0 ? `, line ${line}` : ''}: ${fault}\n`);
  };

  /** The summary, or an error with it where lines were invalid. */
  checked(summary: Record<string, unknown>): Record<string, unknown> {
    if (this.count === 0) return summary;
    throw new CommandError('ERR_RECORD', `${this.count} invalid lines were skipped`, { summary });
  }
}

export const quiet = { onFault: () => {} };

/** Results that may wait for a slow one before them, per running action. */
const bufferFactor = 8;

/** The results in the order of the items, from at most `concurrency` actions at once. */
export function mapConcurrently<T, R>(
  items: AsyncIterable<T> | Iterable<T>,
  concurrency: number,
  action: (item: T) => Promise<R>,
): AsyncGenerator<R> {
  const limit = createLimiter(concurrency);
  return mapInOrder(items, bufferFactor * concurrency, (item) => limit(() => action(item)));
}

export async function countOf(items: AsyncIterable<unknown>): Promise<number> {
  let count = 0;
  for await (const _ of items) count += 1;
  return count;
}

/** The records of a file in memory. */
export async function all<T>(items: AsyncIterable<{ record: T }>): Promise<T[]> {
  const records: T[] = [];
  for await (const { record } of items) records.push(record);
  return records;
}

/** Groups of `size` items in order; the last one may be smaller. */
export async function* groupsOf<T>(items: AsyncIterable<T> | Iterable<T>, size: number): AsyncGenerator<T[]> {
  let group: T[] = [];
  for await (const item of items) {
    group.push(item);
    if (group.length < size) continue;
    yield group;
    group = [];
  }
  if (group.length > 0) yield group;
}

export const mean = (values: readonly number[]) =>
  values.length === 0 ? 0 : values.reduce((sum, value) => sum + value, 0) / values.length;

export const limitOptions = {
  concurrency: { type: 'string' },
  'call-seconds': { type: 'string' },
  'total-seconds': { type: 'string' },
  'memory-mib': { type: 'string' },
  python: { type: 'string' },
  unsafe: { type: 'boolean' },
} as const;

/** The options of the sandbox alone. */
export const sandboxNames = ['call-seconds', 'total-seconds', 'memory-mib', 'python', 'unsafe'];

export const limitUsage = `  --concurrency N            answers or conversations at once (number of CPUs)
  --call-seconds N           wall-clock time of a call (${defaultLimits.callSeconds})
  --total-seconds N          wall-clock time of all calls of an answer (${defaultLimits.totalSeconds})
  --memory-mib N             address space of an answer (${defaultLimits.memoryBytes / MiB})
  --python FILE              the interpreter of the answers (python3)
  --unsafe                   run answers without a sandbox if none is available: only for trusted answers`;

export const concurrencyOf = (values: Values) => values.number('concurrency', availableParallelism(), 1, 1024);

function limitsOf(values: Values): Partial<Limits> {
  return {
    callSeconds: values.number('call-seconds', defaultLimits.callSeconds, 0.1, 3600, false),
    totalSeconds: values.number('total-seconds', defaultLimits.totalSeconds, 0.1, 86400, false),
    memoryBytes: MiB * values.number('memory-mib', defaultLimits.memoryBytes / MiB, 64, 2 ** 20),
  };
}

/** The sandbox and the limits by the options of `limitOptions`. */
export async function sandboxOf(values: Values, progress: NodeJS.WriteStream, signal: AbortSignal) {
  const python = values.text('python');
  const limits = limitsOf(values);
  const wall = await buildWall({ ...(python && { python }), unsafe: values.flag('unsafe') });
  if (!wall.isolated) progress.write('No sandbox: the answers run with your permissions on this machine.\n');
  return {
    wall,
    limits,
    evaluator: (rules: 'own' | 'released' = 'own') => new Evaluator({ wall, limits, signal, rules }),
  };
}
