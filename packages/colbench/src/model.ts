/** A model folder in use: what the data commands need of the trainer. */
import { UsageError } from './errors.js';
import type { Hello } from './trainer/protocol.js';
import type { Values } from './values.js';

/** A token sequence with the spans of the agent's turns that are scored. */
export interface Sequence {
  id: string;
  ids: Int32Array;
  /** [start, end) into `ids`, in order, start >= 1: the token at `start` is predicted by the one before it. */
  turns: { start: number; end: number }[];
  /**
   * The first tokens of `ids`, where consecutive sequences share them: the same array for each. Log-probs are then computed with one
   * pass over them.
   */
  prompt?: Int32Array;
}

export interface SampleOptions {
  /** Candidates of each prompt, which share one prefill. */
  n: number;
  temperature: number;
  topP: number;
  /** New tokens at most. */
  maxTokens: number;
  /** Token ids that end a candidate; the id is part of it. */
  stop: readonly number[];
  /** A random number depends on the seed, the key of the prompt, the candidate and the position alone. */
  seed: number;
  /** A key of each prompt, an integer from 0 on; the index of the prompt by default. */
  keys?: readonly number[];
  signal?: AbortSignal;
}

/** One candidate after a prompt. */
export interface Sampled {
  /** Index of the prompt. */
  prompt: number;
  /** From 0 to n - 1. */
  candidate: number;
  ids: Int32Array;
  /** Log-probs of `ids` at temperature 1. */
  logps: Float32Array;
  stop: 'stop' | 'length';
}

/** Samples from a model. */
export interface Sampler {
  /** Yields all candidates of a prompt before those of the next. */
  sample(prompts: Int32Array[], options: SampleOptions): AsyncIterable<Sampled>;
}

/** A loaded model: samples, and computes log-probs. */
export interface Model extends Sampler {
  /** The log-probs of the scored tokens of each sequence, its turns one after the other; in the order given. */
  logps(sequences: readonly Sequence[], options?: { signal?: AbortSignal }): AsyncIterable<Float32Array>;
  close(): Promise<void>;
}

export interface ModelOptions {
  device?: string | undefined;
  dtype?: Hello['dtype'] | undefined;
  threads?: number | undefined;
  microTokens?: number | undefined;
  seed?: number | undefined;
  python?: string | undefined;
  progress: NodeJS.WriteStream;
  signal: AbortSignal;
}

/** Loads a model folder and starts what runs it. */
export type OpenModel = (folder: string, options: ModelOptions) => Promise<Model>;

/** Starts the trainer on a model folder. */
export const openModel: OpenModel = async (folder, options) => {
  const { openModel: open } = await import('./trainer/model.js');
  return open(folder, options);
};

/** The options of the command line that `modelOptions` reads. */
export const modelOptionTypes = {
  device: { type: 'string' },
  dtype: { type: 'string' },
  threads: { type: 'string' },
  'micro-tokens': { type: 'string' },
  'trainer-python': { type: 'string' },
} as const;

export const modelUsage = `  --device NAME              cpu, cuda or cuda:N (cpu)
  --dtype NAME               float32 or bfloat16 (float32 on a CPU, else as the folder)
  --threads N                of the trainer (number of CPUs)
  --micro-tokens N           tokens at once (8192)
  --trainer-python FILE      the interpreter that has torch (python3)`;

function deviceOf(values: Values): string | undefined {
  const device = values.text('device');
  if (device === undefined || /^(cpu|cuda(:\d+)?)$/.test(device)) return device;
  throw new UsageError(`Expected cpu, cuda or cuda:N for --device but received ${device}`);
}

/** The options of `modelOptionTypes`, checked. */
export const modelOptionsOf = (values: Values): Omit<ModelOptions, 'progress' | 'signal'> => ({
  device: deviceOf(values),
  dtype:
    values.text('dtype') === undefined ? undefined : values.choice<Hello['dtype']>('dtype', ['float32', 'bfloat16']),
  threads: values.number('threads', undefined, 1, 1024),
  microTokens: values.number('micro-tokens', undefined, 1, 2 ** 24),
  python: values.text('trainer-python'),
});
