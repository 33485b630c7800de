// Reads and writes .safetensors files, for example reference log-probs for another program. The bytes of arrays are
// unchanged.
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { TextEncoder } from 'node:util';
import { bytesOf, checkAttached, classOf, isArray, lengthOf, plainView, typedArray } from '../args/arrays.js';
import { checkOptions, isRecord } from '../args/options.js';
import { expected, rangeError, typeError } from '../errors.js';
import { FileReplacement, pathOf } from './file-replacement.js';
import {
  type Entry,
  fault,
  fileError,
  type Header,
  headerLength,
  MAX_HEADER_BYTES,
  parseHeader,
  quoted,
  STORAGE,
  shortened,
  type TensorDType,
} from './safetensors-header.js';

export { FileReplacement } from './file-replacement.js';
export type { TensorDType };

/** The elements of a tensor: bits in a Uint16Array for 'bfloat16' and 'float16', 0 and 1 in a Uint8Array for 'bool'. */
export type TensorData = InstanceType<(typeof STORAGE)[TensorDType][2]>;

/** A tensor of a file. */
export interface Tensor {
  dtype: TensorDType;
  shape: number[];
  /** Row-major. */
  data: TensorData;
}

/** The contents of a .safetensors file. */
export interface Safetensors {
  /** By name; an object without a prototype, since a tensor may have any name. */
  tensors: Record<string, Tensor>;
  metadata: Record<string, string>;
}

/**
 * A tensor to write: an array, or an array with its dtype (needed for 'bfloat16', 'float16' and 'bool') and its shape.
 */
export type TensorInput =
  | ArrayBufferView
  | { data: ArrayBufferView; dtype?: TensorDType | undefined; shape?: readonly number[] | undefined };

/** The contents of a .safetensors file to write. */
export interface SafetensorsInput {
  tensors: Readonly<Record<string, TensorInput>>;
  metadata?: Readonly<Record<string, string>> | undefined;
}

/** What `readSafetensors` and `parseSafetensors` take besides their source. */
export interface ReadSafetensorsOptions {
  /** Only these tensors, all by default. */
  names?: readonly string[] | undefined;
}

const READ_OPTIONS = new Set(['names']);
const INPUT = new Set(['tensors', 'metadata']);
const TENSOR = new Set(['data', 'dtype', 'shape']);
// One read of Linux transfers less than 2^31 bytes.
const CHUNK_BYTES = 2 ** 30;

/** A new buffer with the bytes from `begin` to `end`. */
type Read = (begin: number, end: number) => ArrayBuffer;

function readTensors(source: string, total: number, read: Read, given: ReadSafetensorsOptions): Safetensors {
  const options = checkOptions('reading safetensors', given, READ_OPTIONS);
  const length = headerLength(source, new Uint8Array(read(0, Math.min(8, total))), total);
  const header = parseHeader(source, new Uint8Array(read(8, 8 + length)), total - 8 - length);
  const tensors = Object.create(null) as Record<string, Tensor>;
  for (const entry of selectEntries(source, header, options.names)) {
    tensors[entry.name] = tensorOf(source, entry, 8 + length, read);
  }
  return { tensors, metadata: header.metadata };
}

function selectEntries(source: string, { entries, byName }: Header, names: unknown): Entry[] {
  if (names === undefined) return entries;
  if (!isArray(names)) throw typeError('ERR_ARG_TYPE', expected('an array of names', 'names', names));
  return names.map((name, i) => {
    if (typeof name !== 'string') throw typeError('ERR_ARG_TYPE', expected('a string', `names[${i}]`, name));
    const entry = byName.get(name);
    if (entry !== undefined) return entry;
    const some = entries.slice(0, 8).map((other) => quoted(other.name));
    throw fileError(source, ` has no tensor ${quoted(name)}; it has ${some.join(', ')}`);
  });
}

function tensorOf(
  source: string,
  { name, dtype, stored, shape, begin, end }: Entry,
  start: number,
  read: Read,
): Tensor {
  if (dtype === undefined) {
    throw fileError(source, `: the tensor ${quoted(name)} has the unsupported dtype ${stored}`);
  }
  const Class = STORAGE[dtype][2];
  return { dtype, shape, data: end > begin ? new Class(read(start + begin, start + end)) : new Class(0) };
}

/**
 * Reads a .safetensors file, or some of its tensors.
 *
 * @param path of the file.
 * @param options.names which tensors; all by default.
 * @returns the tensors by name, each with a buffer of its own, and the metadata.
 * @throws SweetError ERR_SAFETENSORS naming the file and the fault; the error of the system where it cannot be read.
 * @see https://huggingface.co/docs/safetensors
 * @example
 * const { refLogps } = readSafetensors('reference.safetensors', { names: ['refLogps'] }).tensors;
 * criticUpdate({ ...batch, logits, refLogps: toFloat32(refLogps) });
 */
