/** A JSONL file of finished dialogues, from which an interrupted run is resumed. */

import { createHash } from 'node:crypto';
import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import type { Dialogue, Fault } from './records.js';
import { checkedDialogue, lineOf, RecordError, readRecords, writeRecords } from './records.js';

/** A dialogue in a journal, with its id and a hash of the settings of its run. */
export type Entry = Dialogue & { id: string; run: string };

/** A short hash of a value. */
export const nameOf = (value: unknown) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

function checkedEntry(value: unknown): Entry {
  const dialogue = checkedDialogue(value) as Partial<Entry>;
  for (const name of ['id', 'run'] as const) {
    if (typeof dialogue[name] !== 'string') throw new RecordError(`Expected a string for ${name}, as a journal has it`);
  }
  return dialogue as Entry;
}

/**
 * Truncates the file after its last newline: an interrupted run leaves a partial line.
 */
async function dropUnfinished(file: string, handle: FileHandle, onFault: (fault: Fault) => void) {
  const { size } = await handle.stat();
  const block = Buffer.alloc(2 ** 16);
  let end = size;
  while (end > 0) {
    const length = Math.min(block.length, end);
    await handle.read(block, 0, length, end - length);
    const at = block.subarray(0, length).lastIndexOf(0x0a);
    end = at < 0 ? end - length : end - length + at + 1;
    if (at >= 0) break;
  }
  if (end === size) return;
  await handle.truncate(end);
  onFault({ file, line: 0, fault: `an unfinished line of ${size - end} bytes at the end was dropped` });
}

export class Journal {
  #file;
  #handle;
  #run;
  /** The ids of the finished dialogues. */
  readonly done: Set<string>;
  /** The last write; writes are serialized. */
  #writing: Promise<void> = Promise.resolve();

  constructor(file: string, handle: FileHandle, run: string, done: Set<string>) {
    this.#file = file;
    this.#handle = handle;
    this.#run = run;
    this.done = done;
  }

  /**
   * Opens a journal. A partial line at its end is reported to `onFault` and dropped; its dialogue is sampled again.
   * @param file created if it does not exist
   * @param run hash of the settings; a journal with another one is an error
   */
  static async open(file: string, run: string, onFault: (fault: Fault) => void) {
    const handle = await open(file, 'a+');
    try {
      await dropUnfinished(file, handle, onFault);
      const done = new Set<string>();
      for await (const { record, line } of readRecords(file, checkedEntry, { onFault })) {
        if (record.run !== run) {
          const where = `${file}, line ${line}`;
          const what = 'this dialogue was sampled with other settings (models, temperatures, limits)';
          const error = new Error(`${where}: ${what}; use another file or the former settings`);
          throw Object.assign(error, { code: 'ERR_JOURNAL' });
        }
        done.add(record.id);
      }
      return new Journal(file, handle, run, done);
    } catch (error) {
      await handle.close();
      throw error;
    }
  }

  /** Resolves when the dialogue is on disk. */
  async add(id: string, dialogue: Dialogue) {
    const line = lineOf(checkedEntry({ ...dialogue, id, run: this.#run }));
    const written = this.#writing.then(async () => {
      await this.#handle.appendFile(line);
      await this.#handle.datasync();
      this.done.add(id);
    });
    this.#writing = written.catch(() => {});
    await written;
  }

  /** The dialogues so far. */
  async *entries(onFault: (fault: Fault) => void) {
    for await (const { record } of readRecords(this.#file, checkedEntry, { onFault })) yield record;
  }

  /** Puts the dialogues in this order, whichever ended first: what reads the first ones of a file does not depend on time. */
  async sort(ids: AsyncIterable<string>) {
    await this.#writing;
    const entries = new Map<string, Entry>();
    for await (const entry of this.entries(() => {})) entries.set(entry.id, entry);
    async function* inOrder() {
      for await (const id of ids) {
        const entry = entries.get(id);
        if (entry !== undefined) yield entry;
      }
    }
    await writeRecords(this.#file, inOrder(), () => {});
  }

  async close() {
    await this.#writing;
    await this.#handle.close();
  }
}
