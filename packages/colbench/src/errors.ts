/** The errors that end a command. */

/** An invalid command line: exit code 2, with the usage of the command. */
export class UsageError extends Error {
  override readonly name = 'UsageError';
  readonly code = 'ERR_USAGE';
}

/** A command that failed: exit code 1. */
export class CommandError extends Error {
  override readonly name = 'CommandError';

  /**
   * @param code such as 'ERR_MODEL'
   * @param summary printed on stdout before the message, where the command did part of its work
   */
  constructor(
    readonly code: string,
    message: string,
    options: ErrorOptions & { summary?: Record<string, unknown> } = {},
  ) {
    super(message, options);
    this.summary = options.summary;
  }

  readonly summary: Record<string, unknown> | undefined;
}
