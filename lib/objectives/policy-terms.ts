// The terms of the policy-gradient loss of one token: l(r, A), its derivative, whether a bound is active; the KL estimates.
import type { Bounds, KlType, Objective } from '../args/policy-gradient.js';
import { clampedExponent } from './importance-weights.js';

/** What a token adds to the policy loss, before its weight. */
export interface Term {
  loss: number;
  /** Of a ratio: dl/dr r, the derivative at the log of the ratio. Of a log-prob: dl/dlogp. */
  slope: number;
  /** A bound is active. */
  clipped: boolean;
}

/** A token under its ratio r = exp(log-ratio), which is 1 where there are no old log-probs. */
export interface TokenState {
  r: number;
  advantage: number;
  logp: number;
  oldLogp: number;
}

/** max(-r A, -clip(r) A); where A < 0 at most -c A. */
function clip({ r, advantage: A }: TokenState, { clipLow, clipHigh, dualClip }: Bounds): Term {
  const free = -r * A;
  const bounded = -Math.min(Math.max(r, 1 - clipLow), 1 + clipHigh) * A;
  const loss = Math.max(free, bounded);
  if (A < 0 && -dualClip * A < loss) return { loss: -dualClip * A, slope: 0, clipped: true };
  return bounded > free ? { loss, slope: 0, clipped: true } : { loss, slope: free, clipped: false };
}

/** -sg[clip(r)] A logp. */
function cispo({ r, advantage: A, logp }: TokenState, { clipLow, clipHigh }: Bounds): Term {
  const factor = -Math.min(Math.max(r, 1 - clipLow), 1 + clipHigh) * A;
  return { loss: factor * logp, slope: factor, clipped: r < 1 - clipLow || r > 1 + clipHigh };
}

/** -A (4 / tau) sigma(tau (r - 1)); the derivative at r is -4 A sigma (1 - sigma). */
function sapo({ r, advantage: A }: TokenState, { sapoTauPos, sapoTauNeg }: Bounds): Term {
  const tau = A > 0 ? sapoTauPos : sapoTauNeg;
  const x = tau * (r - 1);
  const e = Math.exp(-Math.abs(x));
  const sigma = (x >= 0 ? 1 : e) / (1 + e);
  return { loss: (-4 / tau) * A * sigma, slope: -4 * A * (e / (1 + e) ** 2) * r, clipped: false };
}

/** -kappa r A, kappa 0 where the probability has already moved far enough to where A pushes it. */
function dppo({ r, advantage: A, logp, oldLogp }: TokenState, { clipLow, clipHigh }: Bounds): Term {
  const moved = Math.exp(logp) - Math.exp(oldLogp);
  if (A > 0 ? moved > clipHigh : moved < -clipLow) return { loss: 0 * A, slope: 0, clipped: true };
  return { loss: -r * A, slope: -r * A, clipped: false };
}

/** -A logp. */
function reinforce({ advantage: A, logp }: TokenState): Term {
  return { loss: -A * logp, slope: -A, clipped: false };
}

interface ObjectiveRow {
  term: (token: TokenState, bounds: Bounds) => Term;
  /** The slope is that at a log-prob, not at the ratio: it belongs to the token alone, also under ratios of turns. */
  ofLogp: boolean;
}

export const OBJECTIVES: Readonly<Record<Objective, ObjectiveRow>> = {
  clip: { term: clip, ofLogp: false },
  cispo: { term: cispo, ofLogp: true },
  sapo: { term: sapo, ofLogp: false },
  dppo: { term: dppo, ofLogp: false },
  reinforce: { term: reinforce, ofLogp: true },
};

/** The estimate of the KL divergence from e = logp - refLogp, clamped to +-max, and its derivative, 0 beyond. */
export function klTerm(e: number, type: KlType, max: number): { kl: number; slope: number } {
  if (Number.isNaN(e)) return { kl: e, slope: e };
  const ratio = Math.expm1(-e); // Infinity is beyond any bound, at e = -Infinity too
  const k3 = ratio === Infinity ? ratio : ratio + e;
  const [kl, slope] = type === 'k1' ? [e, 1] : type === 'k2' ? [e ** 2 / 2, e] : [k3, -ratio];
  return { kl: Math.min(Math.max(kl, -max), max), slope: Math.abs(kl) > max ? 0 : slope };
}

/** exp(d) - 1 - d with d clamped to +-20. */
export function approxKlTerm(d: number): number {
  const clamped = clampedExponent(d);
  return Math.expm1(clamped) - clamped;
}
