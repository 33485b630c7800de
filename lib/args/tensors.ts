// Tensors among the options: a typed array with its shape, as ONNX Runtime ({ data, dims }) and others ({ data, shape })
// have them. A call works on the data; the shape is kept beside the options and checked with the lengths.
import { expected, rangeError, typeError } from '../argument-errors.js';
import { classOf, isArray, isOnDevice, lengthOf } from './arrays.js';

/** A typed array with its shape, row-major. */
export type Tensor<A> = { readonly data: A; readonly type?: string; readonly dtype?: string } & (
  | { readonly dims: readonly number[] }
  | { readonly shape: readonly number[] }
);

/** What every option that is an array takes: a typed array, or a tensor whose data is one. */
export type ArrayOrTensor<A> = A | Tensor<A>;

/** The options of a call after `unwrapTensors`. */
export type WithArrays<T> = T extends unknown ? { [K in keyof T]: Exclude<T[K], Tensor<unknown>> } : never;

const SHAPES = Symbol('shapes of tensors');
const TYPES = Symbol('16-bit types of tensors');

type Options = Record<string, unknown> & {
  [SHAPES]?: Record<string, readonly number[]>;
  [TYPES]?: Record<string, unknown>;
};

/** The option that has the dtype of a Uint16Array. */
const DTYPE_OPTIONS: Readonly<Record<string, string>> = {
  logits: 'dtype',
  hidden: 'dtype',
  weight: 'weightDtype',
  refLogits: 'refDtype',
  refHidden: 'refDtype',
  refWeight: 'refWeightDtype',
  teacherLogits: 'teacherDtype',
  teacherHidden: 'teacherDtype',
  teacherWeight: 'teacherWeightDtype',
};

/** Options whose own properties are arrays by names of the caller, which may be `data` and `shape`. */
const NAMED_ARRAYS = ['parameters', 'gradient'];
const MAX_RANK = 32;

/**
 * Puts the data of each tensor in its place, and its type in the place of a `dtype` that is not given. Throws where a shape is
 * not that of the data, or the rows of two tensors are in different orders. `prefix` stands before their names in messages.
 */
export function unwrapTensors(options: object, prefix = ''): void {
  const all = options as Options;
  for (const name in all) {
    const value = all[name];
    if (typeof value !== 'object' || ArrayBuffer.isView(value)) continue; // a small call notices the rest
    const tensor = NAMED_ARRAYS.includes(name) ? undefined : tensorOf(`${prefix}${name}`, value);
    if (tensor === undefined) continue;
    const { data, shape } = tensor;
    all[name] = data;
    all[SHAPES] ??= {};
    all[SHAPES][name] = shape;
    const { type, dtype } = value as { type?: unknown; dtype?: unknown };
    const option = DTYPE_OPTIONS[name];
    const given = [type, dtype].find(isHalf);
    if (isHalf(dtype) && dtype !== given) {
      throw typeError('ERR_ARG_TYPE', expected(`'${given}', which its type is,`, `${prefix}${name}.dtype`, dtype));
    }
    if (given === undefined || classOf(data) !== 'Uint16Array') continue;
    all[TYPES] ??= {};
    all[TYPES][name] = given;
    if (option === undefined) continue;
    all[option] ??= given;
    if (all[option] !== given) {
      throw typeError('ERR_ARG_TYPE', expected(`'${given}', the type of the tensor ${name},`, option, all[option]));
    }
  }
  checkOrderOfRows(all);
}

interface CheckedTensor {
  data: ArrayBufferView & { length: number };
  shape: readonly number[];
}

/** The data and the shape of a tensor; undefined for what is none. */
function tensorOf(name: string, value: unknown): CheckedTensor | undefined {
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || isOnDevice(value)) return undefined;
  const shape = shapeOf(name, value);
  if (shape === undefined) return undefined;
  const data = dataOf(name, value);
  const size = shape.reduce((product, n) => product * n, 1);
  if (size === lengthOf(data)) return { data, shape };
  const rule = `${size} elements, as its shape is [${listed(shape)}],`;
  throw rangeError('ERR_ARG_LENGTH', expected(rule, `${name}.data`, data));
}

