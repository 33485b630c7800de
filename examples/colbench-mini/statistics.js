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
