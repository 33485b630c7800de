// Breaks the kernels one line at a time and asks the checks:  npm run test:cuda:mutations
//
// Each mutation is applied to a copy of native/, compiled as the emulator's builds are, and run against the oracle's grid
// until one of the builds finds it. The table that is printed tells which one did. The builds must exist: npm run test:cuda.
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';

const ROOT = join(import.meta.dirname, '..', '..');
const OUT = join(ROOT, 'build', 'emulator');
const MUTANT = join(OUT, 'mutant');
const BUILDS = ['plain', 'asan', 'races'];
const SEEDS = [1, 2];
// Linear heads are computed by kernels of ours: what stands in for cuBLASLt has no mutations.
const SWEET_RL_CUBLASLT = 'none';

/** file, what is broken, the line's right part, what becomes of it; the files that compile a header. */
const MUTATIONS = [
  [
    'device.h',
    'no barrier before the warps are joined',
    '  __syncthreads();\n  T all = room[0];',
    '  T all = room[0];',
  ],
  ['device.h', 'no barrier before shared memory is used again', '  __syncthreads();\n  return all;', '  return all;'],
  ['device.h', 'one warp too few is joined', 'for (int w = 1; w < warps; w++)', 'for (int w = 1; w < warps - 1; w++)'],
  [
    'device.h',
    'half of the shuffles of a sum',
    'for (int i = kWarp / 2; i > 0; i /= 2) x +=',
    'for (int i = kWarp / 4; i > 0; i /= 2) x +=',
  ],
  ['device.h', 'vectors as if all rows were aligned', 'past == 0 ? 0 : size - past', '0'],
  ['device.h', 'vectors past the end of the row', '(n - first) / size * size', '(n - first + size - 1) / size * size'],
  [
    'device.h',
    'a fault overwrites an earlier one',
    'atomicMin(fault, fault_of(rule, index))',
    '*fault = fault_of(rule, index)',
  ],
  ['device.h', 'words shifted by the wrong half', 'bits[i] >> 16 | bits[i + 1] << 16', 'bits[i] >> 16 | bits[i + 1]'],
  ['token_logps.cu', 'rows of −∞ are measured from −∞', 'return pivot == -INFINITY ? 0.0f : pivot;', 'return pivot;'],
  ['token_logps.cu', 'the sum is not rescaled when the pivot moves', 'sums.rest = sum * factor;', 'sums.rest = sum;'],
  [
    'token_logps.cu',
    'a partial vector is loaded whole',
    'v <= last ? load_words<kAligned>(x + v) : load_some(x + v, words - v)',
    'load_words<kAligned>(x + v)',
  ],
  [
    'token_logps.cu',
    'the last vector of a segment is left out',
    'for (; v < words; v += step)',
    'for (; v + size < words; v += step)',
  ],
  [
    'token_logps.cu',
    'shared memory for one warp too few',
    '__shared__ double room[kWarps];',
    '__shared__ double room[kWarps - 1];',
  ],
  [
    'token_logps.cu',
    'every thread writes the segment',
    'if (threadIdx.x == 0) sums[blockIdx.x] = segment;',
    'sums[blockIdx.x] = segment;',
  ],
  [
    'token_logps.cu',
    'rows as if they were not padded',
    'logits + cut.row() * cut.stride',
    'logits + cut.row() * cut.vocab',
  ],
  [
    'token_logps.cu',
    'no barrier before the gradient of the label',
    '  __syncthreads();\n  if (threadIdx.x == 0) from_float(row.of_label',
    '  if (threadIdx.x == 0) from_float(row.of_label',
  ],
  [
    'token_logps.cu',
    'the gradient of the label is not written',
    'if (threadIdx.x == 0) from_float(row.of_label',
    'if (threadIdx.x == 999) from_float(row.of_label',
  ],
  [
    'token_logps.cu',
    'one word too many',
    'for (int w = at.last + thread; w < words;',
    'for (int w = at.last + thread; w <= words;',
  ],
  ['token_logps.cu', 'dropped rows are read', 'if (row.label < 0) {', 'if (row.label < -9) {'],
  ['token_logps.cu', 'refused calls write', 'if (refused(outcome) || i >= rows) return;', 'if (i >= rows) return;'],
  [
    'preference.cu',
    'no barrier before the pairs of a tile are read',
    '    __syncthreads();\n    for (int j',
    '    for (int j',
  ],
  [
    'preference.cu',
    'no barrier before the next tile',
    '    }\n    __syncthreads();\n  }\n  if (k >= in.units) return;',
    '    }\n  }\n  if (k >= in.units) return;',
  ],
  ['preference.cu', 'past the end of a tile', 'j < kThreads && j < left', 'j < kThreads'],
  ['preference.cu', 'no bound on the units', '  if (k >= in.units) return;\n  work.unit_slopes', '  work.unit_slopes'],
  ['preference.cu', 'the rejected unit gains as the chosen one', 'slope -= slopes[j];', 'slope += slopes[j];'],
  [
    'preference.cu',
    'lanes overlap',
    'i < in.turns.offsets[t + 1]; i += kWarp) {\n    if',
    'i < in.turns.offsets[t + 1]; i += kWarp - 1) {\n    if',
  ],
  [
    'preference.cu',
    'every lane writes its turn',
    '  if (threadIdx.x % kWarp != 0) return;\n  work.turn_ratios',
    '  work.turn_ratios',
  ],
  ['linear_logps.cu', 'rows are counted a warp at a time', 'if (w < warp) at += counts[w];', ''],
  [
    'linear_logps.cu',
    'no barrier before the next rows are counted',
    '    __syncthreads();\n    if (own) kept[at] = i;',
    '    if (own) kept[at] = i;',
  ],
  [
    'linear_logps.cu',
    'the gradient is written over logits that others still read',
    '    __syncthreads();\n    T result',
    '    T result',
  ],
  [
    'linear_logps.cu',
    'vectors past the end of a row of logits',
    'if (words >= own) {\n        const',
    'if (words > 0) {\n        const',
  ],
  [
    'linear_logps.cu',
    'rows are scattered to where the chunk has them',
    'y = to + rows[blockIdx.x] * width',
    'y = to + blockIdx.x * width',
  ],
  [
    'linear_logps.cu',
    'each chunk overwrites the gradient of the weight',
    'out.accumulate || first > 0',
    'out.accumulate',
  ],
  [
    'linear_logps.cu',
    'the second chunk has the rows of the first',
    'kept_.rows + first, head_.width',
    'kept_.rows, head_.width',
  ],
  [
    'linear_logps.cu',
    'the gradient stays scaled',
    '{head_.weight, width, false},\n                    1 / scale',
    '{head_.weight, width, false},\n                    1',
  ],
  ['linear_logps.cu', 'logits are thought to be there after they became a gradient', '  computed_ = -1;\n', ''],
  [
    'product.cu',
    'no barrier before a tile is multiplied',
    '    __syncthreads();\n    sums.add(a, b);',
    '    sums.add(a, b);',
  ],
  ['product.cu', 'no barrier before the next tile', '    sums.add(a, b);\n    __syncthreads();', '    sums.add(a, b);'],
  ['product.cu', 'past the end of the depth', '(i < count ? depth - d : 0)', '(i < count ? size : 0)'],
  ['product.cu', 'past the last column', '|| column + j >= p.columns', ''],
  [
    'product.cu',
    'fragments of the wrong half',
    'rows[i][2] = two(a, row, k + pair + 8)',
    'rows[i][2] = two(a, row, k + pair)',
  ],
  ['layout.cu', 'offsets are looked at before they are known to be sound', '  if (unsound(outcome)) return;\n', ''],
  ['layout.cu', 'the first offset is read from before the array', 'i > 0 ? offsets[i - 1] : 0', 'offsets[i - 1]'],
];
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
      lines.find((line) => /ERROR: Addr|runtime error|^race|^nobody|^thread|^deadlock/.test(line)) ??
      lines.find((line) => line.length > 0) ??
      `signal ${result.signal}`
    );
  }
  return undefined;
}

