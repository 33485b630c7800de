// The header of a .safetensors file: its contents, read and checked.
// util's class, since the globals of jsdom have none.
import { TextDecoder } from 'node:util';
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

const FIELDS = new Set(['dtype', 'shape', 'data_offsets']);

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
  byName: Map<string, Entry>;
}

const MAX_MESSAGE = 200;

/** An error about the file `source`; the text of a file can have any length, a message has at most 200 characters. */
export function fileError(source: string, what: string): SweetError {
  const name = source.length > 90 ? `...${source.slice(-87)}` : source;
  return new SweetError('ERR_SAFETENSORS', shortened(`${name}${what}`, MAX_MESSAGE));
}

/** `source` names the file in messages. */
export function fault(source: string, what: string): SweetError {
  return fileError(source, ` is not a valid safetensors file: ${what}`);
}

export const quoted = (name: string): string => JSON.stringify(shortened(name, 40));

/** The beginning of a text that is too long. */
export function shortened(text: string, length: number): string {
  return text.length > length ? `${text.slice(0, length - 3)}...` : text;
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
  const text = decoded(source, bytes);
  const byName = new Map<string, Entry>();
  let metadata: Record<string, string> | undefined;
  for (const member of membersOf(source, text)) {
    const { key } = member;
    const isMetadata = key === '__metadata__';
    if (isMetadata ? metadata !== undefined : byName.has(key)) throw twice(source, key, 'its header');
    if (isMetadata) metadata = metadataOf(source, member);
    else byName.set(key, entryOf(source, member));
  }
  const entries = [...byName.values()].sort((a, b) => a.begin - b.begin || a.end - b.end);
  checkCover(source, entries, dataBytes);
  return { metadata: metadata ?? Object.create(null), entries, byName };
}

function twice(source: string, key: string, what: string): SweetError {
  return fault(source, `the key ${quoted(key)} stands twice in ${what}`);
}

function decoded(source: string, bytes: Uint8Array): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch (error) {
    throw notJson(source, error);
  }
  if (!text.startsWith('{')) throw noObject(source, text);
  return text;
}

/** The error for a text that JSON.parse refuses too, and whose message this then is, or that is another value. */
function noObject(source: string, text: string): SweetError {
  jsonOf(source, text);
  return fault(source, 'its header must be a JSON object and begin with {');
}

function jsonOf(source: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw notJson(source, error);
  }
}

function notJson(source: string, error: unknown): SweetError {
  return fault(source, `its header is not JSON in UTF-8 (${(error as Error).message})`);
}

/** A member of an object: the text of its value, and how many colons that has outside of strings. */
interface Member {
  key: string;
  text: string;
  colons: number;
}

/**
 * The members of a JSON object, whose text begins with {. JSON.parse keeps only the last of equal keys, and takes longer for
 * one object of many members than for as many small objects.
 */
function* membersOf(source: string, text: string): Generator<Member> {
  let at = afterSpace(text, 1);
  let more = text[at] !== '}';
  while (more) {
    const endOfKey = text[at] === '"' ? stringEnd(text, at) : text.length;
    const colon = afterSpace(text, endOfKey);
    if (text[colon] !== ':') throw noObject(source, text);
    const key = jsonOf(source, text.slice(at, endOfKey)) as string;
    const { end, colons } = valueEnd(text, colon + 1);
    if (end === text.length) throw noObject(source, text);
    yield { key, text: text.slice(colon + 1, end), colons };
    more = text[end] === ',';
    at = more ? afterSpace(text, end + 1) : end;
  }
  if (text[at] !== '}' || afterSpace(text, at + 1) !== text.length) throw noObject(source, text);
}

function afterSpace(text: string, from: number): number {
  let at = from;
  while (at < text.length && ' \t\n\r'.includes(text[at] as string)) at++;
  return at;
}

const [QUOTE, COMMA, COLON, BACKSLASH] = [0x22, 0x2c, 0x3a, 0x5c];

