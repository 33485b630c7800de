/** The pair losses on scores: a score is a unit of one token whose reference is 0. */
import { type PairOptions, preferenceOfUnits } from './preference.ts';

export function bradleyTerryLoss({ scores, ...options }: PairOptions & { scores: ArrayLike<number> }) {
  const units = Array.from(scores, (_, k) => ({ tokens: [k], share: () => 1, weight: () => 1, isSum: true }));
  const none = new Float64Array(scores.length);
  const { gradLogps, ...result } = preferenceOfUnits(units, none, scores, none, { beta: 1, ...options, nllCoef: 0 });
  return { ...result, gradScores: gradLogps };
}
