// What the prebuilt binaries for Linux with glibc may need of a system, and what they may show to it.
//   node scripts/check-symbols.js [files.node]      all that were built by default
// The ceilings are the oldest system that Node 20 itself runs on: glibc 2.28 and the libstdc++ of GCC 8.
import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { symbols as nodeApi } from 'node-api-headers';

const CEILINGS = { GLIBC: '2.28', GLIBCXX: '3.4.25', CXXABI: '1.3.11', GCC: '8.0.0' };
const LIBRARIES = /^(libc|libm|libstdc\+\+|libgcc_s|libpthread|libdl|ld-linux-x86-64|ld-linux-aarch64)\.so\.\d+$/;
const EXPORTS = ['napi_register_module_v1', 'node_api_module_get_api_version_v1'];
const NODE_API = new Set([...nodeApi.v8.js_native_api_symbols, ...nodeApi.v8.node_api_symbols]);

const root = fileURLToPath(new URL('..', import.meta.url));
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
  const symbols = symbolsOf(file, '--dyn-syms');
  const needed = [...readelf('--dynamic', file).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name);
  const undefinedOnes = symbols.filter(({ defined }) => !defined);
  const foreign = ({ bind, name, version }) => version === undefined && bind !== 'WEAK' && !NODE_API.has(name);
  return [
    ...needed.filter((name) => !LIBRARIES.test(name)).map((name) => `needs the library ${name}`),
    ...undefinedOnes
      .filter(({ version }) => version !== undefined && above(version))
      .map(({ name, version }) => `needs ${name} of ${version}`),
    ...undefinedOnes.filter(foreign).map(({ name }) => `needs ${name}, which is no function of Node-API 8`),
    ...symbols
      .filter(({ defined, name }) => defined && !EXPORTS.includes(name))
      .map(({ name }) => `shows ${name} to the process`),
    ...(/ \.symtab | \.debug_/.test(readelf('--sections', file)) ? ['is not stripped'] : []),
    ...(/GNU_STACK.* RWE /.test(readelf('--segments', file)) ? ['asks for an executable stack'] : []),
  ];
}

/** A weak symbol may be merged with another object's, and the copy that stays may hold instructions of this set. */
export function faultsOfKernels(object) {
  const shared = symbolsOf(object, '--symbols').filter(({ bind }) => bind === 'WEAK' || bind === 'UNIQUE');
  return shared.map(({ name }) => `shares ${name} with other objects`);
}

function main(given) {
  const addons = given.length > 0 ? given : filesUnder(join(root, 'prebuilds'), '.glibc.node');
  const isKernels = (path) => /sweet_kernels_\w+\.dir/.test(path);
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
