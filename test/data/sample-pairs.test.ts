import { samplePairs, turnPreferenceLoss } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { Random } from '../helpers/random.ts';
import { bestWorstPairs, halves } from '../reference/sample-pairs.ts';

const offsets = (...values: number[]) => Int32Array.from(values);

/** Ragged states of 1 ... 16 candidates with ties. */
function raggedStates(seed: number, states: number) {
  const random = new Random(seed);
  const candidateOffsets = random.offsets(states, 16);
  const scores = Float32Array.from({ length: candidateOffsets[states]! }, () => random.integer(0, 12) / 4);
  return { scores, candidateOffsets };
}

function stateOf(candidate: number, candidateOffsets: Int32Array): number {
  return candidateOffsets.findIndex((begin) => begin > candidate) - 1;
}

describe('best-worst', () => {
  it('agrees with the oracle, ties dropped and counted', () => {
    const states = raggedStates(51, 300);
    const expected = bestWorstPairs(states.scores, states.candidateOffsets);
    const { chosen, rejected, droppedTies, skipped } = samplePairs({ ...states, rule: 'best-worst', seed: 1 });
    expect(expected.droppedTies).toBeGreaterThan(0);
    expect({ chosen: Array.from(chosen), rejected: Array.from(rejected), droppedTies }).toEqual(expected);
    expect(skipped).toEqual({ alone: 300 - chosen.length - droppedTies, tied: droppedTies });
  });

  it('does not depend on the seed', () => {
    const states = raggedStates(52, 30);
    const draw = (seed: number) => samplePairs({ ...states, rule: 'best-worst', seed });
    expect(draw(1)).toEqual(draw(2));
  });

  it('takes numPairs 1', () => {
    const states = raggedStates(52, 3);
    const spelled = samplePairs({ ...states, rule: 'best-worst', numPairs: 1, seed: 1 });
    expect(spelled).toEqual(samplePairs({ ...states, rule: 'best-worst', seed: 1 }));
  });
});

describe('halves', () => {
  it('draws chosen from the upper half and rejected from the lower one, state by state', () => {
    const states = raggedStates(53, 400);
    const expected = halves(states.scores, states.candidateOffsets);
    const { chosen, rejected, droppedTies } = samplePairs({ ...states, numPairs: 5, seed: 7 });
    const drawing = expected.filter(({ upper }) => upper.length > 0).length;
    expect(chosen.length + droppedTies).toBe(5 * drawing);
    expect(rejected.length).toBe(chosen.length);
    expect(droppedTies).toBeGreaterThan(0);
    let last = 0;
    chosen.forEach((winner, p) => {
      const state = stateOf(winner, states.candidateOffsets);
      expect(expected[state]!.upper).toContain(winner);
      expect(expected[state]!.lower).toContain(rejected[p]);
      expect(states.scores[winner]).toBeGreaterThan(states.scores[rejected[p]!]!);
      expect(state).toBeGreaterThanOrEqual(last);
      last = state;
    });
  });

  it('is determined where each half has one candidate', () => {
    const scores = Float32Array.of(1, 2, /* an odd middle */ 5, 4, 3, /* a lone one */ 9);
    const pairs = samplePairs({ scores, candidateOffsets: offsets(0, 2, 5, 6), numPairs: 2, seed: 3 });
    expect(pairs).toEqual({
      chosen: offsets(1, 1, 2, 2),
      rejected: offsets(0, 0, 4, 4),
      droppedTies: 0,
      skipped: { alone: 1, tied: 0 },
    });
  });

  it('drops every pair of equal scores', () => {
    const scores = new Float32Array(6).fill(2);
    const pairs = samplePairs({ scores, candidateOffsets: offsets(0, 6), numPairs: 9, seed: 3 });
    expect(pairs).toEqual({
      chosen: new Int32Array(0),
      rejected: new Int32Array(0),
      droppedTies: 9,
      skipped: { alone: 0, tied: 1 },
    });
  });

  it('draws 4 pairs a state unless told otherwise', () => {
    const scores = Float32Array.of(1, 2);
    expect(samplePairs({ scores, candidateOffsets: offsets(0, 2), seed: 0 }).chosen).toHaveLength(4);
  });

  it('draws the same pairs for the same seed and others for another', () => {
    const states = raggedStates(54, 50);
    const draw = (seed: number) => samplePairs({ ...states, seed });
    expect(draw(2 ** 32 - 1)).toEqual(draw(2 ** 32 - 1));
    expect(draw(1).chosen).not.toEqual(draw(2).chosen);
    expect(draw(0).chosen).not.toEqual(draw(1).chosen);
  });

  it('draws every pair about equally often', () => {
    // 3 x 3 pairs, 9 000 draws: each count has a standard deviation of 30.
    const scores = Float32Array.of(6, 5, 4, 3, 2, 1);
    const { chosen, rejected } = samplePairs({ scores, candidateOffsets: offsets(0, 6), numPairs: 9000, seed: 11 });
    const counts = new Map<string, number>();
    chosen.forEach((winner, p) => {
      const pair = `${winner}>${rejected[p]}`;
      counts.set(pair, (counts.get(pair) ?? 0) + 1);
    });
    expect(counts.size).toBe(9);
    for (const count of counts.values()) expect(Math.abs(count - 1000)).toBeLessThan(150);
  });

  it('gives pairs of turns where each candidate is one turn', () => {
    const scores = Float32Array.of(1, 2, 3, 4);
    const { chosen, rejected } = samplePairs({ scores, candidateOffsets: offsets(0, 4), seed: 5 });
    const logps = Float32Array.of(0, 0, 1, 1);
    const inputs = { logps, refLogps: new Float32Array(4), turnOffsets: offsets(0, 1, 2, 3, 4), chosen, rejected };
    expect(turnPreferenceLoss(inputs).accuracy).toBe(1);
  });
});

it('refuses more pairs than memory may hold', () => {
  const state = { scores: Float32Array.of(1, 2), candidateOffsets: offsets(0, 2), seed: 1 };
  expect(() => samplePairs({ ...state, numPairs: 200_000_000 })).toThrow(
    expect.objectContaining({ code: 'ERR_ARG_VALUE', message: expect.stringMatching(/numPairs.*200000000$/) }),
  );
});
