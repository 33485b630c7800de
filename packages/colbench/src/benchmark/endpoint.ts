/** A chat with any endpoint of OpenAI's chat completions API; transient failures are retried. */

import { setTimeout as sleep } from 'node:timers/promises';
import type { Chat } from './converse.js';
import { createLimiter } from './limiter.js';

export interface EndpointOptions {
  /** The address without /chat/completions, such as http://127.0.0.1:8000/v1. */
  baseUrl: string;
  model: string;
  /** Sent as a bearer token; no message contains it. */
  apiKey?: string;
  /** Default: the endpoint's own. */
  temperature?: number;
  /** Of a reply. */
  maxTokens?: number;
  /** Further fields of the request, such as seed or top_p. */
  extra?: Record<string, unknown>;
  /** Of one attempt, including its whole reply; default 120. */
  timeoutSeconds?: number;
  /** Including the first; default 6. */
  attempts?: number;
  /** Before the second attempt, doubled before each further one; default 1. */
  firstDelaySeconds?: number;
  /** The longest wait, even if the endpoint requests a longer one; default 60. */
  mostDelaySeconds?: number;
  /** Requests at once; default 8. */
  concurrency?: number;
  /** In [0, 1), for the jitter of the delays. */
  random?: () => number;
  wait?: (milliseconds: number, signal?: AbortSignal) => Promise<unknown>;
}

export class EndpointError extends Error {
  readonly code = 'ERR_ENDPOINT';
  /** The HTTP status; undefined if there was no reply. */
  readonly status: number | undefined;

  constructor(message: string, { status, cause }: { status?: number; cause?: unknown } = {}) {
    super(message, { cause });
    this.name = 'EndpointError';
    this.status = status;
  }
}

/** A failure that is retried, after the delay that the endpoint requests. */
class TransientFailure extends Error {
  constructor(
    readonly error: EndpointError,
    readonly seconds?: number,
  ) {
    super(error.message);
  }
}

const mostBytes = 2 ** 24;

/** One message of a completion. */
export interface Choice {
  content: string;
  stop: 'stop' | 'length';
  /** The log-prob of each token, where the endpoint returned them. */
  logps?: number[];
}

/** A message whose content may have pictures, as data: URLs. */
export interface EndpointMessage {
  role: string;
  content: string | ({ type: 'text'; text: string } | { type: 'image_url'; image_url: { url: string } })[];
}

/** Requests completions; `n` and `logprobs` are fields of the request. */
export type Complete = (
  messages: EndpointMessage[],
  options?: { signal?: AbortSignal; n?: number; logprobs?: boolean },
) => Promise<Choice[]>;

/** The chat of a model behind an endpoint: the first message of `endpointCompletions`. */
export function endpointChat(options: EndpointOptions): Chat {
  const complete = endpointCompletions(options);
  return async (messages, { signal } = {}) => {
    const [first] = await complete(messages, signal === undefined ? {} : { signal });
    return (first as Choice).content;
  };
}

/**
 * The completions of a model behind an endpoint. Network errors, time-outs, replies that are not a completion and the
 * statuses 408, 409, 425, 429 and 5xx are retried with exponential backoff and jitter; Retry-After is respected. Any
 * other failure is an error at once, and so is an abort.
 */
