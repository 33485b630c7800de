/** What gives the answers of either task their rewards. */
import type { Evaluation } from '../benchmark/evaluate.js';
import type { AnyTask, FrontendTask, Message, Task, TaskKind } from '../benchmark/records.js';
import type { PageEvaluation, Pages } from '../frontend/pages.js';
import type { Values } from '../values.js';
import { checkKindOptions, openPages, pageOptions } from './frontend.js';
import { sandboxNames, sandboxOf } from './shared.js';

/** An answer as converse makes it. */
interface Answered {
  task: AnyTask;
  answer: string;
  dialogue_history?: Message[];
}

export interface Judge {
  evaluate(record: Answered): Promise<Evaluation | PageEvaluation>;
  /** What the rewards depend on. */
  settings: Record<string, unknown>;
  /** Of the frontend task. */
  pages?: Pages;
  close(): Promise<void>;
}

/** Checks that no option belongs to the other task. @throws UsageError */
export function checkJudgeOptions(values: Values, kind: TaskKind): void {
  checkKindOptions(values, kind, Object.keys(pageOptions), 'frontend');
  checkKindOptions(values, kind, sandboxNames, 'backend');
}

/** The sandbox, or Chromium and the embedding. */
export async function openJudge(
  values: Values,
  kind: TaskKind,
  {
    released,
    concurrency,
    progress,
    signal,
  }: { released: boolean; concurrency: number; progress: NodeJS.WriteStream; signal: AbortSignal },
): Promise<Judge> {
  if (kind === 'frontend') {
    const { pages, settings } = await openPages(values, concurrency, signal);
    return {
      evaluate: (record) => pages.evaluate({ ...record, task: record.task as FrontendTask }),
      settings,
      pages,
      close: () => pages.close(),
    };
  }
  const { evaluator: evaluatorOf, limits, wall } = await sandboxOf(values, progress, signal);
  const evaluator = evaluatorOf(released ? 'released' : 'own');
  return {
    evaluate: ({ task, answer }) => evaluator.evaluate(task as Task, answer),
    settings: { limits, python: wall.python },
    close: async () => {},
  };
}