const listed = (shape: readonly number[]): string => shape.join(', ').slice(0, 100);

/** The data of a tensor [n] or [1, n] that stands for a list; any other value as it is. */
export function listOf(name: string, value: unknown): unknown {
  const tensor = tensorOf(name, value);
  if (tensor === undefined) return value;
  const { data, shape } = tensor;
  if (shape.length === 1 || (shape.length === 2 && shape[0] === 1)) return data;
  const hint = 'pass one sequence at a time, without padding';
  throw rangeError(
    'ERR_ARG_LENGTH',
    `Expected the shape [n] or [1, n] for ${name} but received [${listed(shape)}]: ${hint}`,
  );
}

const isHalf = (type: unknown): boolean => type === 'bfloat16' || type === 'float16';

/** A copy of the shape of a tensor; undefined for what is none: an object without `data`, or without `dims` and `shape`. */
function shapeOf(name: string, value: object): readonly number[] | undefined {
  let given: { dims?: unknown; shape?: unknown };
  try {
    const { dims, shape } = value as { dims?: unknown; shape?: unknown };
    if (!('data' in value)) return undefined;
    given = { dims, shape };
  } catch {
    return undefined;
  }
  // A method of this name has another meaning.
  const isGiven = (each: unknown) => each !== undefined && each !== null && typeof each !== 'function';
  const dims = isGiven(given.dims) ? sizes(`${name}.dims`, given.dims) : undefined;
  const shape = isGiven(given.shape) ? sizes(`${name}.shape`, given.shape) : undefined;
  if (dims && shape && String(dims) !== String(shape)) {
    const rule = `[${dims.join(', ')}], as ${name}.dims are,`;
    throw rangeError('ERR_ARG_LENGTH', `Expected ${rule} for ${name}.shape but received [${shape.join(', ')}]`);
  }
  return dims ?? shape;
}

function sizes(argument: string, value: unknown): readonly number[] {
  const copy = copyOf(value);
  if (copy === undefined) {
    const hint = ArrayBuffer.isView(value) ? `: use Array.from(${argument})` : '';
    throw typeError('ERR_ARG_TYPE', `${expected('an Array of sizes', argument, value)}${hint}`);
  }
  if (copy.length > MAX_RANK) {
    throw rangeError('ERR_ARG_LENGTH', expected(`at most ${MAX_RANK} dimensions`, argument, value));
  }
  for (const [k, size] of copy.entries()) {
    if (typeof size !== 'number')
      throw typeError('ERR_ARG_TYPE', expected('an integer >= 0', `${argument}[${k}]`, size));
    if (!Number.isInteger(size) || size < 0) {
      throw rangeError('ERR_ARG_VALUE', expected('an integer >= 0', `${argument}[${k}]`, size));
    }
  }
  return copy as number[];
}

/** Of an Array, at most MAX_RANK + 1 elements: a Proxy may give others when it is read again, or throw. */
function copyOf(value: unknown): unknown[] | undefined {
  try {
    return isArray(value)
      ? Array.from({ length: Math.min(value.length, MAX_RANK + 1) }, (_, k) => value[k])
      : undefined;
  } catch {
    return undefined;
  }
}

function dataOf(name: string, tensor: object): ArrayBufferView & { length: number } {
  let data: unknown;
  let why = '';
  try {
    data = (tensor as { data: unknown }).data;
  } catch (error) {
    why = ` (${String(error)})`;
  }
  if (classOf(data) !== undefined) return data as Float32Array;
  const hint = 'pass what `await tensor.data()` or `await tensor.getData()` returns, or use `sweet-rl/tfjs`';
  const message = expected('a typed array in host memory', `${name}.data`, data);
  throw typeError('ERR_ARG_TYPE', `${message}${why}: ${hint}`);
}

