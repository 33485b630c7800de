/** Settings that all methods share. Those of single methods were tuned: tuned.json. */
export const settings = {
  base: { seed: 1, steps: 2500, batch: 16, rate: 3e-3, width: 64 },
  offline: { tasks: 2000, perTask: 4, noise: 0 },
  candidates: { states: 2500, perState: 16 },
  pairs: { rule: /** @type {const} */ ('apart'), ofRange: 0.8, numPairs: 2 },
  evaluation: { sampled: 1500, greedy: 1000, cooler: 600 },
};
