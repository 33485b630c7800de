// Runs a prepared call, on the caller's thread or on another one, and returns its results.

import { check, type Fault } from '../addon/faults.js';
import { type Addon, invoke, start } from '../addon/native.js';
import { type AsyncOperation, encode, type Operations } from '../addon/operations.js';
import { isRecord, type Mode } from '../args/options.js';
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

/** `prepare` checks the options as for the sync form; its errors reject the promise. */
export async function runAsync<O, K extends AsyncOperation>(
  options: O,
  prepare: (options: O, mode: Mode) => PreparedCall<K>,
): Promise<object> {
  const signal = signalOf(options);
  signal?.throwIfAborted();
  const { addon, operation, args, results, debug } = prepare(options, 'async');
  const retained = new RetainedInputs();
  try {
    retained.retain(results);
    const fault = await started(addon, operation, retained.replaceIn(encode[operation](args)), signal);
    signal?.throwIfAborted();
    check(fault, args);
    retained.copyBack();
    if (debug) assertFiniteResults(results);
    return results.collect();
  } finally {
    retained.release();
  }
}

/**
 * Settles when the native call has ended, and not before: only then may its memory be released. The listener is added
 * before the start, so that a signal that throws there prevents the call.
 */
async function started(
  addon: Addon,
  operation: AsyncOperation,
  args: readonly unknown[],
  signal: AbortSignal | undefined,
): Promise<Fault | undefined> {
  let number: number | undefined;
  const abort = () => {
    if (number !== undefined) addon.cancel(number);
  };
  signal?.addEventListener('abort', abort);
  const fault = await new Promise<Fault | undefined>((resolve) => {
    number = start(addon, operation, args, resolve);
  });
  signal?.removeEventListener('abort', abort);
  return fault;
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
