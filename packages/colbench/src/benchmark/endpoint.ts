/** A chat with any endpoint of OpenAI's chat completions API; transient failures are retried. */
import { setTimeout as sleep } from 'node:timers/promises';
import { createLimiter } from './limiter.js';

/** @typedef {import('./converse.js').Chat} Chat */

/**
 * @typedef {object} EndpointOptions
 * @property {string} baseUrl the address without /chat/completions, such as http://127.0.0.1:8000/v1
 * @property {string} model
 * @property {string} [apiKey] sent as a bearer token; no message contains it
 * @property {number} [temperature] default: the endpoint's own
 * @property {number} [maxTokens] of a reply
 * @property {Record<string, unknown>} [extra] further fields of the request, such as seed or top_p
 * @property {number} [timeoutSeconds] of one attempt, including its whole reply; default 120
 * @property {number} [attempts] including the first; default 6
 * @property {number} [firstDelaySeconds] before the second attempt, doubled before each further one; default 1
 * @property {number} [mostDelaySeconds] the longest wait, even if the endpoint requests a longer one; default 60
 * @property {number} [concurrency] requests at once; default 8
 * @property {() => number} [random] in [0, 1), for the jitter of the delays
 * @property {(milliseconds: number, signal?: AbortSignal) => Promise<unknown>} [wait]
 */

export class EndpointError extends Error {
  /** @param {string} message @param {{ status?: number, cause?: unknown }} [details] */
  constructor(message, { status, cause } = {}) {
    super(message, { cause });
    this.name = 'EndpointError';
    this.code = 'ERR_ENDPOINT';
    /** The HTTP status; undefined if there was no reply. */
    this.status = status;
  }
}

/** A failure that is retried, after the delay that the endpoint requests. */
class TransientFailure extends Error {
  /** @param {EndpointError} error @param {number} [seconds] */
  constructor(error, seconds) {
    super(error.message);
    this.error = error;
    this.seconds = seconds;
  }
}

const mostBytes = 2 ** 24;

/**
 * The chat of a model behind an endpoint. Network errors, time-outs, replies that are not a completion and the statuses
 * 408, 409, 425, 429 and 5xx are retried with exponential backoff and jitter; Retry-After is respected. Any other
 * failure is an error at once, and so is an abort.
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
      throw new TransientFailure(new EndpointError(`${url.href}: ${why}`, { cause }));
    }
    const { status } = response;
    if (!response.ok) {
      const error = new EndpointError(`${url.href} answered ${status}: ${excerpt(text)}`, { status });
      const transient = [408, 409, 425, 429].includes(status) || status >= 500;
      throw transient ? new TransientFailure(error, retryAfter(response.headers)) : error;
    }
    const content = contentOf(text);
    if (content !== undefined) return content;
    throw new TransientFailure(
      new EndpointError(`${url.href} answered something other than a completion: ${excerpt(text)}`, { status }),
    );
  }

  /** @param {string} body @param {AbortSignal | undefined} signal */
  async function withRetries(body, signal) {
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

  return async (messages, { signal } = {}) => {
    const body = JSON.stringify({ ...settings, messages });
    return limit(() => withRetries(body, signal), signal);
  };
}

/** The text of a reply; a reply of more than `mostBytes` is an error. @param {Response} response */
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

/**
 * The message of a completion, undefined if the text is not one. Null content is an empty message.
 * @param {string} text
 */
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

/** The seconds that Retry-After requests, as a number or a date. @param {Headers} headers */
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
