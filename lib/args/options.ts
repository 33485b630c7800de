// The options object of a call.
import { expected, rangeError, typeError } from '../argument-errors.js';
import { checkOrderOfRows, unwrapTensors, type WithArrays } from './tensors.js';

/** Whether a call runs on the caller's thread, or on another one while the caller continues. */
export type Mode = 'sync' | 'async';

/**
 * A copy of the options. Each is read once, before anything is checked, so that no getter of the caller runs between a check
 * and the call. Throws where `given` is no options object or has a name that is not in `known`; async calls know `signal`
 * too. `out` may have the names of `knownOut`.
 */
export function checkOptions<T>(
  call: string,
  given: T,
  known: ReadonlySet<string>,
  mode: Mode = 'sync',
  knownOut?: ReadonlySet<string>,
): WithArrays<T> {
  const called = mode === 'async' ? `${call}Async` : call;
  if (!isRecord(given) || hasNoNames(given))
    throw typeError('ERR_ARG_TYPE', expected('an options object', called, given));
  const more = mode === 'async' ? ['signal'] : [];
  const options = copyOf(given, known, more) as Record<string, unknown>;
  for (const name in options) {
    if (known.has(name) || more.includes(name)) continue;
    throw typeError('ERR_UNKNOWN_OPTION', unknownName(called, name, new Set([...known, ...more])));
  }
  unwrapTensors(options, call === 'out' ? 'out.' : '');
  const { out } = options;
  if (knownOut !== undefined && out !== undefined) {
    const checked = checkOptions('out', out, knownOut) as object;
    checkOrderOfRows(options, checked);
    options.out = checked;
  }
  return options as WithArrays<T>;
}

/** The error for an array that is missing though an option needs it. */
export function missing(argument: string, classes: string, by: string): TypeError {
  return typeError('ERR_ARG_TYPE', expected(classes, `${argument}, which ${by} needs,`, undefined));
}

/** Throws for an option that is given though the chosen variant does not use it. */
export function refuseUnused(options: object, names: readonly string[], variant: string): void {
  for (const name of names) {
    if ((options as Record<string, unknown>)[name] === undefined) continue;
    throw rangeError('ERR_ARG_VALUE', `Expected no ${name} with ${variant}, which does not use it, but received one`);
  }
}

/** The signal of an async call, read once, and options from which no getter of it is read again. */
export function splitSignal<T>(given: T): { signal?: unknown; options: T } {
  if (!isRecord(given) || !('signal' in given)) return { options: given };
  if (Object.getPrototypeOf(given) === Object.prototype) {
    const options = { ...given };
    return { signal: options.signal, options };
  }
  // Others are inherited, as by a copy they would not be.
  return { signal: given.signal, options: Object.create(given, { signal: { value: undefined, enumerable: true } }) };
}

function unknownName(call: string, name: string, known: ReadonlySet<string>): string {
  const nearest = [...known].reduce((a, b) => (distance(name, b) < distance(name, a) ? b : a));
  const isNear = distance(name, nearest) <= Math.max(1, Math.floor(nearest.length / 3));
  // A prefix of another function: refDtype for dtype.
  const suffix = [...known].find((each) => name.toLowerCase().endsWith(each.toLowerCase()));
  const meant = isNear ? nearest : suffix;
  const hint = meant ? `did you mean ${meant}?` : `it knows ${[...known].join(', ')}`;
  return `Expected a known option for ${call} but received ${JSON.stringify(name.slice(0, 100))}: ${hint}`;
}

/** The least number of letters to insert, delete or replace, whatever their case. */
function distance(from: string, to: string): number {
  const [a, b] = [from.slice(0, 50).toLowerCase(), to.toLowerCase()];
  let row = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replaced = (row[j] as number) + (letter === b[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] as number) + 1, (next[j] as number) + 1));
    }
    row = next;
  }
  return row[b.length] as number;
}

export function isRecord(value: unknown): value is object {
  try {
    return typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
  } catch {
    return false;
  }
}

const WITHOUT_NAMES = /^\[object ((Shared)?ArrayBuffer|(Weak)?(Map|Set)|Date|RegExp|Promise|Number|String|Boolean)\]$/;

/** Whether it is of a class whose contents are no properties, as a Map: nothing in it would be looked at. */
const hasNoNames = (given: object): boolean =>
  Object.getPrototypeOf(given) !== Object.prototype && WITHOUT_NAMES.test(Object.prototype.toString.call(given));

function copyOf(given: object, known: ReadonlySet<string>, more: readonly string[]): object {
  const copy: Record<string, unknown> = { ...given };
  if (Object.getPrototypeOf(given) === Object.prototype) return copy;
  // Inherited from a class or another object: getters, which a loop does not see, and unknown names, which must be refused.
  for (const name of [...known, ...more]) if (!Object.hasOwn(copy, name)) copy[name] = (given as typeof copy)[name];
  for (const name in given) if (!Object.hasOwn(copy, name)) copy[name] = undefined;
  return copy;
}
