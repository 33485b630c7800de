/** What the specification determines of the drawn pairs: "best-worst" wholly, "halves" up to the draw. */
import { statesByRank } from './rank-candidates.ts';

export interface DeterminedPairs {
  chosen: number[];
  rejected: number[];
  droppedTies: number;
}

/** The first and the last of each state with at least two candidates, unless their scores are equal. */
export function bestWorstPairs(scores: ArrayLike<number>, candidateOffsets: ArrayLike<number>): DeterminedPairs {
  const states = statesByRank(scores, candidateOffsets).filter((ranked) => ranked.length >= 2);
  const pairs = states.map((ranked) => ({ chosen: ranked[0]!, rejected: ranked.at(-1)! }));
  const kept = pairs.filter(({ chosen, rejected }) => scores[chosen] !== scores[rejected]);
  return {
    chosen: kept.map((pair) => pair.chosen),
    rejected: kept.map((pair) => pair.rejected),
    droppedTies: pairs.length - kept.length,
  };
}

/** The two halves of each state; an odd middle is in neither. */
export function halves(scores: ArrayLike<number>, candidateOffsets: ArrayLike<number>) {
  return statesByRank(scores, candidateOffsets).map((ranked) => {
    const half = Math.floor(ranked.length / 2);
    return { upper: ranked.slice(0, half), lower: ranked.slice(ranked.length - half) };
  });
}
