/** What keeps an answer apart from the machine: how Python is started inside it, or the reason why that cannot be done. */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { lstat, readlink, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const harness = fileURLToPath(new URL('./harness.py', import.meta.url));

/**
 * The filter of system calls, which export-filter.py writes, for `bwrap --seccomp`.
 * @param {string} arch as in process.arch
 * @returns {Buffer | undefined} undefined for an architecture that the filter does not cover
 */
export const seccompFilter = (arch = process.arch) =>
  ['x64', 'arm64'].includes(arch) ? readFileSync(new URL('./seccomp.bpf', import.meta.url)) : undefined;

/** The descriptor of the child from which bubblewrap reads the filter of system calls; 3 is the channel of the results. */
const filterDescriptor = 4;

/**
 * @typedef {object} Wall
 * @property {string} command
 * @property {readonly string[]} args
 * @property {Buffer | undefined} filter bytes for descriptor 4
 * @property {boolean} isolated whether answers are kept apart from the machine
 * @property {string} python which Python runs them
 */

/** @typedef {{ executable: string, prefixes: string[], version: string }} Python */

export class SandboxError extends Error {
  /** @param {string} message @param {ErrorOptions} [options] */
  constructor(message, options) {
    super(message, options);
    this.name = 'SandboxError';
    this.code = 'ERR_SANDBOX';
  }
}

/**
 * @param {object} [options]
 * @param {string} [options.python] the interpreter; python3 by default
 * @param {string} [options.bubblewrap] the program that builds the wall; bwrap by default
 * @param {number} [options.scratchBytes] how much an answer may write to its folder, which is memory
 * @param {boolean} [options.unsafe] run answers with limits alone where there is no wall
 * @returns {Promise<Wall>}
 */
export async function buildWall({
  python = 'python3',
  bubblewrap = 'bwrap',
  scratchBytes = 16 * 2 ** 20,
  unsafe = false,
} = {}) {
  if (process.platform === 'win32') throw new SandboxError('Answers cannot be run on Windows');
  const found = await findPython(python);
  // Without the user's packages; unbuffered, so that what was printed is seen although the process is killed. Not -I, which
  // would leave the order of sets to chance.
  const start = ['-s', '-B', '-u', '-X', 'utf8'];
  try {
    const filter = seccompFilter();
    if (process.platform !== 'linux' || filter === undefined) {
      throw new SandboxError(`No sandbox is known for ${process.platform} on ${process.arch}`);
    }
    const walls = await wallArgs(found, scratchBytes);
    await probe(bubblewrap, [...walls, '--', found.executable, ...start, '-c', 'pass']);
    const filtered = ['--seccomp', String(filterDescriptor), '--', found.executable, ...start, '/harness.py'];
    const args = [...walls, ...filtered];
    return { command: bubblewrap, args, filter, isolated: true, python: found.version };
  } catch (error) {
    if (!unsafe) throw error;
    return {
      command: found.executable,
      args: [...start, harness],
      filter: undefined,
      isolated: false,
      python: found.version,
    };
  }
}

/** @param {string} python @returns {Promise<Python>} */
async function findPython(python) {
  const program =
    'import json, sys; print(json.dumps([sys.executable, [sys.prefix, sys.base_prefix, sys.exec_prefix], "%d.%d.%d" % sys.version_info[:3]]))';
  try {
    const { stdout } = await run(python, ['-I', '-c', program], { timeout: 60_000 });
    const [executable, prefixes, version] = JSON.parse(stdout);
    const real = await realpath(executable);
    return { executable, prefixes: [...prefixes, dirname(dirname(real))], version };
  } catch (cause) {
    const why = messageOf(cause);
    throw new SandboxError(`Answers are run by Python >= 3.8, and "${python}" is none that starts: ${why}`, { cause });
  }
}

/**
 * No network, no processes of others, no user's files: the system's programs read-only, and an empty folder in memory.
 * @param {Python} python @param {number} scratchBytes
 */
async function wallArgs({ prefixes }, scratchBytes) {
  const args = ['--unshare-user', '--unshare-all', '--die-with-parent', '--new-session', '--cap-drop', 'ALL'];
  args.push('--uid', '65534', '--gid', '65534', '--hostname', 'sandbox', '--clearenv');
  for (const [name, value] of Object.entries(environment)) args.push('--setenv', name, value);
  for (const path of ['/usr', '/bin', '/lib', '/lib32', '/lib64', '/libx32']) {
    const status = await lstat(path).catch(() => undefined);
    if (status?.isSymbolicLink()) args.push('--symlink', await readlink(path), path);
    else if (status?.isDirectory()) args.push('--ro-bind', path, path);
  }
  // Where the loader finds libraries; Debian's links to the chosen one of several, as BLAS, lead through the second.
  for (const path of ['/etc/ld.so.cache', '/etc/alternatives']) args.push('--ro-bind-try', path, path);
  for (const prefix of new Set(prefixes)) {
    if (`${homedir()}/`.startsWith(prefix === '/' ? '/' : `${prefix}/`)) {
      throw new SandboxError(`A Python that is installed in ${prefix} cannot be put behind a wall with nothing else`);
    }
    if (prefix !== '/usr' && !prefix.startsWith('/usr/')) args.push('--ro-bind', prefix, prefix);
  }
  args.push('--ro-bind', harness, '/harness.py', '--dev-bind', '/dev/null', '/dev/null');
  args.push('--size', String(scratchBytes), '--tmpfs', '/work', '--chdir', '/work', '--remount-ro', '/');
  return args;
}

/** What an answer sees of the environment, with and without a wall. */
export const environment = {
  PATH: '/usr/bin:/bin',
  HOME: '/work',
  TMPDIR: '/work',
  LANG: 'C.UTF-8',
  // Sets are in the same order in every process.
  PYTHONHASHSEED: '0',
  // A thread for each core would be counted as memory.
  OPENBLAS_NUM_THREADS: '1',
  OMP_NUM_THREADS: '1',
};

/** Whether the wall can be built here: containers often forbid namespaces. @param {string} bubblewrap @param {string[]} args */
async function probe(bubblewrap, args) {
  try {
    await run(bubblewrap, args, { timeout: 60_000 });
  } catch (cause) {
    const missing = /** @type {{ code?: unknown }} */ (cause).code === 'ENOENT';
    const why = missing
      ? `"${bubblewrap}" was not found (Debian and Ubuntu: apt-get install bubblewrap)`
      : `bubblewrap cannot build it here: ${messageOf(cause)}`;
    throw new SandboxError(`Answers are not run without a sandbox, and ${why}`, { cause });
  }
}

/** @param {unknown} error */
function messageOf(error) {
  const { stderr, message } = /** @type {{ stderr?: string, message?: string }} */ (error);
  return (stderr || message || String(error)).trim().slice(0, 400);
}
