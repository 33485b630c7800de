// The policy-gradient loss on log-probs: PPO, DAPO, GRPO, GSPO, CISPO, SAPO, DPPO, REINFORCE, with KL and entropy terms.

import { checkOptions, missing } from '../args/options.js';
import {
  checkCoefs,
  checkKl,
  checkObjective,
  checkReduction,
  POLICY_SETTINGS,
  type PolicyGradientSettings,
} from '../args/policy-gradient.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import {
  HostResults,
  LAYOUT_OPTIONS,
  Layout,
  type LayoutOptions,
  type Optional,
  optionalReals,
  type Range,
  type Reals,
  reals,
  type SameClass,
} from './host-call.js';
import { clampedExponent, MAX_EXPONENT } from './importance-weights.js';
import { approxKlTerm, klTerm, OBJECTIVES } from './policy-terms.js';

/** What `policyGradientLoss` takes. */
export interface PolicyGradientLossOptions<L extends Reals = Reals, E extends Reals = Reals>
  extends LayoutOptions,
    PolicyGradientSettings {
  /** [N] under the trained policy. */
  logps: ArrayOrTensor<L>;
  /** [N] under the policy of the rollouts; those of the trained policy by default: the first epoch, with ratio 1. */
  oldLogps?: Optional<Reals>;
  /** [N] */
  advantages: ArrayOrTensor<Reals>;
  /** [N], constants: see the function of this name. */
  importanceWeights?: Optional<Reals>;
  /** [N] under the reference of the KL term. */
  refLogps?: Optional<Reals>;
  /** [N], the entropy of the trained policy at each token. */
  entropy?: Optional<E>;
  out?: { gradLogps?: Reals | undefined; gradEntropy?: Reals | undefined } | undefined;
}

/** The loss, its terms, metrics, and the gradients of the loss. */
export interface PolicyGradientLoss<L extends Reals = Reals, E extends Reals = Reals> {
  loss: number;
  policyLoss: number;
  /** 0 without `refLogps`. */
  klLoss: number;
  /** 0 without `entropy`. */
  entropyBonus: number;
  /** The share of counted tokens whose bound is active. */
  clipFraction: number;
  /** The mean over counted tokens of exp(d) - 1 - d, an estimate of the divergence from the old policy. */
  approxKl: number;
  /** [N], for `tokenLogpsBackward` or `linearLogpsBackward`. */
  gradLogps: SameClass<L>;
  /** [N], with `entropy` alone. */
  gradEntropy?: SameClass<E>;
}

const OPTIONS = new Set<string>([
  ...['logps', 'oldLogps', 'advantages', ...LAYOUT_OPTIONS, 'importanceWeights', 'refLogps', 'entropy', 'out'],
  ...POLICY_SETTINGS,
]);
const OUT = new Set(['gradLogps', 'gradEntropy']);
/** c [N] of the sum over counted tokens c_i x_i. */
function coefficientsOf(layout: Layout, options: { reduction?: unknown; denominator?: unknown }): Float64Array {
  const { reduction, denominator: given, bySequence } = checkReduction(options);
  const sequences: readonly Range[] = bySequence
    ? layout.trajectories(`reduction '${reduction}'`)
    : [[0, layout.elements]];
  const counts = sequences.map((range) => layout.counted(range));
  const ofSequences = counts.filter((count) => count > 0).length;
  const denominator = given ?? (bySequence ? ofSequences : (counts[0] as number));
  const coefficients = new Float64Array(layout.elements);
  for (const [k, [from, to]] of sequences.entries()) {
    const c = 1 / (reduction === 'sequence-mean-token-mean' ? (counts[k] as number) * denominator : denominator);
    coefficients.fill(c, from, to);
  }
  return coefficients;
}

