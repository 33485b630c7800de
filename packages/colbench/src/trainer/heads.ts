/** The losses of a micro-batch at the head, and their gradients, by sweet-rl. */
import { criticUpdateAsync, linearLogpsAsync, linearLogpsBackwardAsync, policyUpdateAsync } from 'sweet-rl';
import { type PackedRows, packSequences, sequencesOf, type TrainingItem } from './batches.js';
import type { Session } from './session.js';
import { scoredTokens } from './session.js';

/** What is trained: the critic on trajectories, the policy on turns, or a baseline of the paper. */
export type Method = 'critic' | 'policy' | 'sft' | 'dpo';

export interface LossOptions {
  method: Method;
  /** Of the pair loss. */
  beta: number;
  /** The weight of the chosen sequences' NLL beside the pair loss. */
  nllCoef: number;
  /** Of the critic's trajectory scores. */
  normalization: 'turn-mean' | 'token-mean' | 'sum';
}

/** Sums over the pairs of a batch; ranks add theirs. */
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
  /** [rows] under the frozen reference; absent for fine-tuning. */
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
 *
 * @param first whether gradWeight is written, not added to
 * @returns the sums of this micro-batch
 */
export async function headUpdate(
  session: Session,
  { items, packed, chosen, rejected, refLogps }: MicroBatch,
  { method, beta, nllCoef, normalization }: LossOptions,
  whole: Denominators,
  first: boolean,
): Promise<Sums> {
  const { labels, turnOffsets, trajectoryOffsets } = packed;
  const { gradHidden, gradWeight } = session.buffers;
  const rows = labels.length;
  const gradRows = gradHidden?.subarray(0, rows * session.model.H) as Float32Array;
  const accumulate = gradWeight !== undefined && !first;
  if (accumulate) gradRows.fill(0);
  const gradients = {
    accumulate,
    frozenWeight: gradWeight === undefined,
    out: gradWeight ? { gradHidden: gradRows, gradWeight } : { gradHidden: gradRows },
  };
  const head = { ...session.head(rows), labels };
  const sequenceLogps = (logps: Float32Array, k: number) => {
    const [begin, end] = [trajectoryOffsets[k], trajectoryOffsets[k + 1]] as [number, number];
    return sum(logps.subarray(turnOffsets[begin], turnOffsets[end]));
  };
  if (method === 'sft') {
    const { logps, lse } = await linearLogpsAsync(head);
    // A sequence that is in the batch twice counts twice.
    const gradLogps = new Float32Array(rows);
    let loss = 0;
    for (const k of chosen) {
      const [begin, end] = [
        turnOffsets[trajectoryOffsets[k] as number],
        turnOffsets[trajectoryOffsets[k + 1] as number],
      ];
      for (let i = begin as number; i < (end as number); i++) (gradLogps[i] as number) -= 1 / whole.nll;
      loss -= sequenceLogps(logps, k) / whole.nll;
    }
    await linearLogpsBackwardAsync({ ...head, lse, gradLogps, ...gradients } as never);
    const chosenLogps = [...chosen].reduce((total, k) => total + sequenceLogps(logps, k), 0);
    return { ...noSums(), loss, pairs: items.length, chosenLogps, tokens: packed.ids.length };
  }
  const common = {
    ...{ ...head, refLogps: refLogps as Float32Array, turnOffsets, chosen, rejected, beta, nllCoef },
    ...{ pairDenominator: whole.pairs, nllDenominator: whole.nll, ...gradients },
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
    ...{ loss, pairs: items.length, chosenRewards: sum(chosenRewards), rejectedRewards: sum(rejectedRewards) },
    ...{ margins: sum(margins), accuracies: accuracy * items.length, tokens: packed.ids.length },
    chosenLogps: [...chosen].reduce((total, k) => total + sequenceLogps(logps, k), 0),
    rejectedLogps: [...rejected].reduce((total, k) => total + sequenceLogps(logps, k), 0),
  };
}

const sum = (array: Float32Array) => array.reduce((total, x) => total + x, 0);
