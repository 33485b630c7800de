/**
 * ColBench's records as JSONL of any size. Files are streamed by line, and each invalid line is reported by its number.
 */
import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { FileReplacement } from 'sweet-rl/safetensors';
import { duplicateKey } from './json.js';

/**
 * A backend programming task. Other fields are kept.
 * @typedef {object} Task
 * @property {string} problem_description the user's first message
 * @property {string} ground_truth the reference function in Python, hidden from the agent: the privileged information
 * @property {string[]} test_cases calls of the function as Python expressions; ten in the benchmark
 */

/**
 * One message. Assistant messages may carry the agent's prompt and its raw output.
 * @typedef {object} Message
 * @property {string} role
 * @property {string} content
 * @property {string | { role: string, content: string }[]} [input] the agent's prompt
 * @property {string} [output] the agent's output
 */

/**
 * A dialogue of the offline data. Other fields are kept.
 * @typedef {object} Dialogue
 * @property {Task} task
 * @property {Message[]} dialogue_history
 * @property {string} answer
 * @property {number} reward the share of test cases on which the answer agrees with the ground truth
 */

/** @typedef {{ file: string, line: number, fault: string }} Fault */

/**
 * @typedef {object} ReadOptions
 * @property {(fault: Fault) => void} onFault called for each invalid line; reading continues
 * @property {number} [maxLineBytes] longer lines are invalid; default 256 MiB
 */

export class RecordError extends TypeError {
  /** @param {string} message */
  constructor(message) {
    super(message);
    this.code = 'ERR_RECORD';
  }
}

const newline = 0x0a;
const blank = /^[ \t\r\n]*$/;
const utf8 = new TextDecoder('utf-8', { fatal: true });

/** @param {string} file @param {ReadOptions} options @returns {AsyncGenerator<{ record: Task, line: number }>} */
export const readTasks = (file, options) => readRecords(file, checkedTask, options);

/** @param {string} file @param {ReadOptions} options @returns {AsyncGenerator<{ record: Dialogue, line: number }>} */
export const readDialogues = (file, options) => readRecords(file, checkedDialogue, options);

/**
 * @param {string} file
 * @param {ReadOptions} options
 * @returns {AsyncGenerator<{ record: { task: Task, answer: string }, line: number }>}
 */
export const readAnswers = (file, options) => readRecords(file, checkedAnswer, options);

/**
 * The records of a file, in order. An invalid line is reported to `onFault` and skipped: invalid UTF-8 or JSON, a
 * duplicate key, a missing field, a wrong type, a line that is too long, a truncated gzip stream. Blank lines, CRLF,
 * byte order marks and a missing newline at the end are valid. Files named *.gz are decompressed.
 * @template T
 * @param {string} file
 * @param {(value: unknown) => T} check returns the record or throws a RecordError
 * @param {ReadOptions} options
 * @returns {AsyncGenerator<{ record: T, line: number }>}
 */
