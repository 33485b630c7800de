/**
 * What the released SWEET-RL code trains its critic with (`--mean_log_prob`), by its formula: a trajectory's score is one
 * mean of log-prob ratios over all its agent tokens, whatever turn they stand in; then Bradley-Terry, mean over pairs.
 */
import { logSigmoid } from './preference.ts';

export interface ReleasedTrajectory {
  logps: number[];
  refLogps: number[];
  lossMask: number[];
}

export function releasedScore({ logps, refLogps, lossMask }: ReleasedTrajectory): number {
  const masked = (values: number[]) => values.reduce((sum, x, i) => sum + x * lossMask[i]!, 0);
  const tokens = lossMask.reduce((a, b) => a + b, 0);
  return masked(logps) / tokens - masked(refLogps) / tokens;
}

export function releasedLoss(pairs: { chosen: ReleasedTrajectory; rejected: ReleasedTrajectory }[], beta: number) {
  const losses = pairs.map(
    ({ chosen, rejected }) => -logSigmoid(beta * (releasedScore(chosen) - releasedScore(rejected))),
  );
  return losses.reduce((a, b) => a + b, 0) / losses.length;
}
