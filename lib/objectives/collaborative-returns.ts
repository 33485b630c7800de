// Returns of agents that answer in turns and are scored at every turn: MAPoRL.

import { checkOptions, refuseUnused } from '../args/options.js';
import { number, oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import { groups as rangesOf } from '../data/candidates.js';
import {
  countOf,
  type Float64s,
  finite,
  fraction,
  HostResults,
  type Optional,
  type OutOf,
  type Range,
  type Reals,
  reals,
} from './host-call.js';

/** What `collaborativeReturns` takes. */
export interface CollaborativeReturnsOptions {
  /** [T A], the verifier's score of the answer of each agent at each turn. */
  scores: ArrayOrTensor<Reals>;
  /** A, the number of agents. */
  agents: number;
  /** [Q + 1], the turns of question q; one that stopped early has fewer. */
  trajectoryOffsets: ArrayOrTensor<Int32Array>;
  /** The weight of a turn relative to the one before, horizon 'discounted' alone; 0.3 by default. */
  gamma?: number | undefined;
  /** 'discounted' by default. */
  horizon?: 'discounted' | 'last' | 'current' | undefined;
  /** Whose scores count: of 'all' agents (default), or of the agent itself. */
  share?: 'all' | 'individual' | undefined;
  /** [4]: alpha0, alpha1, beta0, beta1; without them there are no bonuses. */
  incentives?: Optional<Reals>;
  /** 1 (default): moving others to the right answer is rewarded, as the paper says; -1: the released code. */
  influenceSign?: 1 | -1 | undefined;
  /** A score above it is a right answer, below a wrong one; 0.5 by default. */
  threshold?: number | undefined;
  out?: OutOf<'returns' | 'bonuses'>;
}

const OPTIONS = new Set([
  ...['scores', 'agents', 'trajectoryOffsets', 'gamma', 'horizon', 'share'],
  ...['incentives', 'influenceSign', 'threshold', 'out'],
]);
const OUT = new Set(['returns', 'bonuses']);

/** The scores of one question: of agent a at its turn t. */
type Scores = (t: number, a: number) => number;

/** The mean over the agents 0 ... A - 1, without one of them where it is given. */
function meanOver(scores: Scores, t: number, agents: number, without = -1): number {
  let sum = 0;
  for (let a = 0; a < agents; a++) if (a !== without) sum += scores(t, a);
  return sum / (without < 0 ? agents : agents - 1);
}

/**
 * The return of each agent's answer at each turn of a debate, from a verifier's scores.
 *
 *     R_ta = (s_ta + sum_{u>t} gamma^(u-t) x_u) / sum_{u>=t} gamma^(u-t);  x_u the mean over agents ('all'), or s_ua ('individual')
 *     horizon 'last': x of the last turn;  'current': x of this turn
 *     incentives [alpha0, alpha1, beta0, beta1];  side(x) = +1 above the threshold, -1 below, 0 on it;  o the mean of the others
 *       self    own side p at t - 1, c at t, p c < 0:  + c alpha0 if side(o_t-1) = c (persuaded), + c alpha1 if side(o_t-1) = p
 *               or there are no others
 *       others  side(o_t) = p, side(o_t+1) = c, p c < 0:  + influenceSign c beta1 if side(s_ta) = c, + influenceSign c beta0 if
 *               side(s_ta) = -c;  not at the last turn
 *
 * There is no bonus at the first turn of a question. The returns contain the bonuses.
 *
 * @param options.scores [T A], row t the agents' scores at turn t; `trajectoryOffsets` [Q + 1] into turns.
 * @param options.gamma in [0, 1], 0.3 by default; horizon 'discounted' alone.
 * @param options.incentives [4]; `influenceSign` and `threshold` need them.
 * @param options.out buffers for any array of the result, by name.
 * @returns `returns` [T A], `bonuses` [T A].
 * @throws RangeError ERR_ARG_LENGTH where the scores are no multiple of the agents, ERR_OFFSETS naming an index, ERR_ARG_VALUE
 *   naming an option that is not used; TypeError ERR_DEVICE for device buffers: this runs on the host.
 * @see MAPoRL, arXiv 2502.18439.
 * @example
 * const { returns } = collaborativeReturns({
 *   scores: Float64Array.of(0.2, 0.8, 1, 0.9),
 *   agents: 2,
 *   trajectoryOffsets: Int32Array.of(0, 2),
 * });
 * // returns = [0.3731, 0.8346, 1, 0.9]
 */
export function collaborativeReturns(options: CollaborativeReturnsOptions): { returns: Float64s; bonuses: Float64s } {
  const given = checkOptions('collaborativeReturns', options, OPTIONS, 'sync', OUT);
  const scores = reals('scores', given.scores);
  const agents = countOf('agents', given.agents);
  if (scores.length % agents !== 0) {
    const rule = `a multiple of ${agents} elements, the agents,`;
    throw rangeError('ERR_ARG_LENGTH', expected(rule, 'scores', scores));
  }
  const questions = rangesOf('trajectoryOffsets', given.trajectoryOffsets, scores.length / agents);
  const horizon = oneOf('horizon', given.horizon, 'discounted', ['discounted', 'last', 'current']);
  if (horizon !== 'discounted') refuseUnused(given, ['gamma'], `horizon '${horizon}'`);
  const gamma = fraction('gamma', given.gamma, 0.3);
  const share = oneOf('share', given.share, 'all', ['all', 'individual']);
  const incentives = given.incentives === undefined ? undefined : reals('incentives', given.incentives, 4);
  if (incentives === undefined) refuseUnused(given, ['influenceSign', 'threshold'], 'no incentives');
  const isSign = (x: number) => Math.abs(x) === 1;
  const influenceSign = number('influenceSign', given.influenceSign, 1, '1 or -1', isSign);
  const threshold = finite('threshold', given.threshold, 0.5);
  const results = new HostResults(given);
  const returns = results.float64('returns', scores.length);
  const bonuses = results.float64('bonuses', scores.length);
  results.open();

  const sideOf = (x: number) => (x > threshold ? 1 : x < threshold ? -1 : 0);
  for (const [first, last] of questions) {
    const turns = last - first;
    const ofQuestion: Scores = (t, a) => scores[agents * (first + t) + a] as number;
    const shared: Scores = share === 'all' ? (t) => meanOver(ofQuestion, t, agents) : ofQuestion;
    for (let a = 0; a < agents; a++) {
      let [later, weights] = [0, 0]; // sums over the turns after t of gamma^(u-t) x_u and gamma^(u-t)
      for (let t = turns - 1; t >= 0; t--) {
        const own = ofQuestion(t, a);
        const at = agents * (first + t) + a;
        if (horizon === 'discounted') returns[at] = (own + later) / (1 + weights);
        else returns[at] = shared(horizon === 'last' ? turns - 1 : t, a);
        later = gamma * (shared(t, a) + later);
        weights = gamma * (1 + weights);
        if (incentives === undefined || t === 0) continue;
        const bonus = bonusOf(ofQuestion, [t, turns], [a, agents], sideOf, incentives, influenceSign);
        bonuses[at] = bonus;
        returns[at] += bonus;
      }
    }
  }
  return results.collect();
}

/** The bonus of agent a at turn t > 0. */
function bonusOf(
  scores: Scores,
  [t, turns]: Range,
  [a, agents]: Range,
  sideOf: (x: number) => number,
  incentives: Reals,
  influenceSign: number,
): number {
  const [alpha0, alpha1, beta0, beta1] = incentives as unknown as [number, number, number, number];
  const others = (u: number) => sideOf(meanOver(scores, u, agents, a));
  let bonus = 0;
  const [before, now] = [sideOf(scores(t - 1, a)), sideOf(scores(t, a))];
  if (before * now < 0) {
    if (agents === 1 || others(t - 1) === before) bonus += now * alpha1;
    else if (others(t - 1) === now) bonus += now * alpha0;
  }
  if (agents === 1 || t === turns - 1) return bonus;
  const [othersNow, othersNext] = [others(t), others(t + 1)];
  if (othersNow * othersNext < 0) {
    if (now === othersNext) bonus += influenceSign * othersNext * beta1;
    else if (now === -othersNext) bonus += influenceSign * othersNext * beta0;
  }
  return bonus;
}
