/** -sum m_i w_i logp_i / n over the tokens of trajectories whose reward reaches the threshold. */
import { range } from './range.ts';
import { totalWeight, type Weighted, weightOf } from './turn-advantages.ts';

export interface FilteredNllOptions extends Weighted {
  logps: ArrayLike<number>;
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
  const keptWeight = totalWeight(options, tokens);
  const n = options.nllDenominator ?? keptWeight;
  const counted = tokens.filter((i) => weightOf(options, i) > 0);
  const gradLogps = new Float64Array(logps.length);
  for (const i of counted) gradLogps[i] = -weightOf(options, i) / n;
  return {
    loss: counted.reduce((sum, i) => sum - (weightOf(options, i) * logps[i]!) / n, 0),
    keptTrajectories: kept.length,
    keptTokens: tokens.length,
    keptWeight,
    gradLogps,
  };
}
