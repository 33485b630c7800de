// In what precision the gradients of the logits enter the products of a bfloat16 linear head's backward pass.
import { variable } from '../addon/environment.js';
import type { Precision as NativePrecision } from '../addon/operations.js';
import { expected, rangeError } from '../errors.js';
import { oneOf } from './scalars.js';

/** 'float32', or 'storage': rounded to the type of `hidden` and `weight`. */
export type Precision = Exclude<NativePrecision, 'fastest'>;

export interface PrecisionOption {
  /**
   * Of the backward pass of 16-bit heads, in `linearLogpsBackward` and the updates: 'float32' keeps the gradients of the
   * logits in float32 for the products with `weight` and `hidden`, 'storage' rounds them to the head's type first, as PyTorch
   * does, for an error of 1e-3 of gradHidden and gradWeight (rms, bfloat16). The default is 'storage' on the backends
   * 'avx512bf16' and 'cuda', whose products of 16 bits are faster, and 'float32' elsewhere; SWEET_RL_PRECISION sets it for the
   * process. A device forms 'float32' by three products instead of one (float16: two).
   *
   * Of float32 heads both are the same. Of float16 heads, typed arrays have 'float32' alone, 'storage' is an error. Forward
   * passes take it so that one object of options serves both: nothing is rounded there; on 'avx512bf16', 'storage' selects
   * the products of bfloat16, whose sums have another order.
   */
  precision?: Precision | undefined;
}

const NAMES: Precision[] = ['float32', 'storage'];
const OF_PROCESS = variable('SWEET_RL_PRECISION');
if (OF_PROCESS && !NAMES.includes(OF_PROCESS as Precision)) {
  throw rangeError('ERR_ARG_VALUE', expected("'float32' | 'storage'", 'SWEET_RL_PRECISION', OF_PROCESS));
}

export function checkPrecision(
  given: unknown,
  argument: string,
  array: { dtype: string; onDevice: boolean; isReference: boolean },
): NativePrecision {
  const precision = oneOf<NativePrecision>('precision', given, (OF_PROCESS as Precision) || 'fastest', NAMES);
  // A reference has no gradient.
  if (given === 'storage' && !array.isReference && !array.onDevice && array.dtype === 'float16') {
    const rule = `'float32', since ${argument} is a typed array of float16: only products of bfloat16 round on a CPU,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'precision', precision));
  }
  return precision;
}

/** The precision of a backend where a call gives none. */
export const defaultPrecision = (backend: string): Precision =>
  (OF_PROCESS as Precision) || (backend === 'avx512bf16' || backend === 'cuda' ? 'storage' : 'float32');
