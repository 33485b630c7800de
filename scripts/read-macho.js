// What a 64-bit Mach-O file needs and shows, and whether its signature fits. The formats: <mach-o/loader.h>, <mach-o/nlist.h>
// and, for signatures (big-endian), Kernel/sys/codesign.h of Apple's XNU.
import { createHash } from 'node:crypto';

const ARCHES = { 16777228: 'arm64', 16777223: 'x64' };
const COMMAND = { SYMTAB: 0x2, LOAD_DYLIB: 0xc, CODE_SIGNATURE: 0x1d, BUILD_VERSION: 0x32, VERSION_MIN_MACOSX: 0x24 };
const TYPES = { 6: 'dylib', 8: 'bundle' };

/** { arch, type, lowest: '11.0', libraries, exports, wanted: undefined symbols, signature: what is wrong with it or '' }. */
export function readMachO(bytes) {
  if (bytes.readUInt32LE(0) !== 0xfeedfacf) throw new Error('is no 64-bit Mach-O file');
  const [cpu, , type, count] = [4, 8, 12, 16].map((field) => bytes.readUInt32LE(field));
  const result = {
    ...{ arch: ARCHES[cpu], type: TYPES[type], lowest: undefined, libraries: [] },
    ...{ exports: [], wanted: [], signature: 'is not signed' },
  };
  for (let at = 32, i = 0; i < count; i++, at += bytes.readUInt32LE(at + 4)) {
    const field = (offset) => bytes.readUInt32LE(at + offset);
    const command = field(0);
    if (command === COMMAND.LOAD_DYLIB) result.libraries.push(textAt(bytes, at + field(8)));
    if (command === COMMAND.BUILD_VERSION) result.lowest = versionOf(field(12));
    if (command === COMMAND.VERSION_MIN_MACOSX) result.lowest = versionOf(field(8));
    if (command === COMMAND.SYMTAB) Object.assign(result, symbolsOf(bytes, field(8), field(12), field(16)));
    if (command === COMMAND.CODE_SIGNATURE) result.signature = faultOfSignature(bytes, field(8));
  }
  return result;
}

const textAt = (bytes, offset) => bytes.toString('latin1', offset, bytes.indexOf(0, offset));
const versionOf = (packed) => `${packed >> 16}.${(packed >> 8) & 255}`;

/** Entries of 16 bytes: offset of the name, type, section, description, value. */
function symbolsOf(bytes, first, count, strings) {
  const [exports, wanted] = [[], []];
  for (let at = first; at < first + 16 * count; at += 16) {
    const type = bytes[at + 4];
    const [debug, defined, external] = [type & 0xe0, type & 0x0e, type & 1];
    if (debug || !external) continue;
    (defined ? exports : wanted).push(textAt(bytes, strings + bytes.readUInt32LE(at)));
  }
  return { exports, wanted };
}

/** The SHA-256 of each page of the file up to the signature, in the code directory: the blob of type 0. */
function faultOfSignature(bytes, blob) {
  const blobs = Array.from({ length: bytes.readUInt32BE(blob + 8) }, (_, i) => blob + 12 + 8 * i);
  const entry = blobs.find((at) => bytes.readUInt32BE(at) === 0);
  if (entry === undefined) return 'has a signature without a code directory';
  const directory = blob + bytes.readUInt32BE(entry + 4);
  const [flags, hashes, pages, limit] = [12, 16, 28, 32].map((field) => bytes.readUInt32BE(directory + field));
  const page = 2 ** bytes[directory + 39];
  if ((flags & 2) === 0) return 'has a signature that is not ad hoc';
  if (limit !== blob || pages !== Math.ceil(limit / page)) return 'has a signature of another length';
  for (let i = 0; i < pages; i++) {
    const digest = createHash('sha256')
      .update(bytes.subarray(i * page, Math.min((i + 1) * page, limit)))
      .digest();
    const expected = bytes.subarray(directory + hashes + 32 * i, directory + hashes + 32 * i + 32);
    if (!digest.equals(expected)) return `has a signature that does not fit page ${i}`;
  }
  return '';
}
