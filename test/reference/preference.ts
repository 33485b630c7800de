/** The preference loss, for any scored unit: a trajectory (critic) or a turn (policy). */
import { isOfBatch, type LossParameters, type Sums, scoreOf, type Term, termOf, termsOfBatch } from './pair-losses.ts';

export { logSigmoid } from './pair-losses.ts';

type Undefined<T> = { [K in keyof T]?: T[K] | undefined };

export interface PairOptions extends Undefined<LossParameters> {
  chosen: ArrayLike<number>;
  rejected: ArrayLike<number>;
  lossType?: string | readonly string[] | undefined;
  lossWeights?: readonly number[] | undefined;
  ldAlpha?: number | undefined;
  useWeighting?: boolean | undefined;
  sumSquaredProbs?: ArrayLike<number> | undefined;
  referenceFree?: boolean | undefined;
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
  /** Whether the shares are weights, so that types of a mean divide by the length. */
  isSum: boolean;
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

const DEFAULTS: LossParameters = {
  beta: 0.1,
  labelSmoothing: 0,
  gamma: 0.5,
  discopopTau: 0.05,
  fDivergence: 'reverse_kl',
  fAlpha: 0.5,
  dpopLambda: 0,
};

/** refLogps: 0 each where there is no reference. */
export function preferenceOfUnits(
  units: Unit[],
  turnAdvantages: Float64Array,
  logps: ArrayLike<number>,
  refLogps: ArrayLike<number>,
  options: PairOptions,
): Preference {
  const { lossType = 'sigmoid', ldAlpha = 1, useWeighting = false } = options;
  const given = Object.entries(options).filter(([name, value]) => name in DEFAULTS && value !== undefined);
  const parameters: LossParameters = { ...DEFAULTS, ...Object.fromEntries(given) };
  const types = [lossType].flat();
  const lossWeights = options.lossWeights ?? types.map(() => 1);
  const sft = types.indexOf('sft');
  const nllCoef = sft < 0 ? (options.nllCoef ?? 0) : lossWeights[sft]!;
  const pairs = Array.from(options.chosen, (k, p) => [units[k]!, units[options.rejected[p]!]!] as const);
  const weights = Array.from(options.pairWeights ?? pairs.map(() => 1));
  const denominator = options.pairDenominator ?? sum(weights);
  const lengthOf = (unit: Unit) => sum(unit.tokens.map(unit.weight));

  // A pair of weight 0 is in no loss.
  const counted = pairs.map(([{ tokens, weight }], p) =>
    weights[p]! > 0 ? tokens.map((i) => ({ i, weight: weight(i) })) : [],
  );
  const nllDenominator = options.nllDenominator ?? sum(counted.flat().map(({ weight }) => weight));
  const nllSum = sum(counted.flat().map(({ i, weight }) => -weight * logps[i]!));
  const nllLoss = nllSum === 0 ? 0 : nllSum / nllDenominator;

  /** share of the k-th token of a unit, in a pair. */
  const shareIn = (unit: Unit, p: number) => {
    const shorter = Math.min(...pairs[p]!.map(({ tokens }) => tokens.length));
    return (k: number) => unit.share(unit.tokens[k]!) * (k < shorter ? 1 : ldAlpha);
  };
  const sumsOf = (unit: Unit, p: number): Sums => {
    const share = shareIn(unit, p);
    const total = (value: (i: number) => number) => sum(unit.tokens.map((i, k) => share(k) * value(i)));
    return {
      ratio: total((i) => logps[i]! - refLogps[i]!),
      policy: total((i) => logps[i]!),
      ref: total((i) => refLogps[i]!),
      length: unit.isSum ? lengthOf(unit) : 1,
    };
  };
  const sums = pairs.map(([chosen, rejected], p) => [sumsOf(chosen, p), sumsOf(rejected, p)] as [Sums, Sums]);
  const ofTypes = types.map((type): Term[] =>
    isOfBatch(type)
      ? termsOfBatch(type, sums, parameters)
      : sums.map(([chosen, rejected]) => termOf(type, chosen, rejected, parameters)),
  );
  const terms = pairs.map((_, p) =>
    ofTypes.reduce<Term>(
      (all, each, j) => all.map((x, at) => (lossWeights[j] === 0 ? x : x + lossWeights[j]! * each[p]![at]!)) as Term,
      [0, 0, 0],
    ),
  );
  const likelihood = (unit: Unit) => {
    if (!useWeighting || unit.tokens.length === 0) return 1;
    const of = (i: number) => unit.weight(i) * (logps[i]! - Math.log(options.sumSquaredProbs![i]!));
    return Math.exp(sum(unit.tokens.map(of)) / lengthOf(unit));
  };
  const pulls = pairs.map(([a, b], p) => (weights[p]! * likelihood(a) * likelihood(b)) / denominator);
  const preferenceLoss = sum(terms.map(([loss], p) => (pulls[p] === 0 ? 0 : pulls[p]! * loss)));

  const gradLogps = new Float64Array(logps.length);
  pairs.forEach((units, p) => {
    units.forEach((unit, side) => {
      const share = shareIn(unit, p);
      unit.tokens.forEach((i, k) => {
        if (pulls[p] !== 0) gradLogps[i]! += pulls[p]! * terms[p]![1 + side]! * share(k);
      });
    });
    for (const { i, weight } of counted[p]!) gradLogps[i]! -= (nllCoef * weight) / nllDenominator;
  });

  const { beta } = parameters;
  const scores = sums.map((pair) => pair.map((each) => scoreOf(types[0]!, each)));
  return {
    loss: preferenceLoss + nllCoef * nllLoss,
    preferenceLoss,
    nllLoss,
    accuracy: scores.filter(([a, b]) => a! > b!).length / pairs.length,
    pairLosses: Float64Array.from(terms, ([loss]) => loss),
    margins: Float64Array.from(scores, ([a, b]) => beta * (a! - b!)),
    chosenRewards: Float64Array.from(scores, ([a]) => beta * a!),
    rejectedRewards: Float64Array.from(scores, ([, b]) => beta * b!),
    turnAdvantages,
    gradLogps,
  };
}

function sum(values: number[]): number {
  return values.reduce((a, b) => a + b, 0);
}
