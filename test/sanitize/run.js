// What goes wrong only under many threads, over many calls or at the edges of memory:
//
//   npm run sanitize  [-- --only=asan|tsan|valgrind|growth|workers] [--short] [--repeat=20]
//
//   asan      AddressSanitizer, UBSan and LeakSanitizer: the native checks (test/native); under Node the operations' tests
//             and arrays that a worker overwrites
//   tsan      ThreadSanitizer: the native checks; under Node, whose own code is not instrumented, the pool under workers
//   valgrind  memcheck: the native checks, for numbers that nobody set as well
//   growth    a million small and a thousand large calls leave no memory behind
//   workers   workers that end in the middle of calls, and eight at once; --repeat runs it so many times in a row
//
// --short is what .ci/run does. Debian: valgrind; the sanitizers come with g++.
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { build, each, end, expectOk, fail, libraryOf, ROOT, run, say } from '../helpers/programs.js';

const argument = (name) => process.argv.find((each) => each.startsWith(`--${name}=`))?.slice(name.length + 3);
const short = process.argv.includes('--short');
const repeat = Number(argument('repeat') ?? 1);
const only = argument('only');

const HERE = join(ROOT, 'test', 'sanitize');
const folder = (name) => join(ROOT, 'build', 'sanitize', name, 'build');
const program = (name) => join(HERE, `${name}.js`);

const SECTIONS = { asan, tsan, valgrind, growth, workers };
if (only !== undefined && !(only in SECTIONS)) {
  console.error(`Expected ${Object.keys(SECTIONS).join(', ')} for --only but received ${only}`);
  process.exit(2);
}
for (const [name, section] of Object.entries(SECTIONS)) if (only === undefined || only === name) await section();
end();

/** The last lines say what was done, for each kind of calls or instruction set. */
function report(what, result) {
  if (!expectOk(what, result)) return;
  const lines = result.text.split('\n').filter((line) => /^\S/.test(line));
  console.log(`  ${what}: ${lines.slice(-3).join('; ')}`);
}

/** The native checks; each is a run of its own, so that two go on at a time. */
async function native(what, command, filters, env) {
  const [first, ...rest] = [...command, ...(short ? ['--small'] : [])];
  const task = (filter) => async () => report(`${what}, ${filter}`, await run(first, [...rest, filter], env));
  await each(filters.map(task));
}

async function asan() {
  say('Building with AddressSanitizer and UBSan');
  await build(folder('asan'), ['SWEET_CUDA=OFF', 'SWEET_SANITIZE=address,undefined'], 'sweet_sanitized');
  const env = { UBSAN_OPTIONS: 'print_stacktrace=1', ASAN_OPTIONS: 'detect_leaks=1' };
  say('The native checks under AddressSanitizer');
  await native(
    'asan',
    [join(folder('asan'), 'sweet_check')],
    ['cancelled', 'pool', 'float64', 'kernels', 'concurrent', 'overwritten'],
    env,
  );

  say('The addon under Node and AddressSanitizer');
  // Leaks of Node's own would be reported as well; what we leave behind is seen above, and by growth.
  const underNode = {
    NO_COLOR: '1',
    ASAN_OPTIONS: 'detect_leaks=0',
    LD_PRELOAD: libraryOf('libasan.so'),
    SWEET_RL_PREBUILD: join(folder('asan'), '..'),
  };
  const few = ['runtime/changing-arrays', 'ops/turn-advantages'];
  const all = [
    ...['one-pass', 'determinism', 'traps'].map((name) => `numerics/${name}`),
    ...['token-logps', 'linear-logps', 'trajectory-preference', 'turn-preference'].map((name) => `ops/${name}`),
    ...['ops/critic-update', 'ops/policy-update', 'args/errors', 'io/shm', 'runtime/machine'],
  ];
  const files = [...few, ...(short ? [] : all)];
  await each([
    async () =>
      report(
        'asan, arrays overwritten concurrently',
        await run('node', [program('overwrite'), `--seconds=${short ? 6 : 60}`], underNode),
      ),
    async () =>
      report('asan, workers', await run('node', [program('workers'), `--count=${short ? 9 : 150}`], underNode)),
    async () => {
      const result = await run('npx', ['vitest', 'run', ...files.map((file) => `test/${file}.test.ts`)], underNode);
      const passed = /^ +Tests .*/m.exec(result.text)?.[0].trim();
      if (expectOk('asan, vitest', result)) console.log(`  asan, vitest ${files.join(', ')}: ${passed}`);
    },
  ]);
}

