/**
 * Dialogues and candidates, some with a broken rule: packed as the references do it, or an error of a rule that is broken. What
 * is not tokens, agent, mask and so on, like a role, must not be ignored.
 */
import { packCandidates, packTurns } from 'sweet-rl';
import { expect } from 'vitest';
import { packCandidates as candidatesOracle, type State } from '../reference/pack-candidates.ts';
import { type Dialogue, packTurns as turnsOracle } from '../reference/pack-turns.ts';
import type { Draw, Property } from './draw.ts';

const VOCAB = 6;
const UNKNOWN = ['masks', 'weights', 'reward', 'role', 'Tokens', 'toString', 'length', '0'];
const NO_TOKENS = [-1, 1.5, NaN, 2 ** 31, Infinity, '1', null, undefined, -1n, 2n ** 64n, true];
const NO_LISTS = [new Float32Array(1), new BigUint64Array(1), new Uint16Array(1), 'ab', {}, null, undefined, 3];
const NO_BOOLEANS = [0, 1, 'true', null, undefined, []];
const NO_OBJECTS = [null, undefined, 1, 'a', [], new Int32Array(2)];

interface Message {
  tokens: number[];
  agent: boolean;
  /** Of an assistant message. */
  mask?: boolean[];
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

  /** A value of an option that this object does not have. */
  private refused<T>(value: T): T {
    this.broken.add('ERR_UNKNOWN_OPTION');
    return value;
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
    const forms = [
      ...[[...tokens], Object.freeze([...tokens]), typed, shifted, Ids.from(tokens)],
      ...[Uint32Array.from(tokens), BigInt64Array.from(tokens, BigInt), tokens.map(BigInt)],
    ];
    return this.or(draw.of(forms), NO_LISTS, 'ERR_ARG_TYPE');
  }

  mask(mask: readonly boolean[]): unknown {
    const { draw } = this;
    const others = [[...mask, true], new Int32Array(mask.length + 1)];
    const forms = [
      [...mask],
      mask.map((kept) => (kept ? 0.5 : 0)),
      Uint8Array.from(mask, (kept) => (kept ? 255 : 0)),
      Int32Array.from(mask, (kept) => (kept ? 256 : 0)),
      BigInt64Array.from(mask, (kept) => (kept ? 2n ** 32n : 0n)),
    ];
    return this.or(
      this.or(draw.of(forms), others, 'ERR_ARG_LENGTH'),
      [null, 1, 'a', {}, new Float32Array(1)],
      'ERR_ARG_TYPE',
    );
  }

  messages(messages: readonly Message[]): unknown {
    const list = messages.map(({ tokens, agent, mask }) =>
      this.object({
        tokens: this.tokens(tokens),
        agent: this.or(agent, NO_BOOLEANS, 'ERR_ARG_TYPE'),
        ...(mask && { mask: this.mask(mask) }),
        ...(!agent && this.draw.once(60) && { mask: this.refused(Uint8Array.from(tokens, () => 1)) }),
      }),
    );
    return this.or(list, [null, {}, undefined, new Set(list)], 'ERR_ARG_TYPE');
  }

  list(elements: unknown[]): unknown {
    return this.or(elements, [null, {}, new Map()], 'ERR_ARG_TYPE');
  }

  /** The second argument and the index that it asks for; some are tokens of the vocabulary. */
  options(): { index: number; allowEmptyTurns: boolean; options: unknown } {
    const { draw } = this;
    const allowEmptyTurns = draw.once(3);
    const more = allowEmptyTurns ? { allowEmptyTurns } : {};
    const index = draw.of([-100, -1, 0, VOCAB - 1, 2 ** 31 - 1]);
    if (draw.once(4))
      return { index: -100, allowEmptyTurns, options: allowEmptyTurns ? more : draw.of([undefined, {}]) };
    const options = { ...more, ignoreIndex: index };
    if (!draw.once(40)) return { index, allowEmptyTurns, options };
    this.broken.add('ERR_UNKNOWN_OPTION');
    return { index, allowEmptyTurns, options: { ...options, [draw.of(UNKNOWN)]: 1 } };
  }
}

function getters(properties: object): PropertyDescriptorMap {
  const entries = Object.entries(properties);
  return Object.fromEntries(entries.map(([name, value]) => [name, { enumerable: true, get: () => value }]));
}

const tokensOf = (draw: Draw, most = 4) => draw.list(0, most, () => draw.integer(0, VOCAB - 1));
const messagesOf = (draw: Draw): Message[] =>
  draw.list(0, 5, () => {
    const [tokens, agent] = [tokensOf(draw), draw.once(2)];
    return { tokens, agent, ...(agent && draw.once(3) && { mask: tokens.map(() => !draw.once(3)) }) };
  });

const isScored = ({ agent, mask }: Message, token: number): boolean => agent && mask?.[token] !== false;

type Packed = Record<string, ArrayLike<number>>;

/** Of a row that counts, the label must not be the ignored one; the first token of a sequence is no label. */
function hasIgnored(sequence: readonly Message[], index: number): boolean {
  const labels = sequence.flatMap((message) =>
    message.tokens.map((token, i) => isScored(message, i) && token === index),
  );
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
  const { index, allowEmptyTurns, options } = made.options();
  draw.case = `packTurns ${JSON.stringify(dialogues)}, ${index}`;
  const given = made.list(dialogues.map(({ turns }) => made.object({ turns: made.messages(turns as Message[]) })));
  for (const { turns } of dialogues) {
    const first = turns.findIndex(({ tokens }) => tokens.length > 0);
    const counts = (message: Message, begin: number) =>
      message.tokens.some((_, i) => i >= begin && isScored(message, i));
    const isEmpty = (turns as Message[]).some((turn, i) => turn.agent && !counts(turn, i === first ? 1 : 0));
    if ((isEmpty && !allowEmptyTurns) || !turns.some(({ agent }) => agent)) made.broken.add('ERR_EMPTY_TURN');
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
  const { index, allowEmptyTurns, options } = made.options();
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
    if (!allowEmptyTurns && candidates.some(({ length }) => length === 0)) made.broken.add('ERR_EMPTY_TURN');
    if (candidates.some((tokens) => Array.from(tokens).includes(index))) made.broken.add('ERR_ARG_VALUE');
  }
  const oracle = () => candidatesOracle(states, index);
  checkPacked(draw, () => packCandidates(given as never, options as never), made, oracle);
}

export const packing: Property[] = [
  { name: 'packTurns: as the reference, or an error of a broken rule', cases: 700, check: checkTurns },
  { name: 'packCandidates: as the reference, or an error of a broken rule', cases: 700, check: checkCandidates },
];
