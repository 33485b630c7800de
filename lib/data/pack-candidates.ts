import { expected, rangeError } from '../errors.js';
import {
  arrayOf,
  messagesOf,
  type PackOptions,
  packOptions,
  properties,
  type TokenIds,
  type Turn,
  tokensOf,
} from './messages.js';
import { type PackedTurns, packMessages } from './pack-turns.js';

/** A turn of a dialogue: the messages before it, and candidate actions. */
export interface CandidateState {
  /** The messages before the turn; the tokens of all of them are masked. */
  history: readonly Turn[];
  /** The tokens of each candidate. */
  candidates: readonly TokenIds[];
}

/** A batch in which each turn is one candidate after its history. */
export interface PackedCandidates extends Omit<PackedTurns, 'trajectoryOffsets'> {
  /** [states + 1] into turns: the candidates of each state. */
  candidateOffsets: Int32Array;
}

/**
 * Packs candidate actions of turns, each after the history of its state, with the labels shifted by one.
 *
 * Each candidate is a sequence of its own: the history h_0 ... h_{m-1} and the candidate s_0 ... s_{n-1} become
 * m + n - 1 rows, of which the last n, which predict the candidate, are unmasked. Assistant messages of the history are
 * masked as well, so turn c of the batch is candidate c alone: scores of turns rank the candidates, and the indices of
 * `samplePairs` are those of `policyUpdate`.
 *
 * @param states the history and the candidates of each.
 * @param options.ignoreIndex the label of masked rows; -100 by default.
 * @param options.allowEmptyTurns packs a candidate without tokens as a turn without an unmasked row; false by default.
 * @returns inputIds, labels, mask, turnOffsets and sequenceOffsets as `packTurns` does, a turn and a sequence for each
 *   candidate, and candidateOffsets [states + 1] into turns, as `samplePairs` and `rankCandidates` take them.
 * @throws RangeError ERR_EMPTY_TURN for a candidate without tokens; ERR_ARG_VALUE for a history without tokens, after
 *   which the first token of a candidate would not be predicted, and for a token that is not an integer from 0 to
 *   2^31 - 1; TypeError ERR_UNKNOWN_OPTION for an unknown property.
 * @see arXiv 2503.15478, Section 4.2.
 * @example
 * packCandidates([{ history: [{ tokens: [5, 6], agent: false }], candidates: [[7, 8], [9]] }]);
 * // inputIds [5, 6, 7, 5, 6], labels [-100, 7, 8, -100, 9], mask [0, 1, 1, 0, 1],
 * // turnOffsets [0, 3, 5], sequenceOffsets [0, 3, 5], candidateOffsets [0, 2]
 */
export function packCandidates(states: readonly CandidateState[], options: PackOptions = {}): PackedCandidates {
  const checked = packOptions('packCandidates', options);
  const candidateOffsets = [0];
  const sequences = arrayOf('states', states, (state, name) => {
    const hint = 'pass other data of states in arrays of their own';
    const { history, candidates } = properties(name, state, ['history', 'candidates'], hint);
    const before = messagesOf(`${name}.history`, history).map((message) => ({ ...message, agent: false }));
    if (before.every(({ tokens }) => tokens.length === 0)) {
      throw rangeError('ERR_ARG_VALUE', expected('at least one token', `${name}.history`, history));
    }
    const ofState = arrayOf(`${name}.candidates`, candidates, (given, candidate) => {
      const tokens = tokensOf(candidate, given);
      if (tokens.length > 0 || checked.allowEmptyTurns) return [...before, { name: candidate, tokens, agent: true }];
      throw rangeError('ERR_EMPTY_TURN', expected('at least one token', candidate, given));
    });
    candidateOffsets.push((candidateOffsets.at(-1) as number) + ofState.length);
    return ofState;
  });
  const { trajectoryOffsets: _, ...packed } = packMessages(sequences.flat(), checked);
  return { ...packed, candidateOffsets: Int32Array.from(candidateOffsets) };
}
