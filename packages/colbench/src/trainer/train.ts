/** A training run: reference log-probs, steps, metrics, checkpoints, resumption. */
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { CommandError } from '../errors.js';
import { writeWhole } from '../files.js';
import { Progress } from '../progress.js';
import { batchOfStep, checkSequence, microBatches, sequencesOf, stepCount, type TrainingItem } from './batches.js';
import { type Identity, Run, type State } from './checkpoints.js';
import { hashOf, hashOfFile, modelHash, sequencesHash } from './hashes.js';
import type { LossOptions } from './heads.js';
import { curves, type Metrics, MetricsFile, stepMetrics } from './metrics.js';
import type { Hello } from './protocol.js';
import { type Ranks, startRanks } from './ranks.js';
import { referenceLogps } from './reference.js';
import { learningRate } from './schedule.js';
import { Session, scoredTokens } from './session.js';
import { trainingStep } from './steps.js';

/** Checkpoints are this far apart where --save-every is not given, in milliseconds. */
const SAVE_INTERVAL = 10 * 60 * 1000;

export interface TrainOptions extends Pick<Hello, 'model' | 'device' | 'dtype' | 'lora' | 'checkpointing' | 'seed'> {
  loss: LossOptions;
  items: readonly TrainingItem[];
  /** The folder of the run, which becomes a model folder. */
  out: string;
  /** The largest of the schedule. */
  learningRate: number;
  /** Items a step. */
  batch: number;
  epochs: number;
  /** Steps at most, for a short run; the schedule is that of the steps that are made. */
  steps?: number | undefined;
  /** The gradient norm that larger gradients are scaled to. */
  clip: number;
  /** Input tokens of a micro-batch. */
  microTokens: number;
  /** Steps from one checkpoint to the next; 10 minutes if absent. */
  saveEvery?: number | undefined;
  /** Ranks on this machine. */
  processes: number;
  threads?: number | undefined;
  python?: string | undefined;
  progress: NodeJS.WriteStream;
  signal: AbortSignal;
}

/**
 * Trains a model, or continues the run in `out`.
 *
 * @returns the metrics of the last step, and whether the run was finished before or was interrupted
 * @throws CommandError ERR_OTHER_RUN, ERR_DATA, and the trainer's
 */
export async function train(options: TrainOptions): Promise<Record<string, unknown>> {
  const sequences = sequencesOf(options.items);
  checkItems(options);
  const ranks = await startRanks(options.processes);
  // As many items as there are make a batch where they do not fill one.
  const batch = Math.min(options.batch, options.items.length);
  return ranks.run((abort) => trainRank({ ...options, batch }, sequences, ranks, abort));
}

function checkItems({ items }: TrainOptions): void {
  if (items.length === 0) throw new CommandError('ERR_DATA', 'There is nothing to train on');
  const known = new Map<string, TrainingItem['chosen']>();
  for (const sequence of items.flatMap(({ chosen, rejected }) => (rejected ? [chosen, rejected] : [chosen]))) {
    const same = known.get(sequence.id);
    if (same === sequence) continue;
    if (same !== undefined && sequencesHash([same]) !== sequencesHash([sequence])) {
      throw new CommandError('ERR_DATA', `Two different sequences have the id ${sequence.id}`);
    }
    known.set(sequence.id, sequence);
    checkSequence(sequence);
  }
}

async function identityOf(options: TrainOptions, sequences: ReturnType<typeof sequencesOf>): Promise<Identity> {
  const { loss, items, model, lora, dtype, seed, batch, epochs, clip } = options;
  const tokenizer = join(model, 'tokenizer.json');
  const index = new Map(sequences.map(({ id }, k) => [id, k]));
  const pairs = items.map(({ chosen, rejected, advantages, reward }) => [
    ...[index.get(chosen.id), rejected && index.get(rejected.id)],
    ...(advantages ? [[...advantages], reward] : []),
  ]);
  return {
    ...loss,
    ...{ learningRate: options.learningRate, batch, epochs, steps: options.steps ?? null, clip, seed, dtype },
    lora: lora ? `${lora.r} ${lora.alpha} ${[...lora.targets].sort().join(' ')}` : null,
    model: await modelHash(model),
    tokenizer: existsSync(tokenizer) ? await hashOfFile(tokenizer) : null,
    data: hashOf([sequencesHash(sequences), pairs]),
  };
}

