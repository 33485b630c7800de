import { float32, isOnDevice, lengthOf, plainView } from '../args/arrays.js';
import { isRecord } from '../args/options.js';
import { oneOf } from '../args/scalars.js';
import type { UnpairedLossType } from '../args/unpaired.js';
import type { DeviceBuffer, OnDevice } from '../device/device-buffer.js';
import { expected, rangeError, typeError } from '../errors.js';
import type { PreferenceResult } from '../ops/preference-loss.js';
import type { UnpairedResult } from '../ops/unpaired-loss.js';

/** Metrics under the keys of Hugging Face's TRL. */
export interface TrlMetrics {
  'rewards/chosen': number;
  'rewards/rejected': number;
  'rewards/accuracies': number;
  'rewards/margins': number;
  loss: number;
}

/** Metrics of an unpaired loss under the keys of TRL. Means of kinds of items are absent where there is no such item. */
export interface TrlUnpairedMetrics {
  'rewards/chosen'?: number;
  'rewards/rejected'?: number;
  'rewards/accuracies': number;
  'rewards/margins'?: number;
  loss: number;
  /** The reference point of 'kto'. */
  kl?: number;
  /** beta times the reference point of 'bco'. */
  delta?: number;
}

/** Metrics of a policy-gradient loss under the keys of TRL's GRPO and PPO trainers; kl and entropy by the reduction of the loss. */
export interface TrlPolicyMetrics {
  loss: number;
  'loss/policy_avg': number;
  /** 0 without a reference. */
  kl: number;
  /** 0 where the entropy was not computed. */
  entropy: number;
  /** The share of tokens whose bound is active. */
  'clip_ratio/region_mean': number;
  /** The mean of exp(d) - 1 - d. A key of its own: TRL's PPO logs the mean of d^2 / 2. */
  approx_kl: number;
}

type Rewards = 'chosenRewards' | 'rejectedRewards';
type PairMetrics = Pick<PreferenceResult, Rewards | 'margins' | 'accuracy' | 'loss'>;
type UnpairedMetrics = Pick<
  UnpairedResult,
  Rewards | 'accuracy' | 'loss' | 'referencePoint' | 'lossType' | 'beta' | 'unitLosses'
>;
const POLICY_KEYS = {
  loss: 'loss',
  'loss/policy_avg': 'policyLoss',
  kl: 'klLoss',
  entropy: 'entropyBonus',
  'clip_ratio/region_mean': 'clipFraction',
  approx_kl: 'approxKl',
} as const satisfies Record<keyof TrlPolicyMetrics, string>;
type PolicyNumber = (typeof POLICY_KEYS)[keyof TrlPolicyMetrics];
type PolicyMetrics = { readonly [name in PolicyNumber]: number };
type Result = Readonly<Record<string, unknown>>;

const UNPAIRED = ['kto', 'apo_zero_unpaired', 'bco'] as const satisfies readonly UnpairedLossType[];

function meanOf(result: Result, name: Rewards | 'margins'): number | undefined {
  const given = float32(`result.${name}`, result[name]);
  if (lengthOf(given) === 0) return undefined;
  const array = isOnDevice(given) ? ((given as unknown as DeviceBuffer).toArray() as Float32Array) : plainView(given);
  return array.reduce((sum, x) => sum + x, 0) / array.length;
}

function meanOfPairs(result: Result, name: Rewards | 'margins'): number {
  const mean = meanOf(result, name);
  if (mean !== undefined) return mean;
  throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', `result.${name}`, result[name]));
}

type Numbers = 'accuracy' | 'referencePoint' | 'beta' | PolicyNumber;

function numberOf(result: Result, name: Numbers): number {
  const value = result[name];
  if (typeof value !== 'number') throw typeError('ERR_ARG_TYPE', expected('a number', `result.${name}`, value));
  return value;
}

function unpairedMetrics(result: Result): TrlUnpairedMetrics {
  const given = result.lossType;
  if (given === undefined) throw typeError('ERR_ARG_TYPE', expected('the type of the loss', 'result.lossType', given));
  const type = oneOf<UnpairedLossType>('result.lossType', given, 'kto', UNPAIRED);
  const [chosen, rejected] = [meanOf(result, 'chosenRewards'), meanOf(result, 'rejectedRewards')];
  const point = numberOf(result, 'referencePoint');
  return {
    ...(chosen !== undefined && { 'rewards/chosen': chosen }),
    ...(rejected !== undefined && { 'rewards/rejected': rejected }),
    'rewards/accuracies': numberOf(result, 'accuracy'),
    ...(chosen !== undefined && rejected !== undefined && { 'rewards/margins': chosen - rejected }),
    loss: numberOf(result, 'loss'),
    ...(type === 'kto' && { kl: point }),
    ...(type === 'bco' && { delta: numberOf(result, 'beta') * point }),
  };
}

function policyMetrics(result: Result): TrlPolicyMetrics {
  const keys = Object.entries(POLICY_KEYS) as [keyof TrlPolicyMetrics, PolicyNumber][];
  return Object.fromEntries(keys.map(([key, name]) => [key, numberOf(result, name)])) as unknown as TrlPolicyMetrics;
}

/**
 * The metrics of a preference loss, an unpaired loss, a policy-gradient loss or an update under the keys that TRL's trainers log.
 *
 * @param result what a preference loss, an unpaired loss, a policy-gradient loss or an update returned.
 * @returns means over the pairs, and the loss; of an unpaired loss means over the desirable and over the undesirable items, their
 *   difference, and 'kl' of 'kto' or 'delta' of 'bco'; of a policy-gradient loss its terms and the share of clipped tokens.
 * @throws TypeError ERR_ARG_TYPE for anything else.
 * @example
 * trlMetrics(result)['rewards/margins']; // the mean of result.margins
 */
export function trlMetrics(result: PairMetrics | OnDevice<PairMetrics>): TrlMetrics;
export function trlMetrics(result: UnpairedMetrics | OnDevice<UnpairedMetrics>): TrlUnpairedMetrics;
export function trlMetrics(result: PolicyMetrics): TrlPolicyMetrics;
export function trlMetrics(
  given: PairMetrics | UnpairedMetrics | OnDevice<PairMetrics | UnpairedMetrics> | PolicyMetrics,
): TrlMetrics | TrlUnpairedMetrics | TrlPolicyMetrics {
  if (!isRecord(given)) {
    throw typeError('ERR_ARG_TYPE', expected('the result of a preference loss', 'result', given));
  }
  const result = given as object as Result;
  if ('unitLosses' in result) return unpairedMetrics(result);
  if ('policyLoss' in result) return policyMetrics(result);
  return {
    'rewards/chosen': meanOfPairs(result, 'chosenRewards'),
    'rewards/rejected': meanOfPairs(result, 'rejectedRewards'),
    'rewards/accuracies': numberOf(result, 'accuracy'),
    'rewards/margins': meanOfPairs(result, 'margins'),
    loss: numberOf(result, 'loss'),
  };
}
