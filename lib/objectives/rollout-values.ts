// Values from rollouts: Monte-Carlo estimates, trees of rollouts, debates of several agents.

import { hostView, mask as maskOf } from '../args/arrays.js';
import { checkOptions } from '../args/options.js';
import { number, oneOf } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError } from '../argument-errors.js';
import { groups as rangesOf } from '../data/candidates.js';
import {
  type Float64s,
  finite,
  HostResults,
  type Int32s,
  integers,
  type LayoutOptions,
  type OutOf,
  type Reals,
  reals,
} from './host-call.js';
import { momentsOf } from './moments.js';

/** What `monteCarloValues` takes. */
export interface MonteCarloValuesOptions {
  /** [R], the return of each rollout. */
  returns: ArrayOrTensor<Reals>;
  /** [S + 1], the rollouts from state s are rolloutOffsets[s] ... rolloutOffsets[s + 1] - 1. */
  rolloutOffsets: ArrayOrTensor<Int32Array>;
  /** The value of a state without a rollout; 0 by default. */
  emptyValue?: number | undefined;
  out?: (OutOf<'values' | 'standardErrors'> & { counts?: Int32Array | undefined }) | undefined;
}

/** What `treeValues` takes. */
export interface TreeValuesOptions {
  /** [n], the parent of each node, before it; -1 for a root. */
  parents: ArrayOrTensor<Int32Array>;
  /** [n], read at leaves alone. */
  leafValues: ArrayOrTensor<Reals>;
  /** The mean over the children (default), or over the leaves below. */
  average?: 'children' | 'leaves' | undefined;
  out?: (OutOf<'values' | 'advantages'> & { childCounts?: Int32Array | undefined }) | undefined;
}

/** What `siblingPairs` takes. */
export interface SiblingPairsOptions {
  /** [n], the parent of each node, before it; -1 for a root. */
  parents: ArrayOrTensor<Int32Array>;
  /** [n] */
  values: ArrayOrTensor<Reals>;
  /** [n]: a dropped node (0) is in no pair, and its value is not read. */
  mask?: LayoutOptions['mask'];
  /** A value above it is positive; 0.5 by default. */
  threshold?: number | undefined;
}

const MONTE_CARLO_OPTIONS = new Set(['returns', 'rolloutOffsets', 'emptyValue', 'out']);
const MONTE_CARLO_OUT = new Set(['values', 'standardErrors', 'counts']);
const TREE_OPTIONS = new Set(['parents', 'leafValues', 'average', 'out']);
const TREE_OUT = new Set(['values', 'advantages', 'childCounts']);
const PAIR_OPTIONS = new Set(['parents', 'values', 'mask', 'threshold']);

/**
 * The value of each state as the mean return of the rollouts from it.
 *
 *     V_s = mean of the returns of its rollouts;  standard error s / sqrt(n), s with n - 1
 *
 * @param options.returns [R]; `rolloutOffsets` [S + 1].
 * @param options.emptyValue the value of a state without a rollout, 0 by default.
 * @param options.out buffers for any array of the result, by name.
 * @returns `values` [S], `standardErrors` [S] (NaN for fewer than 2 rollouts), `counts` [S].
 * @throws RangeError ERR_OFFSETS naming an index; TypeError ERR_DEVICE for device buffers: this runs on the host.
 * @see VinePPO, arXiv 2410.01679 (9 rollouts from each step).
 * @example
 * const { values, counts } = monteCarloValues({
 *   returns: Float64Array.of(1, 0, 1, 1),
 *   rolloutOffsets: Int32Array.of(0, 3, 4, 4),
 * });
 * // values = [0.6667, 1, 0], counts = [3, 1, 0]
 */
export function monteCarloValues(options: MonteCarloValuesOptions): {
  values: Float64s;
  standardErrors: Float64s;
  counts: Int32s;
} {
  const given = checkOptions('monteCarloValues', options, MONTE_CARLO_OPTIONS, 'sync', MONTE_CARLO_OUT);
  const returns = reals('returns', given.returns);
  const states = rangesOf('rolloutOffsets', given.rolloutOffsets, returns.length);
  const emptyValue = number('emptyValue', given.emptyValue, 0, 'a number', () => true);
  const results = new HostResults(given);
  const values = results.float64('values', states.length);
  const standardErrors = results.float64('standardErrors', states.length);
  const counts = results.int32('counts', states.length);
  results.open();

  for (const [s, [from, to]] of states.entries()) {
    const { count, mean, std } = momentsOf(returns.subarray(from, to), 1);
    values[s] = count === 0 ? emptyValue : mean;
    standardErrors[s] = count < 2 ? NaN : std / Math.sqrt(count);
    counts[s] = count;
  }
  return results.collect();
}

/** The parents; each must stand before its children. */
function parentsOf(value: unknown): Int32Array {
  const parents = integers('parents', value);
  const at = parents.findIndex((parent, i) => parent < -1 || parent >= i);
  if (at < 0) return parents;
  throw rangeError('ERR_ARG_VALUE', expected(`-1 or a node before node ${at}`, `parents[${at}]`, parents[at]));
}

/** The children of each node, ascending. */
function childrenOf(parents: Int32Array): number[][] {
  const children: number[][] = Array.from(parents, () => []);
  for (const [i, parent] of parents.entries()) if (parent >= 0) children[parent]?.push(i);
  return children;
}

