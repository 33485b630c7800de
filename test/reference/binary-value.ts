/** Binary cross-entropy of sigma(v) with the outcome of the turn's trajectory; A_t = v_{t+1} - v_t, the outcome after the last. */
import { logSigmoid } from './preference.ts';
import { range } from './range.ts';

interface Outcomes {
  trajectoryOffsets: ArrayLike<number>;
  outcomes: ArrayLike<number>;
}

export interface BinaryValueOptions extends Outcomes {
  valueLogits: ArrayLike<number>;
  mask?: ArrayLike<number> | undefined;
  valueDenominator?: number | undefined;
}

/** The outcome of each turn's trajectory, and whether the turn is its last. */
function turnsOf({ trajectoryOffsets, outcomes }: Outcomes): { outcome: number; last: boolean }[] {
  return range(0, outcomes.length).flatMap((k) => {
    const [begin, end] = [trajectoryOffsets[k]!, trajectoryOffsets[k + 1]!];
    return range(begin, end).map((t) => ({ outcome: outcomes[k]!, last: t === end - 1 }));
  });
}

export function binaryValueLoss(options: BinaryValueOptions) {
  const { valueLogits, mask } = options;
  const turns = turnsOf(options);
  const counts = turns.map((_, t) => mask?.[t] !== 0);
  const n = options.valueDenominator ?? counts.filter(Boolean).length;
  // An infinite logarithm that has the weight 0 counts 0.
  const weighted = (weight: number, x: number) => (weight === 0 ? 0 : weight * x);
  const each = (f: (v: number, outcome: number) => number) =>
    Float64Array.from(turns, ({ outcome }, t) => (counts[t] ? f(valueLogits[t]!, outcome) : 0));
  const valueLosses = each((v, y) => -weighted(y, logSigmoid(v)) - weighted(1 - y, logSigmoid(-v)));
  return {
    loss: valueLosses.reduce((sum, loss) => sum + loss, 0) / Math.max(n, Number.MIN_VALUE),
    valueLosses,
    values: each((v) => Math.exp(logSigmoid(v))),
    gradValueLogits: each((v, y) => ((1 - y) * Math.exp(logSigmoid(v)) - y * Math.exp(logSigmoid(-v))) / n),
  };
}

export function valueAdvantages(options: Outcomes & { values: ArrayLike<number> }): Float64Array {
  const { values } = options;
  return Float64Array.from(turnsOf(options), ({ outcome, last }, t) => (last ? outcome : values[t + 1]!) - values[t]!);
}
