// The single items, turns or trajectories, of an unpaired loss, and the options of the loss.
import type * as native from '../addon/operations.js';
import { UNPAIRED_TYPE } from '../addon/operations.js';
import { expected, rangeError, typeError } from '../errors.js';
import { float32, lengthOf, type NamedArray, optionalArray, typedArray } from './arrays.js';
import type { CheckedTokens } from './labels.js';
import { lossTypeText, type ReferenceNeed, unknownWith } from './loss-types.js';
import { checkOptions } from './options.js';
import {
  type CheckedItems,
  checkItems,
  checkNormalization,
  checkTurnReduction,
  itemInputs,
  type Normalization,
} from './preference.js';
import { boolean, coefficient, divisor, notNegative, number, oneOf, scaleFactor } from './scalars.js';
import type { ArrayOrTensor } from './tensors.js';

/** The loss of an item. */
export type UnpairedLossType = native.UnpairedType;

/** The mean of the scores of `count` items, over the calls so far. */
export interface RunningMean {
  mean: number;
  count: number;
}

/** Which items are trajectories, where `trajectoryOffsets` is given; else they are turns. */
export type ItemOptions =
  | {
      /** [K + 1], the turns of trajectory k are trajectoryOffsets[k] ... trajectoryOffsets[k + 1] - 1. */
      trajectoryOffsets: ArrayOrTensor<Int32Array>;
      /** How token ratios become a trajectory's score; 'turn-mean' by default. */
      normalization?: Normalization | undefined;
      reduction?: undefined;
    }
  | {
      trajectoryOffsets?: undefined;
      normalization?: undefined;
      /** How token ratios become a turn's score; 'sum' by default. */
      reduction?: 'mean' | 'sum' | undefined;
    };

/** Options of the losses of single items; the class of items is in `ItemOptions`. */
export interface UnpairedOptions {
  /** [T + 1], the tokens of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1. */
  turnOffsets: ArrayOrTensor<Int32Array>;
  /** [K], 0: the item is undesirable. */
  desirable: ArrayOrTensor<Uint8Array>;
  /** 'kto' by default. */
  lossType?: UnpairedLossType | undefined;
  /** The inverse temperature beta > 0; 0.1 by default. */
  beta?: number | undefined;
  /** The weight >= 0 of desirable items; 1 by default. */
  desirableWeight?: number | undefined;
  /** The weight >= 0 of undesirable items; 1 by default. */
  undesirableWeight?: number | undefined;
  /** [K], >= 0; 1 each by default. */
  unitWeights?: ArrayOrTensor<Float32Array> | undefined;
  /** D; the number of items of this call by default. Micro-batches give that of the whole batch. */
  unitDenominator?: number | undefined;
  /** [M], of mismatched sequences, in the units of the scores: the reference point of 'kto' is max(0, mean(klLogps - klRefLogps)). */
  klLogps?: ArrayOrTensor<Float32Array> | undefined;
  /** [M], likewise under the frozen reference; none with `referenceFree`. */
  klRefLogps?: ArrayOrTensor<Float32Array> | undefined;
  /** z of 'kto' and 'bco', in the units of the scores, in place of klLogps or a running mean. */
  referencePoint?: number | undefined;
  /** Of 'bco': `result.running` of the call before; by default there was none. */
  running?: Readonly<RunningMean> | undefined;
  /** Whether the reference counts 0, and is not given; false by default. */
  referenceFree?: boolean | undefined;
  /** A turn without a token that counts is 0 instead of being an error; false by default. */
  allowEmptyTurns?: boolean | undefined;
}

export const UNPAIRED_OPTIONS = [
  ...(['turnOffsets', 'trajectoryOffsets', 'normalization', 'reduction', 'desirable', 'lossType', 'beta'] as const),
  ...(['desirableWeight', 'undesirableWeight', 'unitWeights', 'unitDenominator', 'klLogps', 'klRefLogps'] as const),
  ...(['referencePoint', 'running', 'referenceFree', 'allowEmptyTurns'] as const),
] as const;

const NAMES = Object.keys(UNPAIRED_TYPE) as UnpairedLossType[];
const RUNNING = new Set(['mean', 'count']);

/** The options that only some types take. */
const TAKEN: Readonly<Record<UnpairedLossType, readonly string[]>> = {
  kto: ['referencePoint', 'klLogps', 'klRefLogps'],
  apo_zero_unpaired: [],
  bco: ['referencePoint', 'running'],
};

/** After `checkOptions`: arrays, and no tensors. */
type Given = { readonly [K in keyof UnpairedOptions | 'trajectoryOffsets' | 'normalization' | 'reduction']?: unknown };

export interface CheckedUnpairedOptions {
  options: native.UnpairedOptions;
  level: native.PreferenceLevel;
  need: ReferenceNeed;
}

function finite(argument: string, value: unknown): number {
  if (value === undefined) throw typeError('ERR_ARG_TYPE', expected('a finite number', argument, value));
  return number(argument, value, 0, 'a finite number', Number.isFinite);
}

