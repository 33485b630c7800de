import { criticUpdate, IGNORE_INDEX, packCandidates, packTurns, tokenLogps } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { Random } from '../helpers/random.ts';
import { type Dialogue, packTurns as oracle } from '../reference/pack-turns.ts';

const agent = (...tokens: number[]) => ({ tokens, agent: true });
const human = (...tokens: number[]) => ({ tokens, agent: false });

function asArrays(packed: ReturnType<typeof packTurns>) {
  return Object.fromEntries(Object.entries(packed).map(([name, array]) => [name, Array.from(array as Int32Array)]));
}

/** Dialogues that begin with a human and go on with either, some messages empty where that is legal. */
function randomDialogues(seed: number): (Dialogue & Parameters<typeof packTurns>[0][number])[] {
  const random = new Random(seed);
  const message = (least: number) => random.integers(random.integer(least, 6), 0, 1000);
  return Array.from({ length: 40 }, () => ({
    turns: [
      { tokens: message(1), agent: false },
      ...Array.from({ length: random.integer(0, 6) }, () => {
        const byAgent = random.uniform() < 0.6;
        const tokens = message(byAgent ? 1 : 0);
        return { tokens: random.uniform() < 0.5 ? tokens : Array.from(tokens), agent: byAgent };
      }),
      { tokens: message(1), agent: true },
      ...(random.uniform() < 0.3 ? [{ tokens: message(0), agent: false }] : []),
    ],
  }));
}

/** The token ids in every class that is taken. */
const inClasses = (ids: number[]) => [
  ids,
  Int32Array.from(ids),
  Uint32Array.from(ids),
  BigInt64Array.from(ids, BigInt),
  ids.map(BigInt),
];

/** The mask in every class that is taken, with other numbers than 1. */
const masksOf = (kept: boolean[]) => [
  kept,
  kept.map((k) => (k ? -0.5 : 0)),
  Uint8Array.from(kept, (k) => (k ? 255 : 0)),
  Int32Array.from(kept, (k) => (k ? 256 : 0)),
  BigInt64Array.from(kept, (k) => (k ? 2n ** 40n : 0n)),
];

/** The same dialogues with the tokens in random classes and masks at random. */
function varied(dialogues: ReturnType<typeof randomDialogues>, seed: number) {
  const random = new Random(seed);
  return dialogues.map(({ turns }) => ({
    turns: turns.map(({ tokens, agent }) => {
      const kept = Array.from(tokens, (_, i) => i === 0 || random.uniform() < 0.6);
      return {
        tokens: inClasses(Array.from(tokens, Number))[random.integer(0, 5)]!,
        agent,
        ...(agent && random.uniform() < 0.7 ? { mask: masksOf(kept)[random.integer(0, 5)]! } : {}),
      };
    }),
  }));
}

