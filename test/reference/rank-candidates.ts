/** Per state, the flat indices of its candidates: best score first, equal scores in their given order. */
import { range } from './range.ts';

export function rankCandidates(scores: ArrayLike<number>, candidateOffsets: ArrayLike<number>): number[] {
  return statesByRank(scores, candidateOffsets).flat();
}

export function statesByRank(scores: ArrayLike<number>, candidateOffsets: ArrayLike<number>): number[][] {
  return range(0, candidateOffsets.length - 1).map((state) =>
    range(candidateOffsets[state]!, candidateOffsets[state + 1]!).sort((a, b) => scores[b]! - scores[a]! || a - b),
  );
}
