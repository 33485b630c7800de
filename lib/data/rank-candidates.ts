import { checkOptions } from '../args/options.js';
import { CANDIDATE_OPTIONS, type CandidateOptions, rankedStates } from './candidates.js';

const OPTIONS = new Set<string>(CANDIDATE_OPTIONS);

/**
 * Ranks the candidate actions of each state by their scores, best first; equal scores keep their order.
 *
 * @param options.scores the score of every candidate, one state after the other.
 * @param options.candidateOffsets [states + 1] into `scores`.
 * @returns indices into `scores`: those of state s, best first, at candidateOffsets[s] ... candidateOffsets[s + 1] - 1.
 * @throws RangeError ERR_OFFSETS naming an index; ERR_ARG_VALUE naming a score that is NaN.
 * @see arXiv 2503.15478, Section 4.2.
 * @example
 * rankCandidates({ scores: new Float32Array([1, 3, 2, 7]), candidateOffsets: new Int32Array([0, 3, 4]) }); // [1, 2, 0, 3]
 */
export function rankCandidates(options: CandidateOptions): Int32Array {
  const given = checkOptions('rankCandidates', options, OPTIONS);
  return Int32Array.from(rankedStates(given).states.flat());
}
