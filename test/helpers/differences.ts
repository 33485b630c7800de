/** Central differences of f at the values, one by one. */
export function centralDifferences(
  values: ArrayLike<number>,
  step: number,
  f: (moved: Float64Array) => number,
): Float64Array {
  return Float64Array.from(values, (x, at) => {
    const moved = Float64Array.from(values);
    moved[at] = x + step;
    const above = f(moved);
    moved[at] = x - step;
    return (above - f(moved)) / (2 * step);
  });
}

export function weightedSum(values: ArrayLike<number>, weights: ArrayLike<number>): number {
  return Array.from(values).reduce((sum, x, i) => sum + x * weights[i]!, 0);
}
