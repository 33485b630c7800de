/** One step of training: micro-batches through trunk and head, then the optimizer. */
import { CommandError } from '../errors.js';
import { microBatches, sequencesOf, type TrainingItem } from './batches.js';
import { denominators, headUpdate, type LossOptions, noSums, packMicroBatch, SUMS, type Sums } from './heads.js';
import type { Session } from './session.js';

/** The place of this process among the ranks that train together. */
export interface Rank {
  rank: number;
  /** Number of ranks. */
  world: number;
}

export interface StepOptions {
  loss: LossOptions;
  microTokens: number;
  learningRate: number;
  /** The largest gradient norm; larger gradients are scaled to it. */
  clip: number;
  rank: Rank;
  /** True once the run is to stop after this step; asked after the gradients. */
  stop?: () => boolean;
}

export interface StepResult {
  /** Of the whole batch, over all ranks. */
  sums: Sums;
  /** Before clipping. */
  gradNorm: number;
  parameterNorm: number;
  /** Whether any rank is to stop. */
  stop: boolean;
  /** Seconds. */
  seconds: Record<'forward' | 'head' | 'backward' | 'optimizer', number>;
}

/**
 * Accumulates the gradients of a batch: micro-batch i belongs to rank i mod world.
 *
 * @returns the sums of this rank's micro-batches, and the seconds
 * @throws CommandError ERR_NONFINITE naming the sequences of the micro-batch; nothing was changed but gradients
 */
export async function accumulate(
  session: Session,
  batch: readonly TrainingItem[],
  references: ReadonlyMap<string, Float32Array> | undefined,
  { loss, microTokens, rank }: Pick<StepOptions, 'loss' | 'microTokens' | 'rank'>,
): Promise<{ sums: Sums; seconds: StepResult['seconds'] }> {
  const whole = denominators(batch);
  const mine = microBatches(batch, microTokens).filter((_, i) => i % rank.world === rank.rank);
  const sums = noSums();
  const seconds = { forward: 0, head: 0, backward: 0, optimizer: 0 };
  if (mine.length === 0) session.buffers.gradWeight?.fill(0);
  for (const [i, items] of mine.entries()) {
    const micro = packMicroBatch(items, references);
    const { ids, sequenceOffsets, rows } = micro.packed;
    await timed(seconds, 'forward', () =>
      session.trainer.request('forward', { ids, sequenceOffsets, rows, train: true }),
    );
    const part = await timed(seconds, 'head', () => headUpdate(session, micro, loss, whole, i === 0));
    if (!Number.isFinite(part.loss)) throw nonFinite(`The loss is ${part.loss}`, items);
    await timed(seconds, 'backward', () => session.trainer.request('backward', {}));
    for (const name of SUMS) sums[name] += part[name];
  }
  return { sums, seconds };
}

/** One step. @throws CommandError ERR_NONFINITE for a loss or a gradient norm that is not finite: the weights are unchanged */
export async function trainingStep(
  session: Session,
  batch: readonly TrainingItem[],
  references: ReadonlyMap<string, Float32Array> | undefined,
  options: StepOptions,
): Promise<StepResult> {
  const { sums, seconds } = await accumulate(session, batch, references, options);
  const { learningRate, clip, stop } = options;
  try {
    const answer = await timed(seconds, 'optimizer', () =>
      session.trainer.request('step', {
        ...{ learningRate, clip },
        sums: [...SUMS.map((name) => sums[name]), stop?.() ? 1 : 0],
      }),
    );
    const { gradNorm, parameterNorm } = answer;
    const total = Object.fromEntries(SUMS.map((name, i) => [name, answer.sums[i]])) as Sums;
    return { sums: total, gradNorm, parameterNorm, stop: answer.sums[SUMS.length] !== 0, seconds };
  } catch (error) {
    if ((error as CommandError).code !== 'ERR_NONFINITE') throw error;
    throw nonFinite((error as Error).message, batch);
  }
}

function nonFinite(what: string, items: readonly TrainingItem[]): CommandError {
  const ids = sequencesOf(items).map(({ id }) => id);
  const some = ids.length > 16 ? `${ids.slice(0, 16).join(', ')} and ${ids.length - 16} more` : ids.join(', ');
  return new CommandError('ERR_NONFINITE', `${what} (sequences ${some})`);
}

async function timed<N extends string, T>(seconds: Record<N, number>, name: N, run: () => Promise<T>): Promise<T> {
  const start = performance.now();
  try {
    return await run();
  } finally {
    seconds[name] += (performance.now() - start) / 1000;
  }
}
