import { float32, isOnDevice } from './checks.js';
import type { DeviceBuffer, OnDevice } from './device.js';
import { expected, typeError } from './errors.js';
import type { PreferenceResult } from './preference.js';

/** Metrics under the keys of Hugging Face's TRL. */
export interface TrlMetrics {
  'rewards/chosen': number;
  'rewards/rejected': number;
  'rewards/accuracies': number;
  'rewards/margins': number;
  loss: number;
}

type PairArray = 'chosenRewards' | 'rejectedRewards' | 'margins';
type PairMetrics = Pick<PreferenceResult, PairArray | 'accuracy' | 'loss'>;

function meanOf(result: PairMetrics | OnDevice<PairMetrics>, name: PairArray): number {
  const given = float32(`result.${name}`, result[name]);
  const array = isOnDevice(given) ? ((given as unknown as DeviceBuffer).toArray() as Float32Array) : given;
  return array.reduce((sum, x) => sum + x, 0) / array.length;
}

/**
 * The metrics of a preference loss or an update under the keys that TRL's trainers log.
 *
 * @param result what a preference loss or an update returned.
 * @returns means over the pairs, and the loss.
 * @throws TypeError ERR_ARG_TYPE for anything else.
 * @example
 * trlMetrics(result)['rewards/margins']; // the mean of result.margins
 */
export function trlMetrics(result: PairMetrics | OnDevice<PairMetrics>): TrlMetrics {
  if (typeof result !== 'object' || result === null) {
    throw typeError('ERR_ARG_TYPE', expected("a preference loss's result", 'result', result));
  }
  return {
    'rewards/chosen': meanOf(result, 'chosenRewards'),
    'rewards/rejected': meanOf(result, 'rejectedRewards'),
    'rewards/accuracies': result.accuracy,
    'rewards/margins': meanOf(result, 'margins'),
    loss: result.loss,
  };
}
