/** A trainer with a loaded model and its buffers. */
import { availableParallelism } from 'node:os';
import { linearLogpsAsync, setThreads } from 'sweet-rl';
import { CommandError } from '../errors.js';
import type { Sequence } from '../model.js';
import { packSequences, tokenBatches } from './batches.js';
import { type Buffers, createBuffers } from './buffers.js';
import { type StartOptions, Trainer } from './process.js';
import { type Hello, type ModelDescription, PROTOCOL } from './protocol.js';

export interface SessionOptions extends Omit<Hello, 'threads'>, StartOptions {
  /** Of the trainer and of sweet-rl, which work in turns; all cores if absent. */
  threads?: number | undefined;
}

/** What a head of sweet-rl takes of a session, for the first `rows` rows. */
export interface HeadInputs {
  hidden: Buffers['hidden'];
  weight: Buffers['weight'];
  dtype: Hello['dtype'];
  hiddenSize: number;
  vocabSize: number;
}

export class Session {
  #buffers: Buffers | undefined;

  private constructor(
    readonly trainer: Trainer,
    readonly model: ModelDescription,
    readonly dtype: Hello['dtype'],
    readonly device: string,
  ) {}

  /** Starts a trainer and loads the model. @throws CommandError ERR_TRAINER, ERR_MODEL, ERR_OOM */
  static async open({ python, env, abort, progress, ...hello }: SessionOptions): Promise<Session> {
    const trainer = await Trainer.start({ python, env, abort, progress });
    try {
      return await Session.on(trainer, hello);
    } catch (error) {
      await trainer.end();
      throw error;
    }
  }

  /** Loads a model in a trainer that runs, in place of the one that it has. */
  static async on(trainer: Trainer, { threads, ...hello }: Omit<SessionOptions, keyof StartOptions>): Promise<Session> {
    const count = threads ?? availableParallelism();
    setThreads(count);
    const model = await trainer.request('hello', { ...hello, threads: count, protocol: PROTOCOL });
    return new Session(trainer, model, hello.dtype, hello.device);
  }

  /** Buffers of at least `rows` rows. @throws CommandError ERR_SHM, ERR_DEVICE */
  async reserve(rows: number): Promise<Buffers> {
    if (this.device !== 'cpu') {
      const message = `Training and log-probs run on the CPU alone: on ${this.device} only sampling is implemented, and not tested`;
      throw new CommandError('ERR_DEVICE', message);
    }
    if (this.#buffers === undefined || this.#buffers.maxRows < rows) {
      this.#buffers?.close();
      this.#buffers = undefined;
      this.#buffers = await createBuffers(this.trainer, this.model, this.dtype, rows);
    }
    return this.#buffers;
  }

  get buffers(): Buffers {
    if (this.#buffers === undefined) throw new Error('reserve() comes before');
    return this.#buffers;
  }

  head(rows: number): HeadInputs {
    const { H, V } = this.model;
    const { hidden, weight } = this.buffers;
    return {
      hidden: hidden.subarray(0, rows * H) as Buffers['hidden'],
      weight,
      dtype: this.dtype,
      hiddenSize: H,
      vocabSize: V,
    };
  }

  /** @throws CommandError ERR_MODEL naming a token that the model does not have: its tokenizer is larger */
  checkVocabulary(id: string, ids: ArrayLike<number>): void {
    const { V } = this.model;
    const at = Array.prototype.findIndex.call(ids, (token: number) => token >= V);
    if (at < 0) return;
    const entries = `the model has ${V} entries (vocab_size of config.json)`;
    throw new CommandError(
      'ERR_MODEL',
      `${id}: token ${at} is ${ids[at]}, but ${entries}: the tokenizer is that of another model`,
    );
  }

  /**
   * The log-probs of the scored tokens of each sequence, in the order given.
   *
   * @param adapter false: without the LoRA adapter, the reference of a LoRA run
   */
  async *logps(
    sequences: readonly Sequence[],
    { microTokens, adapter, signal }: { microTokens: number; adapter?: boolean; signal?: AbortSignal },
  ): AsyncGenerator<Float32Array<ArrayBuffer>> {
    const batches = tokenBatches(sequences, microTokens);
    if (batches.length === 0) return;
    const counts = batches.map((batch) => batch.reduce((rows, sequence) => rows + scoredTokens(sequence), 0));
    await this.reserve(Math.max(...counts));
    for (const batch of batches) {
      signal?.throwIfAborted();
      for (const { id, ids } of batch) this.checkVocabulary(id, ids);
      const { labels, trajectoryOffsets, turnOffsets, ...packed } = packSequences(batch);
      const { rows } = packed;
      await this.trainer.request('forward', { ...packed, train: false, adapter });
      const { logps } = await linearLogpsAsync({ ...this.head(rows.length), labels });
      for (const k of batch.keys()) {
        const [first, last] = [trajectoryOffsets[k], trajectoryOffsets[k + 1]] as [number, number];
        yield logps.slice(turnOffsets[first], turnOffsets[last]);
      }
    }
  }

  async close(): Promise<void> {
    await this.trainer.end();
    this.#buffers?.close();
    this.#buffers = undefined;
  }
}

/** The number of scored tokens of a sequence. */
export function scoredTokens({ turns }: Sequence): number {
  return turns.reduce((sum, { start, end }) => sum + end - start, 0);
}
