/** Teaches the test model to ask and to answer: cloning of scripted dialogues until about half of the answers are right. */
import { converse } from '../benchmark/converse.js';
import { LockStep } from '../benchmark/model-chat.js';
import type { Dialogue } from '../benchmark/records.js';
import { CommandError } from '../errors.js';
import type { Sequence } from '../model.js';
import { Progress } from '../progress.js';
import { ChatTokenizer } from '../tokens/chat.js';
import { stopTokens } from '../tokens/folder.js';
import { encodeDialogue } from '../tokens/records.js';
import { batchOfStep } from '../trainer/batches.js';
import { modelOf } from '../trainer/model.js';
import { Session } from '../trainer/session.js';
import { trainingStep } from '../trainer/steps.js';
import { replyOf, scriptedDialogue, splitTasks, type TinyTask, tinyDialogues } from './tasks.js';

/**
 * Seed 1 took 80 steps of 16 dialogues (success 0.6, 48 s of one CPU) and, with a tokenizer of other text, 145 (0.35, 58 s); with steps
 * of 8, success was 0.175 after 205, and 63 s.
 */
const BATCH = 16;
const RATE = 3e-3;
const WARMUP = 10;
const DIALOGUES_A_TASK = 8;
/** Steps between two measurements. */
const INTERVAL = 5;
/**
 * The mean probability of the right program after both answers of the user, above which conversations are sampled: one forward pass
 * instead of conversations, which are long where a model has learned nothing.
 */
const LIKELY = 0.4;
const MOST_STEPS = 600;
/** Not all is learned: between 30 and 70 % leaves something for reinforcement learning. */
const ENOUGH = 0.3;
const MAX_TOKENS = 128;
const MICRO_TOKENS = 4096;

export interface TrainTinyOptions {
  seed: number;
  threads?: number | undefined;
  python?: string | undefined;
  progress: NodeJS.WriteStream;
  signal: AbortSignal;
}

/**
 * Trains the model of a folder in place. A quarter of the tasks is held out: each of their details occurs in others.
 *
 * @returns the steps and the success on the held-out tasks at temperature 1
 */
export async function trainTinyModel(
  folder: string,
  { seed, threads, python, progress, signal }: TrainTinyOptions,
): Promise<{ steps: number; success: number }> {
  const tokenizer = ChatTokenizer.load(folder);
  const { seen, heldOut } = splitTasks();
  const encode = ({ task, dialogue_history }: Dialogue, k: number) =>
    encodeDialogue(tokenizer, `dialogue ${k}`, task, dialogue_history, { maxLength: 4096 }).sequences[0] as Sequence;
  const items = tinyDialogues(DIALOGUES_A_TASK, seed, seen).map((dialogue, k) => ({ chosen: encode(dialogue, k) }));
  const careful = heldOut.map((tiny, k) => encode(scriptedDialogue(tiny, 'careful'), k));
  const session = await Session.open({
    ...{ model: folder, device: 'cpu', dtype: 'float32', seed, checkpointing: false },
    ...{ threads, python, progress },
  });
  try {
    await session.reserve(MICRO_TOKENS);
    const bar = new Progress('tiny --train', progress);
    const loss = { method: 'sft', beta: 1, nllCoef: 0, normalization: 'sum' } as const;
    for (let step = 0; step < MOST_STEPS; step++) {
      signal.throwIfAborted();
      const result = await trainingStep(session, batchOfStep(items, BATCH, seed, step), undefined, {
        ...{ loss, microTokens: MICRO_TOKENS, clip: 1, rank: { rank: 0, world: 1 } },
        learningRate: RATE * Math.min(1, (step + 1) / WARMUP),
      });
      bar.update(step, MOST_STEPS, { note: `loss ${result.sums.loss.toFixed(3)}` });
      if ((step + 1) % INTERVAL !== 0 || (await answerProbability(session, careful)) < LIKELY) continue;
      const success = await successOf(session, folder, tokenizer, heldOut, { seed, signal });
      bar.update(step, MOST_STEPS, { note: `success ${success}` });
      if (success < ENOUGH) continue;
      await session.trainer.request('save', { folder, what: 'weights' });
      bar.finish(`${step + 1} steps, loss ${result.sums.loss.toFixed(3)}, success ${success}`);
      return { steps: step + 1, success };
    }
    throw new CommandError('ERR_TRAINING', `The test model has not learned its tasks in ${MOST_STEPS} steps`);
  } finally {
    await session.close();
  }
}

/** The mean probability of the last turn of dialogues. */
async function answerProbability(session: Session, dialogues: readonly Sequence[]): Promise<number> {
  let [sum, k] = [0, 0];
  for await (const logps of session.logps(dialogues, { microTokens: MICRO_TOKENS })) {
    const [turn] = (dialogues[k++] as Sequence).turns.slice(-1) as [Sequence['turns'][number]];
    sum += Math.exp(logps.subarray(turn.start - turn.end).reduce((total, logp) => total + logp, 0));
  }
  return sum / dialogues.length;
}

/** The share of conversations, two a task, whose answer is the hidden program. */
async function successOf(
  session: Session,
  folder: string,
  tokenizer: ChatTokenizer,
  tasks: readonly TinyTask[],
  { seed, signal }: { seed: number; signal: AbortSignal },
): Promise<number> {
  const conversations = [...tasks, ...tasks];
  const chat = new LockStep(modelOf(session, 10 ** 6), tokenizer, conversations.length, {
    ...{ temperature: 1, maxTokens: MAX_TOKENS, stop: stopTokens(folder, tokenizer), seed, signal },
  });
  const right = await Promise.all(
    conversations.map(async (tiny, k) => {
      try {
        const { answer } = await converse(tiny.task, {
          agent: (messages) => chat.reply(`conversation ${k}`, messages),
          human: (_, dialogue) => replyOf(tiny, dialogue.at(-1)?.content ?? ''),
          signal,
        });
        return answer === tiny.task.ground_truth.trim();
      } finally {
        chat.end();
      }
    }),
  );
  return right.filter(Boolean).length / right.length;
}
