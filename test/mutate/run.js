// Puts one fault at a time into native/ and lib/ and expects a test to fail:  npm run mutate  [-- --part=1/16] [--only=text ...]
//
// --part=2/16 takes every sixteenth mutant from the second on; --only those whose file, fault or test contains the text.
// A mutant is made in a copy of the tree, with the builds of this tree: only what a changed file goes into is compiled
// again, by the commands of ninja. So build/ must be up to date and, for native/cuda, build/emulator (npm run test:cuda).
// Two mutants are tried at a time. A fault may also crash or hang.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { each, end, expectOk, ROOT, run, say } from '../helpers/programs.js';
import { mutantsOf } from './mutants.js';
import { MUTATIONS } from './mutations.js';

const SECONDS = 300; // for a compilation or a test
const SEEDS = [1, 2]; // of the emulator's scheduler
const OUTPUTS = ['dist', 'dist-cjs', 'build/Release'];

const valuesOf = (option) =>
  process.argv.filter((text) => text.startsWith(option)).map((text) => text.slice(option.length));
const only = valuesOf('--only=');
const [part, parts] = (valuesOf('--part=')[0] ?? '1/1').split('/').map(Number);
const mutants = MUTATIONS.flatMap(mutantsOf)
  .filter(
    ({ file, fault, tests }) => only.length === 0 || only.some((text) => `${file} ${fault} ${tests}`.includes(text)),
  )
  .filter((_, i) => i % parts === part - 1);

const nameOf = ({ file, line, fault }) => `${file}:${line}, ${fault}`;

// -- copies of the tree

const places = ['a', 'b'].map((name) => join(ROOT, 'build', 'mutate', name));

/** Never waits for a place: there are as many as tasks at a time. */
const inPlace = (task) => async () => {
  const place = places.pop();
  try {
    return await task(place);
  } finally {
    places.push(place);
  }
};

function copyTree(place) {
  rmSync(place, { recursive: true, force: true });
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0').filter(Boolean);
  for (const file of files) if (existsSync(join(ROOT, file))) cpSync(join(ROOT, file), join(place, file));
  // Links to each package: what tools keep in node_modules is the copy's own.
  mkdirSync(join(place, 'node_modules'));
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (!name.startsWith('.v')) symlinkSync(join(ROOT, 'node_modules', name), join(place, 'node_modules', name));
  }
  copyOutputs(place);
}

function copyOutputs(place) {
  for (const folder of [...OUTPUTS, 'build']) rmSync(join(place, folder), { recursive: true, force: true });
  for (const folder of OUTPUTS) cpSync(join(ROOT, folder), join(place, folder), { recursive: true });
}

// -- builds

/** The commands that compile and link a target; `inputs` are the files that an object was compiled from. */
function commandsOf(folder, target) {
  const ninja = (...args) =>
    execFileSync('ninja', ['-C', join(ROOT, folder), '-t', ...args], { encoding: 'utf8', maxBuffer: 2 ** 28 });
  const inputs = new Map(
    ninja('deps')
      .split('\n\n')
      .map((entry) => [entry.split(':', 1)[0], entry.split('\n').map((line) => line.trim())]),
  );
  const commands = ninja('commands', target).trim().split('\n');
  const compile = commands.flatMap((command) => {
    const [, object, source] = command.match(/ -o (\S+\.o) -c (\S+)$/) ?? [];
    return object && !source.startsWith(join(ROOT, 'test'))
      ? [{ object, command, inputs: inputs.get(object) ?? [] }]
      : [];
  });
  return { compile, link: commands.at(-1) };
}

const known = new Map();
function buildOf(folder, target) {
  const key = `${folder} ${target}`;
  if (!known.has(key)) known.set(key, commandsOf(folder, target));
  return known.get(key);
}

/** Changed objects come before the archive that has the original ones. */
function linkCommand(link, folder, place, changed) {
  const words = link.split(' ').map((word, i, all) => {
    const original = join(ROOT, folder, word);
    const isInput = /\.(o|a|so)$/.test(word) && all[i - 1] !== '-o' && !changed.includes(word) && existsSync(original);
    return isInput ? original : word;
  });
  const archive = words.findIndex((word) => word.endsWith('.a'));
  words.splice(archive, 0, ...changed.filter((object) => !words.includes(object)));
  mkdirSync(dirname(join(place, folder, words[words.indexOf('-o') + 1])), { recursive: true });
  return words.join(' ');
}

async function buildNative(place, file, folder, target) {
  const { compile, link } = buildOf(folder, target);
  const changed = compile.filter(({ inputs }) => inputs.includes(join(ROOT, file)));
  const commands = changed.map(({ object, command }) => {
    mkdirSync(dirname(join(place, folder, object)), { recursive: true });
    return `${command.replaceAll(`${ROOT}/`, `${place}/`)} -w`;
  });
  commands.push(
    linkCommand(
      link,
      folder,
      place,
      changed.map(({ object }) => object),
    ),
  );
  for (const command of commands) await expectBuilt('sh', ['-c', command], join(place, folder));
}

