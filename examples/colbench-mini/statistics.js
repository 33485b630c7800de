/** Estimates with 95 % confidence intervals. */
import jStat from 'jstat';

const alpha = 0.05;
const z = jStat.normal.inv(1 - alpha / 2, 0, 1);

/** @typedef {{ mean: number, low: number, high: number, count: number }} Estimate */

/**
 * A proportion with its Wilson score interval, which holds for small counts and for proportions near 0 and 1.
 * @returns {Estimate}
 */
export function share(hits, count) {
  const p = hits / count;
  const scale = 1 / (1 + z ** 2 / count);
  const centre = scale * (p + z ** 2 / (2 * count));
  const half = scale * z * Math.sqrt((p * (1 - p)) / count + z ** 2 / (4 * count ** 2));
  return { mean: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half), count };
}

/** @param {number[]} values */
export const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** The mean with its normal interval, for many values. @param {number[]} values @returns {Estimate} */
export function mean(values) {
  const centre = average(values);
  const [low, high] = jStat.normalci(centre, alpha, jStat.stdev(values, true), values.length);
  return { mean: centre, low, high, count: values.length };
}

/**
 * The mean of one value per seed with its Student t interval. Everything random differs between seeds, so the interval
 * covers the noise of training as well as that of the tasks.
 * @param {number[]} values at least two
 * @returns {Estimate}
 */
export function meanOverSeeds(values) {
  const centre = average(values);
  const [low, high] = jStat.tci(centre, alpha, values);
  return { mean: centre, low, high, count: values.length };
}
