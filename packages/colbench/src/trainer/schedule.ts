/** Share of the steps over which the learning rate rises from 0. */
export const WARMUP = 0.03;
/** The last learning rate as a share of the largest. */
export const FINAL_SHARE = 0.1;

/**
 * The learning rate of a step: a linear warm-up, then half a cosine to a tenth.
 *
 *     w = ceil(0.03 steps);  rate (s + 1) / w  for s < w
 *     rate (0.1 + 0.9 (1 + cos(pi (s - w) / (steps - w))) / 2)  else
 *
 * @param step from 0
 * @see the settings of the released trainer: warm-up over 3 % of the steps, cosine down to 10 % of the rate
 */
export function learningRate(rate: number, step: number, steps: number): number {
  const warmup = Math.ceil(WARMUP * steps);
  if (step < warmup) return (rate * (step + 1)) / warmup;
  const progress = (step - warmup) / Math.max(1, steps - warmup);
  return rate * (FINAL_SHARE + ((1 - FINAL_SHARE) * (1 + Math.cos(Math.PI * progress))) / 2);
}
