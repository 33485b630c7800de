/**
 * ColBench's records as JSONL of any size. Files are streamed by line, and each invalid line is reported by its number.
 */

import { createReadStream } from 'node:fs';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createGzip } from 'node:zlib';
import { FileReplacement } from 'sweet-rl/safetensors';
import { duplicateKey } from './json.js';
import type { CandidateRecord, Candidates } from './pairs.js';

/** A backend programming task. Other fields are kept. */
export interface Task {
  /** The user's first message. */
  problem_description: string;
  /** The reference function in Python, hidden from the agent: the privileged information. */
  ground_truth: string;
  /** Calls of the function as Python expressions; ten in the benchmark. */
  test_cases: string[];
}

/** A prompt: a text, or messages. */
export type Prompt = string | { role: string; content: string }[];

/** One message. Assistant messages may carry the agent's prompt and its raw output. */
export interface Message {
  role: string;
  content: string;
  input?: Prompt;
  output?: string;
}

/** A dialogue of the offline data. Other fields are kept. */
export interface Dialogue {
  task: Task;
  dialogue_history: Message[];
  answer: string;
  /** The share of test cases on which the answer agrees with the ground truth. */
  reward: number;
}

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

export const readTasks = (file: string, options: ReadOptions) => readRecords(file, checkedTask, options);
export const readDialogues = (file: string, options: ReadOptions) => readRecords(file, checkedDialogue, options);
export const readAnswers = (file: string, options: ReadOptions) => readRecords(file, checkedAnswer, options);

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

function checkObject(value: unknown, what: string): asserts value is Record<string, unknown> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new RecordError(`Expected an object for ${what} but received ${kindOf(value)}`);
  }
}

function checkString(object: Record<string, unknown>, name: string, what: string) {
  if (typeof object[name] !== 'string') {
    throw new RecordError(`Expected a string for ${what}${name} but received ${kindOf(object[name])}`);
  }
}

function kindOf(value: unknown) {
  if (value === undefined) return 'none';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

export function checkedTask(value: unknown, what = ''): Task {
  checkObject(value, what === '' ? 'a task' : what.slice(0, -1));
  checkString(value, 'problem_description', what);
  checkString(value, 'ground_truth', what);
  return { ...value, test_cases: checkedCalls(value.test_cases, `${what}test_cases`) } as Task;
}

/**
 * Test cases: an array, or an object whose values are the calls in order.
 */
function checkedCalls(value: unknown, what: string) {
  const calls = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.values(value) : value;
  if (!Array.isArray(calls) || calls.length === 0) {
    throw new RecordError(`Expected at least one call for ${what} but received ${kindOf(value)}`);
  }
  calls.forEach((call, i) => {
    if (typeof call === 'string' && call.trim() !== '') return;
    throw new RecordError(`Expected a call as a string for ${what}[${i}] but received ${kindOf(call)}`);
  });
  return calls as string[];
}

/**
 * An answer to evaluate: a dialogue, or just its task and answer.
 */
export function checkedAnswer(value: unknown): { task: Task; answer: string } {
  checkObject(value, 'an answer');
  const task = checkedTask(value.task, 'task.');
  checkString(value, 'answer', '');
  return { ...value, task } as { task: Task; answer: string };
}

/** An answer for the released evaluator, which takes `test_cases` as an object only and divides by their number. */
export function checkedReleasedAnswer(value: unknown): { task: Task; answer: string } {
  checkObject(value, 'an answer');
  checkObject(value.task, 'task');
  checkObject(value.task.test_cases, 'task.test_cases, as the released evaluator needs it,');
  return checkedAnswer(value);
}

export function checkedDialogue(value: unknown): Dialogue {
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
  return { ...value, task } as Dialogue;
}

function checkMessage(message: unknown, what: string) {
  checkObject(message, what);
  checkString(message, 'role', `${what}.`);
  checkString(message, 'content', `${what}.`);
  const { input, output } = message;
  if (output !== undefined && typeof output !== 'string') {
    throw new RecordError(`Expected a string for ${what}.output but received ${kindOf(output)}`);
  }
  if (input !== undefined) checkPrompt(input, `${what}.input`);
}

/** A prompt: a text or messages. */
function checkPrompt(input: unknown, what: string) {
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

/** Whether a value is a list of token ids. */
export const isTokenIds = (ids: unknown): ids is number[] =>
  Array.isArray(ids) && ids.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 31);

/** Candidates for the next assistant message, scored or not. */
export function checkedCandidateRecord(value: unknown): CandidateRecord {
  checkObject(value, 'candidates');
  checkPrompt(value.input, 'input');
  const { candidates, tokens } = value;
  if (!Array.isArray(candidates) || !candidates.every((text) => typeof text === 'string')) {
    throw new RecordError(`Expected strings for candidates but received ${kindOf(candidates)}`);
  }
  if (
    tokens !== undefined &&
    !(Array.isArray(tokens) && tokens.every(isTokenIds) && tokens.length === candidates.length)
  ) {
    throw new RecordError(
      `Expected ${candidates.length} arrays of token ids for tokens but received ${kindOf(tokens)}`,
    );
  }
  return value as unknown as CandidateRecord;
}

/** Candidates with their task, whose ground truth the critic sees. */
export function checkedTaskCandidates(value: unknown): CandidateRecord & { task: Task } {
  const { candidates, input } = checkedCandidateRecord(value);
  if (typeof input === 'string') {
    throw new RecordError('Expected messages for input but received a text, whose template is not known');
  }
  const { task, stop } = value as { task: unknown; stop: unknown };
  const isReason = (reason: unknown) => reason === 'stop' || reason === 'length';
  if (stop !== undefined && !(Array.isArray(stop) && stop.length === candidates.length && stop.every(isReason))) {
    throw new RecordError(`Expected ${candidates.length} of 'stop' and 'length' for stop but received ${kindOf(stop)}`);
  }
  return { ...(value as CandidateRecord), task: checkedTask(task, 'task.') };
}

/** Candidates for the next assistant message with their scores. */
export function checkedCandidates(value: unknown): Candidates {
  const { candidates, scores } = checkedCandidateRecord(value) as Partial<Candidates> & CandidateRecord;
  if (!Array.isArray(scores) || !scores.every(Number.isFinite) || scores.length !== candidates.length) {
    throw new RecordError(`Expected ${candidates.length} numbers for scores but received ${kindOf(scores)}`);
  }
  return value as unknown as Candidates;
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
