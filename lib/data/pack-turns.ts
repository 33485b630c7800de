import { checkAttached, classOf } from '../args/arrays.js';
import { IGNORE_INDEX } from '../args/labels.js';
import { checkOptions, isArray, isRecord } from '../args/options.js';
import { integer } from '../args/scalars.js';
import { expected, rangeError, typeError } from '../errors.js';

/** One message of a dialogue. */
export interface Turn {
  tokens: Int32Array | readonly number[];
  /** Whether it is an assistant message; the tokens of other messages are masked. */
  agent: boolean;
}

/** One dialogue: its messages in order. */
export interface Trajectory {
  turns: readonly Turn[];
}

/** A batch of dialogues without padding, as the losses and updates take it. */
export interface PackedTurns {
  /** [N], what the model reads. */
  inputIds: Int32Array;
  /** [N], what each row predicts: the next token if it is of an assistant message, else ignoreIndex. */
  labels: Int32Array;
  /** [N], 1 where the next token is of an assistant message. */
  mask: Uint8Array;
  /** [assistant messages + 1] into rows. */
  turnOffsets: Int32Array;
  /** [trajectories + 1] into turns. */
  trajectoryOffsets: Int32Array;
  /** [trajectories + 1] into rows: the model must not attend across these. */
  sequenceOffsets: Int32Array;
}

const OPTIONS = new Set(['ignoreIndex']);

/**
 * Packs dialogues of token lists into one batch, with the labels shifted by one.
 *
 * The tokens s_0 ... s_{n-1} of a trajectory become n - 1 rows: row i reads s_i and predicts s_{i+1}. The row is
 * unmasked where s_{i+1} is of an assistant message. A turn is one assistant message together with the masked rows
 * before it, which predict the tokens of other messages; rows after the last assistant message belong to its turn.
 *
 * @param trajectories the messages of each, in order.
 * @param options.ignoreIndex the label of masked rows; -100 by default.
 * @returns inputIds, labels, mask, turnOffsets, trajectoryOffsets, sequenceOffsets: arguments of losses and updates.
 * @throws RangeError ERR_EMPTY_TURN for a trajectory without an assistant message or an assistant message none of whose
 *   tokens is predicted; ERR_ARG_VALUE for a token that is not an integer from 0 to 2^31 - 1.
 * @see arXiv 2503.15478, Section 4: the advantage of a turn is over the tokens of the action.
 * @example
 * packTurns([{ turns: [{ tokens: [5, 6], agent: false }, { tokens: [7, 8], agent: true }] }]);
 * // inputIds [5, 6, 7], labels [-100, 7, 8], mask [0, 1, 1],
 * // turnOffsets [0, 3], trajectoryOffsets [0, 1], sequenceOffsets [0, 3]
 */
export function packTurns(
  trajectories: readonly Trajectory[],
  options: { ignoreIndex?: number | undefined } = {},
): PackedTurns {
  if (!isArray(trajectories)) throw typeError('ERR_ARG_TYPE', expected('an array', 'trajectories', trajectories));
  const given = checkOptions('packTurns', options, OPTIONS);
  const ignoreIndex = integer('ignoreIndex', given.ignoreIndex, IGNORE_INDEX, -(2 ** 31), 2 ** 31 - 1);

  const inputIds: number[] = [];
  const labels: number[] = [];
  const mask: number[] = [];
  const turnOffsets = [0];
  const trajectoryOffsets = [0];
  const sequenceOffsets = [0];
  for (const [k, trajectory] of (trajectories as readonly Trajectory[]).entries()) {
    let last: number | undefined; // the token that the next row reads
    let assistantTurns = 0;
    for (const [t, turn] of turnsOf(trajectory, k).entries()) {
      const name = `trajectories[${k}].turns[${t}]`;
      const { tokens, agent } = turnOf(turn, name);
      let predicted = 0;
      for (const token of tokens) {
        if (last !== undefined) {
          inputIds.push(last);
          labels.push(agent ? token : ignoreIndex);
          mask.push(agent ? 1 : 0);
          predicted++;
        }
        last = token;
      }
      if (!agent) continue;
      if (predicted === 0) {
        const rule = `Expected a token after the first token of the trajectory for ${name}, an assistant message,`;
        throw rangeError('ERR_EMPTY_TURN', `${rule} but received none`);
      }
      assistantTurns++;
      turnOffsets.push(labels.length);
    }
    if (assistantTurns === 0) {
      throw rangeError('ERR_EMPTY_TURN', `Expected a turn with agent: true for trajectories[${k}] but received none`);
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

function turnsOf(trajectory: Trajectory, k: number): readonly Turn[] {
  const name = `trajectories[${k}]`;
  if (!isRecord(trajectory)) throw typeError('ERR_ARG_TYPE', expected('an object with turns', name, trajectory));
  const turns: unknown = trajectory.turns;
  if (!isArray(turns)) throw typeError('ERR_ARG_TYPE', expected('an array', `${name}.turns`, turns));
  return turns as readonly Turn[];
}

/** The checked tokens of a message, each read once. */
function turnOf(turn: Turn, name: string): { tokens: number[]; agent: boolean } {
  if (!isRecord(turn)) throw typeError('ERR_ARG_TYPE', expected('an object with tokens', name, turn));
  const { tokens, agent } = turn as Partial<Turn>;
  const typed = classOf(tokens) === 'Int32Array';
  if (!isArray(tokens) && !typed) {
    throw typeError('ERR_ARG_TYPE', expected('Int32Array or an array of numbers', `${name}.tokens`, tokens));
  }
  if (typeof agent !== 'boolean') throw typeError('ERR_ARG_TYPE', expected('a boolean', `${name}.agent`, agent));
  const given = tokens as ArrayLike<unknown>;
  const length = typed ? checkAttached(`${name}.tokens`, given) : given.length;
  const read = Array.from({ length }, (_, i) => {
    const token = given[i];
    if (!Number.isInteger(token) || (token as number) < 0 || (token as number) >= 2 ** 31) {
      throw rangeError('ERR_ARG_VALUE', expected('an integer from 0 to 2^31 - 1', `${name}.tokens[${i}]`, token));
    }
    return token as number;
  });
  return { tokens: read, agent };
}