async function tsan() {
  say('Building with ThreadSanitizer');
  await build(folder('tsan'), ['SWEET_CUDA=OFF', 'SWEET_SANITIZE=thread'], 'sweet_sanitized');
  const check = [join(folder('tsan'), 'sweet_check')];
  // Where the system places memory more at random than ThreadSanitizer can follow.
  const still = spawnSync(check[0], ['--small', 'pool']).status === 0 ? [] : ['setarch', '-R'];
  say('The native checks under ThreadSanitizer');
  const filters = short
    ? ['cancelled', 'pool', 'concurrent', 'overwritten']
    : ['cancelled', 'pool', 'float64', 'kernels', 'concurrent', 'overwritten'];
  await native('tsan', [...still, ...check], filters, { TSAN_OPTIONS: 'halt_on_error=1' });

  say('The addon under Node and ThreadSanitizer');
  const node = [...still, 'node'];
  const env = {
    TSAN_OPTIONS: 'exitcode=0',
    LD_PRELOAD: libraryOf('libtsan.so'),
    SWEET_RL_PREBUILD: join(folder('tsan'), '..'),
  };
  for (const [name, option] of Object.entries({ overwrite: short ? 4 : 30, workers: short ? 9 : 150 })) {
    const args = [...node.slice(1), program(name), `--${name === 'workers' ? 'count' : 'seconds'}=${option}`];
    const result = await run(node[0], args, env);
    // Node's own code is not instrumented: what it does to its memory looks like races. Ours are those with a frame of ours.
    const races = result.text
      .split(/^=+$/m)
      .filter((part) => /ThreadSanitizer/.test(part) && part.includes('sweet_rl'));
    const text = races.length > 0 ? races.join('\n') : result.text;
    const left = result.text.split('\n').filter((line) => /^[{\d].*[,:]/.test(line));
    if (expectOk(`tsan, ${name}`, { status: result.status || races.length, text }))
      console.log(`  tsan, ${name}: ${left.join('; ')}`);
  }
}

async function valgrind() {
  say('Building without sanitizers');
  await build(join(ROOT, 'build'), [], 'sweet_check');
  const check = join(ROOT, 'build', 'sweet_check');
  const { status, text } = await run(check, ['no such check']);
  if (status !== 2 || !/^ {2}pool$/m.test(text)) fail(`a name that no check has: ${text}`);
  say('The native checks under memcheck');
  const options = ['-q', '--leak-check=full', '--error-exitcode=9', `--suppressions=${join(HERE, 'valgrind.supp')}`];
  // As slow as it is, the short form leaves out the bits of many callers, which the other checkers see.
  const filters = short
    ? ['cancelled', 'pool', 'float64']
    : ['cancelled', 'pool', 'float64', 'kernels', 'concurrent', 'overwritten'];
  await native('valgrind', ['valgrind', ...options, check], filters, {});
}

async function growth() {
  say('Calls that must leave no memory behind');
  report('growth', await run('node', ['--expose-gc', program('growth'), `--share=${short ? 0.1 : 1}`]));
}

async function workers() {
  say(`Workers that end in the middle of calls${repeat > 1 ? `, ${repeat} times in a row` : ''}`);
  for (let i = 1; i <= repeat; i++) {
    report(`workers${repeat > 1 ? ` ${i} of ${repeat}` : ''}`, await run('node', [program('workers'), '--count=150']));
  }
}
