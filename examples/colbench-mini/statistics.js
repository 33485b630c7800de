/** Estimates with 95 % intervals. */

const z = 1.959964;

/** @typedef {{ mean: number, low: number, high: number, count: number }} Estimate */

/** Wilson's interval of a share: sound for small counts and for shares near 0 and 1. @returns {Estimate} */
export function share(hits, count) {
  const p = hits / count;
  const scale = 1 / (1 + z ** 2 / count);
  const centre = scale * (p + z ** 2 / (2 * count));
  const half = scale * z * Math.sqrt((p * (1 - p)) / count + z ** 2 / (4 * count ** 2));
  return { mean: p, low: Math.max(0, centre - half), high: Math.min(1, centre + half), count };
}

/** @param {number[]} values */
export const average = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** @param {number[]} values @returns {Estimate} */
export function mean(values) {
  const count = values.length;
  const centre = average(values);
  const variance = values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (count - 1);
  const half = z * Math.sqrt(variance / count);
  return { mean: centre, low: centre - half, high: centre + half, count };
}

/** Two-sided 95 % quantiles of Student's t for 1, 2, ... degrees of freedom. */
const student = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145];

/**
 * The mean of one value a seed. Seeds differ in everything that is drawn, so the interval holds the noise of training as well
 * as that of the tasks.
 * @param {number[]} values at least two
 * @returns {Estimate}
 */
export function meanOverSeeds(values) {
  const { mean: centre, high, count } = mean(values);
  const half = ((high - centre) * (student[count - 2] ?? z)) / z;
  return { mean: centre, low: centre - half, high: centre + half, count };
}
