/** Files of records: JSONL of any size, streamed by line. Each invalid line is reported by its number. */

import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { FileReplacement } from 'sweet-rl/safetensors';
import { duplicateKey } from './json.js';

/** An invalid line of a file. */
export interface Fault {
  file: string;
  /** From 1; 0 where the fault belongs to no line. */
  line: number;
  fault: string;
}

export interface ReadOptions {
  /** Called for each invalid line; reading continues. */
  onFault: (fault: Fault) => void;
  /** Longer lines are invalid; default 256 MiB. */
  maxLineBytes?: number;
}

export class RecordError extends TypeError {
  readonly code = 'ERR_RECORD';
}

const newline = 0x0a;
const blank = /^[ \t\r\n]*$/;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/**
 * The records of a file, in order. An invalid line is reported to `onFault` and skipped: invalid UTF-8 or JSON, a
 * duplicate key, a missing field, a wrong type, a line that is too long, a truncated gzip stream. Blank lines, CRLF,
 * byte order marks and a missing newline at the end are valid. Files named *.gz are decompressed.
 * @param check returns the record or throws a RecordError
 */
export async function* readRecords<T>(
  file: string,
  check: (value: unknown) => T,
  { onFault, maxLineBytes = 256 * 2 ** 20 }: ReadOptions,
): AsyncGenerator<{ record: T; line: number }> {
  for await (const { bytes, line, length } of linesOf(file, maxLineBytes, onFault)) {
    const fault = (what: string) => onFault({ file, line, fault: what });
    if (bytes === undefined) {
      fault(`the line has ${length} bytes, more than ${maxLineBytes}`);
      continue;
    }
    let text: string;
    try {
      text = utf8.decode(bytes);
    } catch {
      fault(`invalid UTF-8 at byte ${firstInvalid(bytes)} of the line`);
      continue;
    }
    if (blank.test(text)) continue;
    let record: T;
    try {
      const value = JSON.parse(text);
      const duplicate = duplicateKey(text);
      if (duplicate !== undefined) throw new RecordError(`duplicate key ${JSON.stringify(duplicate)} in an object`);
      record = check(value);
    } catch (error) {
      if (error instanceof RecordError) fault(error.message);
      else if (error instanceof SyntaxError) fault(`invalid JSON: ${error.message}${hintFor(text)}`);
      else throw error;
      continue;
    }
    yield { record, line };
  }
}

const hintFor = (text: string) =>
  /\b(NaN|Infinity)\b/.test(text) ? ' (NaN and Infinity, as Python writes them, are not JSON)' : '';

/**
 * The lines of a file without their newlines; `bytes` is undefined for a line of more than `maxBytes`.
 */
async function* linesOf(
  file: string,
  maxBytes: number,
  onFault: (fault: Fault) => void,
): AsyncGenerator<{ bytes: Uint8Array | undefined; line: number; length: number }> {
  const source = createReadStream(file, { highWaterMark: 2 ** 18 });
  const gunzip = file.endsWith('.gz') ? createGunzip({ chunkSize: 2 ** 18 }) : undefined;
  // A corrupt stream ends the file; the lines decompressed before are valid.
  const decompression = gunzip && pipeline(source, gunzip).catch(() => {});

  let parts: Buffer[] = [];
  let length = 0;
  let line = 1;
  const append = (part: Buffer) => {
    length += part.length;
    if (length <= maxBytes) parts.push(part);
    else parts = [];
  };
  const endLine = () => {
    const bytes = length <= maxBytes ? Buffer.concat(parts) : undefined;
    const ended = { bytes, line, length };
    parts = [];
    length = 0;
    line += 1;
    return ended;
  };
  try {
    for await (const chunk of (gunzip ?? source) as AsyncIterable<Buffer>) {
      let from = 0;
      for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
        append(chunk.subarray(from, at));
        yield endLine();
        from = at + 1;
      }
      append(chunk.subarray(from));
    }
  } catch (error) {
    const { code, message } = error as { code?: string; message: string };
    if (gunzip === undefined || !/^Z_|^ERR_STREAM_PREMATURE_CLOSE$/.test(code ?? '')) throw error;
    onFault({ file, line, fault: `the gzip stream is truncated or corrupt: ${message}` });
    return;
  } finally {
    source.destroy();
    await decompression;
  }
  if (length > 0) yield endLine();
}

/** The offset of the first invalid byte, by bisection. */
function firstInvalid(bytes: Uint8Array) {
  let good = 0;
  let bad = bytes.length;
  // A prefix is decoded as a stream, so an incomplete character at its end is valid.
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    try {
      new TextDecoder('utf-8', { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return good;
}

/** A record as a line of JSONL. */
export const lineOf = (record: unknown) => `${JSON.stringify(record)}\n`;

/**
 * Checks and writes records. The file gets its name once it is complete; files named *.gz are compressed.
 * @param check throws a RecordError for an invalid record
 * @returns the number of records written
 */
export async function writeRecords<T>(
  file: string,
  records: AsyncIterable<T> | Iterable<T>,
  check: (value: unknown) => unknown,
): Promise<number> {
  let count = 0;
  async function* lines() {
    for await (const record of records) {
      try {
        check(record);
      } catch (error) {
        if (error instanceof RecordError) error.message = `${error.message}, in record ${count}`;
        throw error;
      }
      yield lineOf(record);
      count += 1;
    }
  }
  const target = new FileReplacement(file);
  const append = async (chunks: AsyncIterable<Uint8Array | string>) => {
    for await (const chunk of chunks) target.append(chunk);
  };
  try {
    if (file.endsWith('.gz')) await pipeline(lines, createGzip(), append);
    else await pipeline(lines, append);
    target.commit();
  } finally {
    target.discard();
  }
  return count;
}
