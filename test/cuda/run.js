// Builds the emulator of CUDA and runs every test on it:  npm run test:cuda  [-- --seeds=5] [--short]
//
// Three builds of the same sources: plain; with AddressSanitizer and UBSan; with the access check. In each, for every
// seed: the emulator's own cases (faults must be found by at least one build under at least one seed, races by the access
// check under every seed) and the checks of test/native against float64. Then the JavaScript tests on device buffers: all
// of them in the plain build, those of linear heads once more without cuBLASLt, the shared vectors in every build under
// every seed. --short, as .ci/run does: two seeds; of the checks all shapes in the plain build under the first seed alone, and
// the small ones in the other builds under the second alone; the JavaScript tests in the plain build alone.
import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { build, each, end, expectOk, fail, libraryOf, ROOT, run, say } from '../helpers/programs.js';

const OUT = join(ROOT, 'build', 'emulator');
const BUILDS = ['plain', 'asan', 'races'];
const short = process.argv.includes('--short');
const count = short ? 2 : Number(process.argv.find((argument) => argument.startsWith('--seeds='))?.slice(8) ?? 5);
/** Those with an addon. */
const SCRIPTED = short ? ['plain'] : BUILDS;
const SEEDS = Array.from({ length: count }, (_, i) => i + 1);

/** The test files that compute linear heads: all products, which the kernels' checks have too, or those of updates. */
const UPDATES = ['critic-update', 'policy-update', 'cuda/operations'];
const LINEAR = short
  ? UPDATES
  : ['linear-logps', 'linear-error', ...UPDATES, 'unpaired-update', 'policy-gradient-update'];

/** Those with reference vectors: to load the others under a sanitizer takes longer than these tests. */
const VECTORS = readdirSync(join(ROOT, 'test', 'ops'))
  .map((file) => join('test', 'ops', file))
  .filter((file) => readFileSync(join(ROOT, file), 'utf8').includes('vectorCases'));

const program = (name, build) => join(OUT, 'bin', `${name}_${build}`);
/** The stand-in for cuBLASLt. */
const cublaslt = (variant) => join(OUT, 'bin', `libcublaslt_${variant}.so`);
const environment = (variant) => ({
  NO_COLOR: '1',
  ASAN_OPTIONS: 'detect_leaks=0',
  SWEET_RL_CUDA: join(OUT, 'bin', `addon_${variant}.node`),
  SWEET_RL_CUBLASLT: cublaslt(variant),
  ...(variant === 'asan' ? { LD_PRELOAD: libraryOf('libasan.so') } : {}),
});

async function testEmulator() {
  const names = execFileSync(program('emulator_test', 'plain'), { encoding: 'utf8' }).trim().split('\n');
  const runs = names.flatMap((name) =>
    BUILDS.flatMap((variant) => SEEDS.map((seed) => ({ name, build: variant, seed }))),
  );
  const env = { ASAN_OPTIONS: 'detect_leaks=0' };
  const task = (each) => () => run(program('emulator_test', each.build), [each.name, String(each.seed)], env);
  const results = await each(runs.map(task));
  for (const name of names) {
    const own = runs.map((each, i) => ({ ...each, ...results[i] })).filter((each) => each.name === name);
    if (!name.startsWith('fault: ')) {
      for (const each of own) expectOk(`emulator, ${name}, ${each.build}, seed ${each.seed}`, each);
      continue;
    }
    const found = BUILDS.map((build) => own.filter((each) => each.build === build && each.status !== 0).length);
    const [plain, sanitized, races] = found;
    console.log(`  ${name.padEnd(68)} plain ${plain}/${count}  asan ${sanitized}/${count}  races ${races}/${count}`);
    if (Math.max(...found) === 0) fail(`not found: ${name}`);
    // A race is one in any order of the threads.
    if (/missing (barrier|atomic)/.test(name) && races < count) fail(`not found by the access check: ${name}`);
  }
}

async function testKernels() {
  const task = (build, seed) => async () => {
    // Odd seeds multiply by the stand-in for cuBLASLt, even ones by the kernels of product.cu.
    const SWEET_RL_CUBLASLT = seed % 2 === 1 ? cublaslt(build) : 'none';
    const env = { ASAN_OPTIONS: 'detect_leaks=0', SWEET_RL_CUBLASLT };
    const small = short && build !== 'plain' ? ['--small'] : [];
    const result = await run(program('check', build), [`--seed=${seed}`, ...small], env);
    expectOk(`kernels, ${build}, seed ${seed}`, result);
    console.log(`  ${build.padEnd(6)} ${result.text.trim().split('\n').at(-1)}`);
  };
  const seedsOf = (build) => (short ? [build === 'plain' ? 1 : 2] : SEEDS);
  // The slowest first: two run at a time.
  await each(BUILDS.toReversed().flatMap((build) => seedsOf(build).map((seed) => task(build, seed))));
  const times = await run(program('check', 'plain'), ['--time', '--quick'], {
    SWEET_RL_CUBLASLT: cublaslt('plain'),
  });
  if (!expectOk('times', times)) return;
  const { tokenLogps, linearLogps } = JSON.parse(times.text);
  const incomplete = (times, names) =>
    times.length === 0 || times.some((each) => names.some((name) => !(each[name] >= 0)));
  if (incomplete(tokenLogps, ['copyMs', 'forwardMs', 'backwardMs'])) fail('times of rows');
  const linear = ['forward', 'forwardBackward', 'criticUpdate'].flatMap((name) => [`${name}Ms`, `${name}PeakBytes`]);
  if (incomplete(linearLogps, ['gemmMs', ...linear])) fail('times of linear heads');
}

/** The JavaScript tests; with seeds, those that the filter names, under each of them. */
async function testScripts(build, seeds, filter = [], more = {}) {
  const env = { ...environment(build), SWEET_EMULATOR_SEEDS: seeds?.join(' ') ?? '1', ...more };
  const result = await run('npx', ['vitest', 'run', '--config', 'test/cuda/vitest.config.ts', ...filter], env);
  const by = more.SWEET_RL_CUBLASLT === 'none' ? ', without cuBLASLt' : '';
  expectOk(`JavaScript, ${build}${by}`, result);
  const summary = result.text.split('\n').filter((line) => /^ +Tests /.test(line));
  console.log(`  ${build.padEnd(6)} ${summary.join(' ').trim()}${by}`);
}

say('Building the kernels for the emulator, three times');
await build(OUT, ['SWEET_CUDA=OFF', 'SWEET_CUDA_EMULATOR=ON'], short ? 'sweet_emulated_short' : 'sweet_emulated');
say(`The emulator's own cases under ${count} seeds: how often each fault was found`);
await testEmulator();
say(`The kernels against float64 under ${count} seeds`);
await testKernels();
say(`The operations on device buffers: all tests${short ? '' : '; in every build the vectors, and foreign memory'}`);
await each([
  () => testScripts('plain'),
  () => testScripts('plain', [1], LINEAR, { SWEET_RL_CUBLASLT: 'none' }),
  ...SCRIPTED.map((build) => () => testScripts(build, SEEDS, [...VECTORS, '-t', 'meets the vector'])),
  ...SCRIPTED.slice(1).map((build) => () => testScripts(build, [1], ['foreign-memory'])),
]);
end();
