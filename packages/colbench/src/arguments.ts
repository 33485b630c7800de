/** Options of the command line. */
import { parseArgs } from 'node:util';
import { defaultLimits } from './sandbox/run.js';

const MiB = 2 ** 20;

export const help = `ColBench's backend task: conversations, evaluation, preference pairs. Files are JSONL, also as .gz.

  main.js evaluate ANSWERS [--out FILE] [limits]
      Runs the answers of dialogues (or of lines with task and answer) on the test cases of their tasks, prints the
      rewards and the verdicts of the calls, and writes the lines with their rewards and calls.

  main.js converse TASKS --out FILE --agent-url URL --agent-model NAME
          (--human-url URL --human-model NAME | --human-script FILE)
      Samples dialogues of an agent with a simulated user about each task and evaluates the answers. FILE is the
      offline data and the journal: the same command resumes an interrupted run.
      --samples N                dialogues per task (1)
      --agent-temperature X      --human-temperature X      default: the endpoint's own
      --agent-key-env NAME       --human-key-env NAME       environment variables with the API keys (OPENAI_API_KEY)
      --timeout-seconds N        per attempt of a request (120)
      --attempts N               per request (6)

  main.js pairs DIALOGUES --out FILE [--as paper|released]
      Preference pairs of dialogues of one task: each better one over each worse one, or by the released code.

  main.js pairs CANDIDATES --out FILE --candidates [--as paper|released] [--seed N]
      Preference pairs of messages from lines with input, candidates and scores.

  limits, for evaluate and converse
      --concurrency N            answers or conversations at once (number of CPUs)
      --call-seconds N           wall-clock time of a call (${defaultLimits.callSeconds})
      --total-seconds N          wall-clock time of all calls of an answer (${defaultLimits.totalSeconds})
      --memory-mib N             address space of an answer (${defaultLimits.memoryBytes / MiB})
      --python FILE              the interpreter (python3)
      --unsafe                   run answers without a sandbox if none is available: only for trusted answers`;

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

/** An invalid command line. */
export class UsageError extends Error {}

/** The arguments of one command. */
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

/** @param {string[]} args @returns {Arguments | undefined} undefined if help was requested */
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
