/** The command line: finds the command, checks its options, prints its summary. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import type { Command } from './command.js';
import { commandNames, findCommand } from './commands/table.js';
import { CommandError, UsageError } from './errors.js';
import { summaryText } from './summary.js';

/** The streams and the signal of a command line. */
export interface Io {
  out: (text: string) => void;
  progress: NodeJS.WriteStream;
  signal: AbortSignal;
}

const common = { help: { type: 'boolean', short: 'h' }, json: { type: 'boolean' } } as const;

/** @returns the exit code: 0, 1 (failure), 2 (usage) or 130 (interrupted; the same command resumes) */
export async function runCommandLine(args: readonly string[], { out, progress, signal }: Io): Promise<number> {
  const [name, ...rest] = args;
  let command: Command | undefined;
  let json = false;
  const print = (summary: Record<string, unknown>) => out(json ? `${JSON.stringify(summary)}\n` : summaryText(summary));
  try {
    if (name === undefined || ['help', '--help', '-h'].includes(name)) {
      out(await overview());
      return name === undefined ? 2 : 0;
    }
    command = await findCommand(name);
    if (command === undefined) throw new UsageError(`There is no command ${JSON.stringify(name)}`);
    const { positionals, values } = parse(command, rest);
    if (values.help === true) {
      out(helpOf(command));
      return 0;
    }
    json = values.json === true;
    print(await command.run({ positionals, values, progress, signal }));
    return signal.aborted ? 130 : 0;
  } catch (error) {
    if (signal.aborted) {
      progress.write('Interrupted.\n');
      return 130;
    }
    const { message } = error as Error;
    if (error instanceof UsageError) {
      progress.write(`${message}\n\n${command === undefined ? await overview() : helpOf(command)}`);
      return 2;
    }
    if (error instanceof CommandError && error.summary !== undefined) print(error.summary);
    const { code } = error as { code?: unknown };
    // Messages of the file system begin with their code.
    const shown = typeof code === 'string' && !message.startsWith(code) ? `${code}: ${message}` : message;
    progress.write(`${shown}\n`);
    return 1;
  }
}

function parse(command: Command, args: readonly string[]) {
  const options = { ...command.options, ...common } satisfies ParseArgsConfig['options'];
  try {
    return parseArgs({ args: [...args], options, allowPositionals: true });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

const helpOf = ({ usage }: Command) => `${usage}\n  --json                     prints the summary as JSON\n`;

/** The list of commands. A command whose module is missing or fails to load is listed without its summary. */
async function overview(): Promise<string> {
  const lines = await Promise.all(
    commandNames.map(async (name) => {
      const command = await findCommand(name).catch(() => undefined);
      return `  ${name.padEnd(14)}${command?.summary ?? ''}`;
    }),
  );
  return `SWEET-RL and ColBench with a language model. Files are JSONL, also as .gz.\n\n${lines.join('\n')}\n
colbench COMMAND --help shows the options of a command.\n`;
}
