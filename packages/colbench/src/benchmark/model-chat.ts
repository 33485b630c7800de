/** A model folder as the agent of many conversations at once: their turns are sampled together. */
import { createHash } from 'node:crypto';
import type { Model } from '../model.js';
import type { ChatTokenizer } from '../tokens/chat.js';
import type { ChatMessage } from '../tokens/template.js';

interface Waiting {
  prompt: Int32Array;
  /** Of the conversation and its turn. */
  key: number;
  resolve: (text: string) => void;
  reject: (error: unknown) => void;
}

export interface ModelChatOptions {
  temperature: number;
  maxTokens: number;
  stop: readonly number[];
  seed: number;
  signal?: AbortSignal;
}

/** 31 bits of a hash: the key of a random stream. */
export const streamKey = (name: string): number => createHash('sha256').update(name).digest().readUInt32LE(0) >>> 1;

/**
 * Conversations in lock step. The next turns are sampled once every conversation that has not ended waits for one, in the
 * order of their keys: the batches, and so the bits of the logits, depend on the conversations alone.
 */
export class LockStep {
  readonly #model: Model;
  readonly #tokenizer: ChatTokenizer;
  readonly #options: ModelChatOptions;
  #active: number;
  #waiting: Waiting[] = [];

  /** @param conversations how many take part; each calls `end` once */
  constructor(model: Model, tokenizer: ChatTokenizer, conversations: number, options: ModelChatOptions) {
    this.#model = model;
    this.#tokenizer = tokenizer;
    this.#active = conversations;
    this.#options = options;
  }

  /** The agent's next message in the conversation `id`. */
  reply(id: string, messages: readonly ChatMessage[]): Promise<string> {
    return new Promise((resolve, reject) => {
      const prompt = this.#tokenizer.encodePrompt(id, messages);
      this.#waiting.push({ prompt, key: streamKey(`${id} ${messages.length}`), resolve, reject });
      this.#sampleIfAllWait();
    });
  }

  /** A conversation is over. */
  end(): void {
    this.#active -= 1;
    this.#sampleIfAllWait();
  }

  #sampleIfAllWait() {
    if (this.#waiting.length === 0 || this.#waiting.length < this.#active) return;
    const batch = this.#waiting.sort((a, b) => a.key - b.key);
    this.#waiting = [];
    this.#sample(batch).catch((error) => {
      for (const { reject } of batch) reject(error);
    });
  }

  async #sample(batch: readonly Waiting[]) {
    const { signal, ...options } = this.#options;
    const sampled = this.#model.sample(
      batch.map(({ prompt }) => prompt),
      { ...options, n: 1, topP: 1, keys: batch.map(({ key }) => key), ...(signal && { signal }) },
    );
    for await (const { prompt, ids, stop } of sampled) {
      const text = stop === 'stop' ? ids.subarray(0, -1) : ids;
      batch[prompt]?.resolve(this.#tokenizer.text.decode(text));
    }
    // A sampler that leaves out a prompt must not leave its conversation waiting.
    for (const { reject } of batch) reject(new Error('The sampler returned no reply'));
  }
}
