import { criticUpdate, IGNORE_INDEX, packTurns, tokenLogps } from 'sweet-rl';
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
