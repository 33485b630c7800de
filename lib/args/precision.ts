// In what precision the gradients of the logits enter the products of a bfloat16 linear head's backward pass.
import type { Precision as NativePrecision } from '../addon/operations.js';
import { expected, rangeError } from '../errors.js';
import { oneOf } from './scalars.js';

/** 'float32', or 'storage': rounded to the type of `hidden` and `weight`. */
export type Precision = Exclude<NativePrecision, 'fastest'>;

export interface PrecisionOption {
  /**
   * Of 16-bit heads: 'float32' keeps the gradients of the logits in float32 for the products with `weight` and `hidden`,
   * 'storage' rounds them to the head's type first, as PyTorch does, for an error of 1e-3 of gradHidden and gradWeight (rms,
   * bfloat16). The default is 'storage' on the backends 'avx512bf16' and 'cuda', whose products of 16 bits are faster, and
   * 'float32' elsewhere; SWEET_RL_PRECISION sets it for the process. A device forms 'float32' by three products instead of
   * one (float16: two). The CPU never rounds the gradients of a float16 head.
   */
  precision?: Precision | undefined;
}

const NAMES: Precision[] = ['float32', 'storage'];
const OF_PROCESS = process.env.SWEET_RL_PRECISION;
if (OF_PROCESS && !NAMES.includes(OF_PROCESS as Precision)) {
  throw rangeError('ERR_ARG_VALUE', expected("'float32' | 'storage'", 'SWEET_RL_PRECISION', OF_PROCESS));
}

export const checkPrecision = (given: unknown): NativePrecision =>
  oneOf<NativePrecision>('precision', given, (OF_PROCESS as Precision) || 'fastest', NAMES);

/** The precision of a backend where a call gives none. */
export const defaultPrecision = (backend: string): Precision =>
  (OF_PROCESS as Precision) || (backend === 'avx512bf16' || backend === 'cuda' ? 'storage' : 'float32');
