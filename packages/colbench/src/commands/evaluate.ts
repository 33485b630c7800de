/** `evaluate`: the rewards of the answers of dialogues. */

import { bestOf, type Rated } from '../benchmark/best-of.js';
import { type Evaluation, type Evaluator, programOf } from '../benchmark/evaluate.js';
import {
  checkedAnswer,
  checkedFrontendAnswer,
  checkedReleasedAnswer,
  type FrontendAnswer,
  readRecords,
  type Task,
  type TaskKind,
  writeRecords,
} from '../benchmark/records.js';
import { type Cause, forbiddenText, releasedProgramOf } from '../benchmark/released.js';
import type { Command, CommandInput } from '../command.js';
import { UsageError } from '../errors.js';
import { type PageEvaluation, TruthError } from '../frontend/pages.js';
import { Progress } from '../progress.js';
import { checkInput, onePositional, Values } from '../values.js';
import { openPages, pageOptions, pageUsage, taskOf, taskOption, taskUsage } from './frontend.js';
import { checkJudgeOptions } from './judge.js';
import {
  concurrencyOf,
  countOf,
  Faults,
  limitOptions,
  limitUsage,
  mapConcurrently,
  mean,
  quiet,
  sandboxOf,
} from './shared.js';

type Answer = Pick<FrontendAnswer, 'answer' | 'dialogue_history' | 'reward'> & { task: FrontendAnswer['task'] | Task };

/** Rates the answers of one kind of task and counts what came of them. */
interface Rater {
  /** The fields that the record gets. */
  rate(record: Answer): Promise<Record<string, unknown> & { reward: number }>;
  /** Counts a stored reward. */
  count(reward: number): void;
  summary(): Record<string, unknown>;
  close(): Promise<void>;
}

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
${taskUsage}; rewards are then cosines of the
                             embeddings of the rendered pages, and --out has page, failure and problems instead of calls
${limitUsage}
${pageUsage}
`;

export const command: Command = {
  name: 'evaluate',
  summary: 'rewards of the answers of dialogues',
  usage,
  options: {
    out: { type: 'string' },
    as: { type: 'string' },
    'best-of': { type: 'string' },
    ...limitOptions,
    ...taskOption,
    ...pageOptions,
  },
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
  const kind = taskOf(values);
  checkJudgeOptions(values, kind);
  if (kind === 'frontend' && rules === 'released') {
    throw new UsageError('evaluate has no --as released for --task frontend: the rewards are the same');
  }
  const checks = { own: checkedAnswer, released: checkedReleasedAnswer, frontend: checkedFrontendAnswer };
  const check = checks[kind === 'frontend' ? kind : rules] as (value: unknown) => Answer;

  const faults = new Faults(progress);
  let [total, unrated] = [0, 0];
  for await (const { record } of readRecords(file, check, { onFault: faults.report })) {
    total += 1;
    unrated += Number(typeof record.reward !== 'number');
  }
  const rated: Rated[] = [];
  const isStored = k !== undefined && unrated === 0 && rules === 'own' && out === undefined;
  const rater = await openRater(kind, rules, isStored, values, progress, signal);
  const summaryOf = () => faults.checked({ ...rater.summary(), ...(k !== undefined && { bestOf: bestOf(rated, k) }) });
  if (isStored) {
    for await (const { record } of readRecords(file, check, quiet)) {
      const reward = record.reward as number;
      rated.push({ task: record.task, reward });
      rater.count(reward);
    }
    return summaryOf();
  }

  const bar = new Progress('Evaluating', progress);
  async function* evaluated() {
    let done = 0;
    const results = mapConcurrently(readRecords(file, check, quiet), concurrency, async ({ record, line }) => {
      try {
        return { record, fields: await rater.rate(record) };
      } catch (error) {
        if (!(error instanceof TruthError)) throw error;
        faults.report({ file, line, fault: error.message });
        return undefined;
      }
    });
    for await (const result of results) {
      signal.throwIfAborted();
      bar.update(++done, total);
      if (result === undefined) continue;
      const { record, fields } = result;
      if (k !== undefined) rated.push({ task: record.task, reward: fields.reward });
      yield { ...record, ...fields };
    }
  }
  try {
    if (out === undefined) await countOf(evaluated());
    else await writeRecords(out, evaluated(), () => {});
  } finally {
    await rater.close();
  }
  bar.finish('done');
  return summaryOf();
}

/** @param isStored nothing is rated: neither the sandbox nor Chromium is needed */
async function openRater(
  kind: TaskKind,
  rules: 'own' | 'released',
  isStored: boolean,
  values: Values,
  progress: NodeJS.WriteStream,
  signal: AbortSignal,
): Promise<Rater> {
  if (kind === 'frontend') return await pageRater(isStored, values, signal);
  const totals = new Totals();
  const differs: Record<Cause, number> = { substring: 0, namespace: 0, fence: 0, None: 0 };
  const sandbox = isStored ? undefined : await sandboxOf(values, progress, signal);
  const evaluator = sandbox?.evaluator(rules) as Evaluator;
  const own = rules === 'released' ? sandbox?.evaluator() : undefined;
  return {
    async rate(record) {
      const task = record.task as Task;
      const [evaluation, ours] = [
        await evaluator.evaluate(task, record.answer),
        await own?.evaluate(task, record.answer),
      ];
      totals.add(evaluation);
      const { reward, success, calls, printed, files } = evaluation;
      if (ours !== undefined && ours.reward !== reward) differs[causeOf(record.answer, evaluation, ours)] += 1;
      return { reward, success, calls, ...(printed && { printed }), ...(files > 0 && { files }) };
    },
    count: (reward) => totals.add({ reward, success: reward === 1, calls: [] }),
    summary: () => ({ ...totals.summary(), ...(own !== undefined && { differsFromOurs: differs }) }),
    close: async () => {},
  };
}

async function pageRater(isStored: boolean, values: Values, signal: AbortSignal): Promise<Rater> {
  const opened = isStored ? undefined : await openPages(values, concurrencyOf(values), signal);
  const rewards: number[] = [];
  const counts = { withoutPage: 0, withoutPicture: 0, withProblems: 0 };
  return {
    async rate(record) {
      const evaluation = (await opened?.pages.evaluate(record as FrontendAnswer)) as PageEvaluation;
      rewards.push(evaluation.reward);
      counts.withoutPage += Number(!evaluation.page);
      counts.withoutPicture += Number(evaluation.failure !== undefined);
      counts.withProblems += Number(evaluation.problems !== undefined);
      return { ...evaluation };
    },
    count: (reward) => rewards.push(reward),
    summary: () => ({
      answers: rewards.length,
      cosine: mean(rewards),
      ...(opened !== undefined && { ...counts, embedding: opened.settings.embedding }),
    }),
    close: async () => opened?.pages.close(),
  };
}
