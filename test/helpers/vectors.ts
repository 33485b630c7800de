/** The shared reference cases: vectors/<op>/<case>.safetensors, computed elsewhere in float64 on the stored inputs. */
import { readdirSync } from 'node:fs';
import { basename, join } from 'node:path';
import { readSafetensors, type StorageType, type Tensor } from './safetensors.ts';
import { type DType, decode, type Stored } from './storage.ts';

const FOLDER = join(import.meta.dirname, '..', 'vectors');

export interface VectorCase<Options> {
  name: string;
  op: string;
  options: Options;
  has: (tensor: string) => boolean;
  shape: (tensor: string) => number[];
  /** The tensor as it goes into the library, with the dtype that a Uint16Array needs. */
  stored: (tensor: string) => { data: Stored; dtype: DType };
  floats: (tensor: string) => Float32Array;
  integers: (tensor: string) => Int32Array;
  mask: () => Uint8Array | undefined;
  /** The mask, the labels and the weights of tokens that it has, as the library takes them. */
  counting: () => { mask?: Uint8Array; labels?: Int32Array; tokenWeights?: Float32Array };
  /** The same for the oracles, which know no labels. */
  oracleCounting: () => { mask?: ArrayLike<number>; tokenWeights?: Float32Array };
  /** The tensor's values in float64: for the oracle, and what is expected. */
  values: (tensor: string) => Float64Array;
  /** All that is expected, by the names of the library's results. */
  expected: () => Record<string, Float64Array>;
}

/** The cases of a folder, of one operation where it has those of several. */
export function vectorCases<Options>(folder: string, op?: string): VectorCase<Options>[] {
  const cases = readdirSync(join(FOLDER, folder))
    .sort()
    .map((file) => openCase<Options>(join(FOLDER, folder, file)));
  return op === undefined ? cases : cases.filter((each) => each.op === op);
}

function openCase<Options>(path: string): VectorCase<Options> {
  const { metadata, tensors } = readSafetensors(path);
  const get = (name: string): Tensor => {
    const tensor = tensors.get(name);
    if (tensor === undefined) throw new Error(`${path} holds no ${name}`);
    return tensor;
  };
  const as = <T>(name: string, type: StorageType): T => {
    const tensor = get(name);
    if (tensor.type !== type) throw new Error(`${name} of ${path} is ${tensor.type}, not ${type}`);
    return tensor.data as T;
  };
  const mask = () => (tensors.has('mask') ? as<Uint8Array>('mask', 'U8') : undefined);
  const weights = () =>
    tensors.has('token_weights') ? { tokenWeights: as<Float32Array>('token_weights', 'F32') } : {};
  const labels = () => (tensors.has('labels') ? as<Int32Array>('labels', 'I32') : undefined);
  const { op, options } = JSON.parse(metadata.case!) as { op: string; options: Options & { ignoreIndex?: number } };
  const values = (name: string) => decode(get(name).data as Stored, dtypeOf(get(name)));
  return {
    name: basename(path, '.safetensors'),
    op,
    options,
    has: (name) => tensors.has(name),
    shape: (name) => get(name).shape,
    stored: (name) => ({ data: get(name).data as Stored, dtype: dtypeOf(get(name)) }),
    floats: (name) => as<Float32Array>(name, 'F32'),
    integers: (name) => as<Int32Array>(name, 'I32'),
    mask,
    counting: () => {
      const [given, all] = [mask(), labels()];
      return { ...(given && { mask: given }), ...(all && { labels: all }), ...weights() };
    },
    oracleCounting: () => {
      const [given, all] = [mask(), labels()];
      const counts = all ? Array.from(all, (y, i) => (given?.[i] === 0 || y === options.ignoreIndex ? 0 : 1)) : given;
      return { ...(counts && { mask: counts }), ...weights() };
    },
    values,
    expected: () => {
      const names = [...tensors.keys()].filter((name) => name.startsWith('expected.'));
      return Object.fromEntries(names.map((name) => [resultName(name), values(name)]));
    },
  };
}

function dtypeOf({ type }: Tensor): DType {
  if (type === 'F16') return 'float16';
  return type === 'BF16' ? 'bfloat16' : 'float32';
}

/** expected.pair_losses -> pairLosses; the scores of turns have two names in the vectors and one in the library. */
function resultName(tensor: string): string {
  const name = tensor.replace('expected.', '').replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
  return name === 'turnScores' || name === 'advantages' ? 'turnAdvantages' : name;
}
