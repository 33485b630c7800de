/** Backend tasks that a model writes from seed texts, each checked in the sandbox. */
import { createHash } from 'node:crypto';
import type { Complete } from './endpoint.js';
import { checkedTask, RecordError, type Task } from './records.js';
import { areEqual, type RunOptions, runProgram } from './sandbox/run.js';
import type { Wall } from './sandbox/wall.js';

/** Calls of a task, as in the benchmark. */
export const callsOfTask = 10;

/** The prompt for one task. */
const instructions = (
  seed: string,
  previous: string | undefined,
) => `Invent a small programming task for a conversation: a user asks for a Python \
function in one or two vague sentences and knows details that the request leaves out.

Topic: ${seed}

Reply with one JSON object and nothing else:
{"problem_description": "the user's request; it names the function and its parameters, and leaves out at least three details \
that matter", "ground_truth": "the function in plain Python without imports of other packages; the details are decided here", \
"test_cases": ["${callsOfTask} calls of the function as Python expressions, which cover the details; no randomness, no time, no files"]}${
  previous === undefined ? '' : `\n\nYour last task was not usable: ${previous}`
}`;

/** Why a task cannot be used. */
export class TaskRejection extends Error {
  constructor(
    readonly reason: 'not JSON' | 'wrong fields' | 'name missing' | 'raises' | 'not deterministic' | 'same results',
    message: string,
  ) {
    super(message);
  }
}

/** The task in a model's reply, which may stand between other text. */
export function parseTask(reply: string): Task {
  const text = reply.slice(Math.max(0, reply.indexOf('{')), reply.lastIndexOf('}') + 1);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new TaskRejection('not JSON', `the reply is not a JSON object: ${(error as Error).message}`);
  }
  let task: Task;
  try {
    task = checkedTask(value);
  } catch (error) {
    if (error instanceof RecordError) throw new TaskRejection('wrong fields', error.message);
    throw error;
  }
  const { problem_description, ground_truth, test_cases } = task;
  if (test_cases.length !== callsOfTask) {
    throw new TaskRejection('wrong fields', `it has ${test_cases.length} test cases instead of ${callsOfTask}`);
  }
  const [name] = /^[A-Za-z_]\w*(?=\()/.exec((test_cases[0] as string).trim()) ?? [];
  if (name === undefined || !problem_description.includes(name)) {
    throw new TaskRejection('name missing', 'the request does not name the function that the test cases call');
  }
  return { problem_description, ground_truth, test_cases };
}

/**
 * Runs the hidden function twice, in two processes.
 * @param leastDistinct results that differ at least
 * @throws TaskRejection where a call fails, the two runs differ, or too few results are distinct
 */
export async function checkTask(wall: Wall, task: Task, options: RunOptions, leastDistinct: number): Promise<void> {
  const job = { program: task.ground_truth, calls: task.test_cases };
  const [first, second] = await Promise.all([runProgram(wall, job, options), runProgram(wall, job, options)]);
  const digests = new Set<string>();
  for (const [i, outcome] of first.outcomes.entries()) {
    const again = second.outcomes[i];
    const call = task.test_cases[i] as string;
    if (outcome.kind !== 'value') throw new TaskRejection('raises', `${call} fails: ${outcome.error}`);
    if (again?.kind !== 'value' || !areEqual(again, outcome)) {
      throw new TaskRejection('not deterministic', `${call} has another result in a second process`);
    }
    digests.add(outcome.digest);
  }
  if (digests.size < leastDistinct) {
    throw new TaskRejection('same results', `the calls have only ${digests.size} distinct results`);
  }
}

/** What a task was written from: a task of a seed has the same id in every run. */
export const taskId = (seed: string, copy: number) =>
  `${createHash('sha256').update(seed).digest('hex').slice(0, 16)}/${copy}`;

/**
 * Asks for a task until one is usable.
 * @param onRejection called with the reason of each rejected reply
 * @returns undefined where all `tries` replies were rejected
 */
export async function synthesizeTask(
  seed: string,
  complete: Complete,
  check: (task: Task) => Promise<void>,
  { tries, signal, onRejection }: { tries: number; signal: AbortSignal; onRejection: (why: TaskRejection) => void },
): Promise<Task | undefined> {
  let previous: string | undefined;
  for (let i = 0; i < tries; i++) {
    const [choice] = await complete([{ role: 'user', content: instructions(seed, previous) }], { signal });
    try {
      const task = parseTask(choice?.content ?? '');
      await check(task);
      return task;
    } catch (error) {
      if (!(error instanceof TaskRejection)) throw error;
      onRejection(error);
      previous = error.message;
    }
  }
  return undefined;
}
