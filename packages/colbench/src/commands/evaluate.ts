/** `evaluate`: the rewards of the answers of dialogues. */

import { bestOf, type Rated } from '../benchmark/best-of.js';
import { type Evaluation, type Evaluator, programOf } from '../benchmark/evaluate.js';
import { checkedAnswer, checkedReleasedAnswer, readRecords, writeRecords } from '../benchmark/records.js';
import { type Cause, forbiddenText, releasedProgramOf } from '../benchmark/released.js';
import type { Command, CommandInput } from '../command.js';
import { Progress } from '../progress.js';
import { checkInput, onePositional, Values } from '../values.js';
import {
  concurrencyOf,
  countOf,
  Faults,
  limitOptions,
  limitUsage,
  mapConcurrently,
  quiet,
  sandboxOf,
} from './shared.js';

type Answer = ReturnType<typeof checkedAnswer> & { reward?: unknown };

/** Totals of many evaluations. */
class Totals {
  #answers = 0;
  #reward = 0;
  #solved = 0;
  #withoutTruth = 0;
  readonly #verdicts = new Map<string, number>();

  add({ reward, success, calls }: Pick<Evaluation, 'reward' | 'success' | 'calls'>) {
    this.#answers += 1;
    this.#reward += reward;
    this.#solved += Number(success);
    this.#withoutTruth += Number(calls.some(({ verdict }) => verdict === 'no truth'));
    for (const { verdict } of calls) this.#verdicts.set(verdict, (this.#verdicts.get(verdict) ?? 0) + 1);
  }

  summary() {
    const n = Math.max(1, this.#answers);
    return {
      answers: this.#answers,
      testsPassed: this.#reward / n,
      success: this.#solved / n,
      ...(this.#verdicts.size > 0 && { calls: Object.fromEntries([...this.#verdicts].sort(([, a], [, b]) => b - a)) }),
      // Their tasks cannot be solved.
      ...(this.#withoutTruth > 0 && { answersWithoutTruth: this.#withoutTruth }),
    };
  }
}

/** Why the released evaluator gives another reward than ours. */
function causeOf(answer: string, released: Evaluation, own: Evaluation): Cause {
  if (forbiddenText(answer) !== undefined) return 'substring';
  if (releasedProgramOf(answer).trim() !== programOf(answer).trim()) return 'fence';
  const none = released.calls.some(({ verdict }, i) => verdict === 'no truth' && own.calls[i]?.verdict === 'agrees');
  return none ? 'None' : 'namespace';
}

const usage = `colbench evaluate DIALOGUES [--out FILE] [--as released] [--best-of K] [limits]
  Runs the answers of dialogues (or of lines with task and answer) on the test cases of their tasks. --out has the same
  lines with reward, success and calls.

  --as released              the rules of the released evaluator; also counts the answers whose reward differs from ours
  --best-of K                K samples of each task: the mean of the best rewards, and the share of tasks with a best of 1.
                             Stored rewards are used unless one is missing, or --as or
                             --out is given
${limitUsage}
`;

export const command: Command = {
  name: 'evaluate',
  summary: 'rewards of the answers of dialogues',
  usage,
  options: { out: { type: 'string' }, as: { type: 'string' }, 'best-of': { type: 'string' }, ...limitOptions },
  run: evaluateAnswers,
};

async function evaluateAnswers(input: CommandInput): Promise<Record<string, unknown>> {
  const { progress, signal } = input;
  const values = new Values('evaluate', input.values);
  const file = onePositional(input, 'evaluate', 'file');
  const rules = values.text('as') === undefined ? 'own' : values.choice('as', ['released']);
  const k = values.number('best-of', undefined, 1, 1e6);
  const concurrency = concurrencyOf(values);
  const out = values.text('out') === undefined ? undefined : values.outFile();
  checkInput(file, 'DIALOGUES');
  const check = (rules === 'released' ? checkedReleasedAnswer : checkedAnswer) as (value: unknown) => Answer;

  const faults = new Faults(progress);
  let [total, unrated] = [0, 0];
  for await (const { record } of readRecords(file, check, { onFault: faults.report })) {
    total += 1;
    unrated += Number(typeof record.reward !== 'number');
  }
  const rated: Rated[] = [];
  const totals = new Totals();
  const summaryOf = (more: object = {}) =>
    faults.checked({ ...totals.summary(), ...more, ...(k !== undefined && { bestOf: bestOf(rated, k) }) });
  if (k !== undefined && unrated === 0 && rules === 'own' && out === undefined) {
    for await (const { record } of readRecords(file, check, quiet)) {
      const reward = record.reward as number;
      rated.push({ task: record.task, reward });
      totals.add({ reward, success: reward === 1, calls: [] });
    }
    return summaryOf();
  }

  const sandbox = await sandboxOf(values, progress, signal);
  const evaluator: Evaluator = sandbox.evaluator(rules);
  const own = rules === 'released' ? sandbox.evaluator() : undefined;
  const differs: Record<Cause, number> = { substring: 0, namespace: 0, fence: 0, None: 0 };
  const bar = new Progress('Evaluating', progress);
  async function* evaluated() {
    let done = 0;
    const results = mapConcurrently(readRecords(file, check, quiet), concurrency, async ({ record }) => ({
      record,
      evaluation: await evaluator.evaluate(record.task, record.answer),
      ours: await own?.evaluate(record.task, record.answer),
    }));
    for await (const { record, evaluation, ours } of results) {
      signal.throwIfAborted();
      totals.add(evaluation);
      const { reward, success, calls, printed, files } = evaluation;
      if (ours !== undefined && ours.reward !== reward) differs[causeOf(record.answer, evaluation, ours)] += 1;
      if (k !== undefined) rated.push({ task: record.task, reward });
      bar.update(++done, total);
      yield { ...record, reward, success, calls, ...(printed && { printed }), ...(files > 0 && { files }) };
    }
  }
  if (out === undefined) await countOf(evaluated());
  else await writeRecords(out, evaluated(), () => {});
  bar.finish('done');
  return summaryOf(own === undefined ? {} : { differsFromOurs: differs });
}
