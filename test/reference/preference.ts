/** The pair losses, for any scored unit: a trajectory (critic) or a turn (policy). */
export type LossType = 'sigmoid' | 'hinge' | 'ipo';

export interface PairOptions {
  chosen: ArrayLike<number>;
  rejected: ArrayLike<number>;
  beta?: number | undefined;
  lossType?: LossType | undefined;
  labelSmoothing?: number | undefined;
  pairWeights?: ArrayLike<number> | undefined;
  pairDenominator?: number | undefined;
  nllCoef?: number | undefined;
  nllDenominator?: number | undefined;
}

/** A unit's score is sum share * (logp - refLogp) over its tokens; in the NLL a token counts `weight`. */
export interface Unit {
  tokens: number[];
  share: (token: number) => number;
  weight: (token: number) => number;
}

export interface Preference {
  loss: number;
  preferenceLoss: number;
  nllLoss: number;
  accuracy: number;
  pairLosses: Float64Array;
  margins: Float64Array;
  chosenRewards: Float64Array;
  rejectedRewards: Float64Array;
  turnAdvantages: Float64Array;
  gradLogps: Float64Array;
}

export function preferenceOfUnits(
  units: Unit[],
  turnAdvantages: Float64Array,
  logps: ArrayLike<number>,
  refLogps: ArrayLike<number>,
  options: PairOptions,
): Preference {
  const { beta = 0.1, lossType = 'sigmoid', labelSmoothing = 0, nllCoef = 0 } = options;
  const chosen = Array.from(options.chosen, (k) => units[k]!);
  const rejected = Array.from(options.rejected, (k) => units[k]!);
  const weights = Array.from(options.pairWeights ?? chosen.map(() => 1));
  const denominator = options.pairDenominator ?? sum(weights);
  // A pair of weight 0 is in no loss.
  const counted = chosen.map(({ tokens, weight }, p) =>
    weights[p]! > 0 ? tokens.map((i) => ({ i, weight: weight(i) })) : [],
  );
  const nllDenominator = options.nllDenominator ?? sum(counted.flat().map(({ weight }) => weight));
  const score = (unit: Unit) => sum(unit.tokens.map((i) => unit.share(i) * (logps[i]! - refLogps[i]!)));

  const deltas = chosen.map((unit, p) => score(unit) - score(rejected[p]!));
  const losses = deltas.map((delta) => pairLoss(delta, beta, lossType, labelSmoothing));
  const nllSum = sum(counted.flat().map(({ i, weight }) => -weight * logps[i]!));
  const preferenceLoss = sum(losses.map(({ loss }, p) => (weights[p]! * loss) / denominator));
  const nllLoss = nllSum === 0 ? 0 : nllSum / nllDenominator;

  const gradLogps = new Float64Array(logps.length);
  losses.forEach(({ slope }, p) => {
    const pull = (weights[p]! * slope) / denominator;
    for (const i of chosen[p]!.tokens) gradLogps[i]! += pull * chosen[p]!.share(i);
    for (const { i, weight } of counted[p]!) gradLogps[i]! -= (nllCoef * weight) / nllDenominator;
    for (const i of rejected[p]!.tokens) gradLogps[i]! -= pull * rejected[p]!.share(i);
  });

  return {
    loss: preferenceLoss + nllCoef * nllLoss,
    preferenceLoss,
    nllLoss,
    accuracy: deltas.filter((delta) => delta > 0).length / deltas.length,
    pairLosses: Float64Array.from(losses, ({ loss }) => loss),
    margins: Float64Array.from(deltas, (delta) => beta * delta),
    chosenRewards: Float64Array.from(chosen, (unit) => beta * score(unit)),
    rejectedRewards: Float64Array.from(rejected, (unit) => beta * score(unit)),
    turnAdvantages,
    gradLogps,
  };
}

/** l and dl/ddelta of one pair. */
function pairLoss(delta: number, beta: number, lossType: LossType, smoothing: number): { loss: number; slope: number } {
  const u = beta * delta;
  switch (lossType) {
    case 'sigmoid':
      return {
        loss: -(1 - smoothing) * logSigmoid(u) - smoothing * logSigmoid(-u),
        slope: -beta * ((1 - smoothing) * sigmoid(-u) - smoothing * sigmoid(u)),
      };
    case 'hinge':
      return { loss: Math.max(0, 1 - u), slope: u < 1 ? -beta : 0 };
    case 'ipo':
      return { loss: (delta - 1 / (2 * beta)) ** 2, slope: 2 * (delta - 1 / (2 * beta)) };
  }
}

export function logSigmoid(u: number): number {
  return Math.min(u, 0) - Math.log1p(Math.exp(-Math.abs(u)));
}

function sigmoid(u: number): number {
  return Math.exp(logSigmoid(u));
}

function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
