/** S_k of a trajectory under one of three normalizations, then the pair losses. */
import { type PairOptions, type Preference, preferenceOfUnits, type Unit } from './preference.ts';
import { range } from './range.ts';
import { tokensOfTurns, totalWeight, turnAdvantages, type Weighted, weightOf } from './turn-advantages.ts';

export interface Trajectories extends Weighted {
  turnOffsets: ArrayLike<number>;
  trajectoryOffsets: ArrayLike<number>;
  normalization?: 'turn-mean' | 'token-mean' | 'sum' | undefined;
}

export interface TrajectoryPreferenceOptions extends PairOptions, Trajectories {
  logps: ArrayLike<number>;
  refLogps?: ArrayLike<number> | undefined;
}

/** What the advantage of a turn is under a normalization. */
export const reductionOf = ({ normalization = 'turn-mean' }: Trajectories) =>
  normalization === 'turn-mean' ? 'mean' : 'sum';

/** The trajectories as scored units. */
export function unitsOfTrajectories(options: Trajectories): Unit[] {
  const { trajectoryOffsets, normalization = 'turn-mean' } = options;
  const turns = tokensOfTurns({ ...options, reduction: reductionOf(options) });
  return range(0, trajectoryOffsets.length - 1).map((k): Unit => {
    const own = turns.slice(trajectoryOffsets[k], trajectoryOffsets[k + 1]);
    const tokens = own.flatMap((turn) => turn.tokens);
    const weight = (i: number) => weightOf(options, i);
    const shareOf = new Map(own.flatMap((turn) => turn.tokens.map((i) => [i, turn.share(i)] as const)));
    const total = totalWeight(options, tokens);
    return {
      tokens,
      weight,
      isSum: normalization === 'sum',
      share: normalization === 'token-mean' ? (i) => weight(i) / total : (i) => shareOf.get(i)!,
    };
  });
}

export function trajectoryPreferenceLoss(options: TrajectoryPreferenceOptions): Preference {
  const { logps } = options;
  const refLogps = options.refLogps ?? new Float64Array(logps.length);
  const advantages = turnAdvantages({ ...options, refLogps, reduction: reductionOf(options) });
  return preferenceOfUnits(unitsOfTrajectories(options), advantages, logps, refLogps, options);
}