async function trainRank(
  options: TrainOptions,
  sequences: ReturnType<typeof sequencesOf>,
  { rank, env }: Ranks,
  abort: AbortSignal | undefined,
): Promise<Record<string, unknown>> {
  const { loss, items, out, batch, seed, microTokens, progress, signal } = options;
  const steps = Math.min(stepCount(items.length, batch, options.epochs), options.steps ?? Number.POSITIVE_INFINITY);
  const identity = await identityOf(options, sequences);
  const run = new Run(out, identity);
  const metrics = new MetricsFile(join(out, 'metrics.jsonl'));
  const resumed = run.resume();
  if (resumed?.state.done) return { ...summary(metrics, steps), finished: 'before' };
  const isFirst = rank.rank === 0;
  const stateAt = (step: number): State => ({
    ...{ step, epoch: (step * batch) / items.length, position: (step * batch) % (batch * perEpoch), seed },
    ...{ planHash: hashOf([items.length, batch, seed, steps]), done: false, identity },
  });
  const perEpoch = Math.floor(items.length / batch);
  if (isFirst) run.start(stateAt(0));
  else mkdirSync(out, { recursive: true });

  const { model, device, dtype, lora, checkpointing, python } = options;
  const either = abort === undefined ? signal : AbortSignal.any([signal, abort]);
  const session = await Session.open({
    ...{ model, device, dtype, lora, checkpointing, seed, python, env, abort, threads: options.threads },
    progress: isFirst ? progress : undefined,
  });
  try {
    for (const { id, ids } of sequences) session.checkVocabulary(id, ids);
    await session.reserve(maxRows(options, steps));
    const references =
      loss.method === 'sft'
        ? undefined
        : await referencesOf(session, { ...options, signal: either }, sequences, identity, rank);
    let step = 0;
    if (resumed?.checkpoint) {
      step = resumed.state.step;
      await session.trainer.request('load', { folder: resumed.checkpoint, what: 'weights' });
      await session.trainer.request('load', { folder: resumed.checkpoint, what: 'optimizer' });
    }
    if (isFirst) metrics.truncate(step);
    const bar = isFirst ? new Progress(`train-${loss.method}`, progress) : undefined;
    const seconds = { forward: 0, head: 0, backward: 0, optimizer: 0 };
    let [tokens, saved] = [0, performance.now()];
    for (; step < steps; ) {
      const rate = learningRate(options.learningRate, step, steps);
      const { clip } = options;
      const result = await trainingStep(session, batchOfStep(items, batch, seed, step), references, {
        ...{ loss, microTokens, clip, rank, learningRate: rate },
        stop: () => signal.aborted,
      }).catch((error) => {
        throw withStep(error, step + 1);
      });
      step++;
      tokens += result.sums.tokens;
      for (const name of Object.keys(seconds) as (keyof typeof seconds)[]) seconds[name] += result.seconds[name];
      const { epoch } = stateAt(step);
      const row = stepMetrics(loss.method, result, { step, epoch, learningRate: rate });
      if (isFirst) {
        metrics.append(row);
        bar?.update(step, steps, { note: noteOf(row, seconds), tokens });
        const isDue = options.saveEvery ? step % options.saveEvery === 0 : performance.now() - saved >= SAVE_INTERVAL;
        if (result.stop || (isDue && step < steps)) {
          await run.save(session.trainer, model, stateAt(step));
          saved = performance.now();
        }
      }
      if (result.stop && step < steps) {
        bar?.finish(`interrupted after step ${step} of ${steps}; the same command continues`);
        return { ...summary(metrics, steps), interrupted: true };
      }
    }
    if (isFirst) {
      writeWhole(join(out, 'curves.svg'), curves(metrics.read()));
      await run.finish(session.trainer, model, stateAt(steps));
      bar?.finish(`${steps} steps, ${noteOf(metrics.read().at(-1) ?? {}, seconds)}`);
    }
    return { ...summary(metrics, steps), finished: 'now' };
  } finally {
    await session.close();
  }
}

async function referencesOf(
  session: Session,
  { out, model, dtype, microTokens, progress, signal }: TrainOptions,
  sequences: ReturnType<typeof sequencesOf>,
  identity: Identity,
  rank: Ranks['rank'],
): Promise<Map<string, Float32Array>> {
  const bar = rank.rank === 0 ? new Progress('reference log-probs', progress) : undefined;
  return referenceLogps(session, sequences, {
    path: join(out, 'reference.safetensors'),
    identity: {
      ...{ model: String(identity.model), tokenizer: String(identity.tokenizer), dtype },
      data: sequencesHash(sequences),
    },
    ...{ microTokens, rank, signal, adapter: existsSync(join(model, 'adapter_config.json')) },
    onProgress: (done, tokens) => bar?.update(done, Math.ceil(sequences.length / rank.world), { tokens }),
  });
}

/** The most rows of a micro-batch of the run. */
function maxRows({ items, batch, seed, microTokens }: TrainOptions, steps: number): number {
  let most = 0;
  for (let step = 0; step < steps; step++) {
    for (const micro of microBatches(batchOfStep(items, batch, seed, step), microTokens)) {
      const rows = sequencesOf(micro).reduce((sum, sequence) => sum + scoredTokens(sequence), 0);
      most = Math.max(most, rows);
    }
  }
  return most;
}

function withStep(error: unknown, step: number): unknown {
  if (!(error instanceof CommandError) || error.code !== 'ERR_NONFINITE') return error;
  return new CommandError(error.code, `Step ${step}: ${error.message}`, { cause: error });
}

function noteOf(row: Metrics, seconds: Record<string, number>): string {
  const total = Object.values(seconds).reduce((sum, each) => sum + each, 0) || 1;
  const shares = Object.entries(seconds).map(([name, each]) => `${name} ${Math.round((100 * each) / total)} %`);
  const shown: [string, string][] = [
    ['loss', 'loss'],
    ['reward', 'reward'],
    ['rewards/margins', 'margin'],
    ['rewards/accuracies', 'accuracy'],
    ['grad_norm', 'gradient'],
    ['learning_rate', 'rate'],
  ];
  const values = shown.flatMap(([key, name]) =>
    key in row ? `${name} ${Number((row[key] as number).toPrecision(3))}` : [],
  );
  return `${values.join(', ')} (${shares.join(', ')})`;
}

function summary(metrics: MetricsFile, steps: number): Record<string, unknown> {
  return { steps, ...metrics.read().at(-1) };
}
