/** The values of a command line, checked. */
import { readFileSync } from 'node:fs';
import type { CommandInput } from './command.js';
import { UsageError } from './errors.js';

/** Reads values and names them in errors. */
export class Values {
  readonly #command: string;
  readonly #values: CommandInput['values'];

  constructor(command: string, values: CommandInput['values']) {
    this.#command = command;
    this.#values = values;
  }

  text(name: string): string | undefined {
    const value = this.#values[name];
    return typeof value === 'string' ? value : undefined;
  }

  required(name: string): string {
    const value = this.text(name);
    if (value === undefined || value === '') throw new UsageError(`${this.#command} needs --${name}`);
    return value;
  }

  /** The text of the file that an option names. */
  textFile(name: string): string {
    try {
      return readFileSync(this.required(name), 'utf8');
    } catch (error) {
      if (error instanceof UsageError) throw error;
      throw new UsageError(`--${name}: ${(error as Error).message}`);
    }
  }

  flag(name: string): boolean {
    return this.#values[name] === true;
  }

  /** A number from `least` to `most`, whole unless said otherwise; `fallback` where the option is not given. */
  number<T extends number | undefined>(
    name: string,
    fallback: T,
    least: number,
    most: number,
    whole = true,
  ): number | T {
    const value = this.text(name);
    if (value === undefined) return fallback;
    const number = Number(value);
    if (value.trim() !== '' && number >= least && number <= most && (!whole || Number.isInteger(number))) return number;
    const rule = whole ? 'a whole number' : 'a number';
    throw new UsageError(`Expected ${rule} from ${least} to ${most} for --${name} but received ${value}`);
  }

  /** One of `choices`; the first where the option is not given. */
  choice<T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    const value = this.text(name) ?? choices[0];
    if (choices.includes(value as T)) return value as T;
    throw new UsageError(`Expected ${choices.join(' or ')} for --${name} but received ${value}`);
  }

  /** At most one of the options is given. */
  exclusive(...names: string[]): void {
    const given = names.filter((name) => this.#values[name] !== undefined && this.#values[name] !== false);
    if (given.length > 1) {
      throw new UsageError(`${this.#command} takes --${given[0]} or --${given[1]}, not both`);
    }
  }
}

/** The one file or folder that a command takes. */
export function onePositional({ positionals }: CommandInput, command: string, what: string): string {
  const [first, ...more] = positionals;
  if (first === undefined || more.length > 0) throw new UsageError(`${command} needs one ${what}`);
  return first;
}
