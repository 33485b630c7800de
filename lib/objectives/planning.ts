// Planning, decoding, self-distillation: soft values under a prior, the choice among several agents, privileged contexts.

import { lengthOf } from '../args/arrays.js';
import { checkOptions } from '../args/options.js';
import { coefficient, number, oneOf, scaleFactor, signedCoefficient } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import { groups as rangesOf } from '../data/candidates.js';
import {
  countOf,
  type Float64s,
  HostResults,
  type Int32s,
  integers,
  Layout,
  type LayoutOptions,
  type OutOf,
  type Reals,
  reals,
} from './host-call.js';

/** What `softValue` takes. */
export interface SoftValueOptions {
  /** [n], the log-probs of the actions under the prior; -Infinity: never taken. */
  logPrior: ArrayOrTensor<Reals>;
  /** [n] */
  q: ArrayOrTensor<Reals>;
  /** [S + 1], the actions of state s are actionOffsets[s] ... actionOffsets[s + 1] - 1. */
  actionOffsets: ArrayOrTensor<Int32Array>;
  /** The weight of the KL divergence from the prior, > 0; 1 by default. */
  lambda?: number | undefined;
  out?: OutOf<'values' | 'logPolicy' | 'kl'>;
}

/** What `selectAgentTokens` takes: B states, K agents, P candidates of each. */
export interface SelectAgentTokensOptions {
  /** [B K P] */
  q: ArrayOrTensor<Reals>;
  /** [B K P], token ids. */
  candidates: ArrayOrTensor<Int32Array>;
  /** [B K], the KL divergence of each agent from the reference. */
  kl: ArrayOrTensor<Reals>;
  /** K */
  agents: number;
  /** The weight of the KL divergence; 1 by default. */
  alpha?: number | undefined;
  out?: (OutOf<'scores'> & { [name in 'agents' | 'tokens']?: Int32Array | undefined }) | undefined;
}

/** What `privilegedAdvantages` takes. */
export interface PrivilegedAdvantagesOptions {
  /** [N] of the taken tokens under the policy. */
  logps: ArrayOrTensor<Reals>;
  /** [N] of the same tokens, where the prompt also holds the hidden information; or a teacher's. */
  privilegedLogps: ArrayOrTensor<Reals>;
  mask?: LayoutOptions['mask'];
  turnOffsets?: LayoutOptions['turnOffsets'];
  /** 'token' by default; 'turn': the mean over the counted tokens of the turn. */
  level?: 'token' | 'turn' | undefined;
  /** 1 by default. */
  coef?: number | undefined;
  /** The bound of the absolute value; Infinity by default. */
  clip?: number | undefined;
  out?: OutOf<'advantages'>;
}

const SOFT_OPTIONS = new Set(['logPrior', 'q', 'actionOffsets', 'lambda', 'out']);
const SOFT_OUT = new Set(['values', 'logPolicy', 'kl']);
const SELECT_OPTIONS = new Set(['q', 'candidates', 'kl', 'agents', 'alpha', 'out']);
const SELECT_OUT = new Set(['agents', 'tokens', 'scores']);
const PRIVILEGED_OPTIONS = new Set(['logps', 'privilegedLogps', 'mask', 'turnOffsets', 'level', 'coef', 'clip', 'out']);
const PRIVILEGED_OUT = new Set(['advantages']);

/**
 * The value of a state under a prior, with the policy that attains it.
 *
 *     V = lambda log sum_a exp(logPrior_a + q_a / lambda);  logPolicy = logPrior + q / lambda - V / lambda
 *     kl = sum_a p_a (logPolicy_a - logPrior_a);  V = <p, q> - lambda kl for a normalized prior
 *
 * @param options.logPrior [n], -Infinity is legal; `q` [n].
 * @param options.actionOffsets [S + 1] into the actions.
 * @param options.lambda from 1e-30 to 1e30, 1 by default.
 * @param options.out buffers for any array of the result, by name.
 * @returns `values` [S], `logPolicy` [n], `kl` [S].
 * @throws RangeError ERR_OFFSETS naming an index, ERR_ARG_VALUE naming a state without an action of finite prior; TypeError
 *   ERR_DEVICE for device buffers: this runs on the host.
 * @see LINVIT arXiv 2402.16181; the policy of Collab with one agent, arXiv 2503.21720 (lambda = alpha).
 * @example
 * const { values, kl } = softValue({
 *   logPrior: Float64Array.of(Math.log(0.5), Math.log(0.5)),
 *   q: Float64Array.of(0, 1),
 *   actionOffsets: Int32Array.of(0, 2),
 * });
 * // values = [0.6201], kl = [0.1109]
 */