async function buildScript(place, file) {
  for (const [folder, format] of [
    ['dist', 'esm'],
    ['dist-cjs', 'cjs'],
  ]) {
    const to = join(folder, file.replace(/^lib\//, '').replace(/ts$/, 'js'));
    await expectBuilt('npx', ['esbuild', file, `--outfile=${to}`, `--format=${format}`, '--log-level=warning'], place);
  }
}

async function expectBuilt(command, args, cwd) {
  const { status, text } = await run(command, args, {}, { cwd, seconds: SECONDS });
  if (status !== 0) throw new Error(text);
}

function build(place, file, test) {
  if (file.startsWith('lib/')) return buildScript(place, file);
  return isCheck(test)
    ? buildNative(place, file, 'build/emulator', test.split(': ')[0])
    : buildNative(place, file, 'build', 'sweet_rl');
}

// -- tests: of a file below test/, or checks of test/native on the emulator; the part after a colon chooses some

const isCheck = (test) => test.startsWith('check_');

/** The first failure, or undefined where all passed. */
function failureOf(place, test) {
  const [name, part] = test.split(': ');
  return isCheck(test) ? failureOfCheck(place, name, part) : failureOfFile(place, name, part);
}

async function failureOfCheck(place, name, part) {
  const program = join('build', 'emulator', 'bin', name);
  const path = existsSync(join(place, program)) ? join(place, program) : join(ROOT, program); // unchanged: the original
  const parts = part ? [part, 'emulator'] : [];
  for (const seed of SEEDS) {
    // Without the stand-in for cuBLASLt: linear heads are computed by the kernels of this package.
    const env = { ASAN_OPTIONS: 'detect_leaks=0', SWEET_RL_CUBLASLT: 'none' };
    const { status, text } = await run(path, ['--small', `--seed=${seed}`, ...parts], env, { seconds: SECONDS });
    if (status === 0) continue;
    const lines = text.split('\n').filter(Boolean);
    const found = /ERROR: Addr|runtime error|^race|^nobody|^thread|^deadlock|: ours /;
    return (lines.find((line) => found.test(line)) ?? lines[0] ?? `${status}`).replace(/^.*ERROR: /, '').slice(0, 100);
  }
}

async function failureOfFile(place, file, pattern) {
  const report = join(place, 'report.json');
  rmSync(report, { force: true });
  const filter = pattern ? ['-t', pattern] : [];
  const args = ['run', `test/${file}.test.ts`, ...filter, '--bail=1', '--reporter=json', `--outputFile=${report}`];
  const vitest = join('node_modules', 'vitest', 'vitest.mjs');
  const { status } = await run(
    process.execPath,
    [vitest, ...args],
    { NO_COLOR: '1' },
    { cwd: place, seconds: SECONDS },
  );
  const { testResults = [], numPassedTests = 0 } = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : {};
  if (status === 0) return numPassedTests > 0 ? undefined : 'no test of this name';
  const failed = testResults
    .flatMap(({ assertionResults }) => assertionResults)
    .find((each) => each.status === 'failed');
  return failed?.fullName ?? (status === 'SIGKILL' ? 'does not end' : 'the process ended');
}

async function tryMutant(place, { file, source, mutated, tests }) {
  writeFileSync(join(place, file), mutated);
  try {
    for (const test of tests) {
      await build(place, file, test);
      const failure = await failureOf(place, test);
      if (failure !== undefined) return { status: 0, text: `${test.split(': ')[0]}: ${failure}` };
    }
    return { status: 'not found', text: `by ${tests.join(', ')}` };
  } catch (error) {
    return { status: 'not built', text: error.message };
  } finally {
    writeFileSync(join(place, file), source);
    copyOutputs(place);
  }
}

for (const place of places) copyTree(place);
const tests = [...new Set(mutants.flatMap((mutant) => mutant.tests))];
say(`${mutants.length} mutants; first their ${tests.length} tests without a fault`);
const soundness = (test) =>
  inPlace(async (place) => {
    const failure = await failureOf(place, test);
    return expectOk(`${test} without a fault`, { status: failure === undefined ? 0 : 1, text: failure ?? '' });
  });
const sound = await each(tests.map(soundness));
if (sound.includes(false)) end();

const attempt = (mutant) =>
  inPlace(async (place) => {
    const result = await tryMutant(place, mutant);
    if (expectOk(nameOf(mutant), result)) say(`${nameOf(mutant)}: ${result.text}`);
  });
await each(mutants.map(attempt));
end();
