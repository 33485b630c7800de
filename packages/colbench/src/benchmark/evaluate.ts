/** The reward of an answer: the share of the test cases on which it agrees with the ground truth. */

import { answerOf } from './protocol.js';
import type { Task } from './records.js';
import type { Limits, Outcome } from './sandbox/run.js';
import { runProgram } from './sandbox/run.js';
import type { Wall } from './sandbox/wall.js';

/**
 * The verdict on a call. 'no truth': the ground-truth function itself fails there, so no answer can agree.
 */
export type Verdict = 'agrees' | 'differs' | 'raises' | 'times out' | 'crashes' | 'floods' | 'no truth';

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
  }

  /** @param answer the program, or an assistant message that contains it */
  async evaluate(task: Task, answer: string): Promise<Evaluation> {
    const { wall, limits, signal } = this.#options;
    const job = { program: programOf(answer), calls: task.test_cases };
    // Separate processes: the answer cannot read the expected results.
    const [truths, { outcomes, printed, files }] = await Promise.all([
      this.#truthsOf(task),
      runProgram(wall, job, { ...(limits && { limits }), ...(signal && { signal }) }),
    ]);
    const calls = task.test_cases.map((call, i) => {
      const [truth, outcome] = [truths[i] as Outcome, outcomes[i] as Outcome];
      return { call, verdict: verdictOf(truth, outcome), told: shownOf(outcome), expected: shownOf(truth) };
    });
    const agreeing = calls.filter(({ verdict }) => verdict === 'agrees').length;
    return { reward: agreeing / calls.length, success: agreeing === calls.length, calls, printed, files };
  }

  #truthsOf({ ground_truth, test_cases }: Task) {
    const key = JSON.stringify([ground_truth, test_cases]);
    const known = this.#truths.get(key);
    this.#truths.delete(key);
    const truths = known ?? this.#run({ program: ground_truth, calls: test_cases });
    this.#truths.set(key, truths);
    // A failed run is not cached.
    truths.catch(() => this.#truths.delete(key));
    const [oldest] = this.#truths.keys();
    if (this.#truths.size > cachedTruths && oldest !== undefined) this.#truths.delete(oldest);
    return truths;
  }

  async #run(job: { program: string; calls: string[] }) {
    const { wall, limits, signal } = this.#options;
    const { outcomes } = await runProgram(wall, job, { ...(limits && { limits }), ...(signal && { signal }) });
    return outcomes;
  }
}

function verdictOf(truth: Outcome, outcome: Outcome): Verdict {
  if (truth.kind !== 'value') return 'no truth';
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
