// The messages of dialogues as lists of token ids: what packTurns and packCandidates check.
import { checkAttached, classOf, isArray, type Mask, onHost } from '../args/arrays.js';
import { IGNORE_INDEX } from '../args/labels.js';
import { checkOptions, isRecord } from '../args/options.js';
import { boolean, integer } from '../args/scalars.js';
import { type ArrayOrTensor, listOf } from '../args/tensors.js';
import { expected, rangeError, typeError } from '../errors.js';

/** The token ids of a message, each from 0 to 2^31 - 1, as tokenizers return them; a tensor is [n] or [1, n]. */
export type TokenIds = ArrayOrTensor<Int32Array | Uint32Array | BigInt64Array> | readonly number[] | readonly bigint[];

/** One message of a dialogue. */
export interface Turn {
  tokens: TokenIds;
  /** Whether it is an assistant message; the tokens of other messages are masked. */
  agent: boolean;
  /** Of the tokens of an assistant message: 0 or false masks one that the agent did not write, as the output of a tool. */
  mask?: ArrayOrTensor<Mask> | readonly number[] | readonly boolean[] | undefined;
}

/** The checked tokens of a message, and its name in errors. */
export interface Message {
  name: string;
  tokens: readonly number[];
  agent: boolean;
  /** Of the tokens of an assistant message: whether each is unmasked. All are where it is undefined. */
  kept?: readonly boolean[] | undefined;
}

const OPTIONS = new Set(['ignoreIndex', 'allowEmptyTurns']);

/** The options of both functions that pack. */
export interface PackOptions {
  /** The label of masked rows; -100 by default. */
  ignoreIndex?: number | undefined;
  /** A turn none of whose tokens is predicted and unmasked is packed instead of being an error; false by default. */
  allowEmptyTurns?: boolean | undefined;
}

export function packOptions(call: string, options: PackOptions): { ignoreIndex: number; allowEmptyTurns: boolean } {
  const given = checkOptions(call, options, OPTIONS);
  return {
    ignoreIndex: integer('ignoreIndex', given.ignoreIndex, IGNORE_INDEX, -(2 ** 31), 2 ** 31 - 1),
    allowEmptyTurns: boolean('allowEmptyTurns', given.allowEmptyTurns, false),
  };
}

/** The elements of an array, each checked under its name before the next one is read. */
export function arrayOf<T>(name: string, value: unknown, check: (element: unknown, name: string) => T): T[] {
  if (!isArray(value)) throw typeError('ERR_ARG_TYPE', expected('an array', name, value));
  return Array.from(value, (element, i) => check(element, `${name}[${i}]`));
}

/** The properties of an object, each read once, the optional ones too. Any other is an error, with a hint. */
export function properties<K extends string, O extends string = never>(
  name: string,
  value: unknown,
  known: readonly K[],
  hint: string,
  optional: readonly O[] = [],
): Record<K | O, unknown> {
  const names: readonly string[] = [...known, ...optional];
  if (!isRecord(value)) throw typeError('ERR_ARG_TYPE', expected(`an object with ${known.join(' and ')}`, name, value));
  for (const other in value) {
    if (names.includes(other)) continue;
    const listed = `${names.slice(0, -1).join(', ')}${names.length > 1 ? ' and ' : ''}${names.at(-1)}`;
    throw typeError('ERR_UNKNOWN_OPTION', `${expected(`only ${listed}`, name, other)}; ${hint}`);
  }
  return Object.fromEntries(names.map((key) => [key, (value as Record<string, unknown>)[key]])) as Record<
    K | O,
    unknown
  >;
}

/** The checked messages of a dialogue. */
export function messagesOf(argument: string, turns: unknown): Message[] {
  const hint = 'agent: true marks an assistant message, all others are masked';
  return arrayOf(argument, turns, (turn, name) => {
    const { tokens, agent, mask } = properties(name, turn, ['tokens', 'agent'], hint, ['mask']);
    const read = tokensOf(`${name}.tokens`, tokens);
    if (typeof agent !== 'boolean') throw typeError('ERR_ARG_TYPE', expected('a boolean', `${name}.agent`, agent));
    if (mask !== undefined && !agent) {
      const rule = 'no mask, since all tokens of a message with agent: false are masked,';
      throw typeError('ERR_UNKNOWN_OPTION', `Expected ${rule} for ${name} but received one`);
    }
    return {
      name,
      tokens: read,
      agent,
      kept: mask === undefined ? undefined : keptOf(`${name}.mask`, mask, read.length),
    };
  });
}

interface ListRule<T> {
  classes: readonly string[];
  /** What a list must be, and what to do with another one, in messages. */
  rule: string;
  hint: string;
  length?: number;
  check: (element: unknown, name: string) => T;
}

/**
 * The elements of a list of the caller: a typed array of some classes, a tensor of one, or an Array. Each is read once, and checked
 * before the next one is read: a long Array may have no elements.
 */
function elementsOf<T>(name: string, list: unknown, { classes, rule, hint, length, check }: ListRule<T>): T[] {
  const value = listOf(name, list);
  const tag = classOf(value) ?? '';
  if (!classes.includes(tag) && !isArray(value)) {
    throw typeError('ERR_ARG_TYPE', expected(rule, name, value) + (tag === '' ? '' : hint));
  }
  const given = onHost(name, value as ArrayLike<unknown>);
  const elements = isArray(value) ? value.length : checkAttached(name, given);
  if (length !== undefined && elements !== length) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${length} elements, as there are tokens,`, name, list));
  }
  return Array.from({ length: elements }, (_, i) => check(given[i], `${name}[${i}]`));
}

const TOKEN_CLASSES = ['Int32Array', 'Uint32Array', 'BigInt64Array'];
const MASK_CLASSES = ['Uint8Array', 'Int32Array', 'BigInt64Array'];

/** Checked tokens, each read once. */
export function tokensOf(name: string, tokens: unknown): number[] {
  return elementsOf(name, tokens, {
    classes: TOKEN_CLASSES,
    rule: `${TOKEN_CLASSES.join(', ')} or an array of numbers or bigints`,
    hint: '; use Int32Array.from(tokens, Number)',
    check(given, element) {
      const token = typeof given === 'bigint' ? Number(given) : given;
      if (Number.isInteger(token) && (token as number) >= 0 && (token as number) < 2 ** 31) return token as number;
      throw rangeError('ERR_ARG_VALUE', expected('an integer from 0 to 2^31 - 1', element, given));
    },
  });
}

/** Whether each token of a message is unmasked. */
function keptOf(name: string, mask: unknown, tokens: number): boolean[] {
  return elementsOf(name, mask, {
    classes: MASK_CLASSES,
    rule: `${MASK_CLASSES.join(', ')} or an array of numbers or booleans`,
    hint: '; use Uint8Array.from(mask)',
    length: tokens,
    check(given, element) {
      if (['number', 'boolean', 'bigint'].includes(typeof given) && !Number.isNaN(given)) return Number(given) !== 0;
      throw typeError('ERR_ARG_TYPE', expected('a number or a boolean', element, given));
    },
  });
}
