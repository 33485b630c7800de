// Breaks native/ and lib/ one line at a time and asks the tests:  npm run mutate  [-- --only=text ...]
//
// Each mutation is made in a copy of the tree, where what is stale is built again. The test file that should find it runs
// first; if it finds nothing, all of them do. test/mutations.md says what found what; --only tries those whose file or
// description holds the text, and leaves the other rows as they are. Two are tried at a time; a fault may also crash or hang.
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { broken, row } from '../helpers/mutations.js';
import { each, end, expectOk, ROOT, run, say } from '../helpers/programs.js';
import { MUTATIONS } from './mutations.js';

const OUT = join(ROOT, 'build', 'mutate');
const SECONDS = { build: 900, file: 300, all: 1800 };

const only = process.argv.filter((argument) => argument.startsWith('--only=')).map((argument) => argument.slice(7));
const mutations = MUTATIONS.filter(
  ([file, what]) => only.length === 0 || only.some((text) => `${file} ${what}`.includes(text)),
);

const places = ['a', 'b'].map((name) => join(OUT, name));

/** Waits for no place: there are as many as tasks at a time. */
const inPlace = (task) => async () => {
  const place = places.pop();
  try {
    return await task(place);
  } finally {
    places.push(place);
  }
};

/** Files that did not change keep their times, so that an earlier run's build is of use. */
function copyTree(place) {
  const files = execFileSync('git', ['ls-files', '-z'], { cwd: ROOT, encoding: 'utf8' }).split('\0').filter(Boolean);
  for (const file of files) {
    const [from, to] = [join(ROOT, file), join(place, file)];
    if (!existsSync(from)) rmSync(to, { force: true });
    else if (!existsSync(to) || !readFileSync(from).equals(readFileSync(to))) cpSync(from, to);
  }
  // Links to each package: what tools keep in node_modules is the copy's own.
  const modules = join(place, 'node_modules');
  rmSync(modules, { recursive: true, force: true });
  mkdirSync(modules, { recursive: true });
  for (const name of readdirSync(join(ROOT, 'node_modules'))) {
    if (!name.startsWith('.v')) symlinkSync(join(ROOT, 'node_modules', name), join(modules, name));
  }
}

const program = (place, command, args, seconds) => run(command, args, { NO_COLOR: '1' }, { cwd: place, seconds });

/** Builds what a source goes into; a fault that does not compile is none. */
async function build(place, file) {
  const bundle = ['npx', 'esbuild', file, '--log-level=warning'];
  const steps = file.startsWith('lib/')
    ? [
        [...bundle, '--outdir=dist', '--format=esm'],
        [...bundle, '--outdir=dist-cjs', '--format=cjs'],
      ]
    : [['cmake', '--build', 'build', '--target', 'sweet_rl']];
  for (const step of steps) await expectBuilt(place, step);
}

async function expectBuilt(place, [command, ...args]) {
  const result = await program(place, command, args, SECONDS.build);
  if (result.status === 0) return;
  expectOk([command, ...args].join(' '), result);
  end();
}

/** The first test that failed, or what else went wrong; undefined where all passed. */
async function findingOf(place, file, pattern) {
  const report = join(place, 'build', 'report.json');
  rmSync(report, { force: true });
  const args = [
    'node_modules/vitest/vitest.mjs',
    'run',
    ...(file ? [`test/${file}.test.ts`] : []),
    ...(pattern ? ['-t', pattern] : []),
    '--bail=1',
    '--reporter=json',
    `--outputFile=${report}`,
  ];
  const { status, text } = await program(place, process.execPath, args, file ? SECONDS.file : SECONDS.all);
  const { testResults = [], numPassedTests = 0 } = existsSync(report) ? JSON.parse(readFileSync(report, 'utf8')) : {};
  if (status === 0) return numPassedTests > 0 ? undefined : { where: 'no test', text };
  for (const { name, assertionResults, status: state } of testResults) {
    const failed = assertionResults.find((test) => test.status === 'failed');
    if (failed || state === 'failed') {
      const title = failed?.fullName ?? 'its tests could not be collected, or their process ended';
      return { where: `${relative(place, name)}: ${title}`, text };
    }
  }
  const how = status === 'SIGKILL' ? 'it does not end' : 'the process ended';
  return { where: `${file ? `test/${file}.test.ts` : 'all tests'}: ${how}`, text };
}