export function softValue(options: SoftValueOptions): { values: Float64s; logPolicy: Float64s; kl: Float64s } {
  const given = checkOptions('softValue', options, SOFT_OPTIONS, 'sync', SOFT_OUT);
  const logPrior = reals('logPrior', given.logPrior);
  const q = reals('q', given.q, logPrior.length);
  const states = rangesOf('actionOffsets', given.actionOffsets, logPrior.length);
  const lambda = scaleFactor('lambda', given.lambda, 1);
  for (const [s, [from, to]] of states.entries()) {
    if (logPrior.subarray(from, to).some(Number.isFinite)) continue;
    throw rangeError(
      'ERR_ARG_VALUE',
      `Expected an action of finite prior for logPrior but received none in state ${s}`,
    );
  }
  const results = new HostResults(given);
  const values = results.float64('values', states.length);
  const logPolicy = results.float64('logPolicy', logPrior.length);
  const kl = results.float64('kl', states.length);
  results.open();

  for (const [s, [from, to]] of states.entries()) {
    let max = -Infinity;
    for (let a = from; a < to; a++) {
      const score = (logPrior[a] as number) + (q[a] as number) / lambda;
      logPolicy[a] = score;
      max = Math.max(max, score);
    }
    let sum = 0;
    for (let a = from; a < to; a++) sum += Math.exp((logPolicy[a] as number) - max);
    const logSum = max + Math.log(sum);
    let divergence = 0;
    for (let a = from; a < to; a++) {
      const logp = (logPolicy[a] as number) - logSum;
      logPolicy[a] = logp;
      // 0 log 0 = 0
      if (logp !== -Infinity) divergence += Math.exp(logp) * ((q[a] as number) / lambda - logSum);
    }
    values[s] = lambda * logSum;
    kl[s] = divergence;
  }
  return results.collect();
}

/** The error for a score that is NaN, which has no place in an order: of q[i] - alpha kl[j]. */
function unordered(q: Reals, kl: Reals, i: number, j: number): RangeError {
  const [name, value] = Number.isNaN(kl[j]) ? [`kl[${j}]`, kl[j]] : [`q[${i}]`, q[i]];
  return rangeError('ERR_ARG_VALUE', expected('a number with which q - alpha kl is one', name, value));
}

/**
 * The next token of several agents that take turns: that of the largest value less the divergence of its agent.
 *
 *     J_bkp = q_bkp - alpha kl_bk;  the largest of state b, ties to the lowest agent, then to the first candidate
 *
 * @param options.q [B K P] of the candidates of each agent at each state; `candidates` [B K P], token ids; `kl` [B K].
 * @param options.agents K; B and P follow from the lengths.
 * @param options.alpha >= 0, 1 by default.
 * @param options.out buffers for any array of the result, by name.
 * @returns `agents` [B], `tokens` [B], `scores` J [B].
 * @throws RangeError ERR_ARG_LENGTH where the lengths are no such multiples, ERR_ARG_VALUE naming a NaN; TypeError ERR_DEVICE for
 *   device buffers: this runs on the host.
 * @see Collab, arXiv 2503.21720.
 * @example
 * const { agents, tokens, scores } = selectAgentTokens({
 *   q: Float64Array.of(0.2, 0.5, 0.6, 0.3),
 *   candidates: Int32Array.of(11, 12, 21, 22),
 *   kl: Float64Array.of(0.1, 0.4),
 *   agents: 2,
 * });
 * // agents = [0], tokens = [12], scores = [0.4]
 */
