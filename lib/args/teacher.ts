// The teacher of a divergence: a head of the student's kind, or the K largest log-probs of each row.
import type * as native from '../addon/operations.js';
import { expected, rangeError, typeError } from '../errors.js';
import { classOf, float32, int32, isOnDevice, lengthOf, type NamedArray } from './arrays.js';
import { type DType, type FloatArray, floatArray } from './dtypes.js';
import { exclusiveGroups, selectGroup } from './exclusive.js';
import {
  type CheckedLinear,
  type CheckedLogits,
  checkLinear,
  checkTemperature,
  type HeadNames,
  headInputs,
  type LinearHead,
} from './head.js';
import { integer, oneOf } from './scalars.js';
import { lastDimension, type Tensor } from './tensors.js';

type Floats = FloatArray | Tensor<FloatArray>;

interface TeacherOptions {
  /** Of a Uint16Array; `dtype` by default. */
  teacherDtype?: DType | undefined;
  /** Divides the teacher's logits; `temperature` by default. */
  teacherTemperature?: number | undefined;
}

/** A teacher whose logits are known. */
export interface TeacherLogits extends TeacherOptions {
  /** [N, V], of any type. */
  teacherLogits: Floats;
  /** Elements from one row to the next. By default V, or the student's rowStride where the length asks for it. */
  teacherRowStride?: number | undefined;
}

/** A teacher whose logits are hidden_i * weight^T + bias; its hidden size may be another than the student's. */
export interface TeacherLinear extends TeacherOptions {
  /** [N, H'] */
  teacherHidden: Floats;
  /** Elements from one hidden state to the next; H' by default. */
  teacherHiddenStride?: number | undefined;
  /** [V, H'], of the class of teacherHidden. */
  teacherWeight: Floats;
  /** [V], of the class of teacherHidden. */
  teacherBias?: Floats | undefined;
}

/** The K most probable tokens of each row, as inference servers return them. */
export interface TopKTeacher {
  /** [N, K] token ids, those of a row distinct, in any order. */
  teacherIndices: Int32Array | Tensor<Int32Array>;
  /** [N, K] their log-probs at the temperature of the call, which are taken as they are. */
  teacherLogps: Float32Array | Tensor<Float32Array>;
  /**
   * 'bucket' (default): all other entries are one, with the probability that is left, at least 1e-7. 'renormalize': both
   * distributions are renormalised over the K entries.
   */
  topKTail?: native.TopKTail | undefined;
}

const TOP_K = ['teacherIndices', 'teacherLogps', 'topKTail'] as const;
const LOGITS = ['teacherLogits', 'teacherDtype', 'teacherRowStride', 'teacherTemperature'] as const;
const LINEAR = [
  'teacherHidden',
  'teacherHiddenStride',
  'teacherWeight',
  'teacherBias',
  'teacherDtype',
  'teacherTemperature',
] as const;

export const LOGITS_TEACHER = [...LOGITS, ...TOP_K] as const;
export const LINEAR_TEACHER = [...LINEAR, ...TOP_K] as const;

type Name = (typeof LOGITS_TEACHER)[number] | (typeof LINEAR_TEACHER)[number];
type AnyOptions = Partial<Record<Name | 'dtype', unknown>>;

const LOGITS_GROUPS = exclusiveGroups<Name>([LOGITS, TOP_K]);
const LINEAR_GROUPS = exclusiveGroups<Name>([LINEAR, TOP_K]);

export const TEACHER_NAMES: HeadNames = {
  logits: 'teacherLogits',
  hidden: 'teacherHidden',
  hiddenStride: 'teacherHiddenStride',
  weight: 'teacherWeight',
  bias: 'teacherBias',
  dtype: 'teacherDtype',
};

/** The one teacher that the options have, for the rows and the vocabulary of the student's head. */
export function checkTeacher(options: object, head: CheckedLogits | CheckedLinear): native.Teacher {
  const given = options as AnyOptions;
  const groups = head.kind === 'logits' ? LOGITS_GROUPS : LINEAR_GROUPS;
  const group = groups.find(({ name }) => given[name] !== undefined);
  const name = selectGroup(given, group === undefined ? groups : [group], 'the teacher');
  if (name === 'teacherIndices') return checkTopK(given, head);
  const dtype = given.teacherDtype === undefined ? inheritedDtype(given, given[name]) : given.teacherDtype;
  const { teacherTemperature } = given as { teacherTemperature?: number };
  const temperature = checkTemperature({ temperature: teacherTemperature }, 'teacherTemperature', head.temperature);
  if (head.kind === 'logits') return { kind: 'head', head: checkTeacherLogits(given, head, dtype, temperature) };
  const linear = {
    ...given,
    hidden: given.teacherHidden,
    hiddenStride: given.teacherHiddenStride,
    weight: given.teacherWeight,
    bias: given.teacherBias,
    dtype,
    hiddenSize: undefined,
    vocabSize: head.vocabSize,
  } as LinearHead;
  return { kind: 'head', head: checkLinear(linear, head.rows, temperature, TEACHER_NAMES) };
}

