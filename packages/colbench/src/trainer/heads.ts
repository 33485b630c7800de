/** The losses of a micro-batch at the head, and their gradients, by sweet-rl. */
import {
  criticUpdateAsync,
  linearLogpsAsync,
  linearLogpsBackwardAsync,
  policyGradientUpdateAsync,
  policyUpdateAsync,
} from 'sweet-rl';
import { broadcastTurns } from 'sweet-rl/objectives';
import { type PackedRows, packSequences, sequencesOf, type TrainingItem } from './batches.js';
import { type HeadInputs, type Session, scoredTokens } from './session.js';

/** A preference loss: the critic on trajectories, the policy on turns, multi-turn DPO. Fine-tuning uses none of the settings. */
export interface PairLoss {
  method: 'critic' | 'policy' | 'dpo' | 'sft';
  /** Of the pair loss. */
  beta: number;
  /** The weight of the chosen sequences' NLL beside the pair loss. */
  nllCoef: number;
  /** Of the critic's trajectory scores. */
  normalization: 'turn-mean' | 'token-mean' | 'sum';
}

/** A policy-gradient loss whose advantages compare the dialogues of a task. */
export interface GroupLoss {
  method: 'grpo' | 'gigpo';
  /** Whether a difference from the group's mean is divided by the group's deviation. */
  scale: 'group' | 'none';
  /** Discount of the outcome at earlier turns, and the weight of the advantage among turns of one state: null for 'grpo'. */
  gamma: number | null;
  stepCoef: number | null;
  /** The ratio to the policy before the training is clipped to [1 - clipLow, 1 + clipHigh]. */
  clipLow: number;
  clipHigh: number;
  reduction: 'sequence-mean-token-mean' | 'sequence-mean-token-sum' | 'token-mean';
  /** The weight of the divergence from the policy before the training. */
  klCoef: number;
}

export type LossOptions = PairLoss | GroupLoss;
export type Method = LossOptions['method'];

export const isGroupLoss = (loss: LossOptions): loss is GroupLoss => loss.method === 'grpo' || loss.method === 'gigpo';

/** Sums over the items of a batch, and over its scored tokens (rows, clipped, kl); ranks add theirs. */
export const SUMS = [
  'loss',
  'pairs',
  'chosenRewards',
  'rejectedRewards',
  'margins',
  'accuracies',
  'chosenLogps',
  'rejectedLogps',
  'tokens',
  'rewards',
  'rows',
  'clipped',
  'kl',
] as const;
export type Sums = Record<(typeof SUMS)[number], number>;
export const noSums = () => Object.fromEntries(SUMS.map((name) => [name, 0])) as Sums;

/** What micro-batches must divide by, so that their losses and gradients add up to those of the whole batch. */
export interface Denominators {
  pairs: number;
  /** Scored tokens of the chosen sequences, each counted as often as it is chosen. */
  nll: number;
}

export function denominators(batch: readonly TrainingItem[]): Denominators {
  return { pairs: batch.length, nll: batch.reduce((sum, { chosen }) => sum + scoredTokens(chosen), 0) };
}

/** A micro-batch as the trainer and the head read it. */
export interface MicroBatch {
  items: readonly TrainingItem[];
  packed: PackedRows;
  /** Indices of sequences. */
  chosen: Int32Array;
  rejected: Int32Array;
  /** [rows] under the frozen reference, the model before the training; absent for fine-tuning. */
  refLogps: Float32Array | undefined;
}

/** @param references the reference's log-probs by the id of a sequence */
export function packMicroBatch(
  items: readonly TrainingItem[],
  references: ReadonlyMap<string, Float32Array> | undefined,
): MicroBatch {
  const sequences = sequencesOf(items);
  const index = new Map(sequences.map(({ id }, k) => [id, k]));
  const of = (id: string | undefined) => index.get(id as string) as number;
  return {
    items,
    packed: packSequences(sequences),
    chosen: Int32Array.from(items, ({ chosen }) => of(chosen.id)),
    rejected: Int32Array.from(items[0]?.rejected ? items : [], ({ rejected }) => of(rejected?.id)),
    refLogps: references && concatenated(sequences.map(({ id }) => references.get(id) as Float32Array)),
  };
}

function concatenated(arrays: readonly Float32Array[]): Float32Array {
  const all = new Float32Array(arrays.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const array of arrays) {
    all.set(array, at);
    at += array.length;
  }
  return all;
}

/**
 * The loss of a micro-batch from the session's hidden states; its gradients go to the session's buffers.
 *
 *     critic: criticUpdate, dpo: criticUpdate with normalization 'sum', policy: policyUpdate with reduction 'sum'
 *     sft: -sum_i logp_i / (scored tokens of the batch)
 *     grpo, gigpo: policyGradientUpdate with objective 'clip' and a ratio per token
 *
 * @param first whether gradWeight is written, not added to
 * @returns the sums of this micro-batch
 */
