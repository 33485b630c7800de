// One native call with all that was checked before it and what is made of it afterwards: an operation's sync and async form
// share how it is prepared, and differ in when it runs.
import { check, expected, type Fault, typeError } from './errors.js';
import { Held } from './held.js';
import type { Native, OperationArgs } from './native.js';
import type { Out } from './out.js';

/** 'now', on the caller's thread, or 'later', on another one while the caller goes on. */
export type When = 'now' | 'later';

export interface Call<R> {
  native: Native;
  name: keyof OperationArgs;
  args: readonly unknown[];
  out: Out;
  /** After the native call said that all is well. */
  finish(): R;
}

/** What every async form takes beside its operation's options. */
export interface Abortable {
  /** Ends the call: the promise rejects with the signal's reason. */
  signal?: AbortSignal | undefined;
}

export function callOf<K extends keyof OperationArgs, R>(
  native: Native,
  name: K,
  args: OperationArgs[K],
  out: Out,
  finish: () => R,
): Call<R> {
  return { native, name, args, out, finish };
}

export function runNow<R>({ native, name, args, finish }: Call<R>): R {
  check((native[name] as (...args: readonly unknown[]) => Fault | undefined)(...args));
  return finish();
}

/** What `prepare` makes of the options, on another thread; whatever goes wrong rejects. */
export async function runLater<O, R>(options: O, prepare: (options: O, when: 'later') => Call<R>): Promise<R> {
  const signal = signalOf(options);
  signal?.throwIfAborted();
  const { native, name, args, out, finish } = prepare(options, 'later');
  const held = new Held(native, out);
  try {
    const fault = await started(native, name, held.argsOf(args), signal);
    signal?.throwIfAborted();
    check(fault);
    held.giveBack();
    return finish();
  } finally {
    held.letGo();
  }
}

function started(
  native: Native,
  name: keyof OperationArgs,
  args: readonly unknown[],
  signal: AbortSignal | undefined,
): Promise<Fault | undefined> {
  return new Promise((resolve) => {
    const start = native[`${name}Async`] as (...args: readonly unknown[]) => number;
    const number = start(...args, done);
    const abort = () => native.cancel(number);
    signal?.addEventListener('abort', abort);
    function done(fault: Fault | undefined): void {
      signal?.removeEventListener('abort', abort);
      resolve(fault);
    }
  });
}

function signalOf(options: unknown): AbortSignal | undefined {
  const signal = (options as Abortable | null | undefined)?.signal as unknown;
  if (signal === undefined) return undefined;
  // Not by its class: there are others of the kind, of another realm or library.
  if (typeof signal !== 'object' || signal === null || !('aborted' in signal) || !('throwIfAborted' in signal)) {
    throw typeError('ERR_ARG_TYPE', expected('an AbortSignal', 'signal', signal));
  }
  return signal as AbortSignal;
}
