// debug: 'finite' - looks for NaN and infinity in what a call reads, before it writes anything, and in what it wrote.
import { invoke, native } from '../addon/native.js';
import type { Head, Operand, Reference } from '../addon/operations.js';
import { classOf, isOnDevice, lengthOf, plainView } from '../args/arrays.js';
import type { DType } from '../args/dtypes.js';
import { HEAD_NAMES, type HeadNames, isTransposed } from '../args/head.js';
import type { CheckedLabels, CheckedTokens } from '../args/labels.js';
import { oneOf } from '../args/scalars.js';
import { SECOND_NAMES } from '../args/second-head.js';
import { rangeError, typeError } from '../errors.js';

export interface DebugOption {
  /**
   * 'finite' throws a RangeError ERR_NOT_FINITE that names the first number, read or written, that is NaN or infinite.
   * -inf in logits and biases stands for a masked vocabulary entry and is allowed there. Rows that the call does not read
   * are not checked. Results are checked after they were written. Typed arrays only.
   */
  debug?: 'finite' | undefined;
}

export function checkDebug({ debug }: DebugOption): boolean {
  return oneOf<'finite' | 'off'>('debug', debug, 'off', ['finite']) === 'finite';
}

/** Numbers to check: a matrix [rows, columns] or, without columns, a list. */
export interface Matrix {
  name: string;
  array: ArrayBufferView | undefined;
  /** What a row stands for, in the message. */
  unit: 'row' | 'turn' | 'trajectory' | 'pair' | 'vocabulary entry';
  rows?: number;
  columns?: number;
  rowStride?: number;
  /** float32 by default. */
  dtype?: DType;
  /** Rows with 0 are not read. */
  mask?: Uint8Array | undefined;
  /** -inf is allowed. */
  allowNegInf?: boolean;
}

/** The numbers that a call returns. */
export interface ResultNumbers {
  scalars: readonly (readonly [name: string, value: number])[];
  matrices: readonly Matrix[];
}

/** Throws for the first number of the first matrix that is not finite, in row-major order. */
export function assertFinite(matrices: readonly Matrix[]): void {
  for (const { name, array, unit, columns, dtype = 'float32', mask, allowNegInf = false, ...rest } of matrices) {
    if (array === undefined) continue;
    const data = array as Float32Array;
    assertOnHost(name, array);
    const { rows = lengthOf(data), rowStride = columns ?? 1 } = rest;
    const call = { dtype, rows, columns: columns ?? 1, rowStride, allowNegInf, data, mask };
    const at = classOf(array) === 'Float64Array' ? firstOfList(array, mask) : invoke(native, 'firstNonFinite', call);
    if (at < 0) continue;
    const row = Math.floor(at / call.columns);
    const column = at - row * call.columns;
    const value = numberOf(data[row * rowStride + column] as number, data, dtype);
    fail(name, value, `${unit} ${row}${columns === undefined ? '' : `, column ${column}`}`);
  }
}

/** Of a list of float64, a number a row: short beside the rows of a head. */
const firstOfList = (list: ArrayBufferView, mask: Uint8Array | undefined): number =>
  plainView(list as Float64Array).findIndex((x, i) => mask?.[i] !== 0 && !Number.isFinite(x));

/** After the native call, causes first: a row of masked vocabulary entries alone has no lse, a masked label no logp. */
export function assertFiniteResults(results: { numbers(): ResultNumbers }): void {
  const { scalars, matrices } = results.numbers();
  const causes = ['lse', 'logps'];
  for (const cause of causes) assertFinite(matrices.filter(({ name }) => name === cause));
  for (const [name, value] of scalars) assertFiniteNumber(name, value);
  assertFinite(matrices.filter(({ name }) => !causes.includes(name)));
}

/** Logits of the labels must be finite where a loss is computed from them: -inf there makes it infinite. */
export function assertFiniteLabels(head: Head, labels: CheckedLabels, names: HeadNames = HEAD_NAMES): void {
  if (head.kind !== 'logits' || isOnDevice(head.logits) || isOnDevice(labels.data)) return;
  const logits = plainView(head.logits as Float32Array);
  const exponent = { float32: 0, bfloat16: 0x7f80, float16: 0x7c00 }[head.dtype];
  const finite = (x: number) => (classOf(logits) === 'Uint16Array' ? (x & exponent) !== exponent : Number.isFinite(x));
  const read = rowsRead(labels, false);
  for (const [i, label] of plainView(labels.data as Int32Array).entries()) {
    const x = logits[i * head.rowStride + Number(label)];
    if (read[i] === 0 || !(label >= 0 && label < head.vocabSize) || finite(x as number)) continue;
    fail(names.logits, numberOf(x as number, logits, head.dtype), `row ${i}, column ${label}, its label`);
  }
}

