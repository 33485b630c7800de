import type { PreferenceResult } from './preference.js';

export interface TrlMetrics {
  'rewards/chosen': number;
  'rewards/rejected': number;
  'rewards/accuracies': number;
  'rewards/margins': number;
  loss: number;
}

const mean = (array: Float32Array): number => array.reduce((sum, x) => sum + x, 0) / array.length;

/**
 * The metrics of a preference loss or an update under the keys that TRL's trainers log.
 *
 * @param result what a preference loss or an update returned.
 * @returns means over the pairs, and the loss.
 * @example
 * trlMetrics(result)['rewards/margins']; // the mean of result.margins
 */
export function trlMetrics(result: PreferenceResult): TrlMetrics {
  return {
    'rewards/chosen': mean(result.chosenRewards),
    'rewards/rejected': mean(result.rejectedRewards),
    'rewards/accuracies': result.accuracy,
    'rewards/margins': mean(result.margins),
    loss: result.loss,
  };
}
