// Replaces files at once: readers see the old or the new content, and so does a system that lost its power.
import { createHash, randomBytes } from 'node:crypto';
import {
  closeSync,
  constants,
  fchmodSync,
  fchownSync,
  fsyncSync,
  lstatSync,
  openSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  type Stats,
  writeSync,
} from 'node:fs';
import { hostname } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { classOf } from '../args/arrays.js';
import { isRecord } from '../args/options.js';
import { expected, rangeError, SweetError, typeError } from '../errors.js';

/** The path as a string; a URL of any realm or library is known by its href. */
export function pathOf(path: unknown): string {
  if (typeof path === 'string') return path;
  const { href } = (isRecord(path) ? path : {}) as { href?: unknown };
  if (typeof href !== 'string') throw typeError('ERR_ARG_TYPE', expected('a string or a URL', 'path', path));
  if (!href.startsWith('file:')) throw rangeError('ERR_ARG_VALUE', expected('a URL of a file', 'path', href));
  return fileURLToPath(href);
}

// One write of Linux transfers less than 2^31 bytes.
const CHUNK_BYTES = 2 ** 30;
// An unfinished file of another machine or container that was not written to for so long is stale.
const STALE_MS = 24 * 3600 * 1000;
// A process id means a process only on its host and in its namespace.
const HOST = createHash('sha256').update(`${hostname()} ${pidNamespace()}`).digest('hex').slice(0, 8);

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return ''; // not Linux
  }
}

/**
 * A file that is written beside `path` and takes its place in one step, as `writeSafetensors` does it.
 *
 * The unfinished file has a random name `.<host>-<pid>-<random>.partial` and is created exclusively: neither another
 * writer nor a link in a shared folder gets its bytes. An existing file passes on its permissions and, where the system
 * lets it, its owner; a symbolic link is replaced, not followed. What killed processes left in the folder is removed.
 *
 * @throws TypeError, RangeError for a path that cannot be that of a regular file; the error of the system where the file
 *   cannot be created or written.
 * @see rename(2), fsync(2).
 * @example
 * const file = new FileReplacement('report.json');
 * try {
 *   file.append(JSON.stringify(report));
 *   file.commit();
 * } finally {
 *   file.discard();
 * }
 */
export class FileReplacement {
  readonly #path: string;
  readonly #partial: string;
  /** The file that is there now. */
  readonly #replaced: Stats | undefined;
  readonly #descriptor: number;
  #ended = false;

  /** Creates the unfinished file beside `path`. */
  constructor(path: string | URL) {
    this.#path = resolve(pathOf(path)); // process.chdir() may follow
    const found = lstatSync(this.#path, { throwIfNoEntry: false });
    this.#replaced = found?.isFile() ? found : undefined;
    // A rename would replace a device such as /dev/null. Folders are refused by the system.
    if (found && !found.isFile() && !found.isSymbolicLink() && !found.isDirectory()) {
      throw rangeError('ERR_ARG_VALUE', expected('the path of a regular file, no device or pipe,', 'path', this.#path));
    }
    const folder = dirname(this.#path);
    removeStale(folder);
    this.#partial = join(folder, `.${HOST}-${process.pid}-${randomBytes(8).toString('hex')}.partial`);
    const { O_WRONLY, O_CREAT, O_EXCL, O_NOFOLLOW = 0 } = constants;
    const mode = this.#replaced ? 0o600 : 0o666;
    this.#descriptor = openSync(this.#partial, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode);
  }

  /** Writes these bytes, or this text in UTF-8, behind what was written before. */
  append(bytes: Uint8Array | string): void {
    this.#checkOpen();
    const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
    if (classOf(data) !== 'Uint8Array')
      throw typeError('ERR_ARG_TYPE', expected('Uint8Array or a string', 'bytes', bytes));
    for (let at = 0; at < data.length; ) {
      at += writeSync(this.#descriptor, data, at, Math.min(data.length - at, CHUNK_BYTES));
    }
  }

  /** Puts the file in its place once its bytes are on the disk. */
  commit(): void {
    this.#checkOpen();
    try {
      if (this.#replaced) keepAccess(this.#descriptor, this.#replaced);
      fsyncSync(this.#descriptor);
      renameSync(this.#partial, this.#path);
    } catch (error) {
      this.discard();
      throw error;
    }
    this.#ended = true;
    closeSync(this.#descriptor);
    syncFolder(dirname(this.#path));
  }

  /** Removes the unfinished file; after `commit` it does nothing. */
  discard(): void {
    if (this.#ended) return;
    this.#ended = true;
    closeSync(this.#descriptor);
    rmSync(this.#partial, { force: true });
  }

  #checkOpen(): void {
    if (this.#ended) throw new SweetError('ERR_FILE', `The new ${this.#path} was already committed or discarded`);
  }
}

/** The owner first: a change of the owner clears bits of the mode. */
function keepAccess(descriptor: number, { uid, gid, mode }: Stats): void {
  try {
    fchownSync(descriptor, uid, gid);
  } catch {
    // Only a privileged process can give a file to another user.
  }
  fchmodSync(descriptor, mode & 0o777);
}

/** Makes the new name durable, where the system can open and sync folders. */
function syncFolder(folder: string): void {
  let descriptor: number | undefined;
  try {
    descriptor = openSync(folder, 'r');
    fsyncSync(descriptor);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EIO') throw error;
  } finally {
    if (descriptor !== undefined) closeSync(descriptor);
  }
}

/** Removes the unfinished files of processes that have ended. */
function removeStale(folder: string): void {
  for (const name of namesIn(folder)) {
    const [, host, pid] = /^\.([0-9a-f]{8})-(\d+)-[0-9a-f]{16}\.partial$/.exec(name) ?? [];
    if (host === undefined) continue;
    const path = join(folder, name);
    try {
      const stale = host === HOST ? !isAlive(Number(pid)) : Date.now() - lstatSync(path).mtimeMs > STALE_MS;
      if (stale) rmSync(path);
    } catch {
      // Another process has removed it, or it belongs to another user.
    }
  }
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // It may be writable without being readable.
  }
}

function isAlive(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code !== 'ESRCH';
  }
}
