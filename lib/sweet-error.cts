/** What is neither a wrong type nor a wrong value: a backend that is not there, memory that could not be had. */
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
