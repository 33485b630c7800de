/** An error that is neither a wrong type nor a wrong value: an unavailable backend, a failed allocation. */
export class SweetError extends Error {
  override readonly name = 'SweetError';

  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}
