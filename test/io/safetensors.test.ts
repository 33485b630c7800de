/** Files against the independent reader of the tests and files that PyTorch's library wrote; every way to be no such file. */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { SweetError } from 'sweet-rl';
import {
  parseSafetensors,
  readSafetensors,
  serializeSafetensors,
  type TensorDType,
  type TensorInput,
  toFloat32,
  writeSafetensors,
} from 'sweet-rl/safetensors';
import { afterAll, describe, expect, it } from 'vitest';
import { ROOT } from '../helpers/processes.ts';
import { Random } from '../helpers/random.ts';
import { readSafetensors as readIndependently } from '../helpers/safetensors.ts';
import { decodeHalf } from '../reference/half.ts';

const folder = mkdtempSync(join(tmpdir(), 'sweet-rl-safetensors-'));
const path = join(folder, 'file.safetensors');
afterAll(() => rmSync(folder, { recursive: true }));

const vectors = join(ROOT, 'test', 'vectors');
const files = readdirSync(vectors, { recursive: true, encoding: 'utf8' }).filter((name) =>
  name.endsWith('.safetensors'),
);

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView) => Buffer.from(buffer, byteOffset, byteLength);

function codeOf(action: () => unknown): string | undefined {
  try {
    action();
  } catch (error) {
    return (error as SweetError).code;
  }
  return undefined;
}

/** A file with this header and so many bytes of data. */
function fileOf(header: unknown, dataBytes = 0, length?: bigint): Uint8Array {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const bytes = Buffer.alloc(8 + json.length + dataBytes);
  bytes.writeBigUInt64LE(length ?? BigInt(json.length));
  json.copy(bytes, 8);
  return new Uint8Array(bytes);
}

describe('reading', () => {
  it.each(files)('gives what another reader gives: %s', (name) => {
    const theirs = readIndependently(join(vectors, name));
    const ours = readSafetensors(join(vectors, name));
    expect(ours.metadata).toEqual(theirs.metadata);
    expect(Object.keys(ours.tensors).sort()).toEqual([...theirs.tensors.keys()].sort());
    for (const [key, tensor] of theirs.tensors) {
      const mine = ours.tensors[key]!;
      expect(mine.shape).toEqual(tensor.shape);
      expect(mine.data.constructor).toBe(tensor.data.constructor);
      expect(bytesOf(mine.data).equals(bytesOf(tensor.data))).toBe(true);
    }
  });

  it('reads from bytes at any offset what it reads from a file', () => {
    const file = readFileSync(join(vectors, files[0]!));
    const shifted = new Uint8Array(file.length + 3).subarray(3);
    shifted.set(file);
    expect(parseSafetensors(shifted)).toEqual(readSafetensors(join(vectors, files[0]!)));
  });

  it('reads only what is asked for, and names what is there where it is not', () => {
    writeSafetensors(path, { tensors: { a: new Float32Array(2), b: new Int32Array(3), c: new Float64Array(1) } });
    expect(Object.keys(readSafetensors(path, { names: ['c', 'a'] }).tensors)).toEqual(['c', 'a']);
    expect(() => readSafetensors(path, { names: ['d'] })).toThrow(
      /file\.safetensors has no tensor "d"; it has "c", "a", "b"/,
    );
  });

  it('passes over types that it does not know until they are asked for', () => {
    const known = { dtype: 'U8', shape: [1], data_offsets: [2, 3] };
    const file = fileOf({ x: { dtype: 'F8_E4M3', shape: [2], data_offsets: [0, 2] }, known }, 3);
    expect(Object.keys(parseSafetensors(file, { names: ['known'] }).tensors)).toEqual(['known']);
    expect(() => parseSafetensors(file)).toThrow(/"x" has the unsupported dtype F8_E4M3/);
  });

  it('takes time in proportion to the header, for any number of tensors and names', () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `t${i}`);
    const tensor = { dtype: 'U8', shape: [0], data_offsets: [0, 0] };
    const file = fileOf(Object.fromEntries(names.map((name) => [name, tensor])));
    const text = Buffer.from(file.subarray(8)).toString();
    const cpuTime = (action: () => unknown) => {
      const start = process.cpuUsage();
      action();
      const { user, system } = process.cpuUsage(start);
      return user + system;
    };
    // 1.5 to 3 times; 50 times where each name is looked for in a list.
    const parse = cpuTime(() => JSON.parse(text));
    expect(cpuTime(() => parseSafetensors(file, { names })) / parse).toBeLessThan(30);
  });

  it('keeps names that objects of JavaScript have by nature', () => {
    const tensors = {
      ['__proto__']: Float32Array.of(1),
      constructor: Float32Array.of(2),
      'ö ": \n': Float32Array.of(3),
    };
    const read = parseSafetensors(serializeSafetensors({ tensors, metadata: { ['__proto__']: 'x' } }));
    expect(Object.keys(read.tensors)).toEqual(Object.keys(tensors));
    expect(Object.values(read.tensors).map(({ data }) => data[0])).toEqual([1, 2, 3]);
    expect(Object.entries(read.metadata)).toEqual([['__proto__', 'x']]);
  });
});

