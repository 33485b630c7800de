// The teacher of a divergence: a head of the student's kind, or the K largest log-probs of each row.
import type * as native from '../addon/operations.js';
import { expected, rangeError, typeError } from '../errors.js';
import { float32, int32, lengthOf, type NamedArray } from './arrays.js';
import type { DType, FloatArray } from './dtypes.js';
import { exclusiveGroups, selectGroup } from './exclusive.js';
import { type CheckedLinear, type CheckedLogits, headInputs, type WeightLayout } from './head.js';
import { oneOf } from './scalars.js';
import { checkSecondHead, SECOND_NAMES, secondLinear, secondLogits } from './second-head.js';
import { type ArrayOrTensor, expectedShape, lastDimension } from './tensors.js';

/** Those that are absent are the student's. */
interface TeacherOptions {
  /** Of a Uint16Array. */
  teacherDtype?: DType | undefined;
  /** Divides the teacher's logits. */
  teacherTemperature?: number | undefined;
  /** Of the teacher's logits, the student's if absent; null: none. */
  teacherSoftcap?: number | null | undefined;
  /** V, which is the student's. */
  teacherVocabSize?: number | undefined;
}

/** A teacher whose logits are known. */
export interface TeacherLogits extends TeacherOptions {
  /** [N, V], of any type. */
  teacherLogits: ArrayOrTensor<FloatArray>;
  /** Elements from one row to the next. By default V, or the student's rowStride where the length asks for it. */
  teacherRowStride?: number | undefined;
}

/** A teacher whose logits are hidden_i * weight^T + bias; its hidden size may be another than the student's. */
export interface TeacherLinear extends TeacherOptions {
  /** [N, H'] */
  teacherHidden: ArrayOrTensor<FloatArray>;
  /** Elements from one hidden state to the next; H' by default. */
  teacherHiddenStride?: number | undefined;
  /** H', which follows from teacherHidden by default. */
  teacherHiddenSize?: number | undefined;
  /** [V, H'] or, with `teacherWeightLayout: 'HV'`, [H', V], of any type. */
  teacherWeight: ArrayOrTensor<FloatArray>;
  /** Of a Uint16Array. */
  teacherWeightDtype?: DType | undefined;
  /** The student's by default. */
  teacherWeightLayout?: WeightLayout | undefined;
  /** [V], in float32 or the type of teacherWeight. */
  teacherBias?: ArrayOrTensor<FloatArray> | undefined;
}

/** The K most probable tokens of each row, as inference servers return them. */
export interface TopKTeacher {
  /** [N, K] token ids, those of a row distinct, in any order. */
  teacherIndices: ArrayOrTensor<Int32Array>;
  /** [N, K] their log-probs at the temperature of the call, which are taken as they are. */
  teacherLogps: ArrayOrTensor<Float32Array>;
  /**
   * 'bucket' (default): all other entries are one, with the probability that is left, at least 1e-7. 'renormalize': both
   * distributions are renormalised over the K entries.
   */
  topKTail?: native.TopKTail | undefined;
}

const TOP_K = ['teacherIndices', 'teacherLogps', 'topKTail'] as const;
const LOGITS = secondLogits('teacher');
const LINEAR = secondLinear('teacher');

export const LOGITS_TEACHER = [...LOGITS, ...TOP_K];
export const LINEAR_TEACHER = [...LINEAR, ...TOP_K];

type AnyOptions = Readonly<Record<string, unknown>>;

const LOGITS_GROUPS = exclusiveGroups([LOGITS, TOP_K]);
const LINEAR_GROUPS = exclusiveGroups([LINEAR, TOP_K]);

/** The one teacher that the options have, for the rows and the vocabulary of the student's head. */
export function checkTeacher(options: object, head: CheckedLogits | CheckedLinear): native.Teacher {
  const given = options as AnyOptions;
  const groups = head.kind === 'logits' ? LOGITS_GROUPS : LINEAR_GROUPS;
  const group = groups.find(({ name }) => given[name] !== undefined);
  const name = selectGroup(given, group === undefined ? groups : [group], 'the teacher');
  if (name === 'teacherIndices') return checkTopK(given, head);
  return { kind: 'head', head: checkSecondHead(given, head, 'teacher', head.kind) };
}

function checkTopK(options: AnyOptions, { rows, vocabSize }: native.Head): native.Teacher {
  const indices = int32('teacherIndices', options.teacherIndices);
  const length = lengthOf(indices);
  const k = rows === 0 ? 1 : length / rows;
  const rowLength = lastDimension(options, 'teacherIndices') ?? k;
  if (!Number.isInteger(k) || k < 1 || k > vocabSize || length !== rows * k || rowLength !== k) {
    const rule = `${rows} rows of K elements, K from 1 to V = ${vocabSize},`;
    throw rangeError('ERR_ARG_LENGTH', expectedShape(options, rule, 'teacherIndices', indices));
  }
  const logps = float32('teacherLogps', options.teacherLogps, length);
  if ((lastDimension(options, 'teacherLogps') ?? k) !== k) {
    throw rangeError(
      'ERR_ARG_LENGTH',
      expectedShape(options, `${rows} rows of K = ${k} elements`, 'teacherLogps', logps),
    );
  }
  const tail = oneOf('topKTail', options.topKTail, 'bucket', TAILS);
  return { kind: 'topK', k, tail, indices, logps };
}

const TAILS: native.TopKTail[] = ['bucket', 'renormalize'];

export function teacherInputs(teacher: native.Teacher): NamedArray[] {
  if (teacher.kind === 'head') return headInputs(teacher.head, SECOND_NAMES.teacher);
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
