/** What a command of the command line is. */

/** The values of a command line. */
export interface CommandInput {
  positionals: string[];
  values: Record<string, string | boolean | undefined>;
  /** Where progress and notes go: stderr. */
  progress: NodeJS.WriteStream;
  /** Aborted by the first SIGINT or SIGTERM. */
  signal: AbortSignal;
}

/** A command of the command line. */
export interface Command {
  name: string;
  /** One line for the list of commands. */
  summary: string;
  /** The arguments and options with their defaults, for --help. */
  usage: string;
  /** Every option that the command takes; --help and --json come on top. */
  options: Record<string, { type: 'string' | 'boolean'; short?: string }>;
  /**
   * @returns the summary that is printed on stdout
   * @throws UsageError (exit code 2), CommandError and any other error (1); after an abort the exit code is 130
   */
  run(input: CommandInput): Promise<Record<string, unknown>>;
}
