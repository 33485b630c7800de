/**
 * The policy-gradient losses by their definitions. What the specification holds constant (sg[.]) is computed once, at the given
 * log-probs; the gradient is that of differences of what is left, which no formula of a derivative is in.
 */
import { unitsOf } from './objectives.ts';
import { type HeadOptions, update } from './update.ts';

type Numbers = ArrayLike<number>;

export interface PolicyGradientOptions {
  advantages: Numbers;
  oldLogps?: Numbers | undefined;
  importanceWeights?: Numbers | undefined;
  turnOffsets?: Numbers | undefined;
  trajectoryOffsets?: Numbers | undefined;
  objective?: 'clip' | 'cispo' | 'sapo' | 'dppo' | 'reinforce';
  ratioLevel?: 'token' | 'turn' | 'trajectory';
  clipLow?: number;
  clipHigh?: number;
  dualClip?: number;
  sapoTauPos?: number;
  sapoTauNeg?: number;
  reduction?: 'token-mean' | 'sequence-mean-token-sum' | 'sequence-mean-token-mean' | 'constant';
  denominator?: number;
  klCoef?: number;
  klType?: 'k1' | 'k2' | 'k3';
  klMax?: number;
  entropyCoef?: number;
}

interface Tokens {
  logps: Numbers;
  refLogps?: Numbers | undefined;
  entropy: Numbers;
  mask: Numbers;
}

export interface PolicyGradient {
  loss: number;
  policyLoss: number;
  klLoss: number;
  entropyBonus: number;
  clipFraction: number;
  approxKl: number;
  gradLogps: Float64Array;
  gradEntropy: Float64Array;
}

const sum = (list: readonly number[], f: (i: number) => number) => list.reduce((total, i) => total + f(i), 0);
const clamp = (x: number, low: number, high: number) => Math.min(Math.max(x, low), high);
const sigmoid = (x: number) => 1 / (1 + Math.exp(-x));

/** The units of the ratio, and c_i of every token that counts. */
function batchOf(options: PolicyGradientOptions, mask: Numbers) {
  const { reduction = 'token-mean', ratioLevel = 'token', turnOffsets, trajectoryOffsets } = options;
  const { turns, trajectories } = unitsOf({ mask, turnOffsets, trajectoryOffsets }, mask.length);
  const tokens = turns.flat();
  const units = { token: tokens.map((i) => [i]), turn: turns, trajectory: trajectories }[ratioLevel];
  const sequences = trajectories.filter((list) => list.length > 0);
  const c = new Float64Array(mask.length);
  const D = options.denominator ?? (reduction === 'token-mean' ? tokens.length : sequences.length);
  for (const i of tokens) c[i] = 1 / D;
  if (reduction === 'sequence-mean-token-mean') {
    for (const list of sequences) for (const i of list) c[i] = 1 / (list.length * D);
  }
  return { tokens, units: units.filter((unit) => unit.length > 0), c };
}

