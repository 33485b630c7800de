/** -sum m_i logp_i / n over the tokens of trajectories whose reward reaches the threshold. */
import { range } from './range.ts';

export interface FilteredNllOptions {
  logps: ArrayLike<number>;
  mask?: ArrayLike<number> | undefined;
  turnOffsets: ArrayLike<number>;
  trajectoryOffsets: ArrayLike<number>;
  rewards: ArrayLike<number>;
  threshold?: number | undefined;
  nllDenominator?: number | undefined;
}

export function filteredNll(options: FilteredNllOptions) {
  const { logps, mask, turnOffsets, trajectoryOffsets, rewards, threshold = 1 } = options;
  const kept = range(0, rewards.length).filter((k) => rewards[k]! >= threshold);
  const tokens = kept
    .flatMap((k) => range(turnOffsets[trajectoryOffsets[k]!]!, turnOffsets[trajectoryOffsets[k + 1]!]!))
    .filter((i) => mask?.[i] !== 0);
  const n = options.nllDenominator ?? tokens.length;
  const counted = new Set(tokens);
  return {
    loss: tokens.reduce((sum, i) => sum - logps[i]! / n, 0),
    keptTrajectories: kept.length,
    keptTokens: tokens.length,
    gradLogps: Float64Array.from({ length: logps.length }, (_, i) => (counted.has(i) ? -1 / n : 0)),
  };
}
