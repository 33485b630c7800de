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

/** @param {number[]} values @returns {Estimate} */
export function mean(values) {
  const count = values.length;
  const average = values.reduce((sum, value) => sum + value, 0) / count;
  const variance = values.reduce((sum, value) => sum + (value - average) ** 2, 0) / (count - 1);
  const half = z * Math.sqrt(variance / count);
  return { mean: average, low: average - half, high: average + half, count };
}

/** Two-sided 95 % quantiles of Student's t for 1, 2, … degrees of freedom. */
const student = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.16, 2.145];

/**
 * The mean of one value a seed. Seeds differ in everything that is drawn, so the interval holds the noise of training as well
 * as that of the tasks.
 * @param {number[]} values at least two
 * @returns {Estimate}
 */
export function meanOverSeeds(values) {
  const { mean: average, high, count } = mean(values);
  const half = ((high - average) * (student[count - 2] ?? z)) / z;
  return { mean: average, low: average - half, high: average + half, count };
}
