// The loss types of a call, their weights, and the options that some types take: LOSS_TYPES says which.
import { LOSS_TYPES } from '../addon/loss-types.js';
import type * as native from '../addon/operations.js';
import { SCORE_MAP } from '../addon/operations.js';
import { expected, rangeError, typeError } from '../errors.js';
import { isArray } from './arrays.js';
import { boolean, coefficient, number, oneOf, scaleFactor } from './scalars.js';

/** The loss of a pair. */
export type LossType = native.LossType;

/** The types that compare with no reference. */
export type ReferenceFreeType = {
  [T in LossType]: (typeof LOSS_TYPES)[T]['reference'] extends true ? never : T;
}[LossType];

/** The f-divergence between the model and the reference from which scores are derived (f-DPO). */
export type FDivergence = native.ScoreMap;

/** Which losses of a pair are added, and their options. An option that none of the types takes is an error. */
export interface LossTypeOptions {
  /** A name or several, each once; 'sigmoid' by default. */
  lossType?: LossType | readonly LossType[] | undefined;
  /** A weight >= 0 for each type of `lossType`, not all 0; 1 each by default. */
  lossWeights?: readonly number[] | undefined;
  /** The inverse temperature beta of the preference, from 1e-30 to 1e30; 0.1 by default. */
  beta?: number | undefined;
  /** epsilon in [0, 0.5): the share of labels that are wrong; 0 by default, 'exo_pair' needs another. */
  labelSmoothing?: number | undefined;
  /** The target margin >= 0 of 'simpo', in units of reward; 0.5 by default. */
  gamma?: number | undefined;
  /** The temperature tau > 0 of 'discopop'; 0.05 by default. */
  discopopTau?: number | undefined;
  /** 'reverse_kl' by default. */
  fDivergence?: FDivergence | undefined;
  /** alpha of 'alpha_divergence'; 0.5 by default. */
  fAlpha?: number | undefined;
  /** DPO-Positive: the weight >= 0 of the penalty on a chosen score below 0, of 'sigmoid'; 0 by default. */
  dpopLambda?: number | undefined;
  /** LD-DPO: the weight in [0, 1] of tokens beyond the length of the pair's shorter item; 1 by default. */
  ldAlpha?: number | undefined;
  /** WPO: whether pairs are weighted by how likely the trained model is to produce them; false by default. */
  useWeighting?: boolean | undefined;
  /** Whether the reference counts 0, and is not given; false by default. */
  referenceFree?: boolean | undefined;
}

export const LOSS_TYPE_OPTIONS = [
  'lossType',
  'lossWeights',
  'beta',
  'labelSmoothing',
  'gamma',
  'discopopTau',
  'fDivergence',
  'fAlpha',
  'dpopLambda',
  'ldAlpha',
  'useWeighting',
  'referenceFree',
] as const;

const NAMES = Object.keys(LOSS_TYPES) as LossType[];
const F_DIVERGENCES = Object.keys(SCORE_MAP) as FDivergence[];
const SIGMOID: readonly LossType[] = ['sigmoid'];

/** Whether a loss has a reference. */
export interface ReferenceNeed {
  referenceFree: boolean;
  /** Whether some type compares with a reference. */
  needsReference: boolean;
  /** The types as messages name them. */
  names: string;
}

/** The checked types: what the native code needs, and what the caller must give. */
export interface CheckedLossTypes extends ReferenceNeed {
  pairLoss: native.PairLoss;
  ldAlpha: number;
  useWeighting: boolean;
  /** The weight of 'sft', where it is among the types. */
  sftWeight: number | undefined;
}

/** The types as text: lossType 'sigmoid' or lossType ['sigmoid', 'sft']. */
export function lossTypeText(types: readonly string[]): string {
  const names = types.map((type) => `'${type}'`).join(', ');
  return `lossType ${types.length === 1 ? names : `[${names}]`}`;
}

export function unknownWith(option: string, names: string, value: unknown): TypeError {
  return typeError('ERR_UNKNOWN_OPTION', expected(`no value with ${names}`, option, value));
}

/** A copy of the first elements of an Array, one more than there are types: the rest of a long one is not read. */
function listOf(given: unknown): unknown[] | undefined {
  if (!isArray(given)) return undefined;
  const length = Math.min(given.length, NAMES.length + 1);
  return Array.from({ length }, (_, j) => given[j]);
}

function typesOf(given: unknown): readonly LossType[] {
  const names = listOf(given);
  if (names === undefined) {
    return given === undefined ? SIGMOID : [oneOf<LossType>('lossType', given, 'sigmoid', NAMES)];
  }
  if (names.length === 0) throw rangeError('ERR_ARG_VALUE', expected('at least one name', 'lossType', given));
  if (names.length > NAMES.length) {
    throw rangeError('ERR_ARG_VALUE', expected(`at most ${NAMES.length} names`, 'lossType', given));
  }
  const types = names.map((each, j) => oneOf<LossType>(`lossType[${j}]`, each ?? null, 'sigmoid', NAMES));
  const twice = types.findIndex((type, j) => types.indexOf(type) < j);
  if (twice >= 0) {
    throw rangeError('ERR_ARG_VALUE', expected('each name once', `lossType[${twice}]`, types[twice]));
  }
  return types;
}

