/** The reward of an answer: the share of the test cases on which it agrees with the ground truth. */

import { setMaxListeners } from 'node:events';
import { answerOf } from './protocol.js';
import type { Task } from './records.js';
import { forbiddenText, NONE_DIGEST, releasedProgramOf, releasedSeconds } from './released.js';
import { type Job, type Limits, type Outcome, runProgram } from './sandbox/run.js';
import type { Wall } from './sandbox/wall.js';

/**
 * The verdict on a call. 'no truth': the ground-truth function itself fails there, so no answer can agree. 'forbidden':
 * the released evaluator does not run an answer with such a text.
 */
export type Verdict = 'agrees' | 'differs' | 'raises' | 'times out' | 'crashes' | 'floods' | 'no truth' | 'forbidden';

export interface Evaluation {
  /** The share of calls that agree. */
  reward: number;
  /** Whether all calls agree. */
  success: boolean;
  calls: { call: string; verdict: Verdict; told: string; expected: string }[];
  /** The beginning of the answer's output. */
  printed: string;
  /** The number of files that the answer left. */
  files: number;
}

export interface EvaluatorOptions {
  wall: Wall;
  limits?: Partial<Limits>;
  signal?: AbortSignal;
  /** 'own' (default), or the rules of the released evaluator. */
  rules?: 'own' | 'released';
}

const failures: Record<Exclude<Outcome['kind'], 'value'>, Verdict> = {
  error: 'raises',
  timeout: 'times out',
  crash: 'crashes',
  flood: 'floods',
};

const cachedTruths = 1000;

/** Evaluates answers. The results of the ground truth are computed once per task. */
export class Evaluator {
  /** Results of the ground truths used last, by function and test cases. */
  #truths: Map<string, Promise<Outcome[]>> = new Map();
  #options;

  constructor(options: EvaluatorOptions) {
    this.#options = options;
    // Each running answer listens for the abort.
    if (options.signal !== undefined) setMaxListeners(0, options.signal);
  }

  /** @param answer the program, or an assistant message that contains it */
  async evaluate(task: Task, answer: string): Promise<Evaluation> {
    const released = this.#options.rules === 'released';
    if (released && forbiddenText(answer) !== undefined) {
      const told = `the answer contains ${JSON.stringify(forbiddenText(answer))}`;
      const calls = task.test_cases.map((call) => ({ call, verdict: 'forbidden' as const, told, expected: '' }));
      return { reward: 0, success: false, calls, printed: '', files: 0 };
    }
    const program = released ? releasedProgramOf(answer) : programOf(answer);
    const seconds = released ? releasedSeconds.answer(task.test_cases.length) : {};
    // Separate processes: the answer cannot read the expected results.
    const [truths, { outcomes, printed, files }] = await Promise.all([
      this.#truthsOf(task),
      this.#run({ program, calls: task.test_cases }, seconds),
    ]);
    const calls = task.test_cases.map((call, i) => {
      const [truth, outcome] = [truths[i] as Outcome, outcomes[i] as Outcome];
      const verdict = verdictOf(truth, outcome, released);
      return { call, verdict, told: shownOf(outcome), expected: shownOf(truth) };
    });
    const agreeing = calls.filter(({ verdict }) => verdict === 'agrees').length;
    return { reward: agreeing / calls.length, success: agreeing === calls.length, calls, printed, files };
  }

  #truthsOf({ ground_truth, test_cases }: Task) {
    const key = JSON.stringify([ground_truth, test_cases]);
    const known = this.#truths.get(key);
    this.#truths.delete(key);
    const seconds = this.#options.rules === 'released' ? releasedSeconds.truth : {};
    const truths =
      known ?? this.#run({ program: ground_truth, calls: test_cases }, seconds).then((run) => run.outcomes);
    this.#truths.set(key, truths);
    // A failed run is not cached.
    truths.catch(() => this.#truths.delete(key));
    const [oldest] = this.#truths.keys();
    if (this.#truths.size > cachedTruths && oldest !== undefined) this.#truths.delete(oldest);
    return truths;
  }

  #run(job: Job, seconds: Partial<Limits>) {
    const { wall, limits, signal, rules } = this.#options;
    const mode = rules === 'released' ? 'each' : 'once';
    return runProgram(wall, { ...job, mode }, { limits: { ...limits, ...seconds }, signal });
  }
}

function verdictOf(truth: Outcome, outcome: Outcome, released: boolean): Verdict {
  // The released evaluator has None for a call that raises, and no answer agrees with None.
  if (truth.kind !== 'value' || (released && truth.digest === NONE_DIGEST)) return 'no truth';
  if (outcome.kind !== 'value') return failures[outcome.kind];
  return outcome.digest === truth.digest ? 'agrees' : 'differs';
}

const shownOf = (outcome: Outcome) => (outcome.kind === 'value' ? outcome.shown : outcome.error);

/**
 * The program of an answer, without the marker before it and the Markdown fences around it. Of several fenced blocks,
 * the first is the program.
 */
export function programOf(answer: string) {
  const text = answerOf(answer) ?? answer;
  const fenced = /^[ \t]*(`{3,}|~{3,})[^\n]*\n([\s\S]*?)(?:^[ \t]*\1|$(?![\s\S]))/m.exec(text);
  // A fence that opens before the marker closes after the program.
  return (fenced?.[2] ?? text.replace(/\n[ \t]*(`{3,}|~{3,})\s*$/, '')).replace(/^\s*\n/, '').trimEnd();
}
