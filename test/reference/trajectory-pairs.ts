/** Pairs of trajectories of one task, as indices into the rewards. */
import { range } from './range.ts';

export interface Pair {
  chosen: number;
  rejected: number;
}

/** Only when the best reward is at least 1: the first best against each that is strictly worse. */
export function bestVersusWorse(rewards: ArrayLike<number>, taskOffsets: ArrayLike<number>): Pair[] {
  return tasks(taskOffsets).flatMap((members) => {
    const top = Math.max(...members.map((k) => rewards[k]!));
    if (top < 1) return [];
    const chosen = members.find((k) => rewards[k] === top)!;
    return members.filter((k) => rewards[k]! < top).map((rejected) => ({ chosen, rejected }));
  });
}

/** Every pair with a better one whose rewards differ by at least minDifference, up to 1e-6. */
export function threshold(rewards: ArrayLike<number>, taskOffsets: ArrayLike<number>, minDifference: number): Pair[] {
  return tasks(taskOffsets).flatMap((members) =>
    members.flatMap((chosen) =>
      members
        .filter((rejected) => rewards[chosen]! > rewards[rejected]!)
        .filter((rejected) => rewards[chosen]! - rewards[rejected]! >= minDifference - 1e-6)
        .map((rejected) => ({ chosen, rejected })),
    ),
  );
}

function tasks(taskOffsets: ArrayLike<number>): number[][] {
  return range(0, taskOffsets.length - 1).map((task) => range(taskOffsets[task]!, taskOffsets[task + 1]!));
}
