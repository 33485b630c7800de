/** S_k of a trajectory under one of three normalizations, then the pair losses. */
import { type PairOptions, type Preference, preferenceOfUnits, type Unit } from './preference.ts';
import { range } from './range.ts';
import { tokensOfTurns, totalWeight, turnAdvantages, type Weighted, weightOf } from './turn-advantages.ts';

export interface TrajectoryPreferenceOptions extends PairOptions, Weighted {
  logps: ArrayLike<number>;
  refLogps?: ArrayLike<number> | undefined;
  turnOffsets: ArrayLike<number>;
  trajectoryOffsets: ArrayLike<number>;
  normalization?: 'turn-mean' | 'token-mean' | 'sum' | undefined;
}

export function trajectoryPreferenceLoss(options: TrajectoryPreferenceOptions): Preference {
  const { logps, trajectoryOffsets, normalization = 'turn-mean' } = options;
  const refLogps = options.refLogps ?? new Float64Array(logps.length);
  const reduction = normalization === 'turn-mean' ? 'mean' : 'sum';
  const turns = tokensOfTurns({ ...options, reduction });
  const units = range(0, trajectoryOffsets.length - 1).map((k): Unit => {
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
  return preferenceOfUnits(units, turnAdvantages({ ...options, refLogps, reduction }), logps, refLogps, options);
}
