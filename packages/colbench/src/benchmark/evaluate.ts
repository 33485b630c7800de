/** The reward of an answer: the share of the test cases on which it agrees with the ground truth. */
import { answerOf } from './protocol.js';
import { runProgram } from './sandbox/run.js';

/** @typedef {import('./records.js').Task} Task */
/** @typedef {import('./sandbox/run.js').Outcome} Outcome */

/**
 * The verdict on a call. 'no truth': the ground-truth function itself fails there, so no answer can agree.
 * @typedef {'agrees' | 'differs' | 'raises' | 'times out' | 'crashes' | 'floods' | 'no truth'} Verdict
 */

/**
 * @typedef {object} Evaluation
 * @property {number} reward the share of calls that agree
 * @property {boolean} success whether all calls agree
 * @property {{ call: string, verdict: Verdict, told: string, expected: string }[]} calls
 * @property {string} printed the beginning of the answer's output
 * @property {number} files the number of files that the answer left
 */

/**
 * @typedef {object} EvaluatorOptions
 * @property {import('./sandbox/wall.js').Wall} wall
 * @property {Partial<import('./sandbox/run.js').Limits>} [limits]
 * @property {AbortSignal} [signal]
 */

/** @type {Record<Exclude<Outcome['kind'], 'value'>, Verdict>} */
const failures = { error: 'raises', timeout: 'times out', crash: 'crashes', flood: 'floods' };

const cachedTruths = 1000;

/** Evaluates answers. The results of the ground truth are computed once per task. */
export class Evaluator {
  /** Results of the ground truths used last, by function and test cases. @type {Map<string, Promise<Outcome[]>>} */
  #truths = new Map();
  #options;

  /** @param {EvaluatorOptions} options */
  constructor(options) {
    this.#options = options;
  }

  /**
   * @param {Task} task
   * @param {string} answer the program, or an assistant message that contains it
   * @returns {Promise<Evaluation>}
   */
  async evaluate(task, answer) {
    const { wall, limits, signal } = this.#options;
    const job = { program: programOf(answer), calls: task.test_cases };
    // Separate processes: the answer cannot read the expected results.
    const [truths, { outcomes, printed, files }] = await Promise.all([
      this.#truthsOf(task),
      runProgram(wall, job, { ...(limits && { limits }), ...(signal && { signal }) }),
    ]);
    const calls = task.test_cases.map((call, i) => {
      const [truth, outcome] = [/** @type {Outcome} */ (truths[i]), /** @type {Outcome} */ (outcomes[i])];
      return { call, verdict: verdictOf(truth, outcome), told: shownOf(outcome), expected: shownOf(truth) };
    });
    const agreeing = calls.filter(({ verdict }) => verdict === 'agrees').length;
    return { reward: agreeing / calls.length, success: agreeing === calls.length, calls, printed, files };
  }

  /** @param {Task} task */
  #truthsOf({ ground_truth, test_cases }) {
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

  /** @param {{ program: string, calls: string[] }} job */
  async #run(job) {
    const { wall, limits, signal } = this.#options;
    const { outcomes } = await runProgram(wall, job, { ...(limits && { limits }), ...(signal && { signal }) });
    return outcomes;
  }
}

/** @param {Outcome} truth @param {Outcome} outcome @returns {Verdict} */
function verdictOf(truth, outcome) {
  if (truth.kind !== 'value') return 'no truth';
  if (outcome.kind !== 'value') return failures[outcome.kind];
  return outcome.digest === truth.digest ? 'agrees' : 'differs';
}

/** @param {Outcome} outcome */
const shownOf = (outcome) => (outcome.kind === 'value' ? outcome.shown : outcome.error);

/**
 * The program of an answer, without the marker before it and the Markdown fences around it. Of several fenced blocks,
 * the first is the program.
 * @param {string} answer
 */
export function programOf(answer) {
  const text = answerOf(answer) ?? answer;
  const fenced = /^[ \t]*(`{3,}|~{3,})[^\n]*\n([\s\S]*?)(?:^[ \t]*\1|$(?![\s\S]))/m.exec(text);
  // A fence that opens before the marker closes after the program.
  return (fenced?.[2] ?? text.replace(/\n[ \t]*(`{3,}|~{3,})\s*$/, '')).replace(/^\s*\n/, '').trimEnd();
}
