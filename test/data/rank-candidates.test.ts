import { rankCandidates } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { Random } from '../helpers/random.ts';
import { rankCandidates as oracle } from '../reference/rank-candidates.ts';

const offsets = (...values: number[]) => Int32Array.from(values);

describe('rankCandidates', () => {
  it('lists the flat indices of each state, best first', () => {
    const scores = Float32Array.of(0.5, 2, -1, /* next state */ 7, 8);
    expect(rankCandidates({ scores, candidateOffsets: offsets(0, 3, 5) })).toEqual(Int32Array.of(1, 0, 2, 4, 3));
  });

  it('keeps equal scores in their order', () => {
    const scores = Float64Array.of(1, 3, 1, 3, 1, -0, 0);
    expect(rankCandidates({ scores, candidateOffsets: offsets(0, 7) })).toEqual(Int32Array.of(1, 3, 0, 2, 4, 5, 6));
  });

  it('ranks infinities, which may be equal too', () => {
    const scores = Float32Array.of(-Infinity, Infinity, 0, -Infinity, Infinity);
    expect(rankCandidates({ scores, candidateOffsets: offsets(0, 5) })).toEqual(Int32Array.of(1, 4, 2, 0, 3));
  });

  it('takes states without candidates and no states at all', () => {
    expect(rankCandidates({ scores: Float32Array.of(1), candidateOffsets: offsets(0, 0, 1, 1) })).toEqual(
      Int32Array.of(0),
    );
    expect(rankCandidates({ scores: new Float32Array(0), candidateOffsets: offsets(0) })).toEqual(new Int32Array(0));
  });

  it.each([Float32Array, Float64Array])('agrees with the oracle on ragged states with ties, %o', (Scores) => {
    const random = new Random(41);
    const candidateOffsets = random.offsets(200, 17);
    const scores = new Scores(random.integers(candidateOffsets[200]!, 0, 9)).map((score: number) => score / 4);
    const before = scores.slice();
    expect(Array.from(rankCandidates({ scores, candidateOffsets }))).toEqual(oracle(scores, candidateOffsets));
    expect(scores).toEqual(before);
  });
});