export function selectAgentTokens(options: SelectAgentTokensOptions): {
  agents: Int32s;
  tokens: Int32s;
  scores: Float64s;
} {
  const given = checkOptions('selectAgentTokens', options, SELECT_OPTIONS, 'sync', SELECT_OUT);
  const q = reals('q', given.q);
  const kl = reals('kl', given.kl);
  const count = countOf('agents', given.agents);
  if (kl.length % count !== 0) {
    throw rangeError('ERR_ARG_LENGTH', expected(`a multiple of ${count} elements, the agents,`, 'kl', kl));
  }
  const perAgent = kl.length === 0 ? 0 : q.length / kl.length;
  if (kl.length === 0 ? q.length > 0 : perAgent < 1 || !Number.isInteger(perAgent)) {
    throw rangeError('ERR_ARG_LENGTH', expected(`a multiple of ${kl.length} elements (kl.length)`, 'q', q));
  }
  const candidates = integers('candidates', given.candidates, lengthOf(q));
  const alpha = coefficient('alpha', given.alpha, 1);
  const scoreOf = (i: number) => (q[i] as number) - alpha * (kl[Math.floor(i / perAgent)] as number);
  const at = q.findIndex((_, i) => Number.isNaN(scoreOf(i)));
  if (at >= 0) throw unordered(q, kl, at, Math.floor(at / perAgent));
  const states = kl.length / count;
  const results = new HostResults(given);
  const agents = results.int32('agents', states);
  const tokens = results.int32('tokens', states);
  const scores = results.float64('scores', states);
  results.open();

  const perState = count * perAgent;
  for (let b = 0; b < states; b++) {
    let best = b * perState;
    for (let i = best + 1; i < (b + 1) * perState; i++) if (scoreOf(i) > scoreOf(best)) best = i;
    agents[b] = Math.floor((best - b * perState) / perAgent);
    tokens[b] = candidates[best] as number;
    scores[b] = scoreOf(best);
  }
  return results.collect();
}

/**
 * The advantage of each token from the log-probs of the same policy with a privileged context, or of a teacher.
 *
 *     A_i = coef (privilegedLogp_i - logp_i), 'turn': the mean over the turn's counted tokens at each of them; then clipped to
 *     [-clip, clip]
 *
 * Equation 3 of SWEET-RL with the policy without the hidden information as the reference: positive where the informed policy
 * prefers the token. It is a constant: no gradient flows through it.
 *
 * @param options.logps [N]; `privilegedLogps` [N]; not read where `mask` [N] is 0.
 * @param options.turnOffsets [T + 1] into tokens, which level 'turn' needs.
 * @param options.coef 1 by default; `clip` >= 0, Infinity by default.
 * @param options.out a buffer for `advantages`.
 * @returns [N] advantages, 0 where masked.
 * @throws TypeError ERR_ARG_TYPE for level 'turn' without turnOffsets, ERR_DEVICE for device buffers: this runs on the host;
 *   RangeError ERR_OFFSETS naming an index.
 * @see arXiv 2503.15478, Equation 3; on-policy self-distillation in prime-rl and TRL.
 * @example
 * const advantages = privilegedAdvantages({
 *   logps: Float64Array.of(-1, -2),
 *   privilegedLogps: Float64Array.of(-0.5, -4),
 *   clip: 1,
 * });
 * // advantages = [0.5, -1]
 */
export function privilegedAdvantages(options: PrivilegedAdvantagesOptions): Float64s {
  const given = checkOptions('privilegedAdvantages', options, PRIVILEGED_OPTIONS, 'sync', PRIVILEGED_OUT);
  const logps = reals('logps', given.logps);
  const privileged = reals('privilegedLogps', given.privilegedLogps, logps.length);
  const layout = new Layout({ mask: given.mask, turnOffsets: given.turnOffsets }, logps.length);
  const level = oneOf('level', given.level, 'token', ['token', 'turn']);
  const turns = level === 'turn' ? layout.turns("level 'turn'") : undefined;
  const coef = signedCoefficient('coef', given.coef, 1);
  const clip = number('clip', given.clip, Infinity, 'a number >= 0', (x) => x >= 0);
  const results = new HostResults(given);
  const advantages = results.float64('advantages', logps.length);
  results.open();

  const ratio = (i: number) => (privileged[i] as number) - (logps[i] as number);
  const clipped = (a: number) => Math.min(Math.max(coef * a, -clip), clip);
  const units = turns ?? [[0, logps.length] as const];
  for (const range of units) {
    const [from, to] = range;
    let sum = 0;
    for (let i = from; i < to; i++) if (layout.counts(i)) sum += ratio(i);
    const mean = sum / layout.counted(range);
    for (let i = from; i < to; i++) if (layout.counts(i)) advantages[i] = clipped(turns ? mean : ratio(i));
  }
  return results.collect<{ advantages: Float64s }>().advantages;
}