export function assertFiniteNumber(name: string, value: number): void {
  if (!Number.isFinite(value)) fail(name, value);
}

export function assertOnHost(name: string, array: ArrayBufferView): void {
  if (!isOnDevice(array)) return;
  throw typeError('ERR_DEVICE', `Expected a typed array for ${name}: debug: 'finite' does not read device memory`);
}

function fail(name: string, value: number, where?: string): never {
  const place = where === undefined ? '' : ` at ${where}`;
  throw rangeError(
    'ERR_NOT_FINITE',
    `Expected finite numbers (debug: 'finite') for ${name} but received ${value}${place}`,
  );
}

/** The value of a number that is not finite, of which a Uint16Array holds the bits. */
function numberOf(element: number, array: ArrayBufferView, dtype: DType): number {
  if (classOf(array) !== 'Uint16Array') return element;
  const fraction = element & (dtype === 'bfloat16' ? 0x7f : 0x3ff);
  return fraction !== 0 ? NaN : element & 0x8000 ? -Infinity : Infinity;
}

/**
 * [N] 1 for rows that a call reads: unmasked, and ignored ones only where their lse is computed; log-probs with a weight,
 * where there are weights, only if it is not 0.
 */
export function rowsRead(labels: CheckedLabels | CheckedTokens, withIgnored: boolean): Uint8Array {
  const { rows, data, mask, ignoreIndex } = labels;
  const weights = 'weights' in labels ? labels.weights : undefined;
  if (isOnDevice(data) || isOnDevice(mask) || isOnDevice(weights)) return new Uint8Array(rows).fill(1);
  const labelOf = data && plainView(data as Int32Array);
  return Uint8Array.from({ length: rows }, (_, i) =>
    mask?.[i] === 0 || weights?.[i] === 0 || (!withIgnored && labelOf && Number(labelOf[i]) === ignoreIndex) ? 0 : 1,
  );
}

const operand = ({ data: array, dtype, rowStride }: Operand) => ({ array, dtype, rowStride });

export function headMatrices(head: Head, mask: Uint8Array, names: HeadNames = HEAD_NAMES): Matrix[] {
  const { dtype, rows, vocabSize } = head;
  if (head.kind === 'logits') {
    const { logits: array, rowStride } = head;
    const matrix = { unit: 'row', dtype, rows, columns: vocabSize, rowStride, mask, allowNegInf: true } as const;
    return [{ name: names.logits, array, ...matrix }];
  }
  const { hidden, weight, bias, biasDtype, hiddenSize: columns } = head;
  const { data, dtype: weightDtype } = weight;
  const transposed = { array: data, dtype: weightDtype, unit: 'row', rows: columns, columns: vocabSize } as const;
  const plain = { ...operand(weight), unit: 'vocabulary entry', rows: vocabSize, columns } as const;
  return [
    { name: names.hidden, ...operand(hidden), unit: 'row', rows, columns, mask },
    { name: names.weight, ...(isTransposed(weight) ? transposed : plain) },
    { name: names.bias, array: bias, unit: 'vocabulary entry', dtype: biasDtype, allowNegInf: true },
  ];
}

export function referenceMatrices(reference: Reference, mask: Uint8Array): Matrix[] {
  if (reference.kind === 'head') return headMatrices(reference.head, mask, SECOND_NAMES.ref);
  return [{ name: 'refLogps', array: reference.logps, unit: 'row', mask }];
}

export function logpsMatrices(
  logps: Float32Array,
  refLogps: Float32Array | undefined,
  mask: Uint8Array | undefined,
): Matrix[] {
  return [
    { name: 'logps', array: logps, unit: 'row', mask },
    { name: 'refLogps', array: refLogps, unit: 'row', mask },
  ];
}

/** What a backward pass reads beside the head. */
/** Arrays with a number a row. */
export function rowMatrices(
  arrays: readonly (readonly [name: string, array: Float32Array])[],
  mask: Uint8Array,
): Matrix[] {
  return arrays.map(([name, array]) => ({ name, array, unit: 'row', mask }));
}
