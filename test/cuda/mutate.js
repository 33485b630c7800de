// Breaks the kernels one line at a time and asks the checks:  npm run test:cuda:mutations  [-- --part=1/4]
//
// With --part=2/4, every fourth mutation from the second on.
// Each mutation is applied to a copy of native/, compiled as the emulator's builds are, and run against the oracle's grid
// until one of the builds finds it. The table that is printed tells which one did. The builds must exist: npm run test:cuda.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { broken, row } from '../helpers/mutations.js';
import { MUTATIONS } from './mutations.js';

const ROOT = join(import.meta.dirname, '..', '..');
const OUT = join(ROOT, 'build', 'emulator');
const MUTANT = join(OUT, 'mutant');
const BUILDS = ['plain', 'asan', 'races'];
const SEEDS = [1, 2];
// Linear heads are computed by kernels of ours: what stands in for cuBLASLt has no mutations.
const SWEET_RL_CUBLASLT = 'none';

const [part, parts] = (process.argv.find((each) => each.startsWith('--part='))?.slice(7) ?? '1/1')
  .split('/')
  .map(Number);
if (!(Number.isInteger(part) && Number.isInteger(parts) && part >= 1 && part <= parts)) {
  console.error('Expected a part such as 1/4 for --part');
  process.exit(2);
}
const CHOSEN = MUTATIONS.filter((_, i) => i % parts === part - 1);

/** The files that compile a header. */
const USERS = {
  'device.h': ['token_logps.cu', 'preference.cu', 'layout.cu', 'turn_advantages.cu', 'product.cu', 'linear_logps.cu'],
};

const commands = JSON.parse(readFileSync(join(OUT, 'compile_commands.json'), 'utf8'));

/** The mutant's object of a kernel file. */
function compile(file, build) {
  const own = commands.find((each) => each.command.includes(`kernels_${build}.dir/`) && basename(each.file) === file);
  const object = join(MUTANT, `${file}.${build}.o`);
  const source = join(MUTANT, 'native', 'cuda', file);
  const command = own.command.replace(/ -o \S+ -c \S+$/, ` -w -o ${object} -c ${source}`);
  execFileSync('sh', ['-c', command], { cwd: own.directory, stdio: 'pipe' });
  return object;
}

function link(objects, build) {
  const program = join(MUTANT, `check_${build}`);
  const own = readFileSync(join(OUT, `check_${build}.link`), 'utf8').trim();
  execFileSync('sh', ['-c', own.replace('@OBJECTS@', objects.join(' ')).replace('@PROGRAM@', program)], {
    cwd: OUT,
    stdio: 'pipe',
  });
  return program;
}

/** What a check of the build says of the mutant; undefined if it finds nothing. */
function findingOf(program) {
  for (const seed of SEEDS) {
    const env = { ...process.env, ASAN_OPTIONS: 'detect_leaks=0', SWEET_RL_CUBLASLT };
    const result = spawnSync(program, ['--small', `--seed=${seed}`], { encoding: 'utf8', timeout: 120_000, env });
    if (result.status === 0) continue;
    const lines = `${result.stdout}\n${result.stderr}`.split('\n');
    return (
      lines.find((line) => /ERROR: Addr|runtime error|^race|^nobody|^thread|^deadlock|: ours /.test(line)) ??
      lines.find((line) => line.length > 0) ??
      `signal ${result.signal}`
    );
  }
  return undefined;
}

function tryMutation(mutation) {
  const [file, what] = mutation;
  rmSync(MUTANT, { recursive: true, force: true });
  mkdirSync(MUTANT, { recursive: true });
  cpSync(join(ROOT, 'native'), join(MUTANT, 'native'), { recursive: true });
  const path = join(MUTANT, 'native', 'cuda', file);
  writeFileSync(path, broken(readFileSync(path, 'utf8'), mutation));
  for (const build of BUILDS) {
    const finding = findingOf(
      link(
        (USERS[file] ?? [file]).map((user) => compile(user, build)),
        build,
      ),
    );
    if (finding === undefined) continue;
    console.log(row(file, what, build, finding.replace(/^.*ERROR: /, '').slice(0, 90)));
    return undefined;
  }
  return 'found by no build';
}

console.log(`${row('file', 'what is broken', 'found by', 'as')}\n${row('---', '---', '---', '---')}`);
let missed = 0;
for (const mutation of CHOSEN) {
  const fault = tryMutation(mutation);
  if (fault === undefined) continue;
  missed++;
  console.log(row(mutation[0], mutation[1], '**nothing**', fault));
}
console.log(`\n${CHOSEN.length - missed} of ${CHOSEN.length} mutations found`);
process.exit(missed === 0 ? 0 : 1);
