// Builds the fuzzers and runs them, two at a time:  npm run fuzz
//
//   -- --seconds 60         each target for so long (the default)
//   -- --runs 10000000      or for so many executions
//   -- --target rows        one target alone
//   -- --target api --seed 5     the cases of a seed, of the public interface
//   -- --reproduce FILE     one input, of the target in front of its name, with the stacks of all memory
//   -- --merge              minimizes the committed corpus, with the inputs that earlier runs added
//
// The target api is test/fuzz/api.test.ts: cases from a seed for the built package, without a corpus and without clang.
// Of the others, the committed corpus is one file a target, an input a line in base64. It is unpacked into build/fuzz, where libFuzzer
// adds new inputs to it.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { createInterface } from 'node:readline';
import { parseArgs } from 'node:util';

const ROOT = join(import.meta.dirname, '..', '..');
const BUILD = join(ROOT, 'build', 'fuzz');
const NATIVE = ['rows', 'preference', 'updates', 'divergences'];
const TARGETS = [...NATIVE, 'api'];
const PARALLEL = 2;
// The schedule by entropy costs half of the speed and finds nothing more here.
const FLAGS = ['-max_len=96', '-entropic=0', '-timeout=60', '-rss_limit_mb=4096'];
const SECONDS_BETWEEN_LINES = 10;

const program = (target) => join(BUILD, `fuzz_${target}`);
const kept = (target) => join(import.meta.dirname, 'corpus', `${target}.txt`);
const corpus = (target) => join(BUILD, 'corpus', target);

const { values: options } = parseArgs({
  options: {
    seconds: { type: 'string' },
    runs: { type: 'string' },
    target: { type: 'string' },
    seed: { type: 'string' },
    reproduce: { type: 'string' },
    merge: { type: 'boolean', default: false },
  },
});

function stop(message) {
  console.error(message);
  process.exit(1);
}

/** A whole number above 0. */
function count(name) {
  const value = options[name];
  if (value === undefined) return undefined;
  if (!/^[1-9]\d*$/.test(value)) stop(`Expected a number above 0 for --${name} but received '${value}'`);
  return value;
}

function build() {
  const compiler = ['clang++-14', 'clang++'].find((name) => spawnSync(name, ['--version']).status === 0);
  if (compiler === undefined) stop('Fuzzing needs clang with its runtime: clang-14 and libclang-rt-14-dev');
  const cmake = (...args) => {
    const { status } = spawnSync('cmake', args, { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] });
    if (status !== 0) stop(`cmake ${args.join(' ')} failed`);
  };
  const werror = process.env.CI ? ['-DSWEET_WERROR=ON'] : [];
  cmake('-B', BUILD, '-DSWEET_FUZZ=ON', `-DCMAKE_CXX_COMPILER=${compiler}`, ...werror);
  cmake('--build', BUILD, '--parallel', String(PARALLEL));
}

function findings() {
  const folder = join(BUILD, 'findings');
  mkdirSync(folder, { recursive: true });
  return folder;
}

function unpack(target) {
  mkdirSync(corpus(target), { recursive: true });
  const lines = existsSync(kept(target)) ? readFileSync(kept(target), 'utf8').trim().split('\n') : [];
  for (const [i, line] of lines.entries()) writeFileSync(join(corpus(target), `kept-${i}`), line, 'base64');
}

/** Every input that adds coverage goes into the file, in sorted order. */
function merge(target) {
  unpack(target);
  const small = `${corpus(target)}-merged`;
  rmSync(small, { recursive: true, force: true });
  mkdirSync(small);
  const prefix = `-artifact_prefix=${join(findings(), `${target}-`)}`;
  const args = ['-merge=1', ...FLAGS, prefix, small, corpus(target)];
  const { status, stderr } = spawnSync(program(target), args, { encoding: 'utf8' });
  if (status !== 0 || stderr.includes('caused a failure')) stop(`${stderr}\n${target}: a finding, or no merge`);
  const inputs = readdirSync(small).map((name) => readFileSync(join(small, name)).toString('base64'));
  mkdirSync(join(import.meta.dirname, 'corpus'), { recursive: true });
  writeFileSync(kept(target), `${inputs.sort().join('\n')}\n`);
  rmSync(corpus(target), { recursive: true });
  console.log(`${target}: ${inputs.length} inputs`);
}

