import { expected, rangeError } from '../errors.js';
import { arrayOf, type Message, messagesOf, type PackOptions, packOptions, properties, type Turn } from './messages.js';

/** One dialogue: its messages in order. */
export interface Trajectory {
  turns: readonly Turn[];
}

/** A batch of dialogues without padding, as the losses and updates take it. */
export interface PackedTurns {
  /** [N], what the model reads. */
  inputIds: Int32Array;
  /** [N], what each row predicts: the next token if it is of an assistant message and unmasked there, else ignoreIndex. */
  labels: Int32Array;
  /** [N], 1 where the next token is of an assistant message and unmasked there. */
  mask: Uint8Array;
  /** [assistant messages + 1] into rows. */
  turnOffsets: Int32Array;
  /** [trajectories + 1] into turns. */
  trajectoryOffsets: Int32Array;
  /** [trajectories + 1] into rows: the model must not attend across these. */
  sequenceOffsets: Int32Array;
}

/**
 * Packs dialogues of token lists into one batch, with the labels shifted by one.
 *
 * The tokens s_0 ... s_{n-1} of a trajectory become n - 1 rows: row i reads s_i and predicts s_{i+1}. The row is
 * unmasked where s_{i+1} is of an assistant message, unless the `mask` of the message is 0 there: of a message with the
 * output of a tool in it, which the model reads and does not learn to write. A turn is one assistant message together with the masked rows
 * before it, which predict the tokens of other messages; rows after the last assistant message belong to its turn.
 *
 * @param trajectories the messages of each, in order: `tokens`, `agent` and, of an assistant message, `mask`. Tokens are an array or
 *   a tensor [n] or [1, n], as a tokenizer returns for one text.
 * @param options.ignoreIndex the label of masked rows; -100 by default.
 * @param options.allowEmptyTurns packs a turn none of whose tokens is predicted and unmasked; the losses take it with their
 *   option of the same name. false by default.
 * @returns inputIds, labels, mask, turnOffsets, trajectoryOffsets, sequenceOffsets: arguments of losses and updates.
 * @throws RangeError ERR_EMPTY_TURN for a trajectory without an assistant message or an assistant message none of whose
 *   tokens is predicted and unmasked; ERR_ARG_VALUE for a token that is not an integer from 0 to 2^31 - 1, ERR_ARG_LENGTH
 *   for a mask of another length; TypeError ERR_UNKNOWN_OPTION for a mask where `agent` is false, and for a property of a
 *   trajectory other than `turns`, or of a turn other than `tokens`, `agent` and `mask`.
 * @see arXiv 2503.15478, Section 4: the advantage of a turn is over the tokens of the action.
 * @example
 * packTurns([{ turns: [{ tokens: [5, 6], agent: false }, { tokens: [7, 8], agent: true }] }]);
 * // inputIds [5, 6, 7], labels [-100, 7, 8], mask [0, 1, 1],
 * // turnOffsets [0, 3], trajectoryOffsets [0, 1], sequenceOffsets [0, 3]
 */
export function packTurns(trajectories: readonly Trajectory[], options: PackOptions = {}): PackedTurns {
  const checked = packOptions('packTurns', options);
  const sequences = arrayOf('trajectories', trajectories, (trajectory, name) => {
    const { turns } = properties(name, trajectory, ['turns'], 'pass other data of dialogues in arrays of their own');
    const messages = messagesOf(`${name}.turns`, turns);
    if (messages.some(({ agent }) => agent)) return messages;
    throw rangeError('ERR_EMPTY_TURN', `Expected a turn with agent: true for ${name} but received none`);
  });
  return packMessages(sequences, checked);
}

/** Packs sequences of messages, each with an assistant message. */
export function packMessages(
  sequences: readonly (readonly Message[])[],
  { ignoreIndex, allowEmptyTurns }: ReturnType<typeof packOptions>,
): PackedTurns {
  const inputIds: number[] = [];
  const labels: number[] = [];
  const mask: number[] = [];
  const turnOffsets = [0];
  const trajectoryOffsets = [0];
  const sequenceOffsets = [0];
  for (const messages of sequences) {
    let last: number | undefined; // the token that the next row reads
    for (const { name, tokens, agent, kept } of messages) {
      let predicted = 0;
      const isScored = (i: number) => agent && kept?.[i] !== false;
      const first = last === undefined ? 1 : 0; // the first token of a trajectory is no label
      const ignored = tokens.findIndex((token, i) => i >= first && token === ignoreIndex && isScored(i));
      if (ignored >= 0) {
        const rule = 'another token than ignoreIndex, since the row of this one would be ignored,';
        throw rangeError('ERR_ARG_VALUE', expected(rule, `${name}, token ${ignored},`, ignoreIndex));
      }
      for (const [i, token] of tokens.entries()) {
        if (last !== undefined) {
          const scored = isScored(i);
          inputIds.push(last);
          labels.push(scored ? token : ignoreIndex);
          mask.push(scored ? 1 : 0);
          if (scored) predicted++;
        }
        last = token;
      }
      if (!agent) continue;
      if (predicted === 0 && !allowEmptyTurns) {
        const what = kept === undefined ? 'a token' : 'an unmasked token';
        const rule = `Expected ${what} after the first token of the trajectory for ${name}, an assistant message,`;
        throw rangeError('ERR_EMPTY_TURN', `${rule} but received none; allowEmptyTurns packs such a turn`);
      }
      turnOffsets.push(labels.length);
    }
    turnOffsets[turnOffsets.length - 1] = labels.length; // the rows after the last assistant message belong to its turn
    trajectoryOffsets.push(turnOffsets.length - 1);
    sequenceOffsets.push(labels.length);
  }
  return {
    inputIds: Int32Array.from(inputIds),
    labels: Int32Array.from(labels),
    mask: Uint8Array.from(mask),
    turnOffsets: Int32Array.from(turnOffsets),
    trajectoryOffsets: Int32Array.from(trajectoryOffsets),
    sequenceOffsets: Int32Array.from(sequenceOffsets),
  };
}
