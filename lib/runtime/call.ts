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
  if (debug) assertFiniteResults(results);
  return results.collect();
}

/**
 * `prepare` checks the options as for the sync form; its errors reject the promise, and so does what the signal throws.
 * Before the start this prevents the call. Once started, the call ends in `done` alone: only then may its memory be released.
 */
export function runAsync<O, K extends AsyncOperation>(
  given: O,
  prepare: (options: O, mode: Mode) => PreparedCall<K>,
): Promise<object> {
  return new Promise((resolve, reject) => {
    const { options, ...own } = splitSignal(given);
    const signal = signalOf(own);
    signal?.throwIfAborted();
    const { addon, operation, args, results, debug } = prepare(options, 'async');
    const retained = new RetainedInputs();
    let number: number | undefined;
    let aborted = false;
    let unfollow: (() => void) | undefined;
    const done = (fault: Fault | undefined) => {
      try {
        unfollow?.();
        signal?.throwIfAborted();
        check(fault, args);
        retained.copyBack();
        if (debug) assertFiniteResults(results);
        resolve(results.collect());
      } catch (error) {
        reject(error);
      } finally {
        retained.release();
      }
    };
    try {
      retained.retain(results);
      unfollow = follow(signal, () => {
        aborted = true;
        if (number !== undefined) addon.cancel(number);
      });
      signal?.throwIfAborted();
      if (aborted) check({ code: 'cancelled', index: 0, value: 0 });
      number = start(addon, operation, retained.replaceIn(encode[operation](args)), done);
    } catch (error) {
      retained.release();
      unfollow?.();
      throw error;
    }
  });
}

/** The calls that a signal ends, and its listener. */
interface Followers {
  cancels: Set<() => void>;
  abort: () => void;
}

const followersOf = new WeakMap<AbortSignal, Followers>();

/** One listener for all calls of a signal: adding and removing one takes time for each other listener. */
function follow(signal: AbortSignal | undefined, cancel: () => void): (() => void) | undefined {
  if (signal === undefined) return undefined;
  let followers = followersOf.get(signal);
  followers?.cancels.add(cancel);
  if (followers === undefined) {
    const cancels = new Set([cancel]);
    const abort = () => {
      for (const each of cancels) each();
    };
    followers = { cancels, abort };
    signal.addEventListener('abort', abort);
    followersOf.set(signal, followers);
  }
  const { cancels, abort } = followers;
  return () => {
    cancels.delete(cancel);
    if (cancels.size > 0) return;
    if (followersOf.get(signal)?.cancels === cancels) followersOf.delete(signal);
    signal.removeEventListener('abort', abort);
  };
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
