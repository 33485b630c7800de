// Builds prebuilds/<platform>-<arch>/sweet-rl[.<libc>].node and checks what they need of a system.
//   npm run build:prebuilds [-- --all | platforms]      on Linux with glibc on x64 its own and linux-arm64-glibc by default,
//                                                       elsewhere the machine's own
// On Linux with glibc on x64 every platform can be built (scripts/toolchains); elsewhere the machine's own.
import { spawnSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { basename, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { gzipSync } from 'node:zlib';
import { fetched, requireTools, TOOLS } from './cross-tools.js';
import { hostPlatform, PLATFORMS } from './platforms.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const toolchains = join(root, 'scripts', 'toolchains');
const require = createRequire(import.meta.url);
const headers = dirname(require.resolve('node-api-headers/package.json'));
const host = hostPlatform();
const crossHost = host === 'linux-x64-glibc';

const { values, positionals } = parseArgs({ options: { all: { type: 'boolean' } }, allowPositionals: true });
const names = chosen();
for (const name of names) if (name !== host) requireTools(`The build of ${name}`, PLATFORMS[name].tools);
const built = names.map(build);
for (const line of built) console.log(line);
run(process.execPath, [join(root, 'scripts', 'check-symbols.js')]);

function chosen() {
  const unknown = positionals.find((name) => !(name in PLATFORMS));
  if (unknown !== undefined) throw new Error(`Expected ${Object.keys(PLATFORMS).join(', ')} but received ${unknown}`);
  if (values.all && positionals.length > 0) throw new Error('--all takes no names of platforms');
  const fallback = crossHost ? [host, 'linux-arm64-glibc'] : [host];
  const wanted = values.all ? Object.keys(PLATFORMS) : positionals.length > 0 ? positionals : fallback;
  const impossible = wanted.find((name) => name !== host && !crossHost);
  if (impossible !== undefined) throw new Error(`On ${host} no ${impossible} can be built`);
  return wanted;
}

/** Builds in build/prebuilds/<name>, and copies the stripped addon to prebuilds/; a line about it. */
function build(name, index) {
  console.log(`-- ${name} (${index + 1} of ${names.length})`);
  const began = performance.now();
  const { file, strip } = PLATFORMS[name];
  const folder = join(root, 'build', 'prebuilds', name);
  mkdirSync(folder, { recursive: true });
  const addon = name.startsWith('linux-') || name !== host ? buildByCMake(name, folder) : buildByCMakeJs(folder);
  const target = join(root, 'prebuilds', file);
  mkdirSync(dirname(target), { recursive: true });
  copyFileSync(addon, target);
  if (name === host && process.platform === 'darwin') {
    run('strip', ['-x', target]);
    run('codesign', ['--force', '--sign', '-', target]);
  }
  if (strip !== undefined && process.platform === 'linux') run(name === host ? 'strip' : strip[0], [target]);
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  const kilobytes = (bytes) => `${(bytes / 1000).toFixed(0)} kB`.padStart(7);
  const sizes = `${kilobytes(statSync(target).size)}, ${kilobytes(gzipSync(readFileSync(target)).length)} gzipped`;
  return `${name.padEnd(18)}${sizes}  ${seconds.padStart(4)} s  prebuilds/${file}`;
}

/** On Windows and macOS themselves: cmake-js knows the generator and how the addon finds Node there. */
function buildByCMakeJs(folder) {
  const cmakeJs = require.resolve('cmake-js/bin/cmake-js');
  const where = ['--directory', root, '--out', folder, '--log-level', 'error'];
  const toolset = process.platform === 'win32' ? ['--toolset', 'ClangCL'] : [];
  const target = process.platform === 'darwin' ? ['--CDCMAKE_OSX_DEPLOYMENT_TARGET=11.0'] : [];
  run(process.execPath, [cmakeJs, 'configure', ...where, ...toolset, ...target]);
  run(process.execPath, [cmakeJs, 'build', '--target', 'sweet_rl', ...where]);
  return join(folder, 'Release', 'sweet_rl.node');
}

function buildByCMake(name, folder) {
  const options = {
    CMAKE_BUILD_TYPE: 'Release',
    SWEET_CUDA: 'OFF',
    SWEET_OLD_GLIBC: name.endsWith('-glibc') ? 'ON' : 'OFF',
    CMAKE_JS_INC: join(headers, 'include'),
    NODE_ADDON_API_DIR: dirname(require.resolve('node-addon-api/package.json')),
    // Alpine has these libraries in packages of their own, which need not be installed.
    ...(name === host && name.endsWith('-musl')
      ? { CMAKE_MODULE_LINKER_FLAGS: '-static-libstdc++ -static-libgcc' }
      : {}),
    ...(name === host ? {} : { CMAKE_TOOLCHAIN_FILE: join(toolchains, `${name}.cmake`) }),
    ...(name.startsWith('win32-') ? { CMAKE_JS_LIB: importLibraries(name, folder).join(';') } : {}),
  };
  const env = { ...process.env, ...(name === host ? {} : environmentOf(name, folder)) };
  const definitions = Object.entries(options).map(([key, value]) => `-D${key}=${value}`);
  run('cmake', ['-G', 'Ninja', '-S', root, '-B', folder, '--log-level=NOTICE', ...definitions], env);
  run('cmake', ['--build', folder, '--target', 'sweet_rl'], env);
  return join(folder, 'sweet_rl.node');
}

/** node.exe's functions, and those of the C runtime that mingw-w64 would take from elsewhere. */
function importLibraries(name, folder) {
  const machine = name === 'win32-x64' ? 'i386:x86-64' : 'arm64';
  const exports = ['js_native_api', 'node_api']
    .flatMap((part) => readFileSync(join(headers, 'def', `${part}.def`), 'utf8').split('\n'))
    .filter((line) => line.startsWith('n'));
  writeFileSync(join(folder, 'node.def'), ['NAME node.exe', 'EXPORTS', ...exports, ''].join('\n'));
  const definitions = [join(folder, 'node.def'), ...(name === 'win32-x64' ? [join(toolchains, 'win32-math.def')] : [])];
  return definitions.map((definition, index) => {
    const library = join(folder, `import-${index}.lib`);
    run('llvm-dlltool-19', ['-m', machine, '-d', definition, '-l', library]);
    return library;
  });
}

/** What the toolchain files read of the environment. */
function environmentOf(name, folder) {
  const { zig: target } = PLATFORMS[name];
  if (target === undefined) return {};
  const ZIG = fetched('zig');
  const env = { ZIG, ZIG_GLOBAL_CACHE_DIR: join(TOOLS, 'zig-cache', name) };
  if (name.startsWith('linux-')) return env;
  const libraries = cxxLibraries(name, target, folder, env);
  if (name.startsWith('darwin-')) libraries.push(join(dirname(ZIG), 'lib', 'libc', 'darwin', 'libSystem.tbd'));
  return { ...env, ZIG_CXX_LIBRARIES: libraries.join(' ') };
}

/**
 * zig's C++ library and what it needs, for LLVM's linkers: zig has no bundles for macOS and no delay loading for Windows. It
 * compiles them when it first links; then they lie in its cache.
 */
function cxxLibraries(name, target, folder, env) {
  const windows = name.startsWith('win32-');
  const wanted = windows
    ? [
        'dllcrt2.obj',
        'c++.lib',
        'c++abi.lib',
        'unwind.lib',
        'mingw32.lib',
        'compiler_rt.lib',
        'kernel32.lib',
        'ntdll.lib',
      ]
    : ['libc++.a', 'libc++abi.a', 'libcompiler_rt.a'];
  const cache = env.ZIG_GLOBAL_CACHE_DIR;
  const filesOf = () => (existsSync(cache) ? readdirSync(cache, { recursive: true }) : []);
  const find = (files) => wanted.map((library) => files.find((file) => basename(file) === library));
  if (find(filesOf()).includes(undefined)) {
    const source = join(folder, 'empty.cpp');
    writeFileSync(source, '#include <vector>\nint f() { return std::vector<int>(3).at(1); }\n');
    const args = ['c++', '-target', target, '-fno-sanitize=undefined', '-O3', '-DNDEBUG', '-shared', source];
    run(env.ZIG, [...args, '-o', join(folder, 'empty.library')], { ...process.env, ...env });
  }
  const files = filesOf();
  const missing = wanted[find(files).indexOf(undefined)];
  if (missing !== undefined) throw new Error(`zig made no ${missing} for ${target}`);
  const found = find(files).map((file) => join(cache, file));
  if (!windows) return found;
  // The directives of its unwinder would export it from the addon.
  const unwinder = join(folder, 'unwind.lib');
  run('llvm-objcopy-19', ['--remove-section=.drectve', found[wanted.indexOf('unwind.lib')], unwinder]);
  const runtime = files
    .filter((file) => /[\\/]api-ms-win-crt-[\w-]+\.lib$/.test(file))
    .map((file) => join(cache, file));
  return [...found.map((file) => (basename(file) === 'unwind.lib' ? unwinder : file)), ...runtime];
}

function run(command, args, env = process.env) {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', env });
  if (status !== 0) throw new Error(`${command} ${args[0]} ended with ${error?.message ?? status}`);
}
