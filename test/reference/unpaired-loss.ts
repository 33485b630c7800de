/** The losses of single units, desirable or not: KTO, APO-zero on unpaired data, BCO. */
import { logSigmoid, type Unit } from './preference.ts';
import { reductionOf, type Trajectories, unitsOfTrajectories } from './trajectory-preference.ts';
import { type Turns, turnAdvantages } from './turn-advantages.ts';
import { unitsOfTurns } from './turn-preference.ts';

export type UnpairedOptions = Omit<Turns, 'reduction'> &
  Omit<Trajectories, 'trajectoryOffsets'> & {
    logps: ArrayLike<number>;
    refLogps?: ArrayLike<number> | undefined;
    trajectoryOffsets?: ArrayLike<number> | undefined;
    reduction?: Turns['reduction'] | undefined;
    desirable: ArrayLike<number>;
    lossType?: string | undefined;
    beta?: number | undefined;
    desirableWeight?: number | undefined;
    undesirableWeight?: number | undefined;
    unitWeights?: ArrayLike<number> | undefined;
    unitDenominator?: number | undefined;
    klLogps?: ArrayLike<number> | undefined;
    klRefLogps?: ArrayLike<number> | undefined;
    referencePoint?: number | undefined;
    running?: { mean: number; count: number } | undefined;
    referenceFree?: boolean | undefined;
  };

export interface Unpaired {
  loss: number;
  accuracy: number;
  referencePoint: number;
  running?: { mean: number; count: number };
  unitLosses: Float64Array;
  rewards: Float64Array;
  chosenRewards: Float64Array;
  rejectedRewards: Float64Array;
  turnAdvantages: Float64Array;
  gradLogps: Float64Array;
}

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);
const mean = (values: number[]) => sum(values) / values.length;

function unitsOf(options: UnpairedOptions): [Unit[], 'mean' | 'sum'] {
  const { trajectoryOffsets } = options;
  if (trajectoryOffsets === undefined) return [unitsOfTurns(options as Turns), options.reduction ?? 'sum'];
  const trajectories = { ...options, trajectoryOffsets };
  return [unitsOfTrajectories(trajectories), reductionOf(trajectories)];
}

export function unpairedPreferenceLoss(options: UnpairedOptions): Unpaired {
  const { logps, lossType = 'kto', beta = 0.1, desirableWeight = 1, undesirableWeight = 1 } = options;
  const refLogps = options.refLogps ?? new Float64Array(logps.length);
  const [units, reduction] = unitsOf(options);
  const isDesirable = units.map((_, k) => options.desirable[k] !== 0);
  const scores = units.map(({ tokens, share }) => sum(tokens.map((i) => share(i) * (logps[i]! - refLogps[i]!))));

  const { klLogps, klRefLogps, running: { mean: before, count } = { mean: 0, count: 0 } } = options;
  const isRunning = lossType === 'bco' && options.referencePoint === undefined;
  const pointOf = () => {
    if (options.referencePoint !== undefined) return options.referencePoint;
    if (lossType === 'kto') return Math.max(0, mean(Array.from(klLogps!, (x, j) => x - (klRefLogps?.[j] ?? 0))));
    return isRunning ? (before * count + sum(scores)) / (count + units.length) : 0;
  };
  const z = pointOf();

  // Written out for each kind: sigma(-u) and its slope, or -log sigma(u) and its slope.
  const terms = scores.map((x, k): [loss: number, slope: number] => {
    const u = (isDesirable[k] ? 1 : -1) * beta * (x - z);
    const of = isDesirable[k] ? beta : -beta;
    const [low, high] = [Math.exp(logSigmoid(-u)), Math.exp(logSigmoid(u))];
    return lossType === 'bco' ? [-logSigmoid(u), -of * low] : [low, -of * low * high];
  });
  const weights = units.map((_, k) => {
    const kind = isDesirable[k] ? desirableWeight : undesirableWeight;
    return (kind * (options.unitWeights?.[k] ?? 1)) / (options.unitDenominator ?? units.length);
  });

  const gradLogps = new Float64Array(logps.length);
  units.forEach(({ tokens, share }, k) => {
    for (const i of tokens) if (weights[k] !== 0) gradLogps[i] = weights[k]! * terms[k]![1] * share(i);
  });
  const rewards = Float64Array.from(scores, (x) => beta * x);
  return {
    loss: sum(terms.map(([loss], k) => (weights[k] === 0 ? 0 : weights[k]! * loss))),
    accuracy: mean(scores.map((x, k) => Number(isDesirable[k] ? x > z : x < z))),
    referencePoint: z,
    ...(isRunning && { running: { mean: z, count: count + units.length } }),
    unitLosses: Float64Array.from(terms, ([loss]) => loss),
    rewards,
    chosenRewards: rewards.filter((_, k) => isDesirable[k]),
    rejectedRewards: rewards.filter((_, k) => !isDesirable[k]),
    turnAdvantages: turnAdvantages({ ...options, refLogps, reduction }),
    gradLogps,
  };
}
