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

/** A frontend design task: its truth is a page. Other fields are kept. */
export interface FrontendTask {
  problem_description: string;
  /** The HTML of the reference page. */
  ground_truth: string;
  test_cases?: undefined;
}

export type AnyTask = Task | FrontendTask;

/** ColBench's two tasks. */
export const taskKinds = ['backend', 'frontend'] as const;
export type TaskKind = (typeof taskKinds)[number];

export const kindOf = (task: AnyTask): TaskKind => (task.test_cases === undefined ? 'frontend' : 'backend');

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
  task: AnyTask;
  dialogue_history: Message[];
  /** A program, or a page. */
  answer: string;
  /** The share of test cases on which the answer agrees with the ground truth, or the similarity of the pages. */
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

const agentRoles = ['assistant', 'agent'];
const roles = ['system', 'user', ...agentRoles];

/** Whether a message is the agent's. */
export const isAgent = ({ role }: { role: string }): boolean => agentRoles.includes(role);

const newline = 0x0a;
const blank = /^[ \t\r\n]*$/;
const utf8 = new TextDecoder('utf-8', { fatal: true });

export const readTasks = (file: string, options: ReadOptions) => readRecords(file, (value) => checkedTask(value), options);
/** @param kind the only task whose records are valid; default: both */
export const readTasksOf = (file: string, kind: TaskKind | undefined, options: ReadOptions) =>
  readRecords(file, (value) => checkedAnyTask(value, '', kind), options);
export const readDialogues = (file: string, options: ReadOptions, kind?: TaskKind) =>
  readRecords(file, (value) => checkedDialogue(value, kind), options);
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
    throw new RecordError(`Expected an object for ${what} but received ${typeOf(value)}`);
  }
}

function checkString(object: Record<string, unknown>, name: string, what: string) {
  if (typeof object[name] !== 'string') {
    throw new RecordError(`Expected a string for ${what}${name} but received ${typeOf(object[name])}`);
  }
}

function typeOf(value: unknown) {
  if (value === undefined) return 'none';
  if (value === null) return 'null';
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return typeof value === 'object' ? 'an object' : `a ${typeof value}`;
}

export const checkedTask = (value: unknown, what = ''): Task => checkedAnyTask(value, what, 'backend') as Task;

const startsAsPage = /^\s*<(?:!doctype|!--|html|body)/i;

/**
 * A task of either kind: one with test cases is a backend task, one without whose truth is a page is a frontend task.
 * @param kind the only valid one
 */
export function checkedAnyTask(value: unknown, what = '', kind?: TaskKind): AnyTask {
  checkObject(value, what === '' ? 'a task' : what.slice(0, -1));
  checkString(value, 'problem_description', what);
  checkString(value, 'ground_truth', what);
  const [calls, isPage] = [value.test_cases, startsAsPage.test(value.ground_truth as string)];
  if (calls === undefined && isPage && kind === 'backend') {
    throw new RecordError(`Expected a backend task but received a frontend task, whose ${what}ground_truth is a page: \
--task frontend`);
  }
  if (kind === 'frontend' && calls !== undefined) {
    throw new RecordError(`Expected a frontend task but received a backend task, which has ${what}test_cases: --task backend`);
  }
  if (kind === 'frontend' && !isPage) {
    throw new RecordError(`Expected a page that begins with <!doctype>, <html> or <body> for ${what}ground_truth`);
  }
  if (calls === undefined && isPage) return { ...value } as unknown as FrontendTask;
  return { ...value, test_cases: checkedCalls(calls, `${what}test_cases`) } as unknown as Task;
}

/**
 * Test cases: an array, or an object whose values are the calls in order.
 */
