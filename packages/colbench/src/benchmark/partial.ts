/** A JSONL file that is written group by group; an interrupted run goes on with the first group that is missing. */
import { createReadStream, existsSync } from 'node:fs';
import { type FileHandle, open, rm } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { CommandError } from '../errors.js';
import { lineOf, writeRecords } from './records.js';

const newline = 0x0a;

export class PartialFile {
  readonly #file: string;
  readonly #target: string;
  readonly #header: string;
  /** Records of finished groups. */
  readonly done: number;

  private constructor(target: string, file: string, header: string, done: number) {
    this.#target = target;
    this.#file = file;
    this.#header = header;
    this.done = done;
  }

  /**
   * Opens `target`.partial. Its first line names the run; records after the last whole group are dropped. Without a whole group
   * there is no file: a run that fails before the first one leaves none.
   * @param run hash of settings and inputs; a file with groups of another run is an error
   * @throws CommandError ERR_PARTIAL
   */
  static async open(target: string, run: string, group: number): Promise<PartialFile> {
    const file = `${target}.partial`;
    const header = lineOf({ run });
    if (!existsSync(file)) return new PartialFile(target, file, header, 0);
    const handle = await open(file, 'r+');
    try {
      const { first, lines, end } = await wholeGroups(handle, group);
      if (lines === 0) {
        await rm(file);
      } else if (first === header) {
        await handle.truncate(end);
      } else {
        const message = `${file} is of a run with other settings or inputs: remove it, or use the former ones`;
        throw new CommandError('ERR_PARTIAL', message);
      }
      return new PartialFile(target, file, header, lines);
    } finally {
      await handle.close();
    }
  }

  /** Adds a group; it is on disk once the promise resolves. */
  async add(records: readonly unknown[]): Promise<void> {
    const header = existsSync(this.#file) ? '' : this.#header;
    const handle = await open(this.#file, 'a');
    try {
      await handle.appendFile(header + records.map(lineOf).join(''));
      await handle.datasync();
    } finally {
      await handle.close();
    }
  }

  /** The finished records. */
  async *records(): AsyncGenerator<Record<string, unknown>> {
    if (!existsSync(this.#file)) return;
    let first = true;
    for await (const line of createInterface({ input: createReadStream(this.#file), crlfDelay: Infinity })) {
      if (!first) yield JSON.parse(line) as Record<string, unknown>;
      first = false;
    }
  }

  /** Gives the records that `keep` selects their final file. @returns how many there are */
  async finish(keep: (record: Record<string, unknown>) => boolean = () => true): Promise<number> {
    const records = this.records();
    async function* kept() {
      for await (const record of records) if (keep(record)) yield record;
    }
    const count = await writeRecords(this.#target, kept(), () => {});
    await this.discard();
    return count;
  }

  /** Removes the file. */
  async discard(): Promise<void> {
    await rm(this.#file, { force: true });
  }
}

/** The first line, the number of lines in whole groups after it, and the offset at which they end. */
async function wholeGroups(handle: FileHandle, group: number) {
  const block = Buffer.alloc(2 ** 20);
  let first: string | undefined;
  let [count, lines, end] = [0, 0, 0];
  for (let offset = 0; ; ) {
    const { bytesRead } = await handle.read(block, 0, block.length, offset);
    if (bytesRead === 0) return { first, lines, end };
    const read = block.subarray(0, bytesRead);
    for (let at = read.indexOf(newline); at >= 0; at = read.indexOf(newline, at + 1)) {
      count += 1;
      // The header is shorter than a block.
      first ??= read.subarray(0, at + 1).toString();
      if ((count - 1) % group === 0) [lines, end] = [count - 1, offset + at + 1];
    }
    offset += bytesRead;
  }
}
