/** Values in and out of the storage types of logits, hidden states and weights. */
import { decodeHalf, encodeHalf } from '../reference/half.ts';

export type DType = 'float32' | 'float16' | 'bfloat16';
export type Stored = Float32Array | Uint16Array;
export const DTYPES: DType[] = ['float32', 'float16', 'bfloat16'];

export function encode(values: ArrayLike<number>, dtype: DType): Stored {
  if (dtype === 'float32') return Float32Array.from(values);
  return Uint16Array.from(Float64Array.from(values).map((x) => encodeHalf(x, dtype)));
}

export function decode(stored: ArrayLike<number>, dtype: DType): Float64Array {
  if (dtype === 'float32') return Float64Array.from(stored);
  return Float64Array.from(stored).map((bits) => decodeHalf(bits, dtype));
}

/** The values and what is left of them after storing: the oracle must see the very inputs that the library sees. */
export function store(values: ArrayLike<number>, dtype: DType): { data: Stored; dtype: DType; values: Float64Array } {
  const data = encode(values, dtype);
  return { data, dtype, values: decode(data, dtype) };
}

/** Rows of V words spread to a stride, everything between and (if asked) after them filled with garbage. */
export function padRows(data: Stored, V: number, rowStride: number, dtype: DType, padLastRow = true): Stored {
  const N = data.length / V;
  const length = padLastRow ? N * rowStride : (N - 1) * rowStride + V;
  const garbage = Float64Array.from({ length }, (_, i) => (i % 2 === 0 ? 1e30 : NaN));
  const padded = encode(garbage, dtype);
  for (let i = 0; i < N; i++) padded.set(data.subarray(i * V, (i + 1) * V), i * rowStride);
  return padded;
}

/** The words of padded rows, without their padding. */
export function unpadRows(padded: Stored, N: number, V: number, rowStride: number): Stored {
  const rows = padded.slice(0, N * V);
  for (let i = 0; i < N; i++) rows.set(padded.subarray(i * rowStride, i * rowStride + V), i * V);
  return rows;
}

type View = Float32Array | Float64Array | Uint16Array | Int32Array | Uint8Array;
type ViewClass<T> = new (buffer: ArrayBufferLike, byteOffset: number, length: number) => T;

/** The same values as a view that starts `offset` elements into a larger buffer. */
export function shifted<T extends View>(
  array: T,
  offset: number,
  makeBuffer: (bytes: number) => ArrayBufferLike = (bytes) => new ArrayBuffer(bytes),
): T {
  const buffer = makeBuffer((array.length + offset + 3) * array.BYTES_PER_ELEMENT);
  const view = new (array.constructor as ViewClass<T>)(buffer, offset * array.BYTES_PER_ELEMENT, array.length);
  view.set(array);
  return view;
}

export function sharedView<T extends View>(array: T): T {
  return shifted(array, 1, (bytes) => new SharedArrayBuffer(bytes));
}