function reproduce(file) {
  const target = options.target ?? NATIVE.find((name) => basename(file).startsWith(`${name}-`));
  if (target === undefined || target === 'api')
    stop(`Expected a target in front of the file's name, or --target: ${NATIVE.join(', ')}`);
  const env = { ...process.env, ASAN_OPTIONS: 'malloc_context_size=30' };
  process.exit(spawnSync(program(target), ['-timeout=60', file], { stdio: 'inherit', env }).status ?? 1);
}

const started = Date.now();
const say = (text) => console.log(`${((Date.now() - started) / 1000).toFixed(0).padStart(5)} s  ${text}`);

/** The public interface, by the runner of the tests. Resolves to whether nothing was found. */
function fuzzApi() {
  const seed = count('seed') ?? String(1 + Math.floor(Math.random() * (2 ** 31 - 1)));
  say(`api        seed ${seed}`);
  const runs = count('runs');
  const limit = runs === undefined ? { SWEET_RL_FUZZ_SECONDS: count('seconds') ?? '60' } : { SWEET_RL_FUZZ_RUNS: runs };
  const child = spawn('npx', ['vitest', 'run', 'test/fuzz/api.test.ts', '--disable-console-intercept'], {
    cwd: ROOT,
    env: { ...process.env, ...limit, SWEET_RL_SEED: seed },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const report = [];
  for (const stream of [child.stdout, child.stderr]) {
    createInterface({ input: stream }).on('line', (line) => {
      if (/: \d+ cases$/.test(line)) say(`api        ${line}`);
      else report.push(line);
    });
  }
  return new Promise((resolve) => {
    child.on('close', (status) => {
      if (status !== 0) console.log(report.join('\n'));
      if (status !== 0)
        say(`api: a finding; npm run fuzz -- --target api --seed ${seed}, with the same --seconds or --runs`);
      resolve(status === 0);
    });
  });
}

/** Resolves to whether nothing was found. */
function fuzz(target) {
  if (target === 'api') return fuzzApi();
  unpack(target);
  const runs = count('runs');
  const limit = runs === undefined ? `-max_total_time=${count('seconds') ?? 60}` : `-runs=${runs}`;
  const prefix = `-artifact_prefix=${join(findings(), `${target}-`)}`;
  const child = spawn(program(target), [...FLAGS, limit, prefix, '-print_final_stats=1', corpus(target)], {
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const report = [];
  let shown = Date.now();
  createInterface({ input: child.stderr }).on('line', (line) => {
    const [, done, step, cov, ft, speed] = line.match(/^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) .*exec\/s: (\d+)/) ?? [];
    if (done === undefined) {
      if (!/^(INFO|\s+NEW_FUNC|stat::|Done )/.test(line)) report.push(line);
      return;
    }
    if (step !== 'DONE' && step !== 'INITED' && Date.now() - shown < SECONDS_BETWEEN_LINES * 1000) return;
    shown = Date.now();
    const suffix = step === 'DONE' ? 'done' : '';
    say(
      `${target.padEnd(10)} ${done.padStart(10)} executions ${speed.padStart(6)}/s  ${cov} edges, ${ft} features  ${suffix}`,
    );
  });
  return new Promise((resolve) => {
    child.on('close', (status) => {
      if (status !== 0) console.log(report.join('\n'));
      if (status !== 0) say(`${target}: a finding; npm run fuzz -- --reproduce FILE, as it is named above`);
      resolve(status === 0);
    });
  });
}

if (options.target !== undefined && !TARGETS.includes(options.target)) {
  stop(`Expected one of ${TARGETS.join(', ')} for --target but received '${options.target}'`);
}
const targets = options.target === undefined ? TARGETS : [options.target];
const native = targets.filter((target) => target !== 'api');
if (targets.includes('api') && options.reproduce === undefined && !options.merge) {
  say('Building the package');
  if (spawnSync('npm', ['run', 'build'], { cwd: ROOT, stdio: ['ignore', 'ignore', 'inherit'] }).status !== 0)
    stop('npm run build failed');
}
if (native.length > 0) {
  say('Building with AddressSanitizer and UBSan');
  build();
}
if (options.reproduce !== undefined) reproduce(options.reproduce);
if (options.merge) {
  for (const target of native) merge(target);
} else {
  const left = [...targets];
  const passed = [];
  const worker = async () => {
    for (let target = left.shift(); target !== undefined; target = left.shift()) passed.push(await fuzz(target));
  };
  await Promise.all(Array.from({ length: PARALLEL }, worker));
  process.exit(passed.every(Boolean) ? 0 : 1);
}
