// A second head over the rows and the vocabulary of a first one: the reference of an update, the teacher of a divergence. Its
// options have a prefix, refLogits or teacherLogits; those that are absent are the first head's.
import type * as native from '../addon/operations.js';
import { expected, rangeError } from '../errors.js';
import { inheritedDtype } from './dtypes.js';
import {
  type CheckedLinear,
  type CheckedLogits,
  checkLinear,
  checkSecondLogits,
  checkSecondScale,
  HEAD_NAMES,
  type HeadNames,
  type LinearHead,
  MAX_VOCAB_SIZE,
} from './head.js';
import { integer } from './scalars.js';

export type Side = 'ref' | 'teacher';

const named = (side: Side, name: string): string => `${side}${name.charAt(0).toUpperCase()}${name.slice(1)}`;

const namesOf = (side: Side): HeadNames =>
  Object.fromEntries(Object.entries(HEAD_NAMES).map(([key, name]) => [key, named(side, name)])) as HeadNames;

/** The names of a second head's arguments. */
export const SECOND_NAMES: Readonly<Record<Side, HeadNames>> = { ref: namesOf('ref'), teacher: namesOf('teacher') };

const OF_BOTH: (keyof HeadNames)[] = ['dtype', 'temperature', 'softcap', 'vocabSize'];
const OF_LOGITS: (keyof HeadNames)[] = ['logits', 'rowStride', ...OF_BOTH];
const OF_LINEAR: (keyof HeadNames)[] = [
  ...(['hidden', 'hiddenSize', 'hiddenStride', 'weight', 'weightDtype', 'weightLayout', 'bias'] as const),
  ...OF_BOTH,
];

/** The options of a second head, by its kind; the first of each names the kind. */
export const secondLogits = (side: Side): string[] => OF_LOGITS.map((key) => SECOND_NAMES[side][key]);
export const secondLinear = (side: Side): string[] => OF_LINEAR.map((key) => SECOND_NAMES[side][key]);

/** The option, or what it is if absent. */
const given = (option: unknown, absent: unknown): unknown => (option === undefined ? absent : option);

/** The second head of a kind; `first` as it was checked from the same options. */
export function checkSecondHead(
  options: Readonly<Record<string, unknown>>,
  first: native.Head,
  side: Side,
  kind: 'logits' | 'linear',
): CheckedLogits | CheckedLinear {
  const names = SECOND_NAMES[side];
  const { rows, vocabSize } = first;
  const option = (key: keyof HeadNames): unknown => options[names[key]];
  const scale = checkSecondScale(options, names, first);
  const ownVocab = integer(names.vocabSize, option('vocabSize'), vocabSize, 1, MAX_VOCAB_SIZE);
  const firstHead = side === 'ref' ? 'the trained head' : "the student's head";
  if (ownVocab !== vocabSize) {
    throw rangeError('ERR_ARG_LENGTH', expected(`V = ${vocabSize}, that of ${firstHead},`, names.vocabSize, ownVocab));
  }
  const { dtype, weightDtype, weightLayout } = options;
  const ownDtype = given(option('dtype'), inheritedDtype(option(kind === 'logits' ? 'logits' : 'hidden'), dtype));
  if (kind === 'logits') {
    const rowStride = first.kind === 'logits' ? first.rowStride : vocabSize;
    const own = { logits: option('logits'), dtype: ownDtype, rowStride: option('rowStride') };
    return checkSecondLogits(options, own, { rows, vocabSize, rowStride, ...scale }, names);
  }
  const ofWeight = inheritedDtype(option('weight'), weightDtype, option('dtype'), dtype);
  const linear = {
    ...options,
    hidden: option('hidden'),
    hiddenStride: option('hiddenStride'),
    weight: option('weight'),
    weightDtype: given(option('weightDtype'), ofWeight),
    weightLayout: given(option('weightLayout'), weightLayout),
    bias: option('bias'),
    dtype: ownDtype,
    hiddenSize: option('hiddenSize'),
    vocabSize,
  } as LinearHead;
  const source = options.vocabSize !== undefined ? 'vocabSize' : first.kind === 'linear' ? 'weight' : 'logits';
  const sources = {
    rows: side === 'ref' ? 'labels.length' : "the student's",
    vocab: `V of ${firstHead}, from ${source}`,
  };
  return checkLinear(linear, rows, scale, names, sources);
}
