// Derivatives by central differences, with an estimate of their error.

/** A derivative, an estimate of its error, and the smallest step that it was computed from. */
export interface Derivative {
  value: number;
  uncertainty: number;
  step: number;
}

const LEVELS = 8;
/** The relative error at which the extrapolation stops: a mistake in a gradient is larger. */
const TARGET_ERROR = 1e-3;

/**
 * Ridders' method: central differences with halved steps, extrapolated to step 0, until rounding outweighs the gain.
 *
 * `difference(h)` is (f(h) - f(-h)) / 2h, and `noise` the standard deviation of one value of f, in float32 far more
 * than the last bit.
 */
export async function derivative(
  difference: (h: number) => Promise<number>,
  step: number,
  noise: number,
): Promise<Derivative> {
  let best: Derivative = { value: NaN, uncertainty: Infinity, step };
  let coarse: number[] = [];
  for (let level = 0, h = step; level < LEVELS; level++, h /= 2) {
    const fine = [await difference(h)];
    for (let k = 1; k <= level; k++) {
      const [last, before] = [fine[k - 1] as number, coarse[k - 1] as number];
      const value = last + (last - before) / (4 ** k - 1);
      fine.push(value);
      // Noise gives a central difference the standard deviation sqrt(2) noise / 2h; 4 noise / h is 5.7 times that.
      const uncertainty = Math.max(Math.abs(value - last), Math.abs(value - before)) + (4 * noise) / h;
      if (uncertainty < best.uncertainty) best = { value, uncertainty, step: h };
    }
    if (best.uncertainty <= TARGET_ERROR * Math.abs(best.value) || (4 * noise) / h > best.uncertainty) break;
    coarse = fine;
  }
  return best;
}

/**
 * The standard deviation of the noise of a smooth function at equidistant points, from fourth differences: those of a
 * polynomial of degree 3 are 0, those of independent noise have sqrt(70) times its deviation.
 */
export function noiseOf(values: readonly number[]): number {
  let differences = values;
  for (let order = 0; order < 4; order++) {
    differences = differences.slice(1).map((x, i) => x - (differences[i] as number));
  }
  return Math.hypot(...differences) / Math.sqrt(70 * differences.length);
}