export async function* readRecords(file, check, { onFault, maxLineBytes = 256 * 2 ** 20 }) {
  for await (const { bytes, line, length } of linesOf(file, maxLineBytes, onFault)) {
    const fault = (/** @type {string} */ what) => onFault({ file, line, fault: what });
    if (bytes === undefined) {
      fault(`the line has ${length} bytes, more than ${maxLineBytes}`);
      continue;
    }
    let text;
    try {
      text = utf8.decode(bytes);
    } catch {
      fault(`invalid UTF-8 at byte ${firstInvalid(bytes)} of the line`);
      continue;
    }
    if (blank.test(text)) continue;
    let record;
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

/** @param {string} text */
const hintFor = (text) =>
  /\b(NaN|Infinity)\b/.test(text) ? ' (NaN and Infinity, as Python writes them, are not JSON)' : '';

/**
 * The lines of a file without their newlines; `bytes` is undefined for a line of more than `maxBytes`.
 * @param {string} file @param {number} maxBytes @param {(fault: Fault) => void} onFault
 * @returns {AsyncGenerator<{ bytes: Uint8Array | undefined, line: number, length: number }>}
 */
async function* linesOf(file, maxBytes, onFault) {
  const source = createReadStream(file, { highWaterMark: 2 ** 18 });
  const gunzip = file.endsWith('.gz') ? createGunzip({ chunkSize: 2 ** 18 }) : undefined;
  // A corrupt stream ends the file; the lines decompressed before are valid.
  const decompression = gunzip && pipeline(source, gunzip).catch(() => {});
  /** @type {Buffer[]} */
  let parts = [];
  let length = 0;
  let line = 1;
  const append = (/** @type {Buffer} */ part) => {
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
    for await (const chunk of /** @type {AsyncIterable<Buffer>} */ (gunzip ?? source)) {
      let from = 0;
      for (let at = chunk.indexOf(newline); at >= 0; at = chunk.indexOf(newline, from)) {
        append(chunk.subarray(from, at));
        yield endLine();
        from = at + 1;
      }
      append(chunk.subarray(from));
    }
  } catch (error) {
    const { code, message } = /** @type {{ code?: string, message: string }} */ (error);
    if (gunzip === undefined || !/^Z_|^ERR_STREAM_PREMATURE_CLOSE$/.test(code ?? '')) throw error;
    onFault({ file, line, fault: `the gzip stream is truncated or corrupt: ${message}` });
    return;
  } finally {
    source.destroy();
    await decompression;
  }
  if (length > 0) yield endLine();
}

/** The offset of the first invalid byte, by bisection. @param {Uint8Array} bytes */
function firstInvalid(bytes) {
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

/** @param {unknown} value @param {string} what @returns {asserts value is Record<string, unknown>} */
function checkObject(value, what) {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RecordError(`Expected an object for ${what} but received ${kindOf(value)}`);
  }
}

/** @param {Record<string, unknown>} object @param {string} name @param {string} what */
function checkString(object, name, what) {
  if (typeof object[name] !== 'string') {
    throw new RecordError(`Expected a string for ${what}${name} but received ${kindOf(object[name])}`);
  }
}

/** @param {unknown} value */
function kindOf(value) {
  if (value === undefined) return 'none';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

/** @param {unknown} value @param {string} [what] @returns {Task} */
export function checkedTask(value, what = '') {
  checkObject(value, what === '' ? 'a task' : what.slice(0, -1));
  checkString(value, 'problem_description', what);
  checkString(value, 'ground_truth', what);
  return /** @type {Task} */ ({ ...value, test_cases: checkedCalls(value.test_cases, `${what}test_cases`) });
}

/**
 * Test cases: an array, or an object whose values are the calls in order.
 * @param {unknown} value
 * @param {string} what
 */
function checkedCalls(value, what) {
  const calls = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.values(value) : value;
  if (!Array.isArray(calls) || calls.length === 0) {
    throw new RecordError(`Expected at least one call for ${what} but received ${kindOf(value)}`);
  }
  calls.forEach((call, i) => {
    if (typeof call === 'string' && call.trim() !== '') return;
    throw new RecordError(`Expected a call as a string for ${what}[${i}] but received ${kindOf(call)}`);
  });
  return /** @type {string[]} */ (calls);
}

/**
 * An answer to evaluate: a dialogue, or just its task and answer.
 * @param {unknown} value
 * @returns {{ task: Task, answer: string }}
 */
export function checkedAnswer(value) {
  checkObject(value, 'an answer');
  const task = checkedTask(value.task, 'task.');
  checkString(value, 'answer', '');
  return /** @type {{ task: Task, answer: string }} */ ({ ...value, task });
}

/** @param {unknown} value @returns {Dialogue} */
export function checkedDialogue(value) {
  checkObject(value, 'a dialogue');
  const { task } = checkedAnswer(value);
  if (typeof value.reward !== 'number' || !(value.reward >= 0 && value.reward <= 1)) {
    const received = typeof value.reward === 'number' ? value.reward : kindOf(value.reward);
    throw new RecordError(`Expected a number from 0 to 1 for reward but received ${received}`);
  }
  if (!Array.isArray(value.dialogue_history)) {
    throw new RecordError(`Expected an array for dialogue_history but received ${kindOf(value.dialogue_history)}`);
  }
  for (const [i, message] of value.dialogue_history.entries()) checkMessage(message, `dialogue_history[${i}]`);
  return /** @type {Dialogue} */ ({ ...value, task });
}

/** @param {unknown} message @param {string} what */
function checkMessage(message, what) {
  checkObject(message, what);
  checkString(message, 'role', `${what}.`);
  checkString(message, 'content', `${what}.`);
  const { input, output } = message;
  if (output !== undefined && typeof output !== 'string') {
    throw new RecordError(`Expected a string for ${what}.output but received ${kindOf(output)}`);
  }
  if (input !== undefined) checkPrompt(input, `${what}.input`);
}

/** A prompt: a text or messages. @param {unknown} input @param {string} what */
function checkPrompt(input, what) {
  if (typeof input === 'string') return;
  if (!Array.isArray(input)) {
    throw new RecordError(`Expected a text or messages for ${what} but received ${kindOf(input)}`);
  }
  input.forEach((each, i) => {
    checkObject(each, `${what}[${i}]`);
    checkString(each, 'role', `${what}[${i}].`);
    checkString(each, 'content', `${what}[${i}].`);
  });
}

/**
 * Candidates for the next assistant message with their scores.
 * @param {unknown} value
 * @returns {import('./pairs.js').Candidates}
 */
export function checkedCandidates(value) {
  checkObject(value, 'candidates');
  checkPrompt(value.input, 'input');
  const { candidates, scores } = value;
  if (!Array.isArray(candidates) || !candidates.every((text) => typeof text === 'string')) {
    throw new RecordError(`Expected strings for candidates but received ${kindOf(candidates)}`);
  }
  if (!Array.isArray(scores) || !scores.every(Number.isFinite) || scores.length !== candidates.length) {
    throw new RecordError(`Expected ${candidates.length} numbers for scores but received ${kindOf(scores)}`);
  }
  return /** @type {import('./pairs.js').Candidates} */ (/** @type {unknown} */ (value));
}

/** A record as a line of JSONL. @param {unknown} record */
export const lineOf = (record) => `${JSON.stringify(record)}\n`;

/**
 * Checks and writes records. The file gets its name once it is complete; files named *.gz are compressed.
 * @template T
 * @param {string} file
 * @param {AsyncIterable<T> | Iterable<T>} records
 * @param {(value: unknown) => unknown} check throws a RecordError for an invalid record
 * @returns {Promise<number>} the number of records written
 */
export async function writeRecords(file, records, check) {
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
  const append = async (/** @type {AsyncIterable<Uint8Array | string>} */ chunks) => {
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
