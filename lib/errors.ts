// The errors that a call can throw: TypeError, RangeError and SweetError, each with a `.code`.
import { SweetError } from './sweet-error.cjs';

export { type ErrorCode, expected, rangeError, typeError } from './argument-errors.js';
export { SweetError };

/** A CUDA call failed; nothing was started after it. */
export class CudaError extends SweetError {
  constructor(
    /** The call, or the kernel whose launch it was. */
    readonly operation: string,
    /** CUDA's name of the error, like cudaErrorMemoryAllocation, */
    readonly cudaName: string,
    /** and its number. */
    readonly cudaCode: number,
    /** Whether every later call of this process will fail as well. */
    readonly sticky: boolean,
    message: string,
  ) {
    const end = sticky ? '; the device cannot be used in this process anymore' : '';
    super('ERR_CUDA', `${operation} failed with ${cudaName} (${cudaCode}): ${message}${end}`);
  }
}