export function readSafetensors(path: string | URL, options: ReadSafetensorsOptions = {}): Safetensors {
  const source = pathOf(path);
  const file = openSync(source, 'r');
  try {
    const read: Read = (begin, end) => {
      const bytes = new Uint8Array(end - begin);
      for (let at = 0; at < bytes.length; ) {
        const count = readSync(file, bytes, at, Math.min(bytes.length - at, CHUNK_BYTES), begin + at);
        if (count === 0) throw fault(source, 'it became shorter while it was read');
        at += count;
      }
      return bytes.buffer;
    };
    return readTensors(source, fstatSync(file).size, read, options);
  } finally {
    closeSync(file);
  }
}

/**
 * Reads safetensors from bytes in memory, as `readSafetensors` does from a file.
 *
 * @param bytes of the whole file.
 * @param options.names which tensors; all by default.
 * @returns the tensors by name, each with a buffer of its own, and the metadata.
 * @throws SweetError ERR_SAFETENSORS naming the fault.
 * @see https://huggingface.co/docs/safetensors
 * @example
 * const { tensors, metadata } = parseSafetensors(await (await fetch(url)).bytes());
 */
export function parseSafetensors(bytes: Uint8Array, options: ReadSafetensorsOptions = {}): Safetensors {
  if (classOf(bytes) !== 'Uint8Array') throw typeError('ERR_ARG_TYPE', expected('Uint8Array', 'bytes', bytes));
  checkAttached('bytes', bytes);
  const { buffer, from } = bytesOf(bytes);
  const memory = new Uint8Array(buffer as ArrayBuffer, from);
  const read: Read = (begin, end) => memory.slice(begin, end).buffer;
  return readTensors('bytes', lengthOf(bytes), read, options);
}

interface StoredTensor extends Tensor {
  name: string;
  bytes: Uint8Array;
}

/** The header, and the tensors in the order of their data: larger elements first, so that all are aligned. */
function layout(input: SafetensorsInput): { header: Uint8Array; stored: StoredTensor[] } {
  const { tensors, metadata: givenMetadata } = checkOptions('writing safetensors', input, INPUT);
  if (!isRecord(tensors)) throw typeError('ERR_ARG_TYPE', expected('an object of tensors', 'tensors', tensors));
  if (givenMetadata !== undefined && !isRecord(givenMetadata)) {
    throw typeError('ERR_ARG_TYPE', expected('an object of strings', 'metadata', givenMetadata));
  }
  const metadata = { ...givenMetadata };
  const stored = Object.entries(tensors).map(([name, tensor]) => storedTensor(name, tensor));
  stored.sort((a, b) => STORAGE[b.dtype][1] - STORAGE[a.dtype][1]);
  let at = 0;
  const fields: string[] = Object.keys(metadata).length > 0 ? [`"__metadata__":${metadataOf(metadata)}`] : [];
  for (const { name, dtype, shape, bytes } of stored) {
    const entry = { dtype: STORAGE[dtype][0], shape, data_offsets: [at, at + bytes.length] };
    at += bytes.length;
    fields.push(`${JSON.stringify(name)}:${JSON.stringify(entry)}`);
  }
  return { header: headerOf(`{${fields.join(',')}}`), stored };
}

function metadataOf(metadata: Readonly<Record<string, unknown>>): string {
  for (const [key, value] of Object.entries(metadata)) {
    if (typeof value !== 'string')
      throw typeError('ERR_ARG_TYPE', expected('a string', `metadata.${shortened(key, 40)}`, value));
  }
  return JSON.stringify(metadata);
}

