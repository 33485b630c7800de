/** A JSONL file of finished dialogues, from which an interrupted run is resumed. */
import { createHash } from 'node:crypto';
import { open } from 'node:fs/promises';
import { checkedDialogue, lineOf, RecordError, readRecords } from './records.js';

/** @typedef {import('./records.js').Dialogue} Dialogue */
/**
 * A dialogue in a journal, with its id and a hash of the settings of its run.
 * @typedef {Dialogue & { id: string, run: string }} Entry
 */

/** A short hash of a value. @param {unknown} value */
export const nameOf = (value) => createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);

/** @param {unknown} value @returns {Entry} */
function checkedEntry(value) {
  const dialogue = /** @type {Partial<Entry>} */ (checkedDialogue(value));
  for (const name of /** @type {const} */ (['id', 'run'])) {
    if (typeof dialogue[name] !== 'string') throw new RecordError(`Expected a string for ${name}, as a journal has it`);
  }
  return /** @type {Entry} */ (dialogue);
}

/**
 * Truncates the file after its last newline: an interrupted run leaves a partial line.
 * @param {string} file @param {import('node:fs/promises').FileHandle} handle
 * @param {(fault: import('./records.js').Fault) => void} onFault
 */
async function dropUnfinished(file, handle, onFault) {
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
  /** The last write; writes are serialized. @type {Promise<void>} */
  #writing = Promise.resolve();

  /**
   * @param {string} file
   * @param {import('node:fs/promises').FileHandle} handle
   * @param {string} run
   * @param {Set<string>} done
   */
  constructor(file, handle, run, done) {
    this.#file = file;
    this.#handle = handle;
    this.#run = run;
    /** The ids of the finished dialogues. */
    this.done = done;
  }

  /**
   * Opens a journal. A partial line at its end is reported to `onFault` and dropped; its dialogue is sampled again.
   * @param {string} file created if it does not exist
   * @param {string} run hash of the settings; a journal with another one is an error
   * @param {(fault: import('./records.js').Fault) => void} onFault
   */
  static async open(file, run, onFault) {
    const handle = await open(file, 'a+');
    try {
      await dropUnfinished(file, handle, onFault);
      const done = new Set();
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

  /** Resolves when the dialogue is on disk. @param {string} id @param {Dialogue} dialogue */
  async add(id, dialogue) {
    const line = lineOf(checkedEntry({ ...dialogue, id, run: this.#run }));
    const written = this.#writing.then(async () => {
      await this.#handle.appendFile(line);
      await this.#handle.datasync();
      this.done.add(id);
    });
    this.#writing = written.catch(() => {});
    await written;
  }

  /** The dialogues so far. @param {(fault: import('./records.js').Fault) => void} onFault */
  async *entries(onFault) {
    for await (const { record } of readRecords(this.#file, checkedEntry, { onFault })) yield record;
  }

  async close() {
    await this.#writing;
    await this.#handle.close();
  }
}
