/** Seeded random numbers (mulberry32), the only source of randomness in the example. */

/**
 * @typedef {object} Random
 * @property {() => number} next uniform in [0, 1)
 * @property {(n: number) => number} int uniform in 0 ... n - 1
 * @property {<T>(items: readonly T[]) => T} pick
 * @property {<T>(items: T[]) => T[]} shuffle in place
 * @property {(weights: readonly number[]) => number} weighted index drawn by weight
 * @property {() => number} normal
 */

/** @param {...number} seeds numbers that identify the stream @returns {Random} */
export function random(...seeds) {
  let state = 0x9e3779b9;
  for (const seed of seeds) state = Math.imul(state ^ (seed + 0x7f4a7c15), 0x85ebca6b) ^ (state >>> 13);

  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  const int = (n) => Math.floor(next() * n);
  return {
    next,
    int,
    pick: (items) => items[int(items.length)],
    shuffle(items) {
      for (let i = items.length - 1; i > 0; i--) {
        const j = int(i + 1);
        [items[i], items[j]] = [items[j], items[i]];
      }
      return items;
    },
    weighted(weights) {
      let rest = next() * weights.reduce((sum, weight) => sum + weight, 0);
      for (let i = 0; i < weights.length; i++) {
        rest -= weights[i];
        if (rest < 0) return i;
      }
      return weights.length - 1;
    },
    normal: () => Math.sqrt(-2 * Math.log(1 - next())) * Math.cos(2 * Math.PI * next()),
  };
}
