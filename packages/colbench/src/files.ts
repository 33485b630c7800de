/** Files and folders get their names when they are whole. */
import { mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { FileReplacement } from 'sweet-rl/safetensors';

/** Writes a file under another name and renames it. */
export function writeWhole(file: string, text: string): void {
  const target = new FileReplacement(file);
  try {
    target.append(text);
    target.commit();
  } finally {
    target.discard();
  }
}

/** A folder that is filled under another name. */
export class FolderReplacement {
  /** Where its files are written. */
  readonly path: string;
  readonly #target: string;

  /** @param target its final path */
  constructor(target: string) {
    this.#target = target;
    this.path = join(dirname(target), `.${basename(target)}-${process.pid}`);
    mkdirSync(this.path, { recursive: true });
  }

  /** Gives the folder its name; a folder of that name is removed. */
  commit(): void {
    rmSync(this.#target, { recursive: true, force: true });
    renameSync(this.path, this.#target);
  }

  /** Moves the files into another folder, one by one, beside those that it has. */
  moveFilesTo(folder: string): void {
    for (const name of readdirSync(this.path)) renameSync(join(this.path, name), join(folder, name));
  }

  /** Removes what was not committed. */
  discard(): void {
    rmSync(this.path, { recursive: true, force: true });
  }
}