/**
 * The policy-gradient loss of given advantages, with its gradient at the log-probs.
 *
 *     d_i = logp_i - oldLogp_i;  r_i = exp(d_i) 'token', exp(mean of d over the turn) 'turn', over the trajectory 'trajectory'
 *     clip       l = max(-r A, -clip(r, 1 - clipLow, 1 + clipHigh) A);  A < 0 and dualClip c: at most -c A
 *     cispo      l = -sg[clip(r)] A logp;  dl/dlogp = -clip(r) A
 *     sapo       l = -A (4 / tau) sigma(tau (r - 1)), tau = sapoTauPos if A > 0, else sapoTauNeg
 *     dppo       l = -kappa r A, kappa = 0 where A > 0 and p - p_old > clipHigh, or A <= 0 and p - p_old < -clipLow
 *     reinforce  l = -A logp;  takes no ratio, bound or old log-probs
 *     policyLoss = reduce(w_i l_i), w the importance weights;  klLoss = reduce(kl_i);  entropyBonus = reduce(entropy_i)
 *     loss = policyLoss + klCoef klLoss - entropyCoef entropyBonus
 *     kl, e = logp - refLogp: k1 e, k2 e^2 / 2, k3 exp(-e) + e - 1; clamped to +-klMax, gradient 0 beyond
 *     reduce(x) = sum_i c_i x_i: 'token-mean' c = 1/D, D tokens; 'sequence-mean-token-sum' 1/D, D trajectories with a counted token;
 *     'sequence-mean-token-mean' 1/(L_k D), L_k tokens in trajectory k; 'constant' 1/denominator
 *
 * Exponents of ratios are clamped to +-20, gradient 0 beyond. The ratio of a turn or trajectory depends on all its counted
 * tokens: dr/dlogp_j = r / L. To give every turn the same weight, pass the turns as trajectories.
 *
 * @param options.logps [N]; `advantages`, `oldLogps`, `importanceWeights`, `refLogps`, `entropy` [N]; not read where `mask` [N] is 0.
 * @param options.turnOffsets [T + 1] into tokens, which ratioLevel 'turn' needs; `trajectoryOffsets` [K + 1] into turns, which
 *   ratioLevel 'trajectory' and the reductions of sequences need.
 * @param options.objective 'clip' by default, with clipLow 0.2, clipHigh = clipLow; clipLow 1 with clipHigh Infinity does not clip.
 * @param options.reduction 'token-mean' by default; `denominator` for micro-batches: D of the whole batch.
 * @param options.klCoef 0 by default, `klType` 'k3', `klMax` 10; `entropyCoef` 0 by default.
 * @param options.out buffers for `gradLogps` and `gradEntropy`.
 * @returns `loss` and its terms, `clipFraction`, `approxKl`; `gradLogps` [N] of the class of the log-probs, and with `entropy`
 *   `gradEntropy` [N] of its class.
 * @throws TypeError ERR_ARG_TYPE for an argument that an option needs (refLogps for klCoef, entropy for entropyCoef, denominator for
 *   'constant', offsets), ERR_DEVICE for device buffers; RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming an option
 *   that the objective does not use.
 * @see PPO arXiv 1707.06347, DAPO 2503.14476, GSPO 2507.18071, CISPO 2506.13585, SAPO 2511.20347, DPPO 2602.04879.
 * @example
 * const { loss, clipFraction, gradLogps } = policyGradientLoss({
 *   logps: Float32Array.of(-1, -0.5, -2),
 *   oldLogps: Float32Array.of(-1, -1, -2),
 *   advantages: Float32Array.of(1, 1, -0.5),
 * });
 * // loss = -0.5667, clipFraction = 0.3333, gradLogps = [-0.3333, 0, 0.1667]
 */