/** What finds the mutation. */
async function tryMutation(place, mutation, test, pattern) {
  const path = join(place, mutation[0]);
  const source = readFileSync(path, 'utf8');
  writeFileSync(path, broken(source, mutation));
  try {
    await build(place, mutation[0]);
    return (await findingOf(place, test, pattern))?.where;
  } finally {
    writeFileSync(path, source);
    await build(place, mutation[0]);
  }
}

async function expectSound(place, test, pattern) {
  const finding = await findingOf(place, test, pattern);
  if (finding === undefined) return;
  expectOk(`without a fault, ${finding.where}`, { status: 1, text: finding.text });
  end();
}

say(`${mutations.length} mutations; building the copies`);
// One after the other: a compiler's cache saves the second one's time.
for (const place of places) {
  copyTree(place);
  if (!existsSync(join(place, 'build', 'CMakeCache.txt'))) {
    await expectBuilt(place, ['npx', 'cmake-js', 'configure', '--CDSWEET_CUDA=OFF', '--log-level', 'error']);
  }
  await build(place, 'native/');
  // Whole: the compiler takes what an interrupted run left there for its own.
  for (const folder of ['dist', 'dist-cjs']) rmSync(join(place, folder), { recursive: true, force: true });
  await expectBuilt(place, ['npm', 'run', 'build:types']);
}

say('The tests of first choice without a fault');
const choices = [
  ...new Map(mutations.map(([, , , , test, pattern = '']) => [`${test} ${pattern}`, [test, pattern]])).values(),
];
await each(choices.map(([test, pattern]) => inPlace((place) => expectSound(place, test, pattern))));

const TABLE = join(ROOT, 'test', 'mutations.md');
const TITLE = `# Mutations

Faults made on purpose by \`npm run mutate\`, and the first test that failed at each.
`;

/** The rows that are there stay where their mutations are not tried; each is written as it is known. */
const rows = new Map(
  (existsSync(TABLE) ? readFileSync(TABLE, 'utf8') : '')
    .split('\n')
    .map((line) => [line.split(' | ', 2).join(' | '), line]),
);
function record([file, what], where) {
  const start = row(`\`${file}\``, what).slice(0, -2);
  rows.set(start, `${start} | ${row(where).slice(2)}`);
  const known = MUTATIONS.map(([file, what]) => rows.get(row(`\`${file}\``, what).slice(0, -2)));
  const lines = [row('file', 'fault', 'found by'), row('---', '---', '---'), ...known.filter(Boolean)];
  writeFileSync(TABLE, `${TITLE}\n${lines.join('\n')}\n`);
}

/** Those that nothing found. */
async function tryAll(some, testOf) {
  const left = [];
  const task = (mutation) => async (place) => {
    const where = await tryMutation(place, mutation, ...testOf(mutation));
    if (where === undefined) left.push(mutation);
    record(mutation, where ?? '**nothing**');
    say(`${mutation[0]}, ${mutation[1]}: ${where ?? 'not found'}`);
  };
  await each(some.map((mutation) => inPlace(task(mutation))));
  return left;
}

let left = await tryAll(mutations, ([, , , , test, pattern]) => [test, pattern]);
if (left.length > 0) {
  say(`All tests without a fault, then with each of ${left.length}`);
  await inPlace((place) => expectSound(place))();
  left = await tryAll(left, () => []);
}
for (const mutation of mutations) {
  expectOk(`${mutation[0]}, ${mutation[1]}`, { status: left.includes(mutation) ? 'not found' : 0, text: '' });
}
end();
