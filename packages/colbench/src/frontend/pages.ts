/** Pages as pictures, and their rewards. */
import type { FrontendAnswer } from '../benchmark/records.js';
import { answerPage } from './conversation.js';
import { similarity } from './similarity/index.js';
import type { Embedding, Renderer, RenderFailure, Rendering } from './types.js';

/** A task whose own page has no picture: no answer can be compared with it. */
export class TruthError extends Error {
  readonly code = 'ERR_TRUTH';
}

export interface PageEvaluation {
  /** The cosine of the embeddings of the two pictures. */
  reward: number;
  /** Whether the answer has a page. */
  page: boolean;
  /** Why its page has no picture. */
  failure?: string;
  /** What its page tried and was refused. */
  problems?: string[];
}

/** Pictures kept, each some 100 KB: a conversation looks at its truth and at its last page again and again. */
const cached = 64;

export class Pages {
  readonly #renderer: Renderer;
  readonly #embedding: Embedding;
  readonly #signal: AbortSignal;
  readonly #known = new Map<string, Promise<Rendering | RenderFailure>>();

  constructor(renderer: Renderer, embedding: Embedding, signal: AbortSignal) {
    this.#renderer = renderer;
    this.#embedding = embedding;
    this.#signal = signal;
  }

  render(html: string): Promise<Rendering | RenderFailure> {
    const picture = this.#known.get(html) ?? this.#renderer.render(html, this.#signal);
    // The one used last comes last.
    this.#known.delete(html);
    this.#known.set(html, picture);
    picture.catch(() => this.#known.delete(html));
    const [oldest] = this.#known.keys();
    if (this.#known.size > cached && oldest !== undefined) this.#known.delete(oldest);
    return picture;
  }

  /** @throws TruthError */
  async truth(html: string): Promise<Rendering> {
    const picture = await this.render(html);
    if ('png' in picture) return picture;
    throw new TruthError(`The page of the task has no picture: ${picture.failure}`);
  }

  /** The reward of an answer; one without a page or a picture counts as black. @throws TruthError */
  async evaluate(record: FrontendAnswer): Promise<PageEvaluation> {
    const truth = await this.truth(record.task.ground_truth);
    const html = answerPage(record);
    const picture = html === undefined ? undefined : await this.render(html);
    const png = picture !== undefined && 'png' in picture ? picture.png : undefined;
    const cosine = await similarity(this.#embedding, png, truth.png);
    return {
      reward: Math.min(1, Math.max(-1, cosine)),
      page: html !== undefined,
      ...(picture !== undefined && 'failure' in picture && { failure: picture.failure }),
      ...(picture !== undefined && picture.problems.length > 0 && { problems: picture.problems }),
    };
  }

  async close(): Promise<void> {
    try {
      await this.#renderer.close();
    } finally {
      await this.#embedding.close?.();
    }
  }
}
