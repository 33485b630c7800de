// Derivatives by central differences, with what can be trusted of them.

/** A derivative, how far it may be off, and the smallest step that it was told from. */
export interface Derivative {
  value: number;
  uncertainty: number;
  step: number;
}

const LEVELS = 8;
/** Enough to tell any mistake. */
const GOOD = 1e-3;

/**
 * Ridders' method: central differences at steps that halve, extrapolated to 0, until rounding outweighs what is gained.
 *
 * `slope(h)` is (f(h) - f(-h)) / 2h, and `noise` the deviation of one value of f, in float32 far more than the last bit.
 */
export async function derivative(
  slope: (h: number) => Promise<number>,
  step: number,
  noise: number,
): Promise<Derivative> {
  let best: Derivative = { value: NaN, uncertainty: Infinity, step };
  let coarse: number[] = [];
  for (let level = 0, h = step; level < LEVELS; level++, h /= 2) {
    const fine = [await slope(h)];
    for (let k = 1; k <= level; k++) {
      const [last, before] = [fine[k - 1] as number, coarse[k - 1] as number];
      const value = last + (last - before) / (4 ** k - 1);
      fine.push(value);
      // A difference of two values is off by sqrt2 noise, divided by 2h; four deviations are as good as never passed.
      const uncertainty = Math.max(Math.abs(value - last), Math.abs(value - before)) + (4 * noise) / h;
      if (uncertainty < best.uncertainty) best = { value, uncertainty, step: h };
    }
    if (best.uncertainty <= GOOD * Math.abs(best.value) || (4 * noise) / h > best.uncertainty) break;
    coarse = fine;
  }
  return best;
}

/**
 * The deviation of values that should lie on a smooth curve, from fourth differences of values near each other: a polynomial
 * of degree 3 has none, and those of independent errors have sqrt70 times their deviation.
 */
export function noiseOf(values: readonly number[]): number {
  let differences = values;
  for (let order = 0; order < 4; order++) {
    differences = differences.slice(1).map((x, i) => x - (differences[i] as number));
  }
  return Math.hypot(...differences) / Math.sqrt(70 * differences.length);
}
