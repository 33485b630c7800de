/**
 * Dialogues and candidates, some with a broken rule: packed as the references do it, or an error of a rule that is broken. What
 * is not tokens, agent and so on, like a mask of a message, must not be ignored.
 */
import { packCandidates, packTurns } from 'sweet-rl';
import { expect } from 'vitest';
import { packCandidates as candidatesOracle, type State } from '../reference/pack-candidates.ts';
import { type Dialogue, packTurns as turnsOracle } from '../reference/pack-turns.ts';
import type { Draw, Property } from './draw.ts';

const VOCAB = 6;
const UNKNOWN = ['mask', 'weights', 'reward', 'role', 'Tokens', 'toString', 'length', '0'];
const NO_TOKENS = [-1, 1.5, NaN, 2 ** 31, Infinity, '1', null, undefined, 1n, true];
const NO_LISTS = [new Float32Array(1), new BigInt64Array(1), new Uint8Array(1), 'ab', {}, null, undefined, 3];
const NO_BOOLEANS = [0, 1, 'true', null, undefined, []];
const NO_OBJECTS = [null, undefined, 1, 'a', [], new Int32Array(2)];

interface Message {
  tokens: number[];
  agent: boolean;
}

/** A case: what is passed, and the codes of the rules that it breaks. */
class Case {
  readonly broken = new Set<string>();

  constructor(private readonly draw: Draw) {}

  /** Rarely something else, which breaks a rule. */
  private or<T>(value: T, others: readonly unknown[], code: string): T {
    if (!this.draw.once(60)) return value;
    this.broken.add(code);
    return this.draw.of(others) as T;
  }

  /** An object with these properties, in one of several forms; rarely with one more, or none at all. */
  object(properties: object): unknown {
    const { draw } = this;
    const form = draw.of([
      { ...properties },
      Object.freeze({ ...properties }),
      Object.assign(Object.create(null), properties),
      Object.create({ ...properties }),
      Object.defineProperties({}, getters(properties)),
    ]);
    if (!draw.once(60)) return this.or(form, NO_OBJECTS, 'ERR_ARG_TYPE');
    this.broken.add('ERR_UNKNOWN_OPTION');
    const unknown = { [draw.of(UNKNOWN)]: draw.of([undefined, null, [1, 0], true]) };
    return draw.of([{ ...properties, ...unknown }, Object.assign(Object.create(unknown), properties)]);
  }

  tokens(tokens: readonly number[]): unknown {
    const { draw } = this;
    if (draw.once(60) && tokens.length > 0) {
      this.broken.add('ERR_ARG_VALUE');
      return tokens.map((token, i) => (i === tokens.length - 1 ? draw.of(NO_TOKENS) : token));
    }
    const typed = Int32Array.from(tokens);
    const shifted = Int32Array.of(9, 9, ...tokens, 9).subarray(2, 2 + tokens.length);
    class Ids extends Int32Array {}
    const forms = [[...tokens], Object.freeze([...tokens]), typed, shifted, Ids.from(tokens)];
    return this.or(draw.of(forms), NO_LISTS, 'ERR_ARG_TYPE');
  }

  messages(messages: readonly Message[]): unknown {
    const list = messages.map(({ tokens, agent }) =>
      this.object({ tokens: this.tokens(tokens), agent: this.or(agent, NO_BOOLEANS, 'ERR_ARG_TYPE') }),
    );
    return this.or(list, [null, {}, undefined, new Set(list)], 'ERR_ARG_TYPE');
  }

  list(elements: unknown[]): unknown {
    return this.or(elements, [null, {}, new Map()], 'ERR_ARG_TYPE');
  }

  /** The second argument and the index that it asks for; some are tokens of the vocabulary. */
  options(): { index: number; options: unknown } {
    const { draw } = this;
    const index = draw.of([-100, -1, 0, VOCAB - 1, 2 ** 31 - 1]);
    const options = draw.once(4) ? {} : { ignoreIndex: index };
    if (!('ignoreIndex' in options)) return { index: -100, options: draw.of([undefined, options]) };
    if (!draw.once(40)) return { index, options };
    this.broken.add('ERR_UNKNOWN_OPTION');
    return { index, options: { ...options, [draw.of(UNKNOWN)]: 1 } };
  }
}

