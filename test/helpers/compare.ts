/** Comparisons that print the first five mismatches: index, ours, expected, and by how much too far. */
import { expect } from 'vitest';
import { unitInLastPlace } from '../reference/half.ts';
import { type DType, decode, encode, type Stored } from './storage.ts';

export type Tolerance = (expected: number, index: number) => number;

const FLOAT32_ROUNDING = 2 ** -24;

/** For log-probs and lse: the specification's 2e-6 + 2e-6*|expected|. */
export const specified: Tolerance = (expected) => 2e-6 + 2e-6 * Math.abs(expected);

/** For what is computed in float64 and stored once in float32; the oracle's own summation order is the last term. */
export const oneRounding: Tolerance = (expected) => 1.001 * FLOAT32_ROUNDING * Math.abs(expected) + 1e-12;

/** For losses: 1e-6, relative. */
export const lossTolerance: Tolerance = (expected) => 1e-6 * Math.abs(expected) + 1e-12;

/** Half an ulp of x in float32: by so much a stored lse is off. */
export function halfUlp(x: number): number {
  return Number.isFinite(x) && x !== 0 ? 2 ** (Math.floor(Math.log2(Math.abs(x))) - 24) : 0;
}

export function expectClose(
  name: string,
  ours: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
): void {
  expect(ours.length, `length of ${name}`).toBe(expected.length);
  const mismatches: string[] = [];
  let count = 0;
  for (let i = 0; i < expected.length; i++) {
    const a = ours[i]!;
    const b = expected[i]!;
    if (Object.is(a, b) || a === b || Math.abs(a - b) <= tolerance(b, i)) continue;
    if (count++ < 5)
      mismatches.push(`  [${i}] ours ${a} expected ${b} off ${Math.abs(a - b)} allowed ${tolerance(b, i)}`);
  }
  if (count > 0) expect.fail(`${name}: ${count} of ${expected.length} differ\n${mismatches.join('\n')}`);
}

/**
 * Gradients in their storage type: float32 ones by the specified 2e-6*max(1, |g|) + 2e-6*|expected|, 16-bit ones within
 * one unit in the last place of the rounded expectation. `slack` is what the inputs' own rounding adds.
 */
export function expectGradient(
  name: string,
  ours: Stored,
  expected: Float64Array,
  dtype: DType,
  { upstream, slack = () => 0 }: { upstream: number; slack?: Tolerance },
): void {
  if (dtype === 'float32') {
    const base = 2e-6 * Math.max(1, upstream);
    expectClose(name, ours, expected, (x, i) => base + 2e-6 * Math.abs(x) + slack(x, i));
    return;
  }
  const rounded = decode(encode(expected, dtype), dtype);
  expectClose(name, decode(ours, dtype), rounded, (x, i) =>
    Number.isFinite(x) ? unitInLastPlace(x, dtype) + slack(x, i) : 0,
  );
}

interface Bits {
  buffer: ArrayBufferLike;
  byteOffset: number;
  byteLength: number;
}

/** The same bits, NaN and the sign of zero included. */
export function expectSameBits(name: string, ours: Bits & ArrayLike<number>, expected: Bits & ArrayLike<number>): void {
  expect(ours.length, `length of ${name}`).toBe(expected.length);
  const a = Buffer.from(ours.buffer as ArrayBuffer, ours.byteOffset, ours.byteLength);
  const b = Buffer.from(expected.buffer as ArrayBuffer, expected.byteOffset, expected.byteLength);
  if (a.equals(b)) return;
  const width = ours.byteLength / ours.length;
  const sameAt = (i: number) => a.subarray(i * width, (i + 1) * width).equals(b.subarray(i * width, (i + 1) * width));
  const different = Array.from(ours, (_, i) => i).filter((i) => !sameAt(i));
  const shown = different.slice(0, 5).map((i) => `  [${i}] ours ${ours[i]} expected ${expected[i]}`);
  expect.fail(`${name}: ${different.length} of ${ours.length} differ in their bits\n${shown.join('\n')}`);
}