/** The header with its length, padded by spaces so that the data begins at a multiple of 8. */
function headerOf(json: string): Uint8Array {
  const text = new TextEncoder().encode(json);
  const length = Math.ceil(text.length / 8) * 8;
  if (length > MAX_HEADER_BYTES) {
    throw rangeError('ERR_ARG_LENGTH', `Expected a header of at most ${MAX_HEADER_BYTES} bytes but it has ${length}`);
  }
  const bytes = new Uint8Array(8 + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(text, 8);
  return bytes;
}

function storedTensor(name: string, input: TensorInput): StoredTensor {
  if (name === '__metadata__') {
    throw rangeError('ERR_ARG_VALUE', expected('another name, since the format reserves this one,', 'tensors', name));
  }
  const { data, dtype, shape } = ArrayBuffer.isView(input) ? { data: input } : fieldsOf(name, input);
  const argument = `tensors.${shortened(name, 40)}`;
  const actual = dtypeOf(argument, data, dtype);
  const length = lengthOf(data as Uint8Array);
  if (shape !== undefined && !isArray(shape)) {
    throw typeError('ERR_ARG_TYPE', expected('an array of integers', `${argument}.shape`, shape));
  }
  const dimensions: number[] = Array.from(shape ?? [length], (n, i) => {
    if (Number.isSafeInteger(n) && n >= 0) return n;
    throw rangeError('ERR_ARG_VALUE', expected('an integer >= 0', `${argument}.shape[${i}]`, n));
  });
  if (dimensions.reduce((product: number, n: number) => product * n, 1) !== length) {
    throw rangeError(
      'ERR_ARG_VALUE',
      shortened(`Expected a shape of ${length} elements for ${argument}.shape but received [${dimensions}]`, 200),
    );
  }
  const { buffer, from, to } = bytesOf(data);
  const bytes = new Uint8Array(buffer as ArrayBuffer, from, to - from);
  return { name, dtype: actual, shape: dimensions, data: data as TensorData, bytes };
}

function fieldsOf(name: string, input: unknown): Exclude<TensorInput, ArrayBufferView> {
  return checkOptions(`tensors.${shortened(name, 40)}`, input as Exclude<TensorInput, ArrayBufferView>, TENSOR);
}

/** The given dtype, or the one that follows from the class of the array. */
function dtypeOf(argument: string, data: unknown, given: unknown): TensorDType {
  const name = classOf(data);
  const all = Object.keys(STORAGE) as TensorDType[];
  const fits = all.filter(
    (dtype) => name === STORAGE[dtype][2].name || (name === 'Float16Array' && dtype === 'float16'),
  );
  if (fits.length === 0) throw typeError('ERR_ARG_TYPE', expected('a typed array', argument, data));
  checkAttached(argument, data as Uint8Array);
  const byClass = name === 'Uint8Array' ? 'uint8' : fits.length === 1 ? fits[0] : undefined;
  const dtype = given === undefined ? byClass : fits.find((fit) => fit === given);
  if (dtype !== undefined) return dtype;
  const rule = `${fits.map((fit) => `'${fit}'`).join(' or ')}, since the data is a ${name},`;
  const received = typeof given === 'string' ? shortened(given, 40) : given;
  throw typeError('ERR_ARG_TYPE', expected(rule, `${argument}.dtype`, received));
}

/**
 * Writes a .safetensors file, under a temporary name that is replaced by `path` when the file is complete and on the disk.
 *
 * @param path of the file; an existing file is replaced, and its permissions are kept.
 * @param input.tensors by name: a typed array, or `{ data, dtype?, shape? }`; a Uint16Array needs its dtype.
 * @param input.metadata strings by name.
 * @throws TypeError, RangeError naming the tensor; the error of the system where the file cannot be written.
 * @see https://huggingface.co/docs/safetensors
 * @example
 * writeSafetensors('reference.safetensors', { tensors: { refLogps: logps }, metadata: { model: 'base' } });
 */
export function writeSafetensors(path: string | URL, input: SafetensorsInput): void {
  const { header, stored } = layout(input);
  const file = new FileReplacement(path);
  try {
    file.append(header);
    for (const { bytes } of stored) file.append(bytes);
    file.commit();
  } finally {
    file.discard();
  }
}

/**
 * The bytes of a .safetensors file, as `writeSafetensors` writes them.
 *
 * @param input.tensors by name: a typed array, or `{ data, dtype?, shape? }`; a Uint16Array needs its dtype.
 * @param input.metadata strings by name.
 * @returns the whole file.
 * @throws TypeError, RangeError naming the tensor.
 * @see https://huggingface.co/docs/safetensors
 * @example
 * const bytes = serializeSafetensors({ tensors: { refLogps: new Float32Array(4) } });
 */
export function serializeSafetensors(input: SafetensorsInput): Uint8Array {
  const { header, stored } = layout(input);
  const total = stored.reduce((sum, { bytes }) => sum + bytes.length, header.length);
  const result = new Uint8Array(total);
  result.set(header);
  let at = header.length;
  for (const { bytes } of stored) {
    result.set(bytes, at);
    at += bytes.length;
  }
  return result;
}

/**
 * The elements of a tensor in float32, for example for `refLogps`: bfloat16 and float16 exactly, float64 rounded once.
 *
 * @param tensor of a floating-point dtype.
 * @returns the elements; the array of the tensor where it is float32.
 * @throws TypeError ERR_ARG_TYPE for another dtype.
 * @see IEEE 754: binary16 and binary32.
 * @example
 * const refLogps = toFloat32(readSafetensors('reference.safetensors').tensors.refLogps);
 */
export function toFloat32(tensor: Tensor | undefined): Float32Array {
  const { dtype, data } = isRecord(tensor) ? tensor : {};
  const dataAs = <C extends 'Float32Array' | 'Float64Array' | 'Uint16Array'>(name: C) =>
    typedArray('tensor.data', data, [name]);
  switch (dtype) {
    case 'float32':
      return dataAs('Float32Array');
    case 'float64':
      return Float32Array.from(plainView(dataAs('Float64Array')));
    case 'bfloat16': {
      const bits = Uint32Array.from(plainView(dataAs('Uint16Array')), (element) => element << 16);
      return new Float32Array(bits.buffer);
    }
    case 'float16':
      return Float32Array.from(plainView(dataAs('Uint16Array')), halfToNumber);
    default:
      throw typeError('ERR_ARG_TYPE', expected('a tensor of floating-point numbers', 'tensor', dtype ?? tensor));
  }
}

/** The value of an IEEE binary16: 1 sign bit, 5 exponent bits, 10 fraction bits. */
function halfToNumber(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (exponent === 0 ? fraction * 2 ** -24 : (1024 + fraction) * 2 ** (exponent - 25));
}
