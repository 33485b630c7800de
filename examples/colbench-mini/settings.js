/** What every run has in common, whatever its method. What belongs to a method alone was tuned: tuned.json. */
export const settings = {
  base: { seed: 1, steps: 2500, batch: 16, rate: 3e-3 },
  offline: { tasks: 2000, perTask: 4 },
  candidates: { states: 2500, perState: 16 },
  pairs: { rule: 'best-worst' },
  evaluation: { sampled: 1500, greedy: 1000 },
};