function checkedCalls(value: unknown, what: string) {
  const calls = typeof value === 'object' && value !== null && !Array.isArray(value) ? Object.values(value) : value;
  if (!Array.isArray(calls) || calls.length === 0) {
    throw new RecordError(`Expected at least one call for ${what} but received ${typeOf(value)}`);
  }
  calls.forEach((call, i) => {
    if (typeof call === 'string' && call.trim() !== '') return;
    throw new RecordError(`Expected a call as a string for ${what}[${i}] but received ${typeOf(call)}`);
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

export function checkedDialogue(value: unknown, kind?: TaskKind): Dialogue {
  checkObject(value, 'a dialogue');
  const task = checkedAnyTask(value.task, 'task.', kind);
  checkString(value, 'answer', '');
  // A cosine may be negative.
  const least = kindOf(task) === 'frontend' ? -1 : 0;
  if (typeof value.reward !== 'number' || !(value.reward >= least && value.reward <= 1)) {
    const received = typeof value.reward === 'number' ? value.reward : typeOf(value.reward);
    throw new RecordError(`Expected a number from ${least} to 1 for reward but received ${received}`);
  }
  checkHistory(value);
  return { ...value, task } as unknown as Dialogue;
}

function checkHistory(value: Record<string, unknown>) {
  if (!Array.isArray(value.dialogue_history)) {
    throw new RecordError(`Expected an array for dialogue_history but received ${typeOf(value.dialogue_history)}`);
  }
  for (const [i, message] of value.dialogue_history.entries()) checkMessage(message, `dialogue_history[${i}]`);
  if (!value.dialogue_history.some(isAgent)) {
    throw new RecordError('Expected a message of the agent (role assistant or agent) in dialogue_history');
  }
}

/** A frontend answer to evaluate: its page is in `answer`, or in `dialogue_history`. */
export function checkedFrontendAnswer(value: unknown): FrontendAnswer {
  checkObject(value, 'an answer');
  const task = checkedAnyTask(value.task, 'task.', 'frontend');
  checkString(value, 'answer', '');
  if (value.dialogue_history !== undefined) checkHistory(value);
  return { ...value, task } as unknown as FrontendAnswer;
}

export interface FrontendAnswer {
  task: FrontendTask;
  answer: string;
  dialogue_history?: Message[];
  reward?: unknown;
}

function checkMessage(message: unknown, what: string) {
  checkText(message, what);
  const { input, output } = message;
  if (output !== undefined && typeof output !== 'string') {
    throw new RecordError(`Expected a string for ${what}.output but received ${typeOf(output)}`);
  }
  if (input !== undefined) checkPrompt(input, `${what}.input`);
}

/** A message with a role that a chat has. A template would leave out others, or raise an exception of its own. */
function checkText(message: unknown, what: string): asserts message is Record<string, unknown> {
  checkObject(message, what);
  checkString(message, 'role', `${what}.`);
  checkString(message, 'content', `${what}.`);
  if (roles.includes(message.role as string)) return;
  throw new RecordError(`Expected ${roles.join(', ')} for ${what}.role but received ${JSON.stringify(message.role)}`);
}

/** A prompt: a text or messages. */
function checkPrompt(input: unknown, what: string) {
  if (typeof input === 'string') return;
  if (!Array.isArray(input) || input.length === 0) {
    throw new RecordError(`Expected a text or messages for ${what} but received ${typeOf(input)}`);
  }
  input.forEach((each, i) => {
    checkText(each, `${what}[${i}]`);
  });
}

/** A prompt of messages: how a text was made of messages is not known. */
export function checkMessages(input: unknown): void {
  checkPrompt(input, 'input');
  if (typeof input !== 'string') return;
  throw new RecordError('Expected messages for input but received a text, whose template is not known');
}

/** Whether a value is a list of token ids. */
export const isTokenIds = (ids: unknown): ids is number[] =>
  Array.isArray(ids) && ids.every((id) => Number.isInteger(id) && id >= 0 && id < 2 ** 31);

/** Candidates for the next assistant message, scored or not. */
export function checkedCandidateRecord(value: unknown): CandidateRecord {
  checkObject(value, 'candidates');
  checkPrompt(value.input, 'input');
  const { candidates, tokens, stop, referenceLogps } = value;
  checkEach(candidates, 'candidates', 'strings', undefined, (text) => typeof text === 'string');
  const { length } = candidates as string[];
  if (tokens !== undefined) checkEach(tokens, 'tokens', 'arrays of token ids', length, isTokenIds);
  const isReason = (reason: unknown) => reason === 'stop' || reason === 'length';
  if (stop !== undefined) checkEach(stop, 'stop', "of 'stop' and 'length'", length, isReason);
  if (referenceLogps !== undefined) {
    checkObject(referenceLogps, 'referenceLogps');
    for (const name of ['mean', 'sum']) {
      checkEach(referenceLogps[name], `referenceLogps.${name}`, 'numbers', length, Number.isFinite);
    }
  }
  return value as unknown as CandidateRecord;
}

/** An array of `count` values, of any number if undefined, that are all valid. */
function checkEach(
  values: unknown,
  what: string,
  expected: string,
  count: number | undefined,
  isValid: (value: unknown) => boolean,
) {
  const wanted = `Expected ${count === undefined ? '' : `${count} `}${expected} for ${what} but received`;
  if (!Array.isArray(values) || values.length !== (count ?? values.length)) {
    throw new RecordError(`${wanted} ${typeOf(values)}`);
  }
  const at = values.findIndex((value) => !isValid(value));
  if (at >= 0) throw new RecordError(`${wanted} ${typeOf(values[at])} at index ${at}`);
}

/** Candidates with their task, whose ground truth the critic sees. */
export function checkedTaskCandidates(value: unknown, kind?: TaskKind): CandidateRecord & { task: AnyTask } {
  const record = checkedCandidateRecord(value);
  checkMessages(record.input);
  return { ...record, task: checkedAnyTask((value as { task: unknown }).task, 'task.', kind) };
}

/** Candidates for the next assistant message with their scores. */
export function checkedCandidates(value: unknown): Candidates {
  const { candidates, scores } = checkedCandidateRecord(value) as Partial<Candidates> & CandidateRecord;
  checkEach(scores, 'scores', 'numbers', candidates.length, Number.isFinite);
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