describe('writing', () => {
  const random = new Random(1);
  const filled = <T extends ArrayBufferView>(view: T): T => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    for (let i = 0; i < bytes.length; i++) bytes[i] = random.integer(0, 256);
    return view;
  };
  const tensors: Record<TensorDType, TensorInput> = {
    uint8: filled(new Uint8Array(3)),
    float32: { data: filled(new Float32Array(6)), shape: [2, 3] },
    float64: filled(new Float64Array(4)),
    bfloat16: { data: filled(new Uint16Array(5)), dtype: 'bfloat16' },
    float16: { data: filled(new Uint16Array(7)), dtype: 'float16', shape: [1, 7, 1] },
    uint16: { data: filled(new Uint16Array(2)), dtype: 'uint16' },
    int64: filled(new BigInt64Array(2)),
    uint64: filled(new BigUint64Array(1)),
    int32: filled(new Int32Array(9).subarray(2, 5)),
    uint32: filled(new Uint32Array(1)),
    int16: filled(new Int16Array(1)),
    int8: { data: filled(new Int8Array(0)), shape: [0, 4] },
    bool: { data: Uint8Array.of(0, 1, 1), dtype: 'bool' },
  };
  const metadata = { model: 'base', 'a "key"': 'with\nlines' };

  it('keeps every bit, dtype, shape and name', () => {
    writeSafetensors(path, { tensors, metadata });
    for (const read of [readSafetensors(path), parseSafetensors(serializeSafetensors({ tensors, metadata }))]) {
      expect(read.metadata).toEqual(metadata);
      for (const [dtype, input] of Object.entries(tensors)) {
        const { data, shape = [(data as Uint8Array).length] } = ArrayBuffer.isView(input) ? { data: input } : input;
        const tensor = read.tensors[dtype]!;
        expect([tensor.dtype, tensor.shape]).toEqual([dtype, shape]);
        expect(bytesOf(tensor.data).equals(bytesOf(data))).toBe(true);
      }
    }
  });

  it('lays every tensor at a multiple of its element, for programs that map the file', () => {
    const file = serializeSafetensors({ tensors, metadata });
    const length = Number(new DataView(file.buffer).getBigUint64(0, true));
    const header = JSON.parse(Buffer.from(file.subarray(8, 8 + length)).toString());
    expect(length % 8).toBe(0);
    const size = { F: 1, U: 1, I: 1, B: 1 };
    for (const [name, { dtype, data_offsets }] of Object.entries(header) as [
      string,
      { dtype: string; data_offsets: number[] },
    ][]) {
      if (name === '__metadata__') continue;
      const bytes = dtype === 'BOOL' ? size.B : Number(/\d+/.exec(dtype)![0]) / 8;
      expect(data_offsets[0]! % bytes).toBe(0);
    }
  });

  it.each([0, 1, 2, 3, 4, 5, 6, 7])('begins its data at a multiple of 8: a name longer by %s', (more) => {
    const file = serializeSafetensors({ tensors: { [`a${'b'.repeat(more)}`]: Float64Array.of(1) } });
    expect(new DataView(file.buffer).getBigUint64(0, true) % 8n).toBe(0n);
  });

  it('leaves the file that was there, and nothing else, where it cannot write', () => {
    writeSafetensors(path, { tensors: { a: Float32Array.of(4) } });
    const before = readFileSync(path);
    expect(() => writeSafetensors(path, { tensors: { a: new Uint16Array(1) } })).toThrow(TypeError);
    expect(() => writeSafetensors(join(folder, 'no', 'folder'), { tensors: {} })).toThrow(/ENOENT/);
    const taken = join(folder, 'folder');
    mkdirSync(taken);
    expect(() => writeSafetensors(taken, { tensors: { a: Float32Array.of(4) } })).toThrow(/EISDIR|EPERM/);
    expect(readFileSync(path).equals(before)).toBe(true);
    expect(readdirSync(folder).sort()).toEqual(['file.safetensors', 'folder']);
    rmdirSync(taken);
  });

  it('takes the URL of a file, as reading does, and no other', () => {
    const url = pathToFileURL(join(folder, 'a b%.safetensors'));
    writeSafetensors(url, { tensors: { a: Float32Array.of(4) } });
    expect(readSafetensors(url).tensors.a!.data).toEqual(Float32Array.of(4));
    expect(existsSync(join(folder, 'a b%.safetensors'))).toBe(true);
    rmSync(url);
    for (const wrong of [new URL('https://example.com/a'), 3, null, {}, ['a']]) {
      const code = wrong instanceof URL ? 'ERR_ARG_VALUE' : 'ERR_ARG_TYPE';
      expect(codeOf(() => writeSafetensors(wrong as string, { tensors: {} }))).toBe(code);
      expect(codeOf(() => readSafetensors(wrong as string))).toBe(code);
    }
  });

  it.each<[string, unknown, RegExp]>([
    [
      '16-bit words without a dtype',
      { a: new Uint16Array(1) },
      /'float16' or 'bfloat16' or 'uint16'.*tensors\.a\.dtype/,
    ],
    [
      'a dtype of another class',
      { a: { data: new Float32Array(1), dtype: 'int32' } },
      /'float32'.*tensors\.a\.dtype.*"int32"/,
    ],
    ['no array', { a: [1, 2] }, /tensors\.a/],
    ['a DataView', { a: new DataView(new ArrayBuffer(8)) }, /a typed array for tensors\.a/],
    ['a shape of another size', { a: { data: new Float32Array(4), shape: [3] } }, /shape of 4 elements.*\[3\]/],
    ['a negative shape', { a: { data: new Float32Array(4), shape: [-2, -2] } }, /tensors\.a\.shape/],
    ['the reserved name', { __metadata__: new Float32Array(4) }, /__metadata__/],
    ['an unknown field', { a: { data: new Float32Array(4), colour: 1 } }, /"colour"/],
  ])('refuses %s', (_, wrong, message) => {
    expect(() => serializeSafetensors({ tensors: wrong as never })).toThrow(message);
  });

  it('refuses in at most 200 characters, however long the names are', () => {
    const long = 'long '.repeat(1e5);
    const inputs: [Record<string, unknown>, Record<string, unknown>?][] = [
      [{ [long]: [1] }],
      [{ [long]: new Uint16Array(1) }],
      [{ [long]: { data: new Float32Array(1), dtype: long } }],
      [{ [long]: { data: new Float32Array(1), shape: new Array(1e5).fill(2) } }],
      [{ [long]: { data: new Float32Array(1), shape: [-1] } }],
      [{}, { [long]: 3 }],
    ];
    for (const [tensors, metadata] of inputs) {
      let message = '';
      try {
        serializeSafetensors({ tensors, metadata } as never);
      } catch (error) {
        message = (error as Error).message;
      }
      expect(message).toMatch(/^Expected /);
      expect(message.length).toBeLessThanOrEqual(200);
    }
  });

  it('refuses metadata that are no strings, and options that it does not know', () => {
    expect(() => serializeSafetensors({ tensors: {}, metadata: { epoch: 3 as never } })).toThrow(/metadata\.epoch.* 3/);
    expect(() => serializeSafetensors({ tensors: {}, colour: 1 } as never)).toThrow(/"colour"/);
    expect(() => readSafetensors(path, { name: 'a' } as never)).toThrow(/"name"/);
  });
});

