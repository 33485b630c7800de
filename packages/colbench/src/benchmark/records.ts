/** ColBench's records, checked. */

import { type ReadOptions, RecordError, readRecords } from './jsonl.js';
import type { CandidateRecord, Candidates } from './pairs.js';

export { type Fault, lineOf, type ReadOptions, RecordError, readRecords, writeRecords } from './jsonl.js';

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

const agentRoles = ['assistant', 'agent'];
const roles = ['system', 'user', ...agentRoles];

/** Whether a message is the agent's. */
export const isAgent = ({ role }: { role: string }): boolean => agentRoles.includes(role);

export const readTasks = (file: string, options: ReadOptions) =>
  readRecords(file, (value) => checkedTask(value), options);
/** @param kind the only task whose records are valid; default: both */
export const readTasksOf = (file: string, kind: TaskKind | undefined, options: ReadOptions) =>
  readRecords(file, (value) => checkedAnyTask(value, '', kind), options);
export const readDialogues = (file: string, options: ReadOptions, kind?: TaskKind) =>
  readRecords(file, (value) => checkedDialogue(value, kind), options);
export const readAnswers = (file: string, options: ReadOptions) => readRecords(file, checkedAnswer, options);

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
    throw new RecordError(
      `Expected a frontend task but received a backend task, which has ${what}test_cases: --task backend`,
    );
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
