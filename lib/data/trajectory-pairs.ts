import { checkOptions } from '../args/options.js';
import { notNegative, oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { rangeError, typeError } from '../errors.js';
import { comparable, groups } from './candidates.js';

/** What `trajectoryPairs` takes. */
export interface TrajectoryPairsOptions {
  /** The reward of every trajectory of every task. */
  rewards: ArrayOrTensor<Float32Array | Float64Array>;
  /** [tasks + 1], the trajectories of task t are taskOffsets[t] ... taskOffsets[t + 1] - 1. */
  taskOffsets: ArrayOrTensor<Int32Array>;
  /** 'best-vs-worse' by default. */
  rule?: 'best-vs-worse' | 'threshold' | undefined;
  /** The least difference of rewards under rule 'threshold'; 0.1 by default. */
  minDifference?: number | undefined;
}

/** Pairs of trajectories, and the number of tasks without a pair. */
export interface TrajectoryPairs {
  /** Indices into `rewards`. */
  chosen: Int32Array;
  rejected: Int32Array;
  /** The tasks that give no pair, each counted once under the first reason that holds. */
  skipped: {
    /** Fewer than two trajectories. */
    alone: number;
    /** Rule 'best-vs-worse': no reward reaches 1. */
    unsolved: number;
    /** No two rewards differ, or under rule 'threshold' none by `minDifference`. */
    tied: number;
  };
}

const OPTIONS = new Set(['rewards', 'taskOffsets', 'rule', 'minDifference']);

// 0.3 - 0.2 is less than 0.1 in binary, by up to 1e-7 in float32.
const ROUNDING = 1e-6;

/**
 * Pairs trajectories of the same task by their rewards.
 *
 * 'best-vs-worse' (backend programming): where the best reward is at least 1, the first best against each strictly
 * worse. 'threshold' (frontend design): all pairs whose rewards differ by at least `minDifference`, in order of their
 * indices; with `minDifference: 0` every better trajectory against every worse one, as the paper says for both tasks.
 * Tasks without a pair are counted by reason in `skipped`; updates refuse a batch without pairs.
 *
 * @param options.rewards one per trajectory, one task after the other.
 * @param options.taskOffsets [tasks + 1] into `rewards`.
 * @returns chosen and rejected, indices into `rewards`, and skipped, the number of tasks without a pair by reason.
 * @throws RangeError ERR_OFFSETS naming an index; ERR_ARG_VALUE naming a reward that is NaN; TypeError
 *   ERR_UNKNOWN_OPTION for minDifference without rule 'threshold'.
 * @see arXiv 2503.15478, Section 5, and its released code.
 * @example
 * const rewards = new Float32Array([0.5, 1, 0]);
 * trajectoryPairs({ rewards, taskOffsets: new Int32Array([0, 3]) });
 * // { chosen: [1, 1], rejected: [0, 2], skipped: { alone: 0, unsolved: 0, tied: 0 } }
 */
export function trajectoryPairs(options: TrajectoryPairsOptions): TrajectoryPairs {
  const given = checkOptions('trajectoryPairs', options, OPTIONS);
  const rewards = comparable('rewards', given.rewards);
  const tasks = groups('taskOffsets', given.taskOffsets, rewards.length);
  const rule = oneOf('rule', given.rule, 'best-vs-worse', ['best-vs-worse', 'threshold']);
  const minDifference = notNegative('minDifference', given.minDifference, 0.1);
  if (rule === 'best-vs-worse' && given.minDifference !== undefined) {
    throw typeError(
      'ERR_UNKNOWN_OPTION',
      `Expected no minDifference with rule 'best-vs-worse' but received ${minDifference}`,
    );
  }

  const skipped = { alone: 0, unsolved: 0, tied: 0 };
  const most =
    rule === 'threshold' ? tasks.reduce((sum, [from, to]) => sum + ((to - from) * (to - from - 1)) / 2, 0) : 0;
  if (most > MAX_PAIRS) {
    const what = `tasks with at most ${MAX_PAIRS} pairs of trajectories in all`;
    throw rangeError('ERR_ARG_VALUE', `Expected ${what} for taskOffsets with rule 'threshold' but received ${most}`);
  }
  const pairs = tasks.flatMap(([from, to]) => {
    const ofTask = rule === 'threshold' ? differing(rewards, from, to, minDifference) : againstBest(rewards, from, to);
    if (to - from < 2) skipped.alone++;
    else if (rule === 'best-vs-worse' && rewards.subarray(from, to).every((reward) => reward < 1)) skipped.unsolved++;
    else if (ofTask.length === 0) skipped.tied++;
    return ofTask;
  });
  return {
    chosen: Int32Array.from(pairs, ([winner]) => winner),
    rejected: Int32Array.from(pairs, ([, loser]) => loser),
    skipped,
  };
}

/** A pair takes some tens of bytes while it is collected. */
const MAX_PAIRS = 2 ** 22;

type Rewards = Float32Array | Float64Array;
type Pair = readonly [winner: number, loser: number];

function againstBest(rewards: Rewards, from: number, to: number): Pair[] {
  const task = Array.from(rewards.subarray(from, to));
  const best = task.reduce((a, b) => Math.max(a, b), -Infinity);
  if (best < 1) return [];
  const winner = from + task.indexOf(best);
  return task
    .map((reward, i) => [reward, from + i] as const)
    .filter(([reward]) => reward < best)
    .map(([, loser]) => [winner, loser] as const);
}

function differing(rewards: Rewards, from: number, to: number, minDifference: number): Pair[] {
  const pairs: Pair[] = [];
  for (let i = from; i < to; i++) {
    for (let j = i + 1; j < to; j++) {
      const difference = (rewards[i] as number) - (rewards[j] as number);
      if (rewards[i] === rewards[j] || Math.abs(difference) < minDifference - ROUNDING) continue;
      pairs.push(difference > 0 ? [i, j] : [j, i]);
    }
  }
  return pairs;
}
