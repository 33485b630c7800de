// Tensors among the options: a typed array with its shape, as ONNX Runtime ({ data, dims }) and others ({ data, shape })
// have them. A call works on the data; the shape is kept beside the options and checked with the lengths.
import { expected, rangeError, typeError } from '../errors.js';
import { classOf, isOnDevice, lengthOf } from './arrays.js';

/** A typed array with its shape, row-major. */
export type Tensor<A> = { readonly data: A; readonly type?: string; readonly dtype?: string } & (
  | { readonly dims: readonly number[] }
  | { readonly shape: readonly number[] }
);

const SHAPES = Symbol('shapes of tensors');

type Options = Record<string, unknown> & { [SHAPES]?: Record<string, readonly number[]> };

/** The option that has the dtype of a Uint16Array. */
const DTYPE_OPTIONS: Readonly<Record<string, string>> = {
  logits: 'dtype',
  hidden: 'dtype',
  weight: 'dtype',
  bias: 'dtype',
  refLogits: 'refDtype',
  refHidden: 'refDtype',
  refWeight: 'refDtype',
  refBias: 'refDtype',
};

/** Puts the data of each tensor in its place, and its type in the place of a `dtype` that is not given. */
export function unwrapTensors(options: object): void {
  const all = options as Options;
  for (const name in all) {
    const value = all[name];
    if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value) || isOnDevice(value)) continue;
    const shape = shapeOf(value);
    if (shape === undefined) continue;
    const data = dataOf(name, value);
    const size = shape.reduce((product, n) => product * n, 1);
    if (size !== lengthOf(data)) {
      const rule = `${size} elements, as its shape is [${shape.join(', ').slice(0, 100)}],`;
      throw rangeError('ERR_ARG_LENGTH', expected(rule, `${name}.data`, data));
    }
    all[name] = data;
    all[SHAPES] ??= {};
    all[SHAPES][name] = shape;
    const { type, dtype } = value as { type?: unknown; dtype?: unknown };
    const option = DTYPE_OPTIONS[name];
    const given = [type, dtype].find((each) => each === 'bfloat16' || each === 'float16');
    if (option === undefined || given === undefined || classOf(data) !== 'Uint16Array') continue;
    all[option] ??= given;
    if (all[option] !== given) {
      throw typeError('ERR_ARG_TYPE', expected(`'${given}', the type of the tensor ${name},`, option, all[option]));
    }
  }
}

function shapeOf(value: object): readonly number[] | undefined {
  try {
    const { dims, shape } = value as { dims?: unknown; shape?: unknown };
    const found = Array.isArray(dims) ? dims : shape;
    const isShape = (n: unknown) => Number.isInteger(n) && (n as number) >= 0;
    return 'data' in value && Array.isArray(found) && found.every(isShape) ? found : undefined;
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

/** Throws where the rows of two tensors are ordered by other dimensions: [B, S, n] and [S, B]. */
export function checkSameRows(options: object, matrix: string, ofRows: string): void {
  if ((options as Options)[SHAPES] === undefined) return;
  const withoutOnes = (shape: readonly number[] | undefined) => shape?.filter((n) => n !== 1) ?? [];
  const rows = withoutOnes(shapeOfOption(options, matrix)?.slice(0, -1));
  const others = withoutOnes(shapeOfOption(options, ofRows));
  if (rows.length < 2 || others.length < 2 || String(rows) === String(others)) return;
  throw rangeError('ERR_ARG_LENGTH', expected(`the shape [${rows}] of the rows of ${matrix}`, ofRows, `[${others}]`));
}

/** The shape of an option that was given as a tensor. */
export const shapeOfOption = (options: object, name: string): readonly number[] | undefined =>
  (options as Options)[SHAPES]?.[name];

/** The last dimension of a tensor [..., n], if the option was one. */
export const lastDimension = (options: object, name: string): number | undefined =>
  shapeOfOption(options, name)?.at(-1);
