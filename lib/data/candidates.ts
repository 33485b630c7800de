// Scores of candidates, one state after the other, and their ranks within each state.
import { hostView, offsets, typedArray } from '../args/arrays.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';

export interface CandidateOptions {
  /** The score of every candidate of every state. */
  scores: ArrayOrTensor<Float32Array | Float64Array>;
  /** [states + 1], the candidates of state s are candidateOffsets[s] ... candidateOffsets[s + 1] - 1. */
  candidateOffsets: ArrayOrTensor<Int32Array>;
}

export const CANDIDATE_OPTIONS = ['scores', 'candidateOffsets'] as const;

/** The range [from, to) of each group; throws for offsets that decrease, do not start at 0 or do not end at `total`. */
export function groups(argument: string, value: unknown, total: number): (readonly [from: number, to: number])[] {
  const array = hostView(argument, offsets(argument, value));
  const ranges: (readonly [number, number])[] = [];
  let last = 0;
  for (const [i, offset] of array.entries()) {
    if (offset < last || (i === 0 && offset !== 0) || (i === array.length - 1 && offset !== total)) {
      const rule = `offsets that start at 0, do not decrease and end at ${total}`;
      throw rangeError('ERR_OFFSETS', `Expected ${rule} for ${argument} but received ${offset} at index ${i}`);
    }
    if (i > 0) ranges.push([last, offset]);
    last = offset;
  }
  return ranges;
}

/** Numbers without NaN. */
export function comparable(argument: string, value: unknown, length?: number): Float32Array | Float64Array {
  const array = hostView(argument, typedArray(argument, value, ['Float32Array', 'Float64Array'], length));
  const at = array.findIndex(Number.isNaN);
  if (at >= 0) throw rangeError('ERR_ARG_VALUE', expected('a number', `${argument}[${at}]`, NaN));
  return array;
}

/** The candidates of each state, best first; equal scores keep their order. */
export function rankedStates(options: CandidateOptions): { scores: Float32Array | Float64Array; states: number[][] } {
  const scores = comparable('scores', options.scores);
  const states = groups('candidateOffsets', options.candidateOffsets, scores.length).map(([from, to]) => {
    const ranked = Array.from({ length: to - from }, (_, i) => from + i);
    // The difference of equal infinities is NaN.
    return ranked.sort((a, b) => {
      const [x, y] = [scores[a] as number, scores[b] as number];
      return x === y ? 0 : y - x;
    });
  });
  return { scores, states };
}