function countOf(value: unknown): number {
  if (value === undefined) throw typeError('ERR_ARG_TYPE', expected('a finite number >= 0', 'running.count', value));
  return notNegative('running.count', value, 0);
}

/** The sequences of 'kto'. Both arrays, but that of the reference is absent where the reference counts 0. */
function checkSequences({ klLogps, klRefLogps }: Given, referenceFree: boolean, names: string) {
  if (referenceFree && klRefLogps !== undefined) {
    throw typeError('ERR_UNKNOWN_OPTION', 'Expected no klRefLogps with referenceFree but received one');
  }
  const missing = klLogps === undefined ? 'klLogps' : 'klRefLogps';
  if (klLogps === undefined || (klRefLogps === undefined && !referenceFree)) {
    throw typeError('ERR_ARG_TYPE', `Expected ${missing}, or referencePoint, with ${names} but received none`);
  }
  const logps = float32('klLogps', klLogps);
  const sequences = lengthOf(logps);
  if (sequences === 0) throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', 'klLogps', logps));
  return {
    sequences,
    klLogps: logps,
    klRefLogps: optionalArray('klRefLogps', klRefLogps, ['Float32Array'], sequences),
  };
}

function checkReferencePoint(given: Given, type: UnpairedLossType, referenceFree: boolean): native.ReferencePoint {
  const names = lossTypeText([type]);
  const point = { value: 0, isRunning: false, count: 0, sequences: 0, klLogps: undefined, klRefLogps: undefined };
  for (const option of ['referencePoint', 'klLogps', 'klRefLogps', 'running'] as const) {
    if (given[option] === undefined) continue;
    if (!TAKEN[type].includes(option)) throw unknownWith(option, names, given[option]);
    if (option !== 'referencePoint' && given.referencePoint !== undefined) {
      throw unknownWith('referencePoint', option, given.referencePoint);
    }
  }
  if (given.referencePoint !== undefined) return { ...point, value: finite('referencePoint', given.referencePoint) };
  if (type === 'kto') return { ...point, ...checkSequences(given, referenceFree, names) };
  if (type === 'apo_zero_unpaired') return point;
  if (given.running === undefined) return { ...point, isRunning: true };
  const { mean, count } = checkOptions('running', given.running as Partial<RunningMean>, RUNNING);
  return { ...point, isRunning: true, value: finite('running.mean', mean), count: countOf(count) };
}

function checkScore({ trajectoryOffsets, normalization, reduction }: Given): Normalization {
  if (trajectoryOffsets !== undefined) {
    if (reduction !== undefined) throw unknownWith('reduction', 'trajectoryOffsets', reduction);
    return checkNormalization(normalization);
  }
  if (normalization === undefined) return checkTurnReduction(reduction);
  throw typeError('ERR_UNKNOWN_OPTION', expected('no value without trajectoryOffsets', 'normalization', normalization));
}

export function checkUnpairedOptions(given: Given): CheckedUnpairedOptions {
  const type = oneOf<UnpairedLossType>('lossType', given.lossType, 'kto', NAMES);
  const referenceFree = boolean('referenceFree', given.referenceFree, false);
  return {
    options: {
      normalization: checkScore(given),
      allowEmptyTurns: boolean('allowEmptyTurns', given.allowEmptyTurns, false),
      type,
      beta: scaleFactor('beta', given.beta, 0.1),
      desirableWeight: coefficient('desirableWeight', given.desirableWeight, 1),
      undesirableWeight: coefficient('undesirableWeight', given.undesirableWeight, 1),
      unitDenominator: divisor('unitDenominator', given.unitDenominator, 0),
      referencePoint: checkReferencePoint(given, type, referenceFree),
    },
    level: given.trajectoryOffsets === undefined ? 'turn' : 'trajectory',
    need: { referenceFree, needsReference: !referenceFree, names: lossTypeText([type]) },
  };
}

export interface CheckedUnpairedBatch extends CheckedItems, native.UnpairedBatch {
  labels: CheckedTokens;
}

export function checkUnpairedBatch(
  given: Given & { turnOffsets: unknown },
  labels: CheckedTokens,
  level: native.PreferenceLevel,
): CheckedUnpairedBatch {
  const batch = checkItems(given, labels, level);
  const items = level === 'turn' ? batch.turns : batch.trajectories;
  const desirable = typedArray('desirable', given.desirable, ['Uint8Array'], items);
  if (items === 0) throw rangeError('ERR_ARG_LENGTH', expected('at least 1 element', 'desirable', desirable));
  return { ...batch, desirable, unitWeights: optionalArray('unitWeights', given.unitWeights, ['Float32Array'], items) };
}

export function unpairedInputs(
  { desirable, unitWeights, ...items }: CheckedUnpairedBatch,
  { referencePoint: { klLogps, klRefLogps } }: native.UnpairedOptions,
): NamedArray[] {
  return [
    ...itemInputs(items),
    ['desirable', desirable],
    ['unitWeights', unitWeights],
    ['klLogps', klLogps],
    ['klRefLogps', klRefLogps],
  ];
}
