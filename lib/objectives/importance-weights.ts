// Weights for the mismatch between the trainer's log-probs and those of the inference engine.

import { checkOptions } from '../args/options.js';
import { number, oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import {
  type Float64s,
  HostResults,
  LAYOUT_OPTIONS,
  Layout,
  type LayoutOptions,
  type OutOf,
  type Reals,
  reals,
} from './host-call.js';

/** What `importanceWeights` takes. */
export interface ImportanceWeightsOptions extends LayoutOptions {
  /** [N] under the policy before the update, of the trainer. */
  oldLogps: ArrayOrTensor<Reals>;
  /** [N] that the inference engine reported. */
  rolloutLogps: ArrayOrTensor<Reals>;
  /** 'token' by default; the others are ratios of a trajectory. */
  level?: 'token' | 'sequence' | 'sequence-mean' | undefined;
  /** 'truncate' by default. */
  rule?: 'truncate' | 'mask' | 'filter' | undefined;
  /** The bounds of the ratio: 0 and 2 by default, 0.5 and 5 under 'mask' and 'filter'. */
  low?: number | undefined;
  high?: number | undefined;
  out?: OutOf<'weights'>;
}

const OPTIONS = new Set(['oldLogps', 'rolloutLogps', ...LAYOUT_OPTIONS, 'level', 'rule', 'low', 'high', 'out']);
const OUT = new Set(['weights']);

/** The exponents of ratios are clamped to it: e^20 is 5e8, and sums stay finite. */
export const MAX_EXPONENT = 20;

export const clampedExponent = (x: number): number => Math.min(Math.max(x, -MAX_EXPONENT), MAX_EXPONENT);

/**
 * Importance weights of the rollouts: they correct for an inference engine whose log-probs are not the trainer's.
 *
 *     d = oldLogp - rolloutLogp, exponents clamped to +-20
 *     rho_i = exp(d_i) 'token', exp(sum d over the trajectory) 'sequence', exp(mean of d over the trajectory) 'sequence-mean'
 *     'truncate' w = min(max(rho, low), high);  'mask' w = rho inside [low, high], else 0;  'filter' w = exp(d_i) where rho is
 *     inside, else 0
 *
 * TIS: 'token', 'truncate'. IcePop: 'token', 'mask'. TRL's sequence_mask: 'sequence', 'mask'. OpenRLHF's seq-mask-tis:
 * 'sequence-mean', 'filter'. Pass the weights to `policyGradientLoss`.
 *
 * @param options.oldLogps [N]; `rolloutLogps` [N]; not read where `mask` [N] is 0.
 * @param options.trajectoryOffsets [K + 1] into turns, which the levels of sequences need; `turnOffsets` [T + 1] into tokens.
 * @param options.low with `high` 0 <= low <= high: 0 and 2 under 'truncate', 0.5 and 5 under 'mask' and 'filter' by default.
 * @param options.out a buffer for `weights`.
 * @returns `weights` [N], 0 where masked; `insideFraction`, the share of counted tokens with rho inside [low, high].
 * @throws TypeError ERR_ARG_TYPE for a missing argument, ERR_DEVICE for device buffers: this runs on the host; RangeError
 *   ERR_OFFSETS naming an index, ERR_ARG_VALUE naming a bound.
 * @see verl's rollout correction; IcePop; TRL, OpenRLHF.
 * @example
 * const { weights, insideFraction } = importanceWeights({
 *   oldLogps: Float64Array.of(-1, -1, -1),
 *   rolloutLogps: Float64Array.of(-1, -2, -0.5),
 * });
 * // weights = [1, 2, 0.6065], insideFraction = 0.6667
 */
export function importanceWeights(options: ImportanceWeightsOptions): { weights: Float64s; insideFraction: number } {
  const given = checkOptions('importanceWeights', options, OPTIONS, 'sync', OUT);
  const oldLogps = reals('oldLogps', given.oldLogps);
  const n = oldLogps.length;
  const rolloutLogps = reals('rolloutLogps', given.rolloutLogps, n);
  const layout = new Layout(given, n);
  const level = oneOf('level', given.level, 'token', ['token', 'sequence', 'sequence-mean']);
  const rule = oneOf('rule', given.rule, 'truncate', ['truncate', 'mask', 'filter']);
  const bound = (name: 'low' | 'high', fallback: number) =>
    number(name, given[name], fallback, 'a number >= 0', (x) => x >= 0);
  const low = bound('low', rule === 'truncate' ? 0 : 0.5);
  const high = bound('high', rule === 'truncate' ? 2 : 5);
  if (low > high) throw rangeError('ERR_ARG_VALUE', expected(`a number from high = ${high} down`, 'low', low));
  const units = level === 'token' ? [[0, n] as const] : layout.trajectories(`level '${level}'`);
  const results = new HostResults(given);
  const weights = results.float64('weights', n);
  results.open();

  const difference = (i: number) => (oldLogps[i] as number) - (rolloutLogps[i] as number);
  let [counted, inside] = [0, 0];
  for (const range of units) {
    const [from, to] = range;
    let sum = 0;
    for (let i = from; i < to; i++) if (layout.counts(i)) sum += difference(i);
    const ofUnit = level === 'sequence' ? sum : sum / layout.counted(range);
    for (let i = from; i < to; i++) {
      if (!layout.counts(i)) continue;
      const rho = Math.exp(clampedExponent(level === 'token' ? difference(i) : ofUnit));
      const isInside = rho >= low && rho <= high;
      counted++;
      if (isInside) inside++;
      if (rule === 'truncate') weights[i] = Math.min(Math.max(rho, low), high);
      else if (isInside) weights[i] = rule === 'mask' ? rho : Math.exp(clampedExponent(difference(i)));
      else if (Number.isNaN(rho)) weights[i] = NaN;
    }
  }
  return { ...results.collect(), insideFraction: counted === 0 ? 0 : inside / counted };
}