export function endpointCompletions(options: EndpointOptions): Complete {
  const {
    baseUrl,
    model,
    apiKey,
    temperature,
    maxTokens,
    extra = {},
    timeoutSeconds = 120,
    attempts = 6,
    firstDelaySeconds = 1,
    mostDelaySeconds = 60,
    concurrency = 8,
    random = Math.random,
    wait = (milliseconds, signal) => sleep(milliseconds, undefined, signal && { signal }),
  } = options;
  const url = new URL(`${baseUrl.replace(/\/+$/, '')}/chat/completions`);
  if (url.protocol !== 'http:' && url.protocol !== 'https:') {
    throw new RangeError(`Expected an http or https address for baseUrl but received ${JSON.stringify(baseUrl)}`);
  }
  const limit = createLimiter(concurrency);
  const headers = { 'content-type': 'application/json', ...(apiKey && { authorization: `Bearer ${apiKey}` }) };
  const settings = {
    model,
    ...(temperature !== undefined && { temperature }),
    ...(maxTokens !== undefined && { max_tokens: maxTokens }),
    ...extra,
  };

  async function attempt(body: string, signal: AbortSignal | undefined) {
    const timeout = AbortSignal.timeout(1000 * timeoutSeconds);
    const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    let response: Response;
    let text: string;
    try {
      response = await fetch(url, { method: 'POST', headers, body, signal: either, redirect: 'error' });
      text = await textOf(response);
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof EndpointError) throw cause;
      const why = timeout.aborted ? `no reply within ${timeoutSeconds} s` : reasonOf(cause);
      throw new TransientFailure(new EndpointError(`${url.href}: ${why}`, { cause }));
    }
    const { status } = response;
    if (!response.ok) {
      const error = new EndpointError(`${url.href} answered ${status}: ${excerpt(text)}`, { status });
      const transient = [408, 409, 425, 429].includes(status) || status >= 500;
      throw transient ? new TransientFailure(error, retryAfter(response.headers)) : error;
    }
    const choices = choicesOf(text);
    if (choices !== undefined) return choices;
    throw new TransientFailure(
      new EndpointError(`${url.href} answered something other than a completion: ${excerpt(text)}`, { status }),
    );
  }

  async function withRetries(body: string, signal: AbortSignal | undefined) {
    for (let attempted = 1; ; attempted++) {
      try {
        return await attempt(body, signal);
      } catch (failure) {
        if (!(failure instanceof TransientFailure)) throw failure;
        if (attempted >= attempts) {
          failure.error.message += ` (the last of ${attempts} attempts)`;
          throw failure.error;
        }
        const backoff = firstDelaySeconds * 2 ** (attempted - 1) * (0.5 + random() / 2);
        const seconds = Math.min(mostDelaySeconds, Math.max(backoff, failure.seconds ?? 0));
        await wait(1000 * seconds, signal).catch((error) => {
          signal?.throwIfAborted();
          throw error;
        });
      }
    }
  }

  return async (messages, { signal, ...more } = {}) => {
    const body = JSON.stringify({ ...settings, ...more, messages });
    return limit(() => withRetries(body, signal), signal);
  };
}

/** The text of a reply; a reply of more than `mostBytes` is an error. */
async function textOf(response: Response) {
  const parts = [];
  let size = 0;
  for await (const part of (response.body ?? []) as unknown as AsyncIterable<Uint8Array>) {
    size += part.length;
    if (size > mostBytes) throw new EndpointError(`${response.url} answered more than ${mostBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** The messages of a completion, undefined if the text is not one. Null content is an empty message. */
function choicesOf(text: string): Choice[] | undefined {
  try {
    const { choices } = JSON.parse(text);
    if (choices.length === 0) return undefined;
    const found = choices.map((choice: Record<string, unknown>) => choiceOf(choice));
    return found.includes(undefined) ? undefined : found;
  } catch {
    return undefined;
  }
}

function choiceOf({ message, logprobs, finish_reason }: Record<string, unknown>): Choice | undefined {
  const { content } = message as { content: unknown };
  if (content !== null && typeof content !== 'string') return undefined;
  const tokens = (logprobs as { content?: { logprob: number }[] } | null | undefined)?.content;
  return {
    content: content ?? '',
    stop: finish_reason === 'length' ? 'length' : 'stop',
    ...(Array.isArray(tokens) && { logps: tokens.map(({ logprob }) => logprob) }),
  };
}

/** The seconds that Retry-After requests, as a number or a date. */
function retryAfter(headers: Headers) {
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const seconds = /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

function reasonOf(error: unknown) {
  const { cause, message } = error as Error;
  return cause instanceof Error && cause.message !== '' ? `${message}: ${cause.message}` : message;
}

const excerpt = (text: string) => text.trim().replace(/\s+/g, ' ').slice(0, 300) || 'nothing';
