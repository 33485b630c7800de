// The steps of a release, as .github/workflows/release.yml runs them.
//   npm run release -- --dry-run [--built]    builds, checks, packs, and installs the tarballs of all packages in an empty
//                                             folder; --built: takes the binaries that are in prebuilds/
//   node scripts/release.js --cuda            builds sweet-rl-cuda's binary alone, with nvcc of CUDA 13
//   node scripts/release.js --publish         publishes the tarballs of build/release; only in the workflow, and without
//                                             node_modules: the job that may publish installs nothing
import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { hostPlatform, PLATFORMS } from './platforms.js';

const root = fileURLToPath(new URL('..', import.meta.url));
const out = join(root, 'build', 'release');
// sweet-rl-cuda first, then sweet-rl, whose peer it is, then what depends on sweet-rl.
const PACKAGES = { 'sweet-rl-cuda': 'packages/cuda', 'sweet-rl': '.', 'sweet-rl-colbench': 'packages/colbench' };
const CUDA_ADDON = join('packages', 'cuda', 'prebuilds', 'linux-x64', 'sweet-rl-cuda.glibc.node');

// Bytes, unpacked: what a system uses, the package without the binaries of the others; and all of it.
const MOST_FOR_A_SYSTEM = 6e6;
const MOST_IN_ALL = 19e6;

const MODES = ['dry-run', 'cuda', 'publish'];
const flag = { type: 'boolean' };
const { values: options } = parseArgs({ options: { 'dry-run': flag, cuda: flag, publish: flag, built: flag } });
const modes = MODES.filter((mode) => options[mode]);
if (modes.length !== 1) throw new Error(`Expected one of ${MODES.map((mode) => `--${mode}`).join(', ')}`);
if (options.built && modes[0] !== 'dry-run') throw new Error('--built belongs to --dry-run');

const manifest = (folder) => JSON.parse(readFileSync(join(root, folder, 'package.json'), 'utf8'));
const { version } = manifest('.');
checkVersions();
if (options.publish) publish();
else if (options.cuda) buildCuda();
else {
  if (!options.built) build();
  check();
  const tarballs = pack();
  install(tarballs);
  console.log(`\nReady: ${tarballs.length} packages of version ${version} in ${out}`);
}

/** One version in all packages, in what they ask of each other, and in the tag. */
function checkVersions() {
  step('Versions');
  const tag = process.env.GITHUB_REF_TYPE === 'tag' ? process.env.GITHUB_REF_NAME : undefined;
  const found = {
    ...Object.fromEntries(Object.entries(PACKAGES).map(([name, folder]) => [name, manifest(folder).version])),
    'the peer sweet-rl-cuda': manifest('.').peerDependencies['sweet-rl-cuda'],
    'the dependency of sweet-rl-colbench': manifest('packages/colbench').dependencies['sweet-rl'],
    ...(tag === undefined ? {} : { 'the tag': tag.replace(/^v/, '') }),
  };
  for (const [what, value] of Object.entries(found)) {
    if (value !== version) throw new Error(`Expected version ${version} for ${what} but received ${value}`);
  }
  console.log(`${version} in ${Object.keys(found).join(', ')}`);
}

function build() {
  step('Build');
  run('npm', ['run', 'build:wasm']); // the types too
  run('npm', ['run', 'build:colbench']);
  run('npm', ['run', 'build:prebuilds', '--', '--all']);
  buildCuda();
}

/** With nvcc of CUDA 13. */
function buildCuda() {
  const cmakeJs = join('node_modules', 'cmake-js', 'bin', 'cmake-js');
  const where = ['--out', join('build', 'prebuilds', 'cuda'), '--log-level', 'error'];
  run(process.execPath, [cmakeJs, 'configure', ...where, '--CDSWEET_CUDA=ON']);
  run(process.execPath, [cmakeJs, 'build', ...where, '--target', 'sweet_rl_cuda']);
  mkdirSync(join(root, dirname(CUDA_ADDON)), { recursive: true });
  copyFileSync(join(root, 'packages', 'cuda', 'build', 'Release', 'sweet_rl_cuda.node'), join(root, CUDA_ADDON));
  run('strip', [CUDA_ADDON]);
}

function check() {
  step('What the binaries need of a system');
  const missing = Object.values(PLATFORMS).filter(({ file }) => !existsSync(join(root, 'prebuilds', file)));
  if (missing.length > 0) throw new Error(`prebuilds/ lacks ${missing.map(({ file }) => file).join(', ')}`);
  if (!existsSync(join(root, CUDA_ADDON))) throw new Error(`There is no ${CUDA_ADDON}`);
  run(process.execPath, ['scripts/check-symbols.js']);
}

