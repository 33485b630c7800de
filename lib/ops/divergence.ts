// What tokenDivergence and linearDivergence share: from checked heads to the call of the native operation.
import type * as native from '../addon/operations.js';
import { float32, lengthOf, typedArray } from '../args/arrays.js';
import { floatArray } from '../args/dtypes.js';
import { type CheckedLinear, type CheckedLogits, headInputs, MAX_VOCAB_SIZE, type SizeSources } from '../args/head.js';
import { type CheckedTokens, checkTokens, labelInputs, type TokenOptions } from '../args/labels.js';
import { integer } from '../args/scalars.js';
import { SECOND_NAMES } from '../args/second-head.js';
import { checkDivergence, checkTeacher, type DivergenceOption, teacherInputs } from '../args/teacher.js';
import { type ArrayOrTensor, expectedShape, lastDimension } from '../args/tensors.js';
import { expected, rangeError, typeError } from '../errors.js';
import {
  assertFinite,
  checkDebug,
  type DebugOption,
  headMatrices,
  type Matrix,
  rowsRead,
} from '../runtime/assert-finite.js';
import type { PreparedCall } from '../runtime/call.js';
import { Results } from '../runtime/results.js';

/** The divergences of rows and what their gradient needs. */
export interface RowDivergences {
  /** [N], nats; 0 where the row is masked or ignored. */
  divergence: Float32Array<ArrayBuffer>;
  /** [4 N] of each row: lse of the student, lse of the teacher, kappa, log q_T. */
  saved: Float64Array<ArrayBuffer>;
}

/** Options besides the heads. */
export interface DivergenceOptions extends DivergenceOption, TokenOptions, DebugOption {}

export interface DivergenceOut {
  divergence?: Float32Array | undefined;
  saved?: Float64Array | undefined;
}

/** Options of a backward pass besides the heads and `out`. */
export interface DivergenceBackwardOptions extends DivergenceOptions {
  /** [4 N], of the forward pass over the same heads. */
  saved: ArrayOrTensor<Float64Array>;
  /** [N], the gradient of the loss at each divergence. */
  gradDivergence: ArrayOrTensor<Float32Array>;
}

export const DIVERGENCE_OPTIONS = ['divergence', 'jsdBeta', 'debug', 'out'] as const;
export const DIVERGENCE_OUT = new Set(['divergence', 'saved']);

/** N is that of the student's array itself. */
export const OF_STUDENT: SizeSources = { rows: '' };

/** Numbers of a row in `saved`: kSavedSize of native/divergence.h. */
const SAVED_SIZE = 4;

/** N, of an array of rows whose length is given: there may be no labels. */
export function countRows(
  options: object,
  [rows, dtype, size, stride]: readonly [rows: string, dtype: string, size: string, stride: string],
): number {
  const given = options as Record<string, unknown>;
  const { array } = floatArray(rows, given[rows], dtype, given[dtype]);
  const length = lengthOf(array);
  const rowStride = integer(stride, given[stride], 0, 1, Number.MAX_SAFE_INTEGER);
  const columns =
    integer(size, given[size], 0, 1, size === 'vocabSize' ? MAX_VOCAB_SIZE : Number.MAX_SAFE_INTEGER) ||
    (rowStride ? 0 : lastDimension(options, rows));
  if (!columns) throw typeError('ERR_ARG_TYPE', expected('the length of a row', size, undefined));
  const apart = rowStride || columns;
  if (apart < columns) throw rangeError('ERR_ARG_VALUE', expected(`at least ${columns}, ${size},`, stride, apart));
  const count = length % apart === 0 ? length / apart : (length - columns) / apart + 1;
  if (!Number.isInteger(count) || count < 0) {
    const padded = rowStride > columns ? `, ${rowStride} elements apart (${stride})` : '';
    throw rangeError(
      'ERR_ARG_LENGTH',
      expectedShape(options, `rows of ${columns} elements (${size})${padded}`, rows, array),
    );
  }
  return count;
}

type Head = CheckedLogits | CheckedLinear;

function inputsOf(head: Head, options: DivergenceOptions) {
  const labels = checkTokens(options, head.rows);
  const teacher = checkTeacher(options, head);
  const args = { head, labels, teacher, ...checkDivergence(options) };
  return { args, arrays: [...headInputs(head), ...teacherInputs(teacher), ...labelInputs(labels)] };
}

const placeOf = (head: Head) => (head.kind === 'logits' ? head.logits : head.hidden.data);

function matrices(args: { head: Head; labels: CheckedTokens; teacher: native.Teacher }): Matrix[] {
  const { head, labels, teacher } = args;
  const mask = rowsRead(labels, false);
  if (teacher.kind === 'head')
    return [...headMatrices(head, mask), ...headMatrices(teacher.head, mask, SECOND_NAMES.teacher)];
  const { k: columns, logps: array } = teacher;
  const ofTeacher = {
    name: 'teacherLogps',
    array,
    unit: 'row',
    rows: head.rows,
    columns,
    mask,
    allowNegInf: true,
  } as const;
  return [...headMatrices(head, mask), ofTeacher];
}

export function divergenceCall(
  head: Head,
  options: DivergenceOptions & { out?: DivergenceOut | undefined },
): PreparedCall<'headDivergence'> {
  const { args, arrays } = inputsOf(head, options);
  const debug = checkDebug(options);
  const results = new Results(options.out, placeOf(head));
  const divergence = results.float32('divergence', head.rows);
  const saved = results.float64('saved', SAVED_SIZE * head.rows);
  const addon = results.place(arrays);
  if (debug) assertFinite(matrices(args));
  return { addon, operation: 'headDivergence', args: { ...args, divergence, saved }, results, debug };
}

/** `gradientsOf` takes the buffers of the gradients at the head. */
export function divergenceBackwardCall(
  head: Head,
  options: DivergenceBackwardOptions & { out?: object | undefined },
  gradientsOf: (results: Results) => native.HeadGradients,
): PreparedCall<'headDivergenceBackward'> {
  const { args, arrays } = inputsOf(head, options);
  const saved = typedArray('saved', options.saved, ['Float64Array'], SAVED_SIZE * head.rows);
  const gradDivergence = float32('gradDivergence', options.gradDivergence, head.rows);
  const debug = checkDebug(options);
  const results = new Results(options.out, placeOf(head));
  const gradients = gradientsOf(results);
  const inputs = [...arrays, ['saved', saved], ['gradDivergence', gradDivergence]] as const;
  const addon = results.place(inputs, { result: 'gradLogits', input: 'logits' });
  if (debug) {
    const mask = rowsRead(args.labels, false);
    assertFinite([...matrices(args), { name: 'gradDivergence', array: gradDivergence, unit: 'row', mask }]);
  }
  return {
    addon,
    operation: 'headDivergenceBackward',
    args: { ...args, saved, gradDivergence, gradients },
    results,
    debug,
  };
}
