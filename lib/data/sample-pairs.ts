import { checkOptions } from '../args/options.js';
import { integer, oneOf } from '../args/scalars.js';
import { expected, rangeError, typeError } from '../errors.js';
import { CANDIDATE_OPTIONS, type CandidateOptions, rankedStates } from './candidates.js';
import { generator } from './random.js';

/** What `samplePairs` takes. */
export interface SamplePairsOptions extends CandidateOptions {
  /** Pairs to draw per state under 'halves'; 4 by default. */
  numPairs?: number | undefined;
  /** 'halves' by default. */
  rule?: 'halves' | 'best-worst' | undefined;
  /** An integer from 0 to 2^32 - 1; the same seed draws the same pairs. */
  seed: number;
}

/** Pairs of candidates, the number of ties, and the number of states without a pair. */
export interface SampledPairs {
  /** Indices into `scores`. */
  chosen: Int32Array;
  rejected: Int32Array;
  /** The number of drawn pairs with equal scores, which are left out. */
  droppedTies: number;
  /** The states that give no pair: with fewer than two candidates, or of which all drawn pairs are ties. */
  skipped: { alone: number; tied: number };
}

/** Of a call: two arrays of 256 MiB. */
const MAX_PAIRS = 2 ** 26;
const OPTIONS = new Set<string>([...CANDIDATE_OPTIONS, 'numPairs', 'rule', 'seed']);

/**
 * Samples pairs of candidate actions of each state by the ranks of their scores.
 *
 * 'halves': chosen from the first floor(n/2) ranks and rejected from the last floor(n/2), independently, `numPairs`
 * times with replacement; the paper draws one such pair, its released code four. 'best-worst': the first rank against the
 * last, once. Pairs of equal scores are left out and counted, and so are states without a pair.
 *
 * @param options.scores the score of every candidate, one state after the other.
 * @param options.candidateOffsets [states + 1] into `scores`; a state with fewer than 2 candidates gives no pair.
 * @param options.seed of the random numbers.
 * @returns chosen and rejected, indices into `scores`, the number of ties, and skipped, the number of states without a pair
 *   by reason.
 * @throws RangeError ERR_OFFSETS naming an index; ERR_ARG_VALUE for a NaN score or numPairs other than 1 with
 *   'best-worst'.
 * @see arXiv 2503.15478, Section 4.2.
 * @example
 * const scores = new Float32Array([1, 3, 2]);
 * samplePairs({ scores, candidateOffsets: new Int32Array([0, 3]), rule: 'best-worst', seed: 1 });
 * // { chosen: [1], rejected: [0], droppedTies: 0, skipped: { alone: 0, tied: 0 } }
 */
export function samplePairs(options: SamplePairsOptions): SampledPairs {
  const given = checkOptions('samplePairs', options, OPTIONS);
  const { scores, states } = rankedStates(given);
  const rule = oneOf('rule', given.rule, 'halves', ['halves', 'best-worst']);
  const best = rule === 'best-worst';
  const numPairs = integer('numPairs', given.numPairs, best ? 1 : 4, 1, 2 ** 31 - 1);
  if (best && numPairs !== 1)
    throw rangeError('ERR_ARG_VALUE', expected("1 with rule 'best-worst'", 'numPairs', numPairs));
  if (given.seed === undefined) throw typeError('ERR_ARG_TYPE', expected('an integer', 'seed', undefined));
  const draw = generator(integer('seed', given.seed, 0, 0, 2 ** 32 - 1));

  const most = numPairs * states.length;
  if (most > MAX_PAIRS) {
    const rule = `at most ${Math.floor(MAX_PAIRS / states.length)}, so that ${states.length} states have ${MAX_PAIRS} pairs,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'numPairs', numPairs));
  }
  const [chosen, rejected] = [new Int32Array(most), new Int32Array(most)];
  let count = 0;
  let droppedTies = 0;
  const skipped = { alone: 0, tied: 0 };
  for (const ranked of states) {
    const n = ranked.length;
    if (n < 2) {
      skipped.alone++;
      continue;
    }
    const [half, pairs] = [best ? 1 : n >> 1, count];
    for (let k = 0; k < numPairs; k++) {
      const winner = ranked[draw(half)] as number;
      const loser = ranked[n - half + draw(half)] as number;
      if (scores[winner] === scores[loser]) {
        droppedTies++;
      } else {
        chosen[count] = winner;
        rejected[count++] = loser;
      }
    }
    if (count === pairs) skipped.tied++;
  }
  return { chosen: chosen.slice(0, count), rejected: rejected.slice(0, count), droppedTies, skipped };
}
