/**
 * The sandbox: the bubblewrap command that isolates an answer from the machine, or the reason why it is unavailable.
 */
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { lstat, readlink, realpath } from 'node:fs/promises';
import { homedir } from 'node:os';
import { dirname } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);
const harness = fileURLToPath(new URL('../../../sandbox/harness.py', import.meta.url));

/**
 * The filter of system calls, which export-filter.py writes, for `bwrap --seccomp`.
 * @param arch as in process.arch
 * @returns undefined for an architecture that the filter does not cover
 */
export const seccompFilter = (arch: string = process.arch): Buffer | undefined =>
  ['x64', 'arm64'].includes(arch) ? readFileSync(new URL('../../../sandbox/seccomp.bpf', import.meta.url)) : undefined;

/** The descriptor from which bubblewrap reads the system call filter; 3 carries the results. */
const filterDescriptor = 4;

export interface Wall {
  command: string;
  args: readonly string[];
  /** The system call filter, for descriptor 4. */
  filter: Buffer | undefined;
  /** False if answers run without a sandbox. */
  isolated: boolean;
  /** The version of Python. */
  python: string;
}

type Python = { executable: string; prefixes: string[]; version: string };

export class SandboxError extends Error {
  readonly code = 'ERR_SANDBOX';
  override readonly name = 'SandboxError';
}

export interface WallOptions {
  /** The interpreter; default python3. */
  python?: string;
  /** The bubblewrap program; default bwrap. */
  bubblewrap?: string;
  /** Size of an answer's folder, which is in memory. */
  scratchBytes?: number;
  /** The most files, folders and links in it. */
  scratchFiles?: number;
  /** Without a sandbox, run answers with resource limits only instead of throwing. */
  unsafe?: boolean;
}

export async function buildWall({
  python = 'python3',
  bubblewrap = 'bwrap',
  scratchBytes = 16 * 2 ** 20,
  scratchFiles = 4096,
  unsafe = false,
}: WallOptions = {}): Promise<Wall> {
  if (process.platform === 'win32') throw new SandboxError('Answers cannot be run on Windows');
  const found = await findPython(python);
  // Without the user's packages, and unbuffered, so that the output of a killed process is complete. Not -I, which
  // ignores PYTHONHASHSEED.
  const start = ['-s', '-B', '-u', '-X', 'utf8'];
  try {
    const filter = seccompFilter();
    if (process.platform !== 'linux' || filter === undefined) {
      throw new SandboxError(`No sandbox is known for ${process.platform} on ${process.arch}`);
    }
    await requireProgram(bubblewrap, 'bubblewrap');
    await requireProgram('unshare', 'util-linux');
    const isolation = [...scratchArgs(scratchBytes, scratchFiles), bubblewrap, ...(await isolationArgs(found))];
    await probe([...isolation, '--', found.executable, ...start, '-c', 'pass']);
    const filtered = ['--seccomp', String(filterDescriptor), '--', found.executable, ...start, '/harness.py'];
    const args = [...isolation, ...filtered];
    return { command: 'unshare', args, filter, isolated: true, python: found.version };
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

async function findPython(python: string): Promise<Python> {
  const program =
    'import json, sys; print(json.dumps([sys.executable, [sys.prefix, sys.base_prefix, sys.exec_prefix], "%d.%d.%d" % sys.version_info[:3]]))';
  try {
    const { stdout } = await run(python, ['-I', '-c', program], { timeout: 60_000 });
    const [executable, prefixes, version] = JSON.parse(stdout);
    const real = await realpath(executable);
    return { executable, prefixes: [...prefixes, dirname(dirname(real))], version };
  } catch (cause) {
    const why = messageOf(cause);
    throw new SandboxError(`Answers need Python >= 3.8, and "${python}" does not start: ${why}`, { cause });
  }
}

/** Where the folder of an answer is mounted before bubblewrap binds it: a folder of every Linux that bubblewrap does not need. */
export const scratchMount = '/sys';

/**
 * Arguments of unshare for a command in a namespace of mounts with the folder of an answer. Bubblewrap's own --tmpfs has a limit
 * of bytes, but none of files, each of which takes about 1 kB of memory. The folder itself is one file.
 */
function scratchArgs(bytes: number, files: number) {
  const options = `size=${bytes},nr_inodes=${files + 1},mode=0755`;
  const script = `mount -t tmpfs -o ${options} tmpfs ${scratchMount} && exec "$@"`;
  return ['--user', '--map-root-user', '--mount', 'sh', '-c', script, 'sh'];
}

/**
 * No network, no other processes, no files of users: the system's programs read-only, and an empty folder in memory.
 */
async function isolationArgs({ prefixes }: Python) {
  const args = ['--unshare-user', '--unshare-all', '--die-with-parent', '--new-session', '--cap-drop', 'ALL'];
  args.push('--uid', '65534', '--gid', '65534', '--hostname', 'sandbox', '--clearenv');
  for (const [name, value] of Object.entries(environment)) args.push('--setenv', name, value);
  for (const path of ['/usr', '/bin', '/lib', '/lib32', '/lib64', '/libx32']) {
    const status = await lstat(path).catch(() => undefined);
    if (status?.isSymbolicLink()) args.push('--symlink', await readlink(path), path);
    else if (status?.isDirectory()) args.push('--ro-bind', path, path);
  }
  // The loader's cache, and Debian's links to the selected alternatives, such as BLAS.
  for (const path of ['/etc/ld.so.cache', '/etc/alternatives']) args.push('--ro-bind-try', path, path);
  for (const prefix of new Set(prefixes)) {
    if (`${homedir()}/`.startsWith(prefix === '/' ? '/' : `${prefix}/`)) {
      throw new SandboxError(`The sandbox cannot expose a Python in ${prefix} without the home folder`);
    }
    if (prefix !== '/usr' && !prefix.startsWith('/usr/')) args.push('--ro-bind', prefix, prefix);
  }
  args.push('--ro-bind', harness, '/harness.py', '--dev-bind', '/dev/null', '/dev/null');
  args.push('--bind', scratchMount, '/work', '--chdir', '/work', '--remount-ro', '/');
  return args;
}

/** The environment variables of an answer. */
export const environment = {
  PATH: '/usr/bin:/bin',
  HOME: '/work',
  TMPDIR: '/work',
  LANG: 'C.UTF-8',
  // Sets have the same order in every process.
  PYTHONHASHSEED: '0',
  // The stacks of a thread per core would count as memory.
  OPENBLAS_NUM_THREADS: '1',
  OMP_NUM_THREADS: '1',
};

/** @param name its package */
async function requireProgram(program: string, name: string) {
  try {
    await run(program, ['--version'], { timeout: 60_000 });
  } catch (cause) {
    throw unavailable(`"${program}" does not start (Debian and Ubuntu: apt-get install ${name})`, cause);
  }
}

/** Throws if the sandbox does not work here; containers often forbid namespaces. */
async function probe(args: string[]) {
  try {
    await run('unshare', args, { timeout: 60_000 });
  } catch (cause) {
    throw unavailable(`unshare or bubblewrap fails here: ${messageOf(cause)}`, cause);
  }
}

function unavailable(why: string, cause: unknown) {
  return new SandboxError(`Answers are not run without a sandbox, and ${why}`, { cause });
}

function messageOf(error: unknown) {
  const { stderr, message } = error as { stderr?: string; message?: string };
  return (stderr || message || String(error)).trim().slice(0, 400);
}
