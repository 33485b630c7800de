// The messages of dialogues as lists of token ids: what packTurns and packCandidates check.
import { checkAttached, classOf, isArray } from '../args/arrays.js';
import { IGNORE_INDEX } from '../args/labels.js';
import { checkOptions, isRecord } from '../args/options.js';
import { integer } from '../args/scalars.js';
import { expected, rangeError, typeError } from '../errors.js';

/** One message of a dialogue. */
export interface Turn {
  tokens: Int32Array | readonly number[];
  /** Whether it is an assistant message; the tokens of other messages are masked. */
  agent: boolean;
}

/** The checked tokens of a message, and its name in errors. */
export interface Message {
  name: string;
  tokens: readonly number[];
  agent: boolean;
}

const OPTIONS = new Set(['ignoreIndex']);

/** The option of both functions that pack. */
export function ignoreIndexOf(call: string, options: { ignoreIndex?: number | undefined }): number {
  const given = checkOptions(call, options, OPTIONS);
  return integer('ignoreIndex', given.ignoreIndex, IGNORE_INDEX, -(2 ** 31), 2 ** 31 - 1);
}

/** The elements of an array, each checked under its name before the next one is read. */
export function arrayOf<T>(name: string, value: unknown, check: (element: unknown, name: string) => T): T[] {
  if (!isArray(value)) throw typeError('ERR_ARG_TYPE', expected('an array', name, value));
  return Array.from(value, (element, i) => check(element, `${name}[${i}]`));
}

/** The properties of an object, each read once. Any other is an error, with a hint. */
export function properties<K extends string>(
  name: string,
  value: unknown,
  known: readonly K[],
  hint: string,
): Record<K, unknown> {
  const names = known.join(' and ');
  if (!isRecord(value)) throw typeError('ERR_ARG_TYPE', expected(`an object with ${names}`, name, value));
  for (const other in value) {
    if ((known as readonly string[]).includes(other)) continue;
    throw typeError('ERR_UNKNOWN_OPTION', `${expected(`only ${names}`, name, other)}; ${hint}`);
  }
  return Object.fromEntries(known.map((key) => [key, (value as Record<K, unknown>)[key]])) as Record<K, unknown>;
}

/** The checked messages of a dialogue. */
export function messagesOf(argument: string, turns: unknown): Message[] {
  const hint = 'agent: true marks an assistant message, all others are masked';
  return arrayOf(argument, turns, (turn, name) => {
    const { tokens, agent } = properties(name, turn, ['tokens', 'agent'], hint);
    const read = tokensOf(`${name}.tokens`, tokens);
    if (typeof agent !== 'boolean') throw typeError('ERR_ARG_TYPE', expected('a boolean', `${name}.agent`, agent));
    return { name, tokens: read, agent };
  });
}

/** Checked tokens, each read once. */
export function tokensOf(name: string, tokens: unknown): number[] {
  const typed = classOf(tokens) === 'Int32Array';
  if (!isArray(tokens) && !typed) {
    const hint = classOf(tokens) === undefined ? '' : '; use Int32Array.from(tokens, Number)';
    throw typeError('ERR_ARG_TYPE', expected('Int32Array or an array of numbers', name, tokens) + hint);
  }
  const given = tokens as ArrayLike<unknown>;
  const length = typed ? checkAttached(name, given) : given.length;
  return Array.from({ length }, (_, i) => {
    const token = given[i];
    if (!Number.isInteger(token) || (token as number) < 0 || (token as number) >= 2 ** 31) {
      throw rangeError('ERR_ARG_VALUE', expected('an integer from 0 to 2^31 - 1', `${name}[${i}]`, token));
    }
    return token as number;
  });
}
