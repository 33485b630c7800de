// Programs run with lines of progress and a count at the end: what test/cuda, test/mutate and test/sanitize share.
import { execFileSync, spawn } from 'node:child_process';
import { join } from 'node:path';

export const ROOT = join(import.meta.dirname, '..', '..');

const started = Date.now();
export const say = (text) => console.log(`${((Date.now() - started) / 1000).toFixed(0).padStart(4)} s  ${text}`);

const groups = new Set();
function kill(group) {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {} // it is over
}
process.once('exit', () => groups.forEach(kill));
for (const signal of ['SIGINT', 'SIGTERM']) process.once(signal, () => process.exit(1));

/**
 * Runs a program; resolves to its status, or the signal that ended it, and what it printed. With `seconds` it has a group of
 * its own, which is killed after so many of them.
 */
export function run(command, args, env = {}, { cwd = ROOT, seconds } = {}) {
  return new Promise((done) => {
    const detached = seconds !== undefined;
    const child = spawn(command, args, { cwd, env: { ...process.env, ...env }, detached });
    if (detached && child.pid !== undefined) groups.add(child.pid);
    const timer = detached && setTimeout(() => kill(child.pid), seconds * 1000);
    const end = (result) => {
      clearTimeout(timer);
      groups.delete(child.pid);
      done(result);
    };
    let text = '';
    child.stdout.on('data', (data) => {
      text += data;
    });
    child.stderr.on('data', (data) => {
      text += data;
    });
    child.on('error', (error) => end({ status: 1, text: String(error) }));
    child.on('close', (status, signal) => end({ status: status ?? signal, text }));
  });
}

/** Runs tasks in their order, two at a time. */
export async function each(tasks) {
  const results = [];
  let next = 0;
  const worker = async () => {
    while (next < tasks.length) {
      const i = next++;
      results[i] = await tasks[i]();
    }
  };
  await Promise.all([worker(), worker()]);
  return results;
}

const failures = [];
let passed = 0;

export function fail(what) {
  failures.push(what);
}

/** Whether it ended well; counted either way. */
export function expectOk(what, { status, text }) {
  if (status === 0) {
    passed++;
    return true;
  }
  fail(what);
  console.log(`FAILED: ${what} (${status})\n${text.split('\n').slice(-60).join('\n')}`);
  return false;
}

/** Builds a target in a folder, configured first where there are options; ends here where it does not build. */
export async function build(folder, options, target) {
  const cmake = (...args) => run('npx', ['cmake-js', ...args, '-O', folder, '--log-level', 'error']);
  const steps = [
    ...(options.length > 0 ? [['configure', ...options.map((option) => `--CD${option}`)]] : []),
    ['build', '--target', target],
  ];
  for (const step of steps) {
    const result = await cmake(...step);
    if (result.status === 0) continue;
    expectOk(`cmake-js ${step.join(' ')} in ${folder}`, result);
    end();
  }
}

/** A library of the compiler's, as libasan.so, which must be the first of a process that did not link it, as Node's. */
export function libraryOf(name) {
  return execFileSync('g++', [`-print-file-name=${name}`], { encoding: 'utf8' }).trim();
}

/** Ends the process with the count. */
export function end() {
  say(`${passed} passed, ${failures.length} failed${failures.length > 0 ? `: ${failures.join('; ')}` : ''}`);
  process.exit(failures.length === 0 && passed > 0 ? 0 : 1);
}
