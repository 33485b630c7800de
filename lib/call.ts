// One native call with all that was checked before it and what is made of it afterwards: an operation's sync and async form
// share how it is prepared, and differ in when it runs.
import { check, type Fault } from './errors.js';
import type { Native, OperationArgs } from './native.js';

/** 'now', on the caller's thread, or 'later', on another one while the caller goes on. */
export type When = 'now' | 'later';

export interface Call<R> {
  native: Native;
  name: keyof OperationArgs;
  args: readonly unknown[];
  /** After the native call said that all is well. */
  finish(): R;
}

export function callOf<K extends keyof OperationArgs, R>(
  native: Native,
  name: K,
  args: OperationArgs[K],
  finish: () => R,
): Call<R> {
  return { native, name, args, finish };
}

export function runNow<R>({ native, name, args, finish }: Call<R>): R {
  check((native[name] as (...args: readonly unknown[]) => Fault | undefined)(...args));
  return finish();
}