/** How many dimensions after those of the rows an option or a result of N rows has: logits [..., V], labels [...]. */
const AFTER_ROWS: Readonly<Record<string, number>> = {
  ...{ logits: 1, hidden: 1, refLogits: 1, refHidden: 1 },
  ...{ teacherLogits: 1, teacherHidden: 1, teacherIndices: 1, teacherLogps: 1, gradDivergence: 0 },
  ...{ labels: 0, mask: 0, logps: 0, refLogps: 0, gradLogps: 0, lse: 0, tokenWeights: 0 },
  ...{ gradEntropy: 0, entropy: 0, gradLse: 0, inputIds: 0, valueLogits: 0, values: 0 },
  ...{ gradLogits: 1, gradHidden: 1, argmax: 0, sumSquaredProbs: 0, divergence: 0, valueLosses: 0, gradValueLogits: 0 },
  ...{ advantages: 0, oldLogps: 0, rolloutLogps: 0, importanceWeights: 0 },
};

/** Throws where the rows of two tensors are ordered by other dimensions: [B, S, n] and [S, B]. */
export function checkOrderOfRows(options: object, out: object = {}): void {
  const [inputs, results] = [(options as Options)[SHAPES], (out as Options)[SHAPES]];
  if (inputs === undefined && results === undefined) return;
  const named = [...ordersOf(inputs, ''), ...ordersOf(results, 'out.')];
  for (const { name, order } of named) {
    const first = named[0] as (typeof named)[number];
    if (String(order) === String(first.order)) continue;
    const rule = `the shape [${first.order}] of the rows of ${first.name}`;
    throw rangeError('ERR_ARG_LENGTH', expected(rule, name, `[${order}]`));
  }
}

const ordersOf = (shapes: Options[typeof SHAPES] = {}, prefix: string) =>
  Object.entries(AFTER_ROWS).flatMap(([name, after]) => {
    const shape = shapes[name] ?? [];
    const order = shape.slice(0, shape.length - after).filter((n) => n !== 1);
    return order.length < 2 ? [] : [{ name: `${prefix}${name}`, order }];
  });

/** The shape of an option that was given as a tensor. */
export const shapeOfOption = (options: object, name: string): readonly number[] | undefined =>
  (options as Options)[SHAPES]?.[name];

/** Throws where a tensor of 16-bit numbers has another type than its array counts as. */
export function checkTypeOfTensor(options: object, name: string, dtype: string, prefix = ''): void {
  const type = (options as Options)[TYPES]?.[name];
  if (type === undefined || type === dtype) return;
  throw typeError('ERR_ARG_TYPE', expected(`'${dtype}'`, `the type of ${prefix}${name}`, type));
}

/**
 * Throws where a tensor of `out` has another shape than the result, a matrix, or another type: [..., columns], with the row stride
 * in their place, as its inputs have; of a gradient of a weight, exactly [rows, columns].
 */
export function checkMatrixOfOut(
  out: object,
  name: string,
  { rows, columns, rowStride = columns, dtype }: { rows: number; columns: number; rowStride?: number; dtype?: string },
): void {
  const shape = shapeOfOption(out, name);
  if (shape === undefined) return;
  if (dtype !== undefined) checkTypeOfTensor(out, name, dtype, 'out.');
  const isWeight = name === 'gradWeight';
  if (shape.at(-1) === rowStride && (!isWeight || shape.length === 2)) return;
  const rule = `the shape [${isWeight ? rows : '...'}, ${rowStride}]`;
  throw rangeError('ERR_ARG_LENGTH', `Expected ${rule} for out.${name} but received [${listed(shape)}]`);
}

/** The message for an array of another length or, where it is that of a tensor, another shape. */
export function expectedShape(options: object, what: string, name: string, array: unknown): string {
  const shape = shapeOfOption(options, name);
  return shape === undefined
    ? expected(what, name, array)
    : `Expected ${what} for ${name} but received the shape [${listed(shape)}]`;
}

/** The last dimension of a tensor [..., n], if the option was one. */
export const lastDimension = (options: object, name: string): number | undefined =>
  shapeOfOption(options, name)?.at(-1);