export function policyGradientLoss(options: PolicyGradientOptions, given: Tokens): PolicyGradient {
  const { advantages, importanceWeights, objective = 'clip', clipLow = 0.2, clipHigh = clipLow } = options;
  const {
    dualClip,
    sapoTauPos = 1,
    sapoTauNeg = 1.05,
    klCoef = 0,
    klType = 'k3',
    klMax = 10,
    entropyCoef = 0,
  } = options;
  const { refLogps, entropy, mask } = given;
  const { tokens, units, c } = batchOf(options, mask);
  const old = options.oldLogps ?? given.logps;
  const ratioOf = (unit: readonly number[], logps: Numbers) =>
    Math.exp(clamp(sum(unit, (j) => logps[j]! - old[j]!) / unit.length, -20, 20));
  const bound = (r: number) => clamp(r, 1 - clipLow, 1 + clipHigh);
  /** l_i, and whether a bound is active; r0 is the ratio at the given log-probs, the others move. */
  const termOf = (i: number, r: number, r0: number, logps: Numbers): [loss: number, clipped: boolean] => {
    const A = advantages[i]!;
    if (objective === 'reinforce') return [-A * logps[i]!, false];
    if (objective === 'cispo') return [-bound(r0) * A * logps[i]!, bound(r0) !== r0];
    if (objective === 'sapo') {
      const tau = A > 0 ? sapoTauPos : sapoTauNeg;
      return [-A * (4 / tau) * sigmoid(tau * (r - 1)), false];
    }
    if (objective === 'dppo') {
      const moved = Math.exp(given.logps[i]!) - Math.exp(old[i]!);
      const isOut = A > 0 ? moved > clipHigh : moved < -clipLow;
      return [isOut ? 0 : -r * A, isOut];
    }
    const loss = Math.max(-r * A, -bound(r) * A);
    const most = A < 0 && dualClip !== undefined ? -dualClip * A : Infinity;
    return [Math.min(loss, most), loss > most || -bound(r) * A > -r * A];
  };
  const klOf = (i: number, logps: Numbers) => {
    const e = logps[i]! - refLogps![i]!;
    return clamp({ k1: e, k2: e ** 2 / 2, k3: Math.exp(-e) + e - 1 }[klType], -klMax, klMax);
  };
  /** The sums over the tokens of one unit, with the log-probs moved. */
  const sumsOf = (unit: readonly number[], logps: Numbers) => {
    const [r, r0] = [ratioOf(unit, logps), ratioOf(unit, given.logps)];
    const policyLoss = sum(unit, (i) => c[i]! * (importanceWeights?.[i] ?? 1) * termOf(i, r, r0, logps)[0]);
    return { policyLoss, klLoss: refLogps ? sum(unit, (i) => c[i]! * klOf(i, logps)) : 0 };
  };

  const all = units.map((unit) => sumsOf(unit, given.logps));
  const [policyLoss, klLoss] = [all.reduce((s, x) => s + x.policyLoss, 0), all.reduce((s, x) => s + x.klLoss, 0)];
  const entropyBonus = entropyCoef === 0 ? 0 : sum(tokens, (i) => c[i]! * entropy[i]!);
  const clipped = units.flatMap((unit) => {
    const r = ratioOf(unit, given.logps);
    return unit.map((i) => termOf(i, r, r, given.logps)[1]);
  });
  const approx = (i: number) => {
    const d = clamp(given.logps[i]! - old[i]!, -20, 20);
    return Math.exp(d) - 1 - d;
  };
  const count = Math.max(tokens.length, 1);

  const gradLogps = new Float64Array(mask.length);
  for (const unit of units) {
    for (const i of unit) {
      const at = (step: number) => {
        const moved = Float64Array.from(given.logps);
        moved[i]! += step;
        const { policyLoss: policy, klLoss: kl } = sumsOf(unit, moved);
        return policy + klCoef * kl;
      };
      // Small because of the corners of the losses; the sums have 16 digits.
      const h = 2 ** -24;
      gradLogps[i] = (at(h) - at(-h)) / (2 * h);
    }
  }
  return {
    ...{ loss: policyLoss + klCoef * klLoss - entropyCoef * entropyBonus, policyLoss, klLoss, entropyBonus },
    clipFraction: clipped.filter(Boolean).length / count,
    approxKl: sum(tokens, approx) / count,
    ...{ gradLogps, gradEntropy: c.map((x) => -entropyCoef * x) },
  };
}

export type PolicyGradientUpdateOptions = HeadOptions & PolicyGradientOptions;

export function policyGradientUpdate(options: PolicyGradientUpdateOptions) {
  const { head, reference, labels, mask, temperature, softcap, ignoreIndex, ...loss } = options;
  const rows = { head, reference, labels, mask, temperature, softcap, ignoreIndex };
  return update(rows, (tokens) => ({ ...policyGradientLoss(loss, tokens), entropy: tokens.entropy }));
}
