// What the prebuilt binaries may need of a system, and what they may show to it.
//   node scripts/check-symbols.js [files.node]      all that were built by default
// Linux with glibc: the oldest system that Node 20 itself runs on, glibc 2.28 and the libstdc++ of GCC 8. Linux with musl: its
// C library alone. Windows: the Universal C Runtime, and node.exe loaded late, so that a program of another name works. macOS:
// version 11, libSystem alone, an ad-hoc signature that fits.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { symbols as nodeApi } from 'node-api-headers';
import { PLATFORMS } from './platforms.js';
import { readMachO } from './read-macho.js';
import { readPe } from './read-pe.js';

const CEILINGS = { GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11', GCC: '8.0.0' };
const LIBRARIES = /^(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d+$/;
const EXPORTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];
const MUSL = /^libc\.(so|musl-\w+\.so\.1)$/; // the second is Alpine's name for it
const WINDOWS_LIBRARIES = /^(kernel32|api-ms-win-crt-[\w-]+)\.dll$/i;
const LIBSYSTEM = '/usr/lib/libSystem.B.dylib';
const NODE_API = new Set([...nodeApi.v8.js_native_api_symbols, ...nodeApi.v8.node_api_symbols]);

const root = fileURLToPath(new URL('..', import.meta.url));
const MUSL_SYMBOLS = new Set(readFileSync(join(root, 'scripts', 'musl-symbols.txt'), 'utf8').split('\n'));
const readelf = (...args) => execFileSync('readelf', ['--wide', ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 });
const filesUnder = (folder, ending) =>
  existsSync(folder)
    ? readdirSync(folder, { recursive: true })
        .filter((path) => path.endsWith(ending))
        .map((path) => join(folder, path))
    : [];

/** Rows of a symbol table: { bind, defined, name, version }. */
function symbolsOf(file, table) {
  const row = /^\s*\d+: +\S+ +\S+ +\S+ +(\S+) +\S+ +(\S+) +([^@\s]+)(?:@@?(\S+))?/;
  return readelf(table, file)
    .split('\n')
    .map((line) => row.exec(line))
    .filter((match) => match !== null && match[1] !== 'LOCAL')
    .map(([, bind, section, name, version]) => ({ bind, defined: section !== 'UND', name, version }));
}

function above(version) {
  const [family, number] = version.split('_');
  const ceiling = CEILINGS[family];
  if (ceiling === undefined || !/^[\d.]+$/.test(number)) return true;
  return number.localeCompare(ceiling, 'en', { numeric: true }) > 0;
}

/** What is wrong with an addon, in words. */
export function faultsOfAddon(file) {
  const bytes = readFileSync(file);
  const magic = bytes.toString('latin1', 0, 4);
  try {
    const { arch, faults } = magic === '\x7fELF' ? elf(file, bytes) : magic.startsWith('MZ') ? pe(bytes) : machO(bytes);
    const platform = Object.values(PLATFORMS).find((each) => file.replaceAll('\\', '/').endsWith(each.file));
    const folder = platform?.file.split('/')[0].split('-')[1] ?? arch;
    return folder === arch ? faults : [...faults, `is for ${arch}`];
  } catch (error) {
    return [error.message];
  }
}

function elf(file, bytes) {
  const needed = [...readelf('--dynamic', file).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
  const symbols = symbolsOf(file, '--dyn-syms');
  const musl = needed.some((name) => MUSL.test(name));
  return {
    arch: { 62: 'x64', 183: 'arm64' }[bytes.readUInt16LE(18)],
    faults: [
      ...(file.includes('.musl.') && !musl ? ["does not need musl's libc.so"] : []),
      ...(file.includes('.glibc.') && musl ? ["needs musl's libc.so"] : []),
      ...needed.filter((name) => !(musl ? MUSL : LIBRARIES).test(name)).map((name) => `needs the library ${name}`),
      ...faultsOfUndefined(
        symbols.filter(({ defined }) => !defined),
        musl,
      ),
      ...symbols
        .filter(({ defined, name }) => defined && !EXPORTS.includes(name))
        .map(({ name }) => `shows ${name} to the process`),
      ...missingExports(symbols.filter(({ defined }) => defined).map(({ name }) => name)),
      ...(/ \.symtab | \.debug_/.test(readelf('--sections', file)) ? ['is not stripped'] : []),
      ...(/GNU_STACK.* RWE /.test(readelf('--segments', file)) ? ['asks for an executable stack'] : []),
    ],
  };
}

/** glibc's symbols have versions; musl's have none, so that they must be known by name. */
function faultsOfUndefined(symbols, musl) {
  const known = (name) => NODE_API.has(name) || (musl && MUSL_SYMBOLS.has(name));
  return [
    ...symbols
      .filter(({ version }) => version !== undefined && (musl || above(version)))
      .map(({ name, version }) => `needs ${name} of ${version}`),
    ...symbols
      .filter(({ bind, name, version }) => version === undefined && bind !== 'WEAK' && !known(name))
      .map(
        ({ name }) =>
          `needs ${name}, which is no function of Node-API 8${musl ? ' or of scripts/musl-symbols.txt' : ''}`,
      ),
  ];
}

function pe(bytes) {
  const { arch, imports, delayed, exports, debug } = readPe(bytes);
  const isNode = ({ library }) => library.toLowerCase() === 'node.exe';
  return {
    arch,
    faults: [
      ...imports
        .filter(({ library }) => !WINDOWS_LIBRARIES.test(library))
        .map((each) => `needs ${each.library}${isNode(each) ? ' before it can answer for it: not delay-loaded' : ''}`),
      ...delayed.filter((each) => !isNode(each)).map(({ library }) => `needs ${library}, delay-loaded`),
      ...(delayed.some(isNode) ? [] : ['does not delay-load node.exe']),
      ...[...imports, ...delayed]
        .filter(isNode)
        .flatMap(({ names }) => names.filter((name) => !NODE_API.has(name)))
        .map((name) => `needs ${name}, which is no function of Node-API 8`),
      ...exports.filter((name) => !EXPORTS.includes(name)).map((name) => `shows ${name} to the process`),
      ...missingExports(exports),
      ...(debug ? ['is not stripped'] : []),
    ],
  };
}

function machO(bytes) {
  const { arch, type, lowest, libraries, exports, wanted, signature } = readMachO(bytes);
  const shown = exports.filter((name) => name !== '__mh_bundle_header').map((name) => name.replace(/^_/, ''));
  // libSystem's functions are not listed: of a symbol that nothing has, dyld tells at the first call. Of C++ there must be none.
  const foreign = wanted.filter((name) => /^_(_Z|napi_|node_api_)/.test(name) && !NODE_API.has(name.slice(1)));
  return {
    arch,
    faults: [
      ...(type === 'bundle' ? [] : [`is a ${type}, not a bundle`]),
      ...(Number(lowest?.split('.')[0]) <= 11 ? [] : [`needs macOS ${lowest}`]),
      ...libraries.filter((name) => name !== LIBSYSTEM).map((name) => `needs the library ${name}`),
      ...(libraries.includes(LIBSYSTEM) ? [] : ['does not need libSystem']),
      ...foreign.map((name) => `needs ${name}, which is no function of Node-API 8`),
      ...shown.filter((name) => !EXPORTS.includes(name)).map((name) => `shows ${name} to the process`),
      ...missingExports(shown),
      ...(signature === '' ? [] : [signature]),
    ],
  };
}

function missingExports(names) {
  return EXPORTS.filter((name) => !names.includes(name)).map((name) => `lacks the entry point ${name}`);
}

/** A weak symbol may be merged with another object's, and the copy that stays may hold instructions of this set. */
export function faultsOfKernels(object) {
  const shared = symbolsOf(object, '--symbols').filter(({ bind }) => bind === 'WEAK' || bind === 'UNIQUE');
  return shared.map(({ name }) => `shares ${name} with other objects`);
}

function main(given) {
  const addons = given.length > 0 ? given : filesUnder(join(root, 'prebuilds'), '.node');
  const isKernels = (path) => /[\\/]linux-[^\\/]+[\\/].*sweet_kernels_\w+\.dir/.test(path);
  const objects = given.length > 0 ? [] : filesUnder(join(root, 'build', 'prebuilds'), '.o').filter(isKernels);
  if (addons.length === 0) throw new Error('There is no prebuilt binary to check: npm run build:prebuilds');
  const faults = [
    ...addons.flatMap((file) => faultsOfAddon(file).map((fault) => `${relative(root, file)} ${fault}`)),
    ...objects.flatMap((file) => faultsOfKernels(file).map((fault) => `${relative(root, file)} ${fault}`)),
  ];
  for (const fault of faults) console.error(fault);
  const checked = [...addons.map((file) => relative(root, file)), `${objects.length} kernel objects`];
  console.log(
    `check-symbols: ${faults.length === 0 ? 'nothing wrong' : `${faults.length} faults`} in ${checked.join(', ')}`,
  );
  process.exitCode = faults.length === 0 ? 0 : 1;
}

if (import.meta.filename === process.argv[1]) main(process.argv.slice(2));