function weightsOf(given: unknown, count: number): readonly number[] {
  if (given === undefined) return new Array(count).fill(1);
  const list = listOf(given);
  if (list === undefined) throw typeError('ERR_ARG_TYPE', expected('an array of numbers', 'lossWeights', given));
  if (list.length !== count) {
    throw rangeError('ERR_ARG_LENGTH', expected(`${count} weights, one for each lossType`, 'lossWeights', given));
  }
  const weights = list.map((each, j) => coefficient(`lossWeights[${j}]`, each ?? null, 1));
  if (weights.every((weight) => weight === 0)) {
    throw rangeError('ERR_ARG_VALUE', expected('a weight above 0', 'lossWeights', given));
  }
  return weights;
}

const fraction = (argument: string, value: unknown, fallback: number, rule: string, below: (x: number) => boolean) =>
  number(argument, value, fallback, rule, (x) => x >= 0 && below(x));

export function checkLossTypes(options: LossTypeOptions, pairWeights: unknown): CheckedLossTypes {
  const types = typesOf(options.lossType);
  const weights = weightsOf(options.lossWeights, types.length);
  const beta = scaleFactor('beta', options.beta, 0.1);
  const labelSmoothing = fraction('labelSmoothing', options.labelSmoothing, 0, 'a number in [0, 0.5)', (x) => x < 0.5);
  const gamma = coefficient('gamma', options.gamma, 0.5);
  const discopopTau = scaleFactor('discopopTau', options.discopopTau, 0.05);
  const fDivergence = oneOf<FDivergence>('fDivergence', options.fDivergence, 'reverse_kl', F_DIVERGENCES);
  const fAlpha = number('fAlpha', options.fAlpha, 0.5, 'a finite number', Number.isFinite);
  const dpopLambda = coefficient('dpopLambda', options.dpopLambda, 0);
  const ldAlpha = fraction('ldAlpha', options.ldAlpha, 1, 'a number in [0, 1]', (x) => x <= 1);
  const useWeighting = boolean('useWeighting', options.useWeighting, false);
  const referenceFree = boolean('referenceFree', options.referenceFree, false);

  const names = lossTypeText(types);
  const isKind = (kind: string) => (type: LossType) => LOSS_TYPES[type].kind === kind;
  const refuse = (option: string, isGiven: boolean, takes: boolean, value: unknown): void => {
    if (isGiven && !takes) throw unknownWith(option, names, value);
  };
  const takes = (option: string) =>
    types.some((type) => (LOSS_TYPES[type].options as readonly string[]).includes(option));
  // Values that change nothing are accepted everywhere.
  refuse('labelSmoothing', labelSmoothing !== 0, takes('labelSmoothing'), labelSmoothing);
  refuse('gamma', options.gamma !== undefined, takes('gamma'), gamma);
  refuse('discopopTau', options.discopopTau !== undefined, takes('discopopTau'), discopopTau);
  refuse('fDivergence', fDivergence !== 'reverse_kl', takes('fDivergence'), fDivergence);
  refuse('dpopLambda', dpopLambda !== 0, takes('dpopLambda'), dpopLambda);
  const ofPairs = !types.every(isKind('nll'));
  refuse('ldAlpha', ldAlpha !== 1, ofPairs, ldAlpha);
  // A sorted pair has no weight of its own.
  const weighted = ofPairs && !types.some(isKind('batch'));
  refuse('useWeighting', useWeighting, weighted, useWeighting);
  refuse('pairWeights', pairWeights !== undefined, weighted, pairWeights);
  if (options.fAlpha !== undefined && fDivergence !== 'alpha_divergence') {
    throw unknownWith('fAlpha', `fDivergence '${fDivergence}'`, fAlpha);
  }
  if (dpopLambda !== 0 && fDivergence !== 'reverse_kl') {
    throw unknownWith('dpopLambda', `fDivergence '${fDivergence}'`, dpopLambda);
  }
  if (labelSmoothing === 0 && types.includes('exo_pair')) {
    throw rangeError('ERR_ARG_VALUE', expected("a number in (0, 0.5) with lossType 'exo_pair'", 'labelSmoothing', 0));
  }
  const sft = types.findIndex(isKind('nll'));
  return {
    pairLoss: {
      terms: types.map((type, j) => ({ type, weight: weights[j] as number })),
      parameters: { beta, labelSmoothing, gamma, discopopTau, fDivergence, fAlpha, dpopLambda },
    },
    ldAlpha,
    useWeighting,
    sftWeight: sft < 0 ? undefined : weights[sft],
    referenceFree,
    needsReference: !referenceFree && types.some((type) => LOSS_TYPES[type].reference),
    names,
  };
}

/** Of options that are `given` or not: whether there is a reference, where the types allow either. */
export function checkReferenceNeed(types: ReferenceNeed, given: string | undefined, wanted: string): void {
  if (given === undefined && types.needsReference) {
    throw typeError('ERR_ARG_TYPE', `Expected ${wanted}, or referenceFree, with ${types.names} but received none`);
  }
  if (given !== undefined && types.referenceFree) {
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no ${given} with referenceFree but received one`);
  }
}