/** The paths of the tarballs, in the order of PACKAGES. */
function pack() {
  step('Pack');
  rmSync(out, { recursive: true, force: true });
  mkdirSync(out, { recursive: true });
  const tarballs = Object.entries(PACKAGES).map(([name, folder]) => {
    const args = ['pack', '--json', '--ignore-scripts', '--pack-destination', out];
    const [{ filename, size, unpackedSize, files }] = JSON.parse(output('npm', args, join(root, folder)));
    console.log(
      `${name.padEnd(18)}${megabytes(size)} packed, ${megabytes(unpackedSize)} unpacked, ${files.length} files`,
    );
    if (name === 'sweet-rl') checkSizes(unpackedSize, files);
    return join(out, filename);
  });
  const sums = tarballs.map(
    (path) => `${createHash('sha256').update(readFileSync(path)).digest('hex')}  ${path.slice(out.length + 1)}`,
  );
  writeFileSync(join(out, 'SHA256SUMS'), `${sums.join('\n')}\n`);
  return tarballs;
}

function checkSizes(unpacked, files) {
  const binaries = files.filter(({ path }) => path.startsWith('prebuilds/'));
  const others = unpacked - binaries.reduce((sum, { size }) => sum + size, 0);
  for (const { path, size } of binaries)
    console.log(`  ${megabytes(size)}  ${path}; ${megabytes(others + size)} with the rest`);
  const largest = others + Math.max(...binaries.map(({ size }) => size));
  if (largest > MOST_FOR_A_SYSTEM) throw new Error(`A system uses ${megabytes(largest)} of the package`);
  if (unpacked > MOST_IN_ALL) throw new Error(`The package unpacks to ${megabytes(unpacked)}`);
}

/** All tarballs into an empty project, and a call of each. */
function install(tarballs) {
  step('Install');
  const project = join(out, 'project');
  cpSync(join(root, 'test', 'install', 'project'), project, { recursive: true });
  writeFileSync(join(project, 'package.json'), '{ "name": "empty", "private": true }\n');
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', ...tarballs], project);
  copyFileSync(join(root, 'test', 'vectors', 'critic_update', 'f32.safetensors'), join(project, 'case.safetensors'));
  for (const program of ['esm.mjs', 'cjs.cjs']) {
    console.log(`${program}: ${output(process.execPath, [program], project).trim().split('\n').at(-1)}`);
  }
  const info = output(process.execPath, ['node_modules/sweet-rl/dist/cli.js', 'info'], project);
  const { file } = PLATFORMS[hostPlatform()];
  if (!info.includes(`prebuilds/${file}: loaded`)) throw new Error(`${file} is not loaded:\n${info}`);
  console.log(
    output(process.execPath, ['node_modules/sweet-rl-colbench/dist/main.js', '--help'], project).split('\n')[0],
  );
  console.log(/^cuda .*$/m.exec(info)[0]);
}

/** What is there already is left as it is, so that a run which failed half-way can be repeated. */
function publish() {
  if (process.env.GITHUB_ACTIONS !== 'true')
    throw new Error('Packages are published by .github/workflows/release.yml alone');
  for (const name of Object.keys(PACKAGES)) {
    step(`Publish ${name}@${version}`);
    if (spawnSync('npm', ['view', `${name}@${version}`, 'version'], { encoding: 'utf8' }).stdout.trim() === version) {
      console.log('is there already');
      continue;
    }
    const file = readdirSync(out).find((path) => path === `${name}-${version}.tgz`);
    if (file === undefined) throw new Error(`${out} has no tarball of ${name}`);
    run('npm', ['publish', join(out, file), '--access', 'public', '--provenance']);
  }
}

function step(title) {
  console.log(`\n-- ${title}`);
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(2)} MB`;
}

function run(command, args, cwd = root) {
  const { status, error } = spawnSync(command, args, { cwd, stdio: 'inherit' });
  if (status !== 0) throw new Error(`${command} ${args.join(' ')} ended with ${error?.message ?? status}`);
}

function output(command, args, cwd) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8', maxBuffer: 2 ** 26 });
  if (status !== 0)
    throw new Error(`${command} ${args.join(' ')} ended with ${error?.message ?? status}\n${stdout}${stderr}`);
  return stdout;
}
