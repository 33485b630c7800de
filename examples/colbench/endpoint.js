/** A chat over any endpoint that speaks OpenAI's chat completions, patient with one that is busy or breaks off. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createLimiter } from './limiter.js';

/** @typedef {import('./converse.js').Chat} Chat */

/**
 * @typedef {object} EndpointOptions
 * @property {string} baseUrl up to but without /chat/completions, as http://127.0.0.1:8000/v1
 * @property {string} model
 * @property {string} [apiKey] sent as a bearer token, and nowhere shown
 * @property {number} [temperature] the endpoint's own by default
 * @property {number} [maxTokens] of a reply
 * @property {Record<string, unknown>} [extra] further fields of the request, as seed or top_p
 * @property {number} [timeoutSeconds] of one attempt, its whole reply included; 120 by default
 * @property {number} [attempts] in all; 6 by default
 * @property {number} [firstDelaySeconds] before the second attempt, doubled before each further one; 1 by default
 * @property {number} [mostDelaySeconds] the longest wait, also when the endpoint asks for a longer one; 60 by default
 * @property {number} [concurrency] requests at once; 8 by default
 * @property {() => number} [random] in [0, 1), for the spread of delays
 * @property {(milliseconds: number, signal?: AbortSignal) => Promise<unknown>} [wait]
 */

export class EndpointError extends Error {
  /** @param {string} message @param {{ status?: number, cause?: unknown }} [details] */
  constructor(message, { status, cause } = {}) {
    super(message, { cause });
    this.name = 'EndpointError';
    this.code = 'ERR_ENDPOINT';
    /** The HTTP status, if there was a reply. */
    this.status = status;
  }
}

/** A failure that another attempt may mend, with the wait that the endpoint asked for. */
class Passing extends Error {
  /** @param {EndpointError} error @param {number} [seconds] */
  constructor(error, seconds) {
    super(error.message);
    this.error = error;
    this.seconds = seconds;
  }
}

const mostBytes = 2 ** 24;

/**
 * The chat of a model behind an endpoint. Tried again, after a delay that doubles and is spread at random, are: network errors,
 * time-outs, replies that are no completion, and the statuses 408, 409, 425, 429 and 5xx; Retry-After is obeyed. Anything
 * else is an error at once, as are aborts.
 * @param {EndpointOptions} options
 * @returns {Chat}
 */
export function endpointChat(options) {
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

  /** @param {string} body @param {AbortSignal | undefined} signal */
  async function attempt(body, signal) {
    const timeout = AbortSignal.timeout(1000 * timeoutSeconds);
    const either = signal === undefined ? timeout : AbortSignal.any([signal, timeout]);
    let response;
    let text;
    try {
      response = await fetch(url, { method: 'POST', headers, body, signal: either, redirect: 'error' });
      text = await textOf(response);
    } catch (cause) {
      signal?.throwIfAborted();
      if (cause instanceof EndpointError) throw cause;
      const why = timeout.aborted ? `no reply within ${timeoutSeconds} s` : reasonOf(cause);
      throw new Passing(new EndpointError(`${url.href}: ${why}`, { cause }));
    }
    const { status } = response;
    if (!response.ok) {
      const error = new EndpointError(`${url.href} answered ${status}: ${excerpt(text)}`, { status });
      const passes = [408, 409, 425, 429].includes(status) || status >= 500;
      throw passes ? new Passing(error, retryAfter(response.headers)) : error;
    }
    const content = contentOf(text);
    if (content !== undefined) return content;
    throw new Passing(new EndpointError(`${url.href} answered what is no completion: ${excerpt(text)}`, { status }));
  }

  /** @param {string} body @param {AbortSignal | undefined} signal */
  async function persist(body, signal) {
    for (let tried = 1; ; tried++) {
      try {
        return await attempt(body, signal);
      } catch (failure) {
        if (!(failure instanceof Passing)) throw failure;
        if (tried >= attempts) {
          failure.error.message += ` (the last of ${attempts} attempts)`;
          throw failure.error;
        }
        const backoff = firstDelaySeconds * 2 ** (tried - 1) * (0.5 + random() / 2);
        const seconds = Math.min(mostDelaySeconds, Math.max(backoff, failure.seconds ?? 0));
        await wait(1000 * seconds, signal).catch((error) => {
          signal?.throwIfAborted();
          throw error;
        });
      }
    }
  }

  return async (messages, { signal } = {}) => {
    const body = JSON.stringify({ ...settings, messages });
    return limit(() => persist(body, signal), signal);
  };
}

/** The reply's text, as far as it is of a size that a reply can have. @param {Response} response */
async function textOf(response) {
  const parts = [];
  let size = 0;
  for await (const part of /** @type {AsyncIterable<Uint8Array>} */ (/** @type {unknown} */ (response.body ?? []))) {
    size += part.length;
    if (size > mostBytes) throw new EndpointError(`${response.url} answered more than ${mostBytes} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

/** The message of a completion; an empty one where the model said nothing. @param {string} text */
function contentOf(text) {
  try {
    const { choices } = JSON.parse(text);
    const { content } = choices[0].message;
    if (content === null) return '';
    return typeof content === 'string' ? content : undefined;
  } catch {
    return undefined;
  }
}

/** Seconds or a date. @param {Headers} headers */
function retryAfter(headers) {
  const value = headers.get('retry-after');
  if (value === null) return undefined;
  const seconds = /^\s*\d+(\.\d+)?\s*$/.test(value) ? Number(value) : (Date.parse(value) - Date.now()) / 1000;
  return Number.isFinite(seconds) ? Math.max(0, seconds) : undefined;
}

/** @param {unknown} error */
function reasonOf(error) {
  const { cause, message } = /** @type {Error} */ (error);
  return cause instanceof Error && cause.message !== '' ? `${message}: ${cause.message}` : message;
}

/** @param {string} text */
const excerpt = (text) => text.trim().replace(/\s+/g, ' ').slice(0, 300) || 'nothing';