function getters(properties: object): PropertyDescriptorMap {
  const entries = Object.entries(properties);
  return Object.fromEntries(entries.map(([name, value]) => [name, { enumerable: true, get: () => value }]));
}

const tokensOf = (draw: Draw, most = 4) => draw.list(0, most, () => draw.integer(0, VOCAB - 1));
const messagesOf = (draw: Draw): Message[] => draw.list(0, 5, () => ({ tokens: tokensOf(draw), agent: draw.once(2) }));

type Packed = Record<string, ArrayLike<number>>;

/** Of a row that counts, the label must not be the ignored one; the first token of a sequence is no label. */
function hasIgnored(sequence: readonly Message[], index: number): boolean {
  const labels = sequence.flatMap(({ tokens, agent }) => tokens.map((token) => agent && token === index));
  return labels.slice(1).includes(true);
}

function checkPacked(draw: Draw, call: () => object, { broken }: Case, oracle: () => Packed): void {
  draw.case += ` broken: ${[...broken]}`;
  let packed: Packed;
  try {
    packed = call() as Packed;
  } catch (error) {
    const { code, name } = error as Error & { code: string };
    expect([...broken], String((error as Error).stack)).toContain(code);
    expect(name).toBe(/TYPE|OPTION/.test(code) ? 'TypeError' : 'RangeError');
    return;
  }
  expect([...broken]).toEqual([]);
  expect(packed.mask).toBeInstanceOf(Uint8Array);
  expect(Object.fromEntries(Object.entries(packed).map(([name, array]) => [name, Array.from(array)]))).toEqual(
    oracle(),
  );
}

async function checkTurns(draw: Draw): Promise<void> {
  const dialogues: Dialogue[] = draw.list(0, 4, () => ({ turns: messagesOf(draw) }));
  const made = new Case(draw);
  const { index, options } = made.options();
  draw.case = `packTurns ${JSON.stringify(dialogues)}, ${index}`;
  const given = made.list(dialogues.map(({ turns }) => made.object({ turns: made.messages(turns as Message[]) })));
  for (const { turns } of dialogues) {
    const first = turns.findIndex(({ tokens }) => tokens.length > 0);
    const isEmpty = turns.some(({ tokens, agent }, i) => agent && tokens.length < (i === first ? 2 : 1));
    if (isEmpty || !turns.some(({ agent }) => agent)) made.broken.add('ERR_EMPTY_TURN');
    if (hasIgnored(turns as Message[], index)) made.broken.add('ERR_ARG_VALUE');
  }
  checkPacked(
    draw,
    () => packTurns(given as never, options as never),
    made,
    () => turnsOracle(dialogues, index),
  );
}

async function checkCandidates(draw: Draw): Promise<void> {
  const states: State[] = draw.list(0, 4, () => ({
    history: [{ tokens: [0].slice(0, draw.once(12) ? 0 : 1), agent: draw.once(2) }, ...messagesOf(draw)],
    candidates: draw.list(0, 4, () => [...(draw.once(15) ? [] : [draw.integer(0, VOCAB - 1)]), ...tokensOf(draw, 2)]),
  }));
  const made = new Case(draw);
  const { index, options } = made.options();
  draw.case = `packCandidates ${JSON.stringify(states)}, ${index}`;
  const given = made.list(
    states.map(({ history, candidates }) =>
      made.object({
        history: made.messages(history as Message[]),
        candidates: made.list(candidates.map((tokens) => made.tokens(Array.from(tokens)))),
      }),
    ),
  );
  for (const { history, candidates } of states) {
    if (history.every(({ tokens }) => tokens.length === 0)) made.broken.add('ERR_ARG_VALUE');
    if (candidates.some(({ length }) => length === 0)) made.broken.add('ERR_EMPTY_TURN');
    if (candidates.some((tokens) => Array.from(tokens).includes(index))) made.broken.add('ERR_ARG_VALUE');
  }
  const oracle = () => candidatesOracle(states, index);
  checkPacked(draw, () => packCandidates(given as never, options as never), made, oracle);
}

export const packing: Property[] = [
  { name: 'packTurns: as the reference, or an error of a broken rule', cases: 700, check: checkTurns },
  { name: 'packCandidates: as the reference, or an error of a broken rule', cases: 700, check: checkCandidates },
];
