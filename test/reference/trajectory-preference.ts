/** S_k of a trajectory under one of three normalizations, then the pair losses. */
import { type PairOptions, type Preference, preferenceOfUnits, type Unit } from './preference.ts';
import { range } from './range.ts';
import { tokensOfTurns, turnAdvantages } from './turn-advantages.ts';

export interface TrajectoryPreferenceOptions extends PairOptions {
  logps: ArrayLike<number>;
  refLogps: ArrayLike<number>;
  mask?: ArrayLike<number> | undefined;
  turnOffsets: ArrayLike<number>;
  trajectoryOffsets: ArrayLike<number>;
  normalization?: 'turn-mean' | 'token-mean' | 'sum' | undefined;
}

export function trajectoryPreferenceLoss(options: TrajectoryPreferenceOptions): Preference {
  const { logps, refLogps, trajectoryOffsets, normalization = 'turn-mean' } = options;
  const reduction = normalization === 'turn-mean' ? 'mean' : 'sum';
  const turns = tokensOfTurns({ ...options, reduction });
  const units = range(0, trajectoryOffsets.length - 1).map((k): Unit => {
    const own = turns.slice(trajectoryOffsets[k], trajectoryOffsets[k + 1]);
    const tokens = own.flatMap((turn) => turn.tokens);
    const shareOf = new Map(own.flatMap((turn) => turn.tokens.map((i) => [i, turn.share] as const)));
    return { tokens, share: normalization === 'token-mean' ? () => 1 / tokens.length : (i) => shareOf.get(i)! };
  });
  return preferenceOfUnits(units, turnAdvantages({ ...options, reduction }), logps, refLogps, options);
}
