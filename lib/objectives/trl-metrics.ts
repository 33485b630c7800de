import { float32, isOnDevice, lengthOf, plainView } from '../args/arrays.js';
import { isRecord } from '../args/options.js';
import type { DeviceBuffer, OnDevice } from '../device/device-buffer.js';
import { expected, rangeError, typeError } from '../errors.js';
import type { PreferenceResult } from '../ops/preference-loss.js';

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
  if (lengthOf(given) === 0)
    throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', `result.${name}`, given));
  const array = isOnDevice(given) ? ((given as unknown as DeviceBuffer).toArray() as Float32Array) : plainView(given);
  return array.reduce((sum, x) => sum + x, 0) / array.length;
}

function numberOf(result: PairMetrics | OnDevice<PairMetrics>, name: 'accuracy' | 'loss'): number {
  const value: unknown = result[name];
  if (typeof value !== 'number') throw typeError('ERR_ARG_TYPE', expected('a number', `result.${name}`, value));
  return value;
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
  if (!isRecord(result)) {
    throw typeError('ERR_ARG_TYPE', expected('the result of a preference loss', 'result', result));
  }
  return {
    'rewards/chosen': meanOf(result, 'chosenRewards'),
    'rewards/rejected': meanOf(result, 'rejectedRewards'),
    'rewards/accuracies': numberOf(result, 'accuracy'),
    'rewards/margins': meanOf(result, 'margins'),
    loss: numberOf(result, 'loss'),
  };
}
