// Runs a prepared call, on the caller's thread or on another one, and returns its results.

import { check, type Fault } from '../addon/faults.js';
import { type Addon, invoke, start } from '../addon/native.js';
import { type AsyncOperation, encode, type Operations } from '../addon/operations.js';
import { isRecord, type Mode, splitSignal } from '../args/options.js';
import { expected, typeError } from '../errors.js';
import { assertFiniteResults } from './assert-finite.js';
import type { Results } from './results.js';
import { RetainedInputs } from './retained-inputs.js';

/** A call after its checks: the operation, its arguments, its results. */
export interface PreparedCall<K extends AsyncOperation = AsyncOperation> {
  addon: Addon;
  operation: K;
  args: Operations[K];
  results: Results;
  /** Look for numbers that are not finite in the results. */
  debug: boolean;
}

/** What every async form takes beside the options of its sync form. */
export interface Abortable {
  /** Ends the call: the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export function runSync<K extends AsyncOperation>({ addon, operation, args, results, debug }: PreparedCall<K>): object {
  check(invoke(addon, operation, args) as Fault | undefined, args);
  const collected = results.collect();
  if (debug) assertFiniteResults(results);
  return collected;
}

/**
 * `prepare` checks the options as for the sync form; its errors reject the promise, and so does what the signal throws.
 * Before the start this prevents the call. Once started, the call ends in `end` alone: only then may its memory be released.
 */
export function runAsync<O, K extends AsyncOperation>(
  given: O,
  prepare: (options: O, mode: Mode) => PreparedCall<K>,
): Promise<object> {
  return new Promise((resolve, reject) => {
    const { options, ...own } = splitSignal(given);
    const signal = signalOf(own);
    signal?.throwIfAborted();
    new AsyncCall(prepare(options, 'async'), signal, resolve, reject).start();
  });
}

/** A call from its start to its end. A long queue has many of them, which the garbage collector visits: they are small. */
class AsyncCall<K extends AsyncOperation> {
  private followers: Followers | undefined;
  private retained: RetainedInputs | undefined;
  private number: number | undefined;
  private aborted = false;

  constructor(
    private readonly call: PreparedCall<K>,
    private readonly signal: AbortSignal | undefined,
    private readonly resolve: (result: object) => void,
    private readonly reject: (error: unknown) => void,
  ) {}

  start(): void {
    const { signal, call } = this;
    const { addon, operation, args, results } = call;
    try {
      if (signal !== undefined) this.followers = follow(signal, this);
      signal?.throwIfAborted();
      if (this.aborted) check({ code: 'cancelled', index: 0, value: 0 });
      // No code of the caller runs from here on, which could change the sizes of arrays.
      this.retained = RetainedInputs.of(results);
      const encoded = encode[operation](args);
      this.number = start(addon, operation, this.retained?.replaceIn(encoded) ?? encoded, (fault) => this.end(fault));
    } catch (error) {
      this.retained?.release();
      this.unfollow();
      throw error;
    }
  }

  /** What the signal calls. */
  abort(): void {
    this.aborted = true;
    if (this.number !== undefined) this.call.addon.cancel(this.number);
  }

  private unfollow(): void {
    const { followers, signal } = this;
    if (followers === undefined || signal === undefined) return;
    followers.calls.delete(this);
    if (followers.calls.size > 0) return;
    if (followersOf.get(signal) === followers) followersOf.delete(signal);
    signal.removeEventListener('abort', followers.listener);
  }

  private end(fault: Fault | undefined): void {
    const { signal, call, retained } = this;
    this.number = undefined; // from now on another call may have it
    try {
      // First, since methods of the signal may make other calls, which use the same scratch memory.
      const collected = fault === undefined ? call.results.collect() : undefined;
      this.unfollow();
      signal?.throwIfAborted();
      check(fault, call.args);
      retained?.copyBack();
      if (call.debug) assertFiniteResults(call.results);
      this.resolve(collected as object);
    } catch (error) {
      this.reject(error);
    } finally {
      retained?.release();
    }
  }
}

/** The calls that a signal ends, and its listener. */
interface Followers {
  calls: Set<{ abort(): void }>;
  listener: () => void;
}

const followersOf = new WeakMap<AbortSignal, Followers>();

/** One listener for all calls of a signal: adding and removing one takes time for each other listener. */
function follow(signal: AbortSignal, call: { abort(): void }): Followers {
  const known = followersOf.get(signal);
  known?.calls.add(call);
  if (known !== undefined) return known;
  const calls = new Set([call]);
  const listener = () => {
    for (const each of calls) each.abort();
  };
  signal.addEventListener('abort', listener);
  const followers = { calls, listener };
  followersOf.set(signal, followers);
  return followers;
}

function signalOf(options: unknown): AbortSignal | undefined {
  const signal = (options as Abortable | null | undefined)?.signal as unknown;
  if (signal === undefined) return undefined;
  // Not by its class: other realms and libraries have AbortSignals of their own.
  const methods = ['throwIfAborted', 'addEventListener', 'removeEventListener'] as const;
  const isSignal = (each: object) =>
    'aborted' in each && methods.every((name) => typeof (each as AbortSignal)[name] === 'function');
  if (!isRecord(signal) || !isSignal(signal)) {
    throw typeError('ERR_ARG_TYPE', expected('an AbortSignal', 'signal', signal));
  }
  return signal as AbortSignal;
}
