/** Walks in the maze as a batch, where each move is a turn of one token: what offline programs learn from. */
import { Maze, moves } from './maze.js';
import { Batch } from './table.js';

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

/** The shortest length over that of a walk; 0 for a walk that does not reach the goal. */
export function efficiency(choose) {
  const [{ reached, length }] = walks(1, 4 * SHORTEST, choose, () => 0).ends;
  return reached ? SHORTEST / length : 0;
}

export { moves };
