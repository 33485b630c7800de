// In what precision the gradients of the logits enter the products of a bfloat16 linear head's backward pass.
import type { Precision as NativePrecision } from '../addon/operations.js';
import { expected, rangeError } from '../errors.js';
import { oneOf } from './scalars.js';

/** 'float32', or 'storage': rounded to the type of `hidden` and `weight`. */
export type Precision = Exclude<NativePrecision, 'fastest'>;

export interface PrecisionOption {
  /**
   * Of the backward pass of bfloat16 heads, in `linearLogpsBackward` and the updates: 'float32' keeps the gradients of the
   * logits in float32 for the products with `weight` and `hidden`, 'storage' rounds them to bfloat16 first, as PyTorch does,
   * for an error of 1e-3 of gradHidden and gradWeight (rms). The default is 'storage' on the backends 'avx512bf16' and 'cuda',
   * whose products of bfloat16 are faster, and 'float32' elsewhere; SWEET_RL_PRECISION sets it for the process.
   *
   * Of float32 heads both are the same. Of float16 heads, typed arrays have 'float32' alone and device buffers 'storage' alone,
   * the other is an error. Forward passes take it so that one object of options serves both: nothing is rounded there; on
   * 'avx512bf16', 'storage' selects the products of bfloat16, whose sums have another order.
   */
  precision?: Precision | undefined;
}

const NAMES: Precision[] = ['float32', 'storage'];
const OF_PROCESS = process.env.SWEET_RL_PRECISION;
if (OF_PROCESS && !NAMES.includes(OF_PROCESS as Precision)) {
  throw rangeError('ERR_ARG_VALUE', expected("'float32' | 'storage'", 'SWEET_RL_PRECISION', OF_PROCESS));
}

export function checkPrecision(
  given: unknown,
  argument: string,
  array: { dtype: string; onDevice: boolean; isReference: boolean },
): NativePrecision {
  const precision = oneOf<NativePrecision>('precision', given, (OF_PROCESS as Precision) || 'fastest', NAMES);
  if (array.isReference) return precision; // it has no gradient
  if (given === 'storage' && !array.onDevice && array.dtype === 'float16') {
    const rule = `'float32', since ${argument} is a typed array of float16: only products of bfloat16 round on a CPU,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'precision', precision));
  }
  if (precision === 'float32' && array.onDevice && array.dtype !== 'float32') {
    const rule = `'storage', since ${argument} is a DeviceBuffer of ${array.dtype}: the products of a device round,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'precision', precision));
  }
  return precision;
}

/** The precision of a backend where a call gives none. */
export const defaultPrecision = (backend: string): Precision =>
  (OF_PROCESS as Precision) || (backend === 'avx512bf16' || backend === 'cuda' ? 'storage' : 'float32');
