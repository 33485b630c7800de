/**
 * A maze in text: walls are "#", "S" is the start, "G" the goal, which opens to who has been at the key "K". Walks through it are a
 * batch where each move is a turn of one token.
 */
import { Batch } from './table.js';

const MAP = ['S..K', '.#..', '.#..', 'G...'];

export const moves = ['north', 'east', 'south', 'west'];
const STEPS = [
  [-1, 0],
  [0, 1],
  [1, 0],
  [0, -1],
];

/** A walk from the start, which is in the corner. */
class Maze {
  #at = [0, 0];
  #hasKey = false;
  done = false;

  /** What the agent sees. */
  get observation() {
    return `row ${this.#at[0]}, column ${this.#at[1]}, ${this.#hasKey ? 'key' : 'no key'}`;
  }

  /** Goes in the direction of a move; a wall and the border hold it back. @param {number} move */
  go(move) {
    const [row, column] = [this.#at[0] + STEPS[move][0], this.#at[1] + STEPS[move][1]];
    const letter = MAP[row]?.[column] ?? '#';
    if (letter === '#') return;
    this.#at = [row, column];
    if (letter === 'K') this.#hasKey = true;
    this.done = letter === 'G' && this.#hasKey;
  }
}

export const SHORTEST = 9; // moves from the start to the key to the goal

/**
 * Walks until the goal or a limit.
 *
 * @param {(observation: string) => number} choose @param {(observation: string) => number} rowOf the row of an observation
 */
export function walks(count, limit, choose, rowOf) {
  const batch = new Batch();
  const ends = Array.from({ length: count }, () => {
    const maze = new Maze();
    let length = 0;
    for (; !maze.done && length < limit; length++) {
      const { observation } = maze;
      const move = choose(observation);
      batch.add(rowOf(observation), move);
      batch.endTurn();
      maze.go(move);
    }
    batch.endTrajectory();
    return { reached: maze.done, length, last: rowOf(maze.observation) };
  });
  const { trajectoryOffsets } = batch;
  const rewards = new Float64Array(batch.labels.length); // 1 at the last move of a walk to the goal
  ends.forEach(({ reached }, k) => {
    if (reached) rewards[trajectoryOffsets[k + 1] - 1] = 1;
  });
  return { batch, trajectoryOffsets, rewards, ends };
}

/** The mean over walks of the shortest length over that of the walk, 0 for a walk that does not reach the goal. */
export function efficiency(count, choose) {
  const { ends } = walks(count, 4 * SHORTEST, choose, () => 0);
  return ends.reduce((sum, { reached, length }) => sum + (reached ? SHORTEST / length : 0), 0) / count;
}