describe('packTurns', () => {
  it('shifts the labels by one and scores only the agent', () => {
    const packed = packTurns([{ turns: [human(1, 2), agent(3, 4), human(5), agent(6), human(7)] }]);
    expect(packed).toEqual({
      inputIds: Int32Array.of(1, 2, 3, 4, 5, 6),
      labels: Int32Array.of(-100, 3, 4, -100, 6, -100),
      mask: Uint8Array.of(0, 1, 1, 0, 1, 0),
      // The prompt's rows belong to the turn that answers it; those after the last agent message to the last turn.
      turnOffsets: Int32Array.of(0, 3, 6),
      trajectoryOffsets: Int32Array.of(0, 2),
      sequenceOffsets: Int32Array.of(0, 6),
    });
  });

  it('never lets a trajectory predict the next one', () => {
    const packed = packTurns([{ turns: [human(1), agent(2)] }, { turns: [human(8), agent(9)] }]);
    expect(asArrays(packed)).toMatchObject({ inputIds: [1, 8], labels: [2, 9], sequenceOffsets: [0, 1, 2] });
  });

  it('takes two messages of the agent in a row as two turns', () => {
    const packed = packTurns([{ turns: [human(1), agent(2, 3), agent(4)] }]);
    expect(asArrays(packed)).toMatchObject({ mask: [1, 1, 1], turnOffsets: [0, 2, 3] });
  });

  it('leaves the very first token unscored, whoever wrote it', () => {
    const packed = packTurns([{ turns: [agent(1, 2), human(3), agent(4)] }]);
    expect(asArrays(packed)).toMatchObject({ labels: [2, IGNORE_INDEX, 4], mask: [1, 0, 1], turnOffsets: [0, 1, 3] });
  });

  it('takes another ignoreIndex, and no trajectories at all', () => {
    expect(packTurns([{ turns: [human(1, 2), agent(3)] }], { ignoreIndex: -1 }).labels).toEqual(Int32Array.of(-1, 3));
    expect(asArrays(packTurns([]))).toMatchObject({
      labels: [],
      turnOffsets: [0],
      trajectoryOffsets: [0],
      sequenceOffsets: [0],
    });
  });

  it.each([71, 72, 73])('agrees with the oracle, seed %d', (seed) => {
    const dialogues = randomDialogues(seed);
    expect(asArrays(packTurns(dialogues))).toEqual(oracle(dialogues));
    expect(asArrays(packTurns(dialogues, { ignoreIndex: -7 }))).toEqual(oracle(dialogues, -7));
  });

  it.each([75, 76, 77])('agrees with the oracle on tokens of every class and masks, seed %d', (seed) => {
    const dialogues = varied(randomDialogues(seed), seed);
    expect(asArrays(packTurns(dialogues))).toEqual(oracle(dialogues as Dialogue[]));
  });

  it('takes ids up to 2^31 - 1 in every class', () => {
    const ids = [0, 2 ** 31 - 1, 1];
    for (const tokens of inClasses(ids)) {
      const packed = packTurns([
        {
          turns: [
            { tokens, agent: false },
            { tokens, agent: true },
          ],
        },
      ]);
      expect(packed).toEqual(packTurns([{ turns: [human(...ids), agent(...ids)] }]));
    }
  });

  it('masks the output of tools within a message of the agent', () => {
    const tools = { tokens: [5, 6, 7, 8], agent: true, mask: [true, false, false, true] };
    expect(packTurns([{ turns: [human(1, 2), tools, human(3), agent(4)] }])).toEqual({
      inputIds: Int32Array.of(1, 2, 5, 6, 7, 8, 3),
      labels: Int32Array.of(-100, 5, -100, -100, 8, -100, 4),
      mask: Uint8Array.of(0, 1, 0, 0, 1, 0, 1),
      turnOffsets: Int32Array.of(0, 5, 7),
      trajectoryOffsets: Int32Array.of(0, 2),
      sequenceOffsets: Int32Array.of(0, 7),
    });
    // A masked token may be ignoreIndex, and a mask of ones is none.
    const labels = [-100, 5, -100, -100, 8, -100, 4].map((label) => (label === -100 ? 6 : label));
    expect(
      asArrays(packTurns([{ turns: [human(1, 2), tools, human(3), agent(4)] }], { ignoreIndex: 6 })),
    ).toMatchObject({
      labels,
    });
    expect(packTurns([{ turns: [human(1), { ...agent(2, 3), mask: [1, 1] }] }])).toEqual(
      packTurns([{ turns: [human(1), { ...agent(2, 3), mask: undefined }] }]),
    );
  });

  it('packs turns without a token that counts with allowEmptyTurns', () => {
    const masked = { ...agent(5, 6), mask: Uint8Array.of(0, 0) };
    const turns = [agent(1), human(2), masked, agent(), agent(3)];
    const packed = packTurns([{ turns }], { allowEmptyTurns: true });
    expect(asArrays(packed)).toEqual({
      inputIds: [1, 2, 5, 6],
      labels: [-100, -100, -100, 3],
      mask: [0, 0, 0, 1],
      turnOffsets: [0, 0, 3, 3, 4],
      trajectoryOffsets: [0, 4],
      sequenceOffsets: [0, 4],
    });
    const empty = (more: Parameters<typeof packTurns>[0][number]['turns'], where: RegExp) =>
      expect(() => packTurns([{ turns: more }])).toThrow(
        expect.objectContaining({ code: 'ERR_EMPTY_TURN', message: expect.stringMatching(where) }),
      );
    empty([human(2), masked], /an unmasked token .*turns\[1\], an assistant message, .*; allowEmptyTurns/);
    empty([agent(1), human(2)], /a token after the first .*turns\[0\]/);
    empty([human(1), agent()], /a token after the first .*turns\[1\]/);
    expect(() => packTurns([{ turns: [human(1, 2)] }], { allowEmptyTurns: true })).toThrow(/agent: true/);
  });

  it.each<[string, object, string, RegExp]>([
    ['an id of 2^31', { tokens: Uint32Array.of(1, 2 ** 31) }, 'ERR_ARG_VALUE', /turns\[1\]\.tokens\[1\].* 2147483648$/],
    ['an id beyond 64 bits', { tokens: [1n, 2n ** 64n] }, 'ERR_ARG_VALUE', /tokens\[1\].* 18446744073709551616n$/],
    ['a long list without elements', { tokens: new Array(2 ** 32 - 1) }, 'ERR_ARG_VALUE', /tokens\[0\].* undefined$/],
    ['a negative id', { tokens: BigInt64Array.of(-1n, 2n) }, 'ERR_ARG_VALUE', /tokens\[0\].* -1n$/],
    [
      'ids of another class',
      { tokens: Uint16Array.of(1, 2) },
      'ERR_ARG_TYPE',
      /tokens .*; use Int32Array\.from\(tokens, Number\)$/,
    ],
    ['a mask too short', { mask: [1] }, 'ERR_ARG_LENGTH', /2 elements, as there are tokens, for .*turns\[1\]\.mask/],
    ['a mask too long', { mask: new Int32Array(3) }, 'ERR_ARG_LENGTH', /turns\[1\]\.mask/],
    [
      'a mask of another class',
      { mask: Float32Array.of(1, 0) },
      'ERR_ARG_TYPE',
      /mask .*; use Uint8Array\.from\(mask\)$/,
    ],
    ['a mask of strings', { mask: ['1', '0'] }, 'ERR_ARG_TYPE', /turns\[1\]\.mask\[0\].* "1"$/],
    ['a mask with NaN', { mask: [1, NaN] }, 'ERR_ARG_TYPE', /turns\[1\]\.mask\[1\].* NaN$/],
    ['a mask of no array', { mask: null }, 'ERR_ARG_TYPE', /turns\[1\]\.mask.* null$/],
    ['a mask of another message', { agent: false, mask: [1, 1] }, 'ERR_UNKNOWN_OPTION', /no mask.*turns\[1\]/],
    ['an unknown property', { role: 'tool' }, 'ERR_UNKNOWN_OPTION', /only tokens, agent and mask .*turns\[1\].*"role"/],
  ])('refuses %s', (_what, change, code, message) => {
    const turns = [human(1), { ...agent(2, 3), ...change }, agent(4)];
    const error = expect.objectContaining({ code, message: expect.stringMatching(message) });
    expect(() => packTurns([{ turns }] as never)).toThrow(error);
    const ofHistory = expect.objectContaining({ code });
    expect(() => packCandidates([{ history: turns, candidates: [[1]] }] as never)).toThrow(ofHistory);
  });

  /** As tokenizers return them: the getters are those of a class. */
  class Ids {
    constructor(
      private readonly ids: BigInt64Array | Int32Array | Uint8Array,
      private readonly sizes: readonly number[],
    ) {}
    get data() {
      return this.ids;
    }
    get dims() {
      return this.sizes;
    }
  }

  it('takes tensors of one sequence as tokens and masks, and refuses others with a hint', () => {
    const [ids, kept] = [BigInt64Array.of(2n, 3n), BigInt64Array.of(1n, 0n)];
    const plain = packTurns([{ turns: [human(1), { ...agent(2, 3), mask: [1, 0] }, agent(4)] }]);
    const turnsOf = (tokens: unknown, mask: unknown) => [human(1), { tokens, agent: true, mask }, agent(4)] as never;
    for (const dims of [[2], [1, 2]]) {
      expect(packTurns([{ turns: turnsOf(new Ids(ids, dims), new Ids(kept, dims)) }])).toEqual(plain);
      expect(packTurns([{ turns: turnsOf({ data: Int32Array.of(2, 3), shape: dims }, kept) }])).toEqual(plain);
      const states = [{ history: [human(1)], candidates: [{ data: ids, dims }] }];
      expect(packCandidates(states)).toEqual(packCandidates([{ history: [human(1)], candidates: [[2, 3]] }]));
    }
    for (const dims of [
      [2, 1],
      [1, 1, 2],
      [2, 1, 1],
    ]) {
      const hint =
        /the shape \[n\] or \[1, n\] for trajectories\[0\]\.turns\[1\]\.(tokens|mask) .*: pass one sequence at a time/;
      const error = expect.objectContaining({ code: 'ERR_ARG_LENGTH', message: expect.stringMatching(hint) });
      expect(() => packTurns([{ turns: turnsOf(new Ids(ids, dims), undefined) }])).toThrow(error);
      expect(() => packTurns([{ turns: turnsOf(ids, new Ids(kept, dims)) }])).toThrow(error);
    }
    const bytes = new Ids(Uint8Array.of(2, 3), [2]);
    expect(() => packTurns([{ turns: turnsOf(bytes, undefined) }])).toThrow(/tokens but received Uint8Array\(2\); use/);
    expect(() => packTurns([{ turns: turnsOf(new Ids(ids, [3]), undefined) }])).toThrow(/tokens\.data/);
  });

  it('refuses an ignoreIndex that is a token of the agent', () => {
    const turns = [
      { tokens: [3, 2], agent: false },
      { tokens: [4, 2], agent: true },
    ];
    expect(() => packTurns([{ turns }], { ignoreIndex: 2 })).toThrow(
      expect.objectContaining({ code: 'ERR_ARG_VALUE', message: expect.stringMatching(/turns\[1\], token 1, .* 2$/) }),
    );
    expect(packTurns([{ turns }], { ignoreIndex: 3 }).labels).toEqual(Int32Array.of(3, 4, 2));
    // The first token of a trajectory is no label.
    expect(packTurns([{ turns: [agent(2, 3)] }], { ignoreIndex: 2 }).labels).toEqual(Int32Array.of(3));
    expect(() => packTurns([{ turns: [agent(2, 3, 2)] }], { ignoreIndex: 2 })).toThrow(/turns\[0\], token 2,/);
  });

  it('packs what criticUpdate takes', () => {
    const packed = packTurns([
      { turns: [human(1), agent(2, 3)] },
      { turns: [human(1, 4), agent(0), human(2), agent(3)] },
    ]);
    const { labels, mask, turnOffsets, trajectoryOffsets } = packed;
    const logits = Float32Array.from(new Random(74).normals(labels.length * 5));
    const pair = { chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
    const refLogps = new Float32Array(labels.length);
    const result = criticUpdate({ logits, labels, mask, refLogps, turnOffsets, trajectoryOffsets, ...pair });
    expect(result.turnAdvantages).toHaveLength(3);
    expect(result.logps).toEqual(tokenLogps({ logits, labels, mask }).logps);
  });
});
