// Mean and standard deviation.
import { integer } from '../args/scalars.js';

export interface Moments {
  count: number;
  mean: number;
  /** 0 where all numbers are equal, also where there is one. */
  std: number;
  /** All numbers are equal, compared exactly. */
  equal: boolean;
}

/**
 * mean = sum x / n, std = sqrt(sum (x - mean)^2 / (n - ddof)), in the order of the numbers. Equal numbers are their own mean:
 * the sum of three 0.1 divided by 3 is not 0.1, and the difference, divided by a deviation of the same size, would not be 0.
 */
export function momentsOf(numbers: ArrayLike<number>, ddof: number): Moments {
  const count = numbers.length;
  const first = numbers[0] as number;
  let [sum, equal] = [0, true];
  for (let i = 0; i < count; i++) {
    const x = numbers[i] as number;
    sum += x;
    if (x !== first) equal = false;
  }
  if (count === 0) return { count, mean: 0, std: 0, equal };
  if (equal) return { count, mean: first, std: 0, equal };
  const mean = sum / count;
  let squares = 0;
  for (let i = 0; i < count; i++) squares += ((numbers[i] as number) - mean) ** 2;
  return { count, mean, std: Math.sqrt(squares / (count - ddof)), equal };
}

/** 1 for the sample's deviation, 0 for that of the population. */
export function ddofOf(value: unknown, fallback: 0 | 1): number {
  return integer('ddof', value, fallback, 0, 1);
}
