/** The same pair losses on single turns: S_t is the turn's sum (the paper) or its mean. */
import { type PairOptions, type Preference, preferenceOfUnits, type Unit } from './preference.ts';
import { type Turns, tokensOfTurns, turnAdvantages, weightOf } from './turn-advantages.ts';

export interface TurnPreferenceOptions extends PairOptions, Turns {
  logps: ArrayLike<number>;
  refLogps?: ArrayLike<number> | undefined;
}

/** The turns as scored units. */
export function unitsOfTurns(options: Turns): Unit[] {
  const { reduction = 'sum' } = options;
  return tokensOfTurns({ ...options, reduction }).map((turn) => ({
    ...turn,
    weight: (i: number) => weightOf(options, i),
    isSum: reduction === 'sum',
  }));
}

export function turnPreferenceLoss(options: TurnPreferenceOptions): Preference {
  const { logps, reduction = 'sum', nllCoef = 0.01 } = options;
  const refLogps = options.refLogps ?? new Float64Array(logps.length);
  const advantages = turnAdvantages({ ...options, refLogps, reduction });
  return preferenceOfUnits(unitsOfTurns(options), advantages, logps, refLogps, { ...options, nllCoef });
}
