// The header of a .safetensors file: its contents, read and checked.
import { SweetError } from '../errors.js';

/** The storage types of tensors. */
export type TensorDType =
  | 'float64'
  | 'float32'
  | 'float16'
  | 'bfloat16'
  | 'int64'
  | 'int32'
  | 'int16'
  | 'int8'
  | 'uint64'
  | 'uint32'
  | 'uint16'
  | 'uint8'
  | 'bool';

/** Name in a file, bytes of an element, class of the array; the arrays of 16-bit floats hold their bits. */
export const STORAGE = {
  float64: ['F64', 8, Float64Array],
  float32: ['F32', 4, Float32Array],
  float16: ['F16', 2, Uint16Array],
  bfloat16: ['BF16', 2, Uint16Array],
  int64: ['I64', 8, BigInt64Array],
  int32: ['I32', 4, Int32Array],
  int16: ['I16', 2, Int16Array],
  int8: ['I8', 1, Int8Array],
  uint64: ['U64', 8, BigUint64Array],
  uint32: ['U32', 4, Uint32Array],
  uint16: ['U16', 2, Uint16Array],
  uint8: ['U8', 1, Uint8Array],
  bool: ['BOOL', 1, Uint8Array],
} as const;

const DTYPES = new Map(Object.entries(STORAGE).map(([dtype, [stored]]) => [stored as string, dtype as TensorDType]));

/** The limit of the format. */
export const MAX_HEADER_BYTES = 100_000_000;

export interface Entry {
  name: string;
  /** undefined for a type that this package does not support. */
  dtype: TensorDType | undefined;
  stored: string;
  shape: number[];
  begin: number;
  end: number;
}

export interface Header {
  metadata: Record<string, string>;
  /** In the order of their data in the file. */
  entries: Entry[];
}

/** `source` names the file in messages. */
export function fault(source: string, what: string): SweetError {
  return new SweetError('ERR_SAFETENSORS', `${source} is not a valid safetensors file: ${what}`);
}

/** The length of the header, from the first 8 bytes, for a file of `total` bytes. */
export function headerLength(source: string, first: Uint8Array, total: number): number {
  if (first.length < 8) throw fault(source, `expected at least 8 bytes but the file has ${total}`);
  const length = Number(new DataView(first.buffer, first.byteOffset, 8).getBigUint64(0, true));
  if (length > MAX_HEADER_BYTES) {
    throw fault(source, `expected a header of at most ${MAX_HEADER_BYTES} bytes but its length is ${length}`);
  }
  if (8 + length > total) throw fault(source, `its header ends at byte ${8 + length} but the file has ${total}`);
  return length;
}

/** Reads and checks the header in front of `dataBytes` bytes of data. */
export function parseHeader(source: string, bytes: Uint8Array, dataBytes: number): Header {
  const { __metadata__: metadata = {}, ...tensors } = jsonOf(source, bytes);
  if (!isObject(metadata) || Object.values(metadata).some((value) => typeof value !== 'string')) {
    throw fault(source, '__metadata__ must map strings to strings');
  }
  const entries = Object.entries(tensors).map(([name, value]) => entryOf(source, name, value));
  entries.sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCover(source, entries, dataBytes);
  return { metadata: metadata as Record<string, string>, entries };
}

function jsonOf(source: string, bytes: Uint8Array): Record<string, unknown> {
  let header: unknown;
  try {
    header = JSON.parse(new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes), withoutPrototype);
  } catch (error) {
    throw fault(source, `its header is not JSON in UTF-8 (${(error as Error).message})`);
  }
  if (!isObject(header) || bytes[0] !== 0x7b) throw fault(source, 'its header must be a JSON object and begin with {');
  return header;
}

/** A reviver: objects without a prototype, since a tensor may have any name. */
function withoutPrototype(_: string, value: unknown): unknown {
  return isObject(value) ? Object.assign(Object.create(null), value) : value;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function entryOf(source: string, name: string, value: unknown): Entry {
  const what = `the tensor ${JSON.stringify(name)}`;
  if (!isObject(value)) throw fault(source, `${what} must be an object`);
  const { dtype: stored, shape, data_offsets: offsets, ...others } = value;
  if (typeof stored !== 'string') throw fault(source, `${what} must have a dtype`);
  if (!Array.isArray(shape) || !shape.every(isCount)) {
    throw fault(source, `${what} must have a shape of integers >= 0`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fault(source, `${what} must have data_offsets [begin, end]`);
  }
  const [unknown] = Object.keys(others);
  if (unknown !== undefined) throw fault(source, `${what} has an unknown field ${JSON.stringify(unknown)}`);
  const [begin, end] = offsets as [number, number];
  const dtype = DTYPES.get(stored);
  if (dtype !== undefined) checkSize(source, what, shape, STORAGE[dtype][1], begin, end);
  return { name, dtype, stored, shape, begin, end };
}

function checkSize(source: string, what: string, shape: number[], size: number, begin: number, end: number): void {
  const bytes = shape.reduce((product, length) => product * length, size);
  if (end - begin !== bytes) {
    throw fault(source, `${what} has ${end - begin} bytes of data but its shape [${shape}] needs ${bytes}`);
  }
}

/** The tensors must be contiguous: no gap, no overlap, nothing after the last. */
function checkCover(source: string, entries: Entry[], dataBytes: number): void {
  let at = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== at || end < begin) {
      throw fault(
        source,
        `the tensor ${JSON.stringify(name)} is at bytes ${begin} to ${end} of the data, expected it to begin at ${at}`,
      );
    }
    at = end;
  }
  if (at !== dataBytes) throw fault(source, `its tensors end at byte ${at} of the data, which has ${dataBytes}`);
}
