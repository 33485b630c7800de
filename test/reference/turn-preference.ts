/** The same pair losses on single turns: S_t is the turn's sum (the paper) or its mean. */
import { type PairOptions, type Preference, preferenceOfUnits } from './preference.ts';
import { type Turns, tokensOfTurns, turnAdvantages, weightOf } from './turn-advantages.ts';

export interface TurnPreferenceOptions extends PairOptions, Turns {
  logps: ArrayLike<number>;
  refLogps?: ArrayLike<number> | undefined;
}

export function turnPreferenceLoss(options: TurnPreferenceOptions): Preference {
  const { logps, reduction = 'sum', nllCoef = 0.01 } = options;
  const refLogps = options.refLogps ?? new Float64Array(logps.length);
  const turns = tokensOfTurns({ ...options, reduction });
  const units = turns.map((turn) => ({
    ...turn,
    weight: (i: number) => weightOf(options, i),
    isSum: reduction === 'sum',
  }));
  return preferenceOfUnits(units, turnAdvantages({ ...options, refLogps, reduction }), logps, refLogps, {
    ...options,
    nllCoef,
  });
}
