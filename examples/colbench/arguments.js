/** The command line's options. */
import { parseArgs } from 'node:util';
import { defaultLimits } from './sandbox/run.js';

const MiB = 2 ** 20;

export const help = `ColBench's backend task: conversations, evaluation, preference pairs. Files are JSONL; names that end in .gz are packed.

  main.js evaluate ANSWERS [--out FILE] [limits]
      Runs the answers of dialogues (or of lines with task and answer) on their tasks' calls, prints rewards and how the calls
      ended, and writes the lines with their rewards and calls.

  main.js converse TASKS --out FILE --agent-url URL --agent-model NAME (--human-url URL --human-model NAME | --human-script FILE)
      Lets an agent talk with a human about each task and evaluates its answer. FILE is the offline data and the journal in one: the same
      command goes on where it was cut off.
      --samples N                dialogues of a task (1)
      --agent-temperature X      --human-temperature X      as the endpoint has them by default
      --agent-key-env NAME       --human-key-env NAME       variables that hold the keys (OPENAI_API_KEY)
      --timeout-seconds N        of one request (120)
      --attempts N               of one request (6)

  main.js pairs DIALOGUES --out FILE [--as paper|released]
      Pairs of dialogues of one task: better against worse, or as the released code makes them.

  main.js pairs CANDIDATES --out FILE --candidates [--as paper|released] [--seed N]
      Pairs of messages from lines with input, candidates and scores.

  limits, of evaluate and converse
      --concurrency N            answers or conversations at once (the processors)
      --call-seconds N           of one call, by the clock (${defaultLimits.callSeconds})
      --total-seconds N          of all calls of an answer (${defaultLimits.totalSeconds})
      --memory-mib N             of an answer (${defaultLimits.memoryBytes / MiB})
      --python FILE              the interpreter (python3)
      --unsafe                   run answers without a sandbox where there is none: only for answers that you trust`;

const text = /** @type {const} */ ({ type: 'string' });
const flag = /** @type {const} */ ({ type: 'boolean', default: false });

const limitOptions = {
  concurrency: text,
  'call-seconds': text,
  'total-seconds': text,
  'memory-mib': text,
  python: text,
  unsafe: flag,
};

const commands = {
  evaluate: { out: text, ...limitOptions },
  converse: {
    out: text,
    samples: text,
    'agent-url': text,
    'agent-model': text,
    'agent-temperature': text,
    'agent-key-env': text,
    'human-url': text,
    'human-model': text,
    'human-temperature': text,
    'human-key-env': text,
    'human-script': text,
    'timeout-seconds': text,
    attempts: text,
    ...limitOptions,
  },
  pairs: { out: text, as: text, candidates: flag, seed: text },
};

/** A mistake in the command line. */
export class UsageError extends Error {}

/** What was given to one command. */
export class Arguments {
  /** @param {string} command @param {string} file @param {Record<string, string | boolean | undefined>} values */
  constructor(command, file, values) {
    this.command = command;
    this.file = file;
    this.values = values;
  }

  /** @param {string} name @returns {string | undefined} */
  text(name) {
    return /** @type {string | undefined} */ (this.values[name]);
  }

  /** @param {string} name @returns {string} */
  required(name) {
    const value = this.text(name);
    if (value === undefined) throw new UsageError(`${this.command} needs --${name}`);
    return value;
  }

  /** @param {string} name @returns {boolean} */
  flag(name) {
    return this.values[name] === true;
  }

  /**
   * @template {number | undefined} T
   * @param {string} name @param {T} fallback @param {number} least @param {number} most
   * @returns {number | T}
   */
  number(name, fallback, least, most, whole = true) {
    const value = this.text(name);
    if (value === undefined) return fallback;
    const number = Number(value);
    if (value.trim() !== '' && number >= least && number <= most && (!whole || Number.isInteger(number))) return number;
    const rule = whole ? 'a whole number' : 'a number';
    throw new UsageError(`Expected ${rule} from ${least} to ${most} for --${name} but received ${value}`);
  }

  /** @template {string} T @param {string} name @param {readonly [T, ...T[]]} choices @returns {T} */
  choice(name, choices) {
    const value = this.text(name) ?? choices[0];
    if (choices.includes(/** @type {T} */ (value))) return /** @type {T} */ (value);
    throw new UsageError(`Expected ${choices.join(' or ')} for --${name} but received ${value}`);
  }

  /** @returns {Partial<import('./sandbox/run.js').Limits>} */
  limits() {
    return {
      callSeconds: this.number('call-seconds', defaultLimits.callSeconds, 0.1, 3600, false),
      totalSeconds: this.number('total-seconds', defaultLimits.totalSeconds, 0.1, 86400, false),
      memoryBytes: MiB * this.number('memory-mib', defaultLimits.memoryBytes / MiB, 64, 2 ** 20),
    };
  }
}

/** @param {string[]} args @returns {Arguments | undefined} undefined where help was asked for */
export function parseArguments(args) {
  const [command, ...rest] = args;
  if (command === undefined || ['help', '--help', '-h'].includes(command) || rest.includes('--help')) return undefined;
  if (!Object.hasOwn(commands, command)) throw new UsageError(`There is no command ${JSON.stringify(command)}`);
  const options = commands[/** @type {keyof typeof commands} */ (command)];
  /** @type {{ values: Record<string, any>, positionals: string[] }} */
  let parsed;
  try {
    parsed = parseArgs({ args: rest, options, allowPositionals: true });
  } catch (error) {
    throw new UsageError(/** @type {Error} */ (error).message);
  }
  const [file, ...more] = parsed.positionals;
  if (file === undefined || more.length > 0) throw new UsageError(`${command} needs one file`);
  return new Arguments(command, file, parsed.values);
}
