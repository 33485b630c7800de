// npm run test:platforms [-- --short] [platforms]
// The tests of bundle.js on the prebuilt binaries of other platforms: under wine, musl's loader and qemu. The bits of results
// must be those of linux-x64-glibc for the same backend (NEON's: those of linux-arm64-glibc).
//   --native  this system's own binary alone, by the program that runs this
//   --short   the shared vectors, threads and workers, without the error table
//   --table   writes docs/platforms.json and the tables of README.md and docs/guide/install.md, from this run and earlier
//             ones of the same binaries
// Needs `npm run build:types` and the binaries: npm run build:prebuilds -- --all
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { hostPlatform, PLATFORMS } from '../../scripts/platforms.js';
import { undetected } from './broken.js';
import { bundle } from './bundle.js';
import { NATIVE, RUNTIMES, runOn } from './runtimes.js';
import { record, writeTable } from './table.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'build', 'platforms');
const flag = { type: 'boolean' };
const { values, positionals } = parseArgs({
  options: { short: flag, native: flag, table: flag },
  allowPositionals: true,
});
const unknown = positionals.find((name) => !(name in RUNTIMES));
if (unknown !== undefined) throw new Error(`Expected ${Object.keys(RUNTIMES).join(', ')} but received ${unknown}`);
const wanted = Object.keys(RUNTIMES).filter((name) => positionals.length === 0 || positionals.includes(name));
// The first is what the others are compared with.
const names = values.native ? [hostPlatform()] : [...new Set(['linux-x64-glibc', ...wanted])];
if (values.native) RUNTIMES[hostPlatform()] = NATIVE;
const missing = names.filter((name) => !existsSync(join(root, 'prebuilds', PLATFORMS[name].file)));
if (missing.length > 0) throw new Error(`No prebuilt binary: npm run build:prebuilds -- ${missing.join(' ')}`);

mkdirSync(folder, { recursive: true });
const program = join(folder, 'tests.mjs');
await bundle(program);

const known = new Map(); // "backend dtype function" -> { platform, digest }
let faults = 0;
if (!values.native) {
  console.log('-- what check-symbols must refuse');
  const undetectedOnes = undetected(root, folder);
  faults += undetectedOnes.length;
  for (const problem of undetectedOnes) console.log(problem);
}
for (const name of names) {
  console.log(`-- ${name}: ${RUNTIMES[name].how()}`);
  const began = performance.now();
  const problems = check(name);
  faults += problems.length;
  for (const problem of problems) console.log(problem);
  console.log(`${problems.length === 0 ? 'ok' : 'FAILED'} after ${((performance.now() - began) / 1000).toFixed(0)} s`);
}
if (values.table && faults === 0) writeTable(root);
process.exitCode = faults > 0 ? 1 : 0;

/** What is wrong, in words. */
function check(name) {
  // Relative paths: on Windows the folder has another name.
  const only = values.short ? ['vector|async|worker|rounding'] : [];
  const { status, stdout, stderr } = runOn(name, ['build/platforms/tests.mjs', ...only], folder, root);
  const lines = stdout.split('\n').filter((line) => line.startsWith('{'));
  if (status !== 0 || lines.length !== 2) return [`The tests ended with ${status}\n${stdout}\n${stderr}`];
  const [system, { passed, digests }] = lines.map((line) => JSON.parse(line));
  const different = Object.entries(digests).filter(([what, digest]) => {
    if (!known.has(what)) known.set(what, { platform: name, digest });
    return known.get(what).digest !== digest;
  });
  const compared = Object.keys(digests).filter((what) => known.get(what).platform !== name).length;
  console.log(
    `${system.platform} ${system.arch}, ${system.backends.join(' ')}: ${passed} tests, ${compared} digests compared`,
  );
  const exit = runOn(name, ['build/platforms/tests.mjs', 'exit'], folder, root);
  const problems = different.map(([what]) => `${what}: other bits than on ${known.get(what).platform}`);
  if (exit.status !== 7) problems.push(`process.exit(7) during calls ended with ${exit.status}\n${exit.stderr}`);
  if (problems.length === 0) record(root, name, { ...system, how: RUNTIMES[name].how(), tests: passed, compared });
  return problems;
}