function checkTeacherLogits(
  options: AnyOptions,
  { rows, vocabSize, rowStride: ofStudent }: CheckedLogits,
  given: unknown,
  temperature: number,
): CheckedLogits {
  const { array, dtype } = floatArray('teacherLogits', options.teacherLogits, 'teacherDtype', given);
  const length = lengthOf(array);
  const stride = integer('teacherRowStride', options.teacherRowStride, 0, 1, Number.MAX_SAFE_INTEGER);
  if (stride > 0 && stride < vocabSize) {
    throw rangeError('ERR_ARG_VALUE', expected(`at least V = ${vocabSize}`, 'teacherRowStride', stride));
  }
  const rowStride = stride || (length === rows * vocabSize ? vocabSize : ofStudent);
  const rowLength = lastDimension(options, 'teacherLogits') ?? rowStride;
  const least = rows === 0 ? 0 : (rows - 1) * rowStride + vocabSize;
  if ((length !== least && length !== rows * rowStride) || rowLength !== rowStride) {
    const apart = rowStride > vocabSize ? `, ${rowStride} elements apart` : '';
    const rule = `${rows} rows of V = ${vocabSize} elements${apart}`;
    throw rangeError('ERR_ARG_LENGTH', expected(rule, 'teacherLogits', array));
  }
  return {
    kind: 'logits',
    ...{ dtype, rows, vocabSize, temperature, rowStride },
    vocabOffset: 0,
    totalVocab: 0,
    logitsLength: length,
    logits: array,
  };
}

function checkTopK(options: AnyOptions, { rows, vocabSize }: native.Head): native.Teacher {
  const indices = int32('teacherIndices', options.teacherIndices);
  const length = lengthOf(indices);
  const k = rows === 0 ? 1 : length / rows;
  const rowLength = lastDimension(options, 'teacherIndices') ?? k;
  if (!Number.isInteger(k) || k < 1 || k > vocabSize || length !== rows * k || rowLength !== k) {
    const rule = `${rows} rows of K elements, K from 1 to V = ${vocabSize},`;
    throw rangeError('ERR_ARG_LENGTH', expected(rule, 'teacherIndices', indices));
  }
  const logps = float32('teacherLogps', options.teacherLogps, length);
  if ((lastDimension(options, 'teacherLogps') ?? k) !== k) {
    throw rangeError('ERR_ARG_LENGTH', expected(`[..., ${k}]`, 'the shape of teacherLogps', logps));
  }
  const tail = oneOf('topKTail', options.topKTail, 'bucket', TAILS);
  return { kind: 'topK', k, tail, indices, logps };
}

const TAILS: native.TopKTail[] = ['bucket', 'renormalize'];

/**
 * The `dtype` of the student, where it can be that of the teacher: an array whose class or buffer names its type needs none,
 * and one that is not given must not be named in an error.
 */
function inheritedDtype({ dtype }: AnyOptions, array: unknown): unknown {
  const isOpen = classOf(array) === 'Uint16Array' && !isOnDevice(array);
  return isOpen && (dtype === 'bfloat16' || dtype === 'float16') ? dtype : undefined;
}

export function teacherInputs(teacher: native.Teacher): NamedArray[] {
  if (teacher.kind === 'head') return headInputs(teacher.head, TEACHER_NAMES);
  return [
    ['teacherIndices', teacher.indices],
    ['teacherLogps', teacher.logps],
  ];
}

const DIVERGENCES: native.Divergence[] = ['forward_kl', 'reverse_kl', 'jsd'];

/** Which divergence. */
export interface DivergenceOption {
  /**
   * 'forward_kl' KL(P || Q), 'reverse_kl' KL(Q || P), or 'jsd', the generalised Jensen-Shannon divergence, of the teacher P and
   * the student Q. There is no default.
   */
  divergence: native.Divergence;
  /** Of 'jsd', the weight of the teacher in the mixture: between 0 and 1, 0.5 by default. */
  jsdBeta?: number | undefined;
}

export function checkDivergence(options: DivergenceOption): { type: native.Divergence; jsdBeta: number } {
  const { jsdBeta } = options;
  if (options.divergence === undefined) {
    const rule = DIVERGENCES.map((name) => `'${name}'`).join(' | ');
    throw typeError('ERR_ARG_TYPE', expected(rule, 'divergence', undefined));
  }
  const type = oneOf('divergence', options.divergence, 'forward_kl', DIVERGENCES);
  if (jsdBeta === undefined) return { type, jsdBeta: 0.5 };
  if (type !== 'jsd') {
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no jsdBeta with the divergence '${type}' but received one`);
  }
  const rule = 'a number between 0 and 1';
  if (typeof jsdBeta !== 'number') throw typeError('ERR_ARG_TYPE', expected(rule, 'jsdBeta', jsdBeta));
  if (!(jsdBeta > 0 && jsdBeta < 1)) throw rangeError('ERR_ARG_VALUE', expected(rule, 'jsdBeta', jsdBeta));
  return { type, jsdBeta };
}
