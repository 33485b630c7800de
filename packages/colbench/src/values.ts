/** The values of a command line, checked. */
import { accessSync, constants, readFileSync, statSync } from 'node:fs';
import { dirname, isAbsolute } from 'node:path';
import type { CommandInput } from './command.js';
import { CommandError, UsageError } from './errors.js';

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
    return textOf(this.required(name), `--${name}`);
  }

  /** The file that --out names, in a folder that exists: hours of work must not end in an error. */
  outFile(): string {
    const file = this.required('out');
    if (statSync(file, { throwIfNoEntry: false })?.isDirectory()) {
      throw new CommandError('ERR_OUT', `Expected a file for --out but received the folder ${file}: add a name`);
    }
    const folder = dirname(file);
    const reason = unusable(folder, 'folder', constants.W_OK | constants.X_OK);
    if (reason === undefined) return file;
    throw new CommandError('ERR_OUT', `--out ${file} cannot be written: ${folder} ${reason}`);
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

/** Whether a value that may be a path is an address. */
export const isUrl = (text: string): boolean => /^https?:\/\//.test(text);

/** Why a path is not a file or a folder that can be used; undefined if it is. Pipes and devices are files. */
function unusable(path: string, kind: 'file' | 'folder', access: number): string | undefined {
  try {
    const isFolder = statSync(path).isDirectory();
    if (isFolder !== (kind === 'folder')) return `is ${isFolder ? 'a folder' : 'no folder'}`;
    accessSync(path, access);
    return undefined;
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return 'does not exist';
    return code === 'EACCES' || code === 'EPERM' ? 'is not accessible: check its permissions' : `fails: ${message}`;
  }
}

/**
 * Checks a file or folder before anything is computed or written.
 *
 * @param path as it was given
 * @param name what it is given by: an option, or an argument as --help shows it
 * @throws CommandError ERR_INPUT where it does not exist, is of the other kind or cannot be read
 */
export function checkInput(path: string, name: string, kind: 'file' | 'folder' = 'file'): void {
  const reason = unusable(path, kind, kind === 'file' ? constants.R_OK : constants.R_OK | constants.X_OK);
  if (reason === undefined) return;
  const where =
    reason === 'does not exist' ? `: check the path${isAbsolute(path) ? '' : `, seen from ${process.cwd()}`}` : '';
  throw new CommandError('ERR_INPUT', `Expected a ${kind} for ${name}, but ${path} ${reason}${where}`);
}

/** The text of a file. @throws CommandError ERR_INPUT */
export function textOf(file: string, name: string): string {
  checkInput(file, name);
  return readFileSync(file, 'utf8');
}

/** The one file or folder that a command takes. */
export function onePositional({ positionals }: CommandInput, command: string, what: string): string {
  const [first, ...more] = positionals;
  if (first === undefined || more.length > 0) throw new UsageError(`${command} needs one ${what}`);
  return first;
}