describe('a file that is none', () => {
  const tensor = (data_offsets: unknown, shape: unknown = [1], dtype: unknown = 'F32') => ({
    dtype,
    shape,
    data_offsets,
  });
  const [first, second] = [tensor([0, 4]), tensor([4, 8])];

  it.each<[string, Uint8Array, RegExp]>([
    ['empty', new Uint8Array(0), /at least 8 bytes but the file has 0/],
    ['7 bytes', new Uint8Array(7), /at least 8 bytes but the file has 7/],
    ['a header beyond the end', fileOf({}, 0, 3n), /its header ends at byte 11 but the file has 10/],
    ['a header beyond the limit', fileOf({}, 0, 100_000_001n), /at most 100000000 bytes but its length is 100000001/],
    ['a header of 2^64 - 1 bytes', fileOf({}, 0, 2n ** 64n - 1n), /at most 100000000 bytes/],
    ['an empty header', fileOf(''), /not JSON/],
    ['no JSON', fileOf('{"a":}'), /not JSON in UTF-8/],
    ['no UTF-8', new Uint8Array([2, 0, 0, 0, 0, 0, 0, 0, 0xc3, 0x28]), /not JSON in UTF-8/],
    ['a list', fileOf('[]'), /JSON object/],
    ['a space before the header', fileOf(' {}'), /begin with \{/],
    ['a thousand brackets', fileOf('['.repeat(100_000)), /not JSON/],
    ['metadata of numbers', fileOf({ __metadata__: { a: 1 } }), /__metadata__ must map strings/],
    ['metadata as a list', fileOf({ __metadata__: [] }), /__metadata__ must map strings/],
    ['a tensor that is null', fileOf({ a: null }), /"a" must be an object/],
    ['no dtype', fileOf({ a: { shape: [1], data_offsets: [0, 4] } }, 4), /"a" must have a dtype/],
    ['no shape', fileOf({ a: { dtype: 'F32', data_offsets: [0, 4] } }, 4), /"a" must have a shape/],
    ['a negative shape', fileOf({ a: tensor([0, 4], [-1]) }, 4), /"a" must have a shape of integers >= 0/],
    ['a broken shape', fileOf({ a: tensor([0, 4], [0.5]) }, 4), /"a" must have a shape/],
    ['one offset', fileOf({ a: tensor([0]) }, 4), /"a" must have data_offsets/],
    ['offsets as text', fileOf({ a: tensor(['0', '4']) }, 4), /"a" must have data_offsets/],
    [
      'a name twice',
      fileOf('{"a":1,"a":2}'.replaceAll(/\d/g, JSON.stringify(first)), 4),
      /key "a" stands twice in its header/,
    ],
    [
      'metadata twice',
      fileOf('{"__metadata__":{},"__metadata__":{}}'),
      /key "__metadata__" stands twice in its header/,
    ],
    [
      'a key of metadata twice',
      fileOf('{"__metadata__":{"k":"1","\\u006b":"2"}}'),
      /key "k" stands twice in __metadata__/,
    ],
    [
      'a field twice',
      fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"dt\\u0079pe":"F32"}}', 4),
      /key "dtype" stands twice in the tensor "a"/,
    ],
    [
      'a field __proto__',
      fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"__proto__":1}}', 4),
      /"__proto__"/,
    ],
    ['a comma too many', fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},}', 4), /not JSON in UTF-8/],
    [
      'a bracket of the other kind',
      fileOf('{"a":{"dtype":"F32","shape":[1},"data_offsets":[0,4]]}', 4),
      /not JSON in UTF-8/,
    ],
    ['text behind the header', fileOf('{} {}'), /not JSON in UTF-8/],
    ['a string without an end', fileOf('{"a\\"'), /not JSON in UTF-8/],
    ['a newline in a name', fileOf('{"a\n":1}'), /not JSON in UTF-8/],
    ['offsets beyond 2^53', fileOf('{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,1e300]}}', 4), /data_offsets/],
    ['an unknown field', fileOf({ a: { ...first, colour: 1 } }, 4), /"a" has an unknown field "colour"/],
    ['too few bytes for the shape', fileOf({ a: tensor([0, 4], [2]) }, 4), /"a" has 4 bytes .* needs 8/],
    ['a shape that overflows', fileOf({ a: tensor([0, 0], [2 ** 40, 2 ** 40]) }), /"a" has 0 bytes/],
    ['offsets that fall', fileOf({ a: tensor([4, 0], [1], 'F8') }, 4), /"a"/],
    ['a hole in front', fileOf({ a: second }, 8), /"a" is at bytes 4 to 8 of the data, expected it to begin at 0/],
    [
      'a hole between',
      fileOf({ a: first, b: tensor([8, 12]) }, 12),
      /"b" is at bytes 8 to 12 of the data, expected it to begin at 4/,
    ],
    [
      'an overlap',
      fileOf({ a: tensor([0, 8], [2]), b: second }, 8),
      /"b" is at bytes 4 to 8 of the data, expected it to begin at 8/,
    ],
    [
      'two in one place',
      fileOf({ a: first, b: first }, 4),
      /is at bytes 0 to 4 of the data, expected it to begin at 4/,
    ],
    ['data beyond the end', fileOf({ a: first, b: second }, 7), /end at byte 8 of the data, which has 7/],
    ['data after the last', fileOf({ a: first }, 5), /end at byte 4 of the data, which has 5/],
  ])('says so: %s', (_, bytes, message) => {
    const errorOf = (action: () => unknown) => {
      try {
        action();
      } catch (error) {
        return error as SweetError;
      }
      throw new Error('nothing was thrown');
    };
    const error = errorOf(() => parseSafetensors(bytes));
    expect(error).toBeInstanceOf(SweetError);
    expect(error.code).toBe('ERR_SAFETENSORS');
    expect(error.message).toMatch(message);
    writeFileSync(path, bytes);
    const ofFile = errorOf(() => readSafetensors(path));
    expect(ofFile.message).toBe(error.message.replace(/^bytes/, path));
  });

  it('says so in at most 200 characters, however long its texts are', () => {
    const long = 'long '.repeat(1e5);
    const files: [unknown, string[]?][] = [
      [{ [long]: 1 }],
      [{ [long]: tensor([0, 4], [2]) }],
      [{ [long]: second }],
      [{ [long]: tensor([0, 4], [4], 'F8') }, [long]],
      [{ a: tensor([0, 4], [4], long) }],
      [{ a: tensor([0, 4], new Array(1e5).fill(2)) }],
      [{ a: { ...first, [long]: 1 } }],
      [`{"${long}":${JSON.stringify(first)},"${long}":1}`],
      [`{"a":${long}}`],
      [{ a: first }, [long]],
      [Object.fromEntries(Array.from({ length: 9 }, (_, i) => [long + i, tensor([0, 0], [0])])), ['b']],
    ];
    for (const [header, names] of files) {
      let message = '';
      try {
        parseSafetensors(fileOf(header, 4), names && { names });
      } catch (error) {
        expect((error as SweetError).code).toBe('ERR_SAFETENSORS');
        message = (error as SweetError).message;
      }
      expect(message.length).toBeGreaterThan(20);
      expect(message.length).toBeLessThanOrEqual(200);
    }
  });

  it('never crashes or invents numbers on a file with any byte changed', () => {
    const original = serializeSafetensors({ tensors: { a: new Float32Array(3), b: new Int32Array(2) } });
    const length = statSync(path).size;
    expect(length).toBeGreaterThan(0);
    for (let at = 0; at < original.length - 20; at++) {
      for (const change of [0x01, 0x20, 0x80]) {
        const bytes = original.slice();
        bytes[at]! ^= change;
        try {
          const { tensors } = parseSafetensors(bytes);
          const total = Object.values(tensors).reduce((sum, { data }) => sum + data.byteLength, 0);
          expect(total).toBe(20);
        } catch (error) {
          expect(error).toBeInstanceOf(SweetError);
        }
      }
    }
  });
});

describe('toFloat32', () => {
  it('widens every 16-bit pattern as the reference does', () => {
    const words = Uint16Array.from({ length: 65536 }, (_, i) => i);
    for (const dtype of ['bfloat16', 'float16'] as const) {
      const floats = toFloat32({ dtype, shape: [65536], data: words });
      expect(floats).toEqual(Float32Array.from(words, (word) => decodeHalf(word, dtype)));
    }
  });

  it('rounds float64 once, gives float32 as it is, refuses integers and nothing', () => {
    const data = Float32Array.of(1);
    expect(toFloat32({ dtype: 'float64', shape: [2], data: Float64Array.of(0.1, 1e300) })).toEqual(
      Float32Array.of(0.1, Infinity),
    );
    expect(toFloat32({ dtype: 'float32', shape: [1], data })).toBe(data);
    expect(() => toFloat32({ dtype: 'int32', shape: [1], data: Int32Array.of(1) })).toThrow(/"int32"/);
    expect(() => toFloat32(undefined)).toThrow(TypeError);
  });
});