export function policyGradientLoss<L extends Reals, E extends Reals = Reals>(
  options: PolicyGradientLossOptions<L, E>,
): PolicyGradientLoss<L, E> {
  const given = checkOptions('policyGradientLoss', options, OPTIONS, 'sync', OUT);
  const logps = reals('logps', given.logps);
  const n = logps.length;
  const layout = new Layout(given, n);
  const advantages = reals('advantages', given.advantages, n);
  const { objective, ratioLevel, bounds } = checkObjective(given);
  const oldLogps = optionalReals('oldLogps', given.oldLogps, n);
  const weights = optionalReals('importanceWeights', given.importanceWeights, n);
  const refLogps = optionalReals('refLogps', given.refLogps, n);
  const entropy = optionalReals('entropy', given.entropy, n);
  const { klCoef, entropyCoef } = checkCoefs(given);
  const classes = 'Float32Array or Float64Array';
  if (klCoef !== 0 && refLogps === undefined) throw missing('refLogps', classes, 'a klCoef other than 0');
  if (entropyCoef !== 0 && entropy === undefined) throw missing('entropy', classes, 'an entropyCoef other than 0');
  const { klType, klMax } = checkKl(given, refLogps === undefined ? 'no refLogps' : undefined);
  const c = coefficientsOf(layout, given);
  const units = unitsOf(layout, ratioLevel);
  const results = new HostResults(given);
  const gradLogps = results.sameAs('gradLogps', logps);
  const gradEntropy = entropy && results.sameAs('gradEntropy', entropy);
  results.open();

  const logRatio = (i: number) => {
    const logp = logps[i] as number;
    if (oldLogps !== undefined) return logp - (oldLogps[i] as number);
    return Number.isNaN(logp) ? NaN : 0;
  };
  const { term, ofLogp } = OBJECTIVES[objective];
  let [policyLoss, clipped] = [0, 0];
  const gradient = new Float64Array(n);
  /** The tokens from ... to - 1 have one ratio. */
  const addUnit = (from: number, to: number) => {
    let sum = 0;
    let count = 0;
    for (let i = from; i < to; i++) {
      if (!layout.counts(i)) continue;
      sum += logRatio(i);
      count++;
    }
    const mean = sum / count;
    const r = Math.exp(clampedExponent(mean));
    let slopes = 0;
    for (let i = from; i < to; i++) {
      if (!layout.counts(i)) continue;
      const logp = logps[i] as number;
      const oldLogp = oldLogps?.[i] ?? logp;
      const own = term({ r, advantage: advantages[i] as number, logp, oldLogp }, bounds);
      const weight = (c[i] as number) * (weights?.[i] ?? 1);
      policyLoss += weight * own.loss;
      if (own.clipped) clipped++;
      if (ofLogp) gradient[i] = weight * own.slope;
      else slopes += weight * own.slope;
    }
    if (ofLogp || Math.abs(mean) > MAX_EXPONENT) return;
    for (let i = from; i < to; i++) if (layout.counts(i)) gradient[i] = slopes / count;
  };
  if (units === undefined) for (let i = 0; i < n; i++) addUnit(i, i + 1);
  else for (const [from, to] of units) addUnit(from, to);

  let [klLoss, entropyBonus, approxKl] = [0, 0, 0];
  for (let i = 0; i < n; i++) {
    if (!layout.counts(i)) continue;
    approxKl += approxKlTerm(logRatio(i));
    const weight = c[i] as number;
    if (refLogps !== undefined) {
      const { kl, slope } = klTerm((logps[i] as number) - (refLogps[i] as number), klType, klMax);
      klLoss += weight * kl;
      if (klCoef !== 0) gradient[i] = (gradient[i] as number) + klCoef * weight * slope;
    }
    if (entropy !== undefined) entropyBonus += weight * (entropy[i] as number);
    if (gradEntropy !== undefined) gradEntropy[i] = -entropyCoef * weight;
  }
  gradLogps.set(gradient);
  const counted = layout.counted();
  const share = (sum: number) => (counted === 0 ? 0 : sum / counted);
  const scaled = (coef: number, term: number) => (coef === 0 ? 0 : coef * term);
  return {
    loss: policyLoss + scaled(klCoef, klLoss) - scaled(entropyCoef, entropyBonus),
    policyLoss,
    klLoss,
    entropyBonus,
    clipFraction: share(clipped),
    approxKl: share(approxKl),
    ...results.collect<Pick<PolicyGradientLoss<L, E>, 'gradLogps' | 'gradEntropy'>>(),
  };
}

/** The tokens that have one ratio; undefined: each has its own. */
function unitsOf(layout: Layout, ratioLevel: 'token' | 'turn' | 'trajectory'): readonly Range[] | undefined {
  if (ratioLevel === 'token') return undefined;
  const by = `ratioLevel '${ratioLevel}'`;
  return ratioLevel === 'turn' ? layout.turns(by) : layout.trajectories(by);
}