/**
 * Values of the nodes of a tree from those of its leaves, and the advantage of each node over its parent.
 *
 *     V(leaf) = leafValue;  V(node) = mean of V over its children ('children'), or of the leaves below ('leaves')
 *     advantage(i) = V(i) - V(parent of i);  0 at roots and at only children
 *
 * @param options.parents [n], the parent of each node, before it; -1 for a root; several roots are several trees.
 * @param options.leafValues [n], read at leaves alone.
 * @param options.average 'children' by default (MALT, CARL), or 'leaves' (TEMPO).
 * @param options.out buffers for any array of the result, by name.
 * @returns `values` [n], `advantages` [n], `childCounts` [n].
 * @throws RangeError ERR_ARG_VALUE naming a parent that does not stand before its node; TypeError ERR_DEVICE for device buffers.
 * @see MALT arXiv 2412.01928, CARL arXiv 2512.04949.
 * @example
 * const { values, advantages } = treeValues({
 *   parents: Int32Array.of(-1, 0, 0, 1, 1),
 *   leafValues: Float64Array.of(0, 0, 0.5, 1, 0),
 * });
 * // values = [0.5, 0.5, 0.5, 1, 0], advantages = [0, 0, 0, 0.5, -0.5]
 */
export function treeValues(options: TreeValuesOptions): {
  values: Float64s;
  advantages: Float64s;
  childCounts: Int32s;
} {
  const given = checkOptions('treeValues', options, TREE_OPTIONS, 'sync', TREE_OUT);
  const parents = parentsOf(given.parents);
  const n = parents.length;
  const leafValues = reals('leafValues', given.leafValues, n);
  const average = oneOf('average', given.average, 'children', ['children', 'leaves']);
  const results = new HostResults(given);
  const values = results.float64('values', n);
  const advantages = results.float64('advantages', n);
  const childCounts = results.int32('childCounts', n);
  results.open();

  const children = childrenOf(parents);
  const leaves = new Float64Array(n); // how many leaves there are below, 1 at a leaf
  const sums = new Float64Array(n); // of their values
  for (let i = n - 1; i >= 0; i--) {
    const own = children[i] as number[];
    childCounts[i] = own.length;
    if (own.length === 0) {
      [leaves[i], sums[i], values[i]] = [1, leafValues[i] as number, leafValues[i] as number];
      continue;
    }
    let [sum, leafCount, leafSum] = [0, 0, 0];
    for (const child of own) {
      sum += values[child] as number;
      leafCount += leaves[child] as number;
      leafSum += sums[child] as number;
    }
    [leaves[i], sums[i]] = [leafCount, leafSum];
    values[i] = average === 'children' ? sum / own.length : leafSum / leafCount;
  }
  for (const [i, parent] of parents.entries()) {
    if (parent >= 0 && (childCounts[parent] as number) > 1) {
      advantages[i] = (values[i] as number) - (values[parent] as number);
    }
  }
  return results.collect();
}

/** A pair takes 8 bytes; more than these are a mistake, or want a sample. */
const MAX_PAIRS = 2 ** 26;

/**
 * Preference pairs of nodes with the same parent, the one above the threshold and the other not.
 *
 *     (c, r) with parent(c) = parent(r), V(c) > threshold >= V(r): all of them, by parent, chosen, rejected ascending
 *
 * Roots are not siblings. Use `mask` to keep the nodes of one role.
 *
 * @param options.parents [n] as in `treeValues`; `values` [n]; `mask` [n].
 * @param options.threshold 0.5 by default: a tie is negative.
 * @returns `chosen` and `rejected` [P], indices of nodes.
 * @throws RangeError ERR_ARG_VALUE naming a parent that does not stand before its node, or a value that is NaN; TypeError
 *   ERR_DEVICE for device buffers.
 * @see MALT, arXiv 2412.01928.
 * @example
 * const { chosen, rejected } = siblingPairs({
 *   parents: Int32Array.of(-1, 0, 0, 0),
 *   values: Float64Array.of(0.5, 1, 0.5, 0),
 * });
 * // chosen = [1, 1], rejected = [2, 3]
 */
export function siblingPairs(options: SiblingPairsOptions): { chosen: Int32s; rejected: Int32s } {
  const given = checkOptions('siblingPairs', options, PAIR_OPTIONS);
  const parents = parentsOf(given.parents);
  const values = reals('values', given.values, parents.length);
  const mask = hostView('mask', maskOf(given.mask, parents.length));
  const threshold = finite('threshold', given.threshold, 0.5);
  const counts = (i: number) => (parents[i] as number) >= 0 && mask?.[i] !== 0;
  const at = values.findIndex((value, i) => Number.isNaN(value) && counts(i));
  if (at >= 0) throw rangeError('ERR_ARG_VALUE', expected('a number', `values[${at}]`, NaN));

  const families = childrenOf(parents).map((children) => {
    const own = children.filter(counts);
    const isPositive = (i: number) => (values[i] as number) > threshold;
    return { positive: own.filter(isPositive), negative: own.filter((i) => !isPositive(i)) };
  });
  const total = families.reduce((sum, { positive, negative }) => sum + positive.length * negative.length, 0);
  if (total > MAX_PAIRS) {
    throw rangeError(
      'ERR_ARG_VALUE',
      `Expected nodes with at most ${MAX_PAIRS} pairs for values but received ${total}`,
    );
  }
  const [chosen, rejected] = [new Int32Array(total), new Int32Array(total)];
  let p = 0;
  for (const { positive, negative } of families) {
    for (const c of positive) {
      for (const r of negative) {
        chosen[p] = c;
        rejected[p++] = r;
      }
    }
  }
  return { chosen, rejected };
}