function tryMutation([file, what, from, to]) {
  rmSync(MUTANT, { recursive: true, force: true });
  mkdirSync(MUTANT, { recursive: true });
  cpSync(join(ROOT, 'native'), join(MUTANT, 'native'), { recursive: true });
  const path = join(MUTANT, 'native', 'cuda', file);
  const source = readFileSync(path, 'utf8');
  if (source.split(from).length < 2) return `does not apply: ${from}`;
  writeFileSync(
    path,
    source.replace(from, () => to),
  );
  for (const build of BUILDS) {
    const finding = findingOf(
      link(
        (USERS[file] ?? [file]).map((user) => compile(user, build)),
        build,
      ),
    );
    if (finding === undefined) continue;
    console.log(`| ${file} | ${what} | ${build} | ${finding.replace(/^.*ERROR: /, '').slice(0, 90)} |`);
    return undefined;
  }
  return 'found by no build';
}

console.log('| file | what is broken | found by | as |\n| --- | --- | --- | --- |');
let missed = 0;
for (const mutation of MUTATIONS) {
  const fault = tryMutation(mutation);
  if (fault === undefined) continue;
  missed++;
  console.log(`| ${mutation[0]} | ${mutation[1]} | **nothing** | ${fault} |`);
}
console.log(`\n${MUTATIONS.length - missed} of ${MUTATIONS.length} mutations found`);
process.exit(missed === 0 ? 0 : 1);