/** Behind the string that begins at `from`. */
function stringEnd(text: string, from: number): number {
  let end = text.indexOf('"', from + 1);
  while (end >= 0 && isEscaped(text, end)) end = text.indexOf('"', end + 1);
  return end < 0 ? text.length : end + 1;
}

/** Whether an odd number of backslashes stands before `at`. */
function isEscaped(text: string, at: number): boolean {
  let first = at;
  while (text.charCodeAt(first - 1) === BACKSLASH) first--;
  return (at - first) % 2 === 1;
}

/** The comma or bracket behind the value that begins at `from`; the end of the text where there is none. */
function valueEnd(text: string, from: number): { end: number; colons: number } {
  let [depth, colons] = [0, 0];
  let at = from;
  while (at < text.length) {
    const code = text.charCodeAt(at);
    if (code === QUOTE) {
      at = stringEnd(text, at);
      continue;
    }
    // [ and { differ by one bit, as do ] and }.
    if ((code | 0x20) === 0x7b) depth++;
    else if ((code | 0x20) === 0x7d && depth-- === 0) break;
    else if (code === COMMA && depth === 0) break;
    else if (code === COLON) colons++;
    at++;
  }
  return { end: at, colons };
}

function metadataOf(source: string, { text }: Member): Record<string, string> {
  const noStrings = () => fault(source, '__metadata__ must map strings to strings');
  const object = text.trimStart();
  if (!object.startsWith('{')) throw noStrings();
  const metadata: Record<string, string> = Object.create(null);
  for (const { key, text: value } of membersOf(source, object)) {
    if (key in metadata) throw twice(source, key, '__metadata__');
    const parsed = jsonOf(source, value);
    if (typeof parsed !== 'string') throw noStrings();
    metadata[key] = parsed;
  }
  return metadata;
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

const isCount = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function entryOf(source: string, { key: name, text, colons }: Member): Entry {
  const value = jsonOf(source, text);
  const wrong = (what: string) => fault(source, `the tensor ${quoted(name)} ${what}`);
  if (!isObject(value)) throw wrong('must be an object');
  const { dtype: stored, shape, data_offsets: offsets } = value;
  if (typeof stored !== 'string') throw wrong('must have a dtype');
  if (!Array.isArray(shape) || !shape.every(isCount)) throw wrong('must have a shape of integers >= 0');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw wrong('must have data_offsets [begin, end]');
  }
  const fields = Object.keys(value);
  if (fields.length > 3)
    throw wrong(`has an unknown field ${quoted(fields.find((field) => !FIELDS.has(field)) as string)}`);
  // Every colon belongs to a field, since no value is an object.
  if (colons > 3) throw twice(source, repeated(source, text, fields), `the tensor ${quoted(name)}`);
  const [begin, end] = offsets as [number, number];
  const dtype = DTYPES.get(stored);
  const bytes = dtype === undefined ? end - begin : shape.reduce((product, n) => product * n, STORAGE[dtype][1]);
  if (end - begin !== bytes) throw wrong(`has ${end - begin} bytes of data but its shape [${shape}] needs ${bytes}`);
  return { name, dtype, stored, shape, begin, end };
}

/** The key that an object has more than once. */
function repeated(source: string, text: string, keys: string[]): string {
  const unseen = new Set(keys);
  for (const { key } of membersOf(source, text.trimStart())) if (!unseen.delete(key)) return key;
  return '';
}

/** The tensors must be contiguous: no gap, no overlap, nothing after the last. */
function checkCover(source: string, entries: Entry[], dataBytes: number): void {
  let at = 0;
  for (const { name, begin, end } of entries) {
    if (begin !== at || end < begin) {
      throw fault(
        source,
        `the tensor ${quoted(name)} is at bytes ${begin} to ${end} of the data, expected it to begin at ${at}`,
      );
    }
    at = end;
  }
  if (at !== dataBytes) throw fault(source, `its tensors end at byte ${at} of the data, which has ${dataBytes}`);
}
