/** The command line in this process. */
import { Writable } from 'node:stream';
import { runCommandLine } from '../../src/cli.ts';
import type { Command } from '../../src/command.ts';

/** A stream that keeps its text, as stderr that is no terminal. */
export function textStream() {
  let text = '';
  const stream = new Writable({
    write(chunk, _, done) {
      text += chunk;
      done();
    },
  });
  return { stream: stream as unknown as NodeJS.WriteStream, text: () => text };
}

export async function cli(args: string[], signal = new AbortController().signal) {
  let stdout = '';
  const { stream, text } = textStream();
  const out = (part: string) => {
    stdout += part;
  };
  const code = await runCommandLine(args, { out, progress: stream, signal });
  return { code, stdout, stderr: text() };
}

/** The summary of a command line that succeeds. */
export async function summaryOf(args: string[]): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await cli([...args, '--json']);
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** Runs a command that is not in the table. */
export async function runWith(
  command: Command,
  positionals: string[],
  values: Record<string, string | boolean>,
  signal = new AbortController().signal,
) {
  const { stream, text } = textStream();
  for (const name of Object.keys(values)) if (!(name in command.options)) throw new Error(`no option ${name}`);
  return { summary: await command.run({ positionals, values, progress: stream, signal }), stderr: text };
}
