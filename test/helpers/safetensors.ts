/** Reads .safetensors: an 8-byte little-endian header length, a JSON header, then the raw little-endian data. */
import { readFileSync } from 'node:fs';

const CLASSES = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  I32: Int32Array,
  U8: Uint8Array,
} as const;

export type StorageType = keyof typeof CLASSES;
export type TensorData = InstanceType<(typeof CLASSES)[StorageType]>;

export interface Tensor {
  /** F16 and BF16 keep their bits, in a Uint16Array. */
  type: StorageType;
  shape: number[];
  data: TensorData;
}

interface HeaderEntry {
  dtype: StorageType;
  shape: number[];
  data_offsets: [number, number];
}

export function readSafetensors(path: string): { metadata: Record<string, string>; tensors: Map<string, Tensor> } {
  const file = readFileSync(path);
  const dataStart = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString('utf8', 8, dataStart));
  const { __metadata__: metadata, ...entries } = header as { __metadata__: Record<string, string> };
  const tensors = new Map<string, Tensor>();
  for (const [name, entry] of Object.entries(entries as unknown as Record<string, HeaderEntry>)) {
    const [begin, end] = entry.data_offsets;
    // A copy, because the data need not stand at a multiple of the element's size.
    const bytes = new Uint8Array(file.subarray(dataStart + begin, dataStart + end)).buffer;
    tensors.set(name, { type: entry.dtype, shape: entry.shape, data: new CLASSES[entry.dtype](bytes) });
  }
  return { metadata, tensors };
}