export async function headUpdate(
  session: Session,
  micro: MicroBatch,
  loss: LossOptions,
  whole: Denominators,
  first: boolean,
): Promise<Sums> {
  const { labels } = micro.packed;
  const { gradHidden, gradWeight } = session.buffers;
  const rows = labels.length;
  const gradRows = gradHidden?.subarray(0, rows * session.model.H) as Float32Array;
  const accumulate = gradWeight !== undefined && !first;
  if (accumulate) gradRows.fill(0);
  const head: Head = {
    ...{ ...session.head(rows), labels, accumulate },
    frozenWeight: gradWeight === undefined,
    out: gradWeight ? { gradHidden: gradRows, gradWeight } : { gradHidden: gradRows },
  };
  const sums = await (isGroupLoss(loss)
    ? policyGradient(head, micro, loss, whole)
    : loss.method === 'sft'
      ? fineTuning(head, micro, whole)
      : preference(head, micro, loss, whole));
  return { ...noSums(), ...sums, pairs: micro.items.length, tokens: micro.packed.ids.length };
}

/** Inputs and outputs at the head that all losses have. */
interface Head extends HeadInputs {
  labels: Int32Array;
  accumulate: boolean;
  frozenWeight: boolean;
  out: { gradHidden: Float32Array; gradWeight?: Float32Array };
}

async function fineTuning(head: Head, { packed, chosen }: MicroBatch, whole: Denominators): Promise<Partial<Sums>> {
  const { logps, lse } = await linearLogpsAsync(headInputs(head));
  // A sequence that is in the batch twice counts twice.
  const gradLogps = new Float32Array(logps.length);
  for (const k of chosen) {
    const [begin, end] = rowsOf(packed, k);
    for (let i = begin; i < end; i++) (gradLogps[i] as number) -= 1 / whole.nll;
  }
  await linearLogpsBackwardAsync({ ...head, lse, gradLogps } as never);
  const chosenLogps = logpsOf(packed, logps, chosen);
  return { loss: -chosenLogps / whole.nll, chosenLogps };
}

async function preference(
  head: Head,
  { items, packed, chosen, rejected, refLogps }: MicroBatch,
  { method, beta, nllCoef, normalization }: PairLoss,
  whole: Denominators,
): Promise<Partial<Sums>> {
  const { turnOffsets, trajectoryOffsets } = packed;
  const common = {
    ...{ ...head, refLogps, turnOffsets, chosen, rejected, beta, nllCoef },
    ...{ pairDenominator: whole.pairs, nllDenominator: whole.nll },
  };
  const result = await (method === 'policy'
    ? policyUpdateAsync({ ...common, reduction: 'sum' } as never)
    : criticUpdateAsync({
        ...{ ...common, trajectoryOffsets },
        normalization: method === 'dpo' ? 'sum' : normalization,
      } as never));
  const { loss, chosenRewards, rejectedRewards, margins, accuracy, logps } = result as Awaited<
    ReturnType<typeof criticUpdateAsync>
  >;
  return {
    ...{ loss, chosenRewards: sum(chosenRewards), rejectedRewards: sum(rejectedRewards) },
    ...{ margins: sum(margins), accuracies: accuracy * items.length },
    chosenLogps: logpsOf(packed, logps, chosen),
    rejectedLogps: logpsOf(packed, logps, rejected),
  };
}

async function policyGradient(
  head: Head,
  { items, packed, chosen, refLogps }: MicroBatch,
  { clipLow, clipHigh, reduction, klCoef }: GroupLoss,
  whole: Denominators,
): Promise<Partial<Sums>> {
  const { turnOffsets, trajectoryOffsets } = packed;
  const ofTurns = Float64Array.from(items.flatMap(({ advantages }) => [...(advantages as Float64Array)]));
  const { loss, logps, clipFraction, approxKl } = await policyGradientUpdateAsync({
    ...{ ...head, turnOffsets, trajectoryOffsets, clipLow, clipHigh, reduction, klCoef },
    ...{ advantages: broadcastTurns({ advantages: ofTurns, turnOffsets }), oldLogps: refLogps },
    ...(klCoef !== 0 && { refLogps }),
    denominator: reduction === 'token-mean' ? whole.nll : whole.pairs,
  } as never);
  const rows = logps.length;
  return {
    ...{ loss, rows, clipped: clipFraction * rows, kl: approxKl * rows },
    rewards: items.reduce((total, { reward }) => total + (reward as number), 0),
    chosenLogps: logpsOf(packed, logps, chosen),
  };
}

/** What a head takes without gradients. */
function headInputs({ accumulate: _, frozenWeight: __, out: ___, ...inputs }: Head) {
  return inputs;
}

/** The first row of a sequence, and the one after its last. */
function rowsOf({ turnOffsets, trajectoryOffsets }: PackedRows, k: number): [number, number] {
  const [begin, end] = [trajectoryOffsets[k], trajectoryOffsets[k + 1]] as [number, number];
  return [turnOffsets[begin] as number, turnOffsets[end] as number];
}

/** The sum of the log-probs of sequences, each as often as it is listed. */
function logpsOf(packed: PackedRows, logps: Float32Array, sequences: Int32Array): number {
  return [...sequences].reduce((total, k) => total + sum(logps.subarray(...rowsOf(packed, k))), 0);
}

const sum = (array: Float32Array) => array.reduce((total, x) => total + x, 0);
