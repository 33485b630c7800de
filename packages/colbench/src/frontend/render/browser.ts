/** Chromium behind a wall: no network, no files of users, limits of memory; its DevTools connection is a pipe. */
import { execFile } from 'node:child_process';
import { access, lstat, readlink, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { CommandError } from '../../errors.js';

const run = promisify(execFile);

/** Where Debian, Ubuntu and Google's packages have the program itself; the one in /usr/bin is a script. */
const places = [
  '/usr/lib/chromium/chromium',
  '/usr/lib/chromium-browser/chromium-browser',
  '/opt/google/chrome/chrome',
];

export interface BrowserOptions {
  /** The program; default: Debian's Chromium. */
  chromium?: string;
  /** The bubblewrap program; default bwrap. */
  bubblewrap?: string;
  /** Data of one process of the browser; default 2 GiB. Address space would not do: Chromium reserves more than it uses. */
  memoryBytes?: number;
}

/** Shared memory of the browser, and its folder, which are in memory. */
const sharedBytes = 512 * 2 ** 20;
const scratchBytes = 128 * 2 ** 20;

/** The same picture on every machine with the same fonts: no GPU, no subpixels, no hinting. */
const drawing = [
  ...['--headless', '--disable-gpu', '--hide-scrollbars', '--force-color-profile=srgb', '--disable-lcd-text'],
  // imageAnimationPolicy 2: of an animated picture, the first frame.
  ...['--font-render-hinting=none', '--force-device-scale-factor=1', '--blink-settings=imageAnimationPolicy=2'],
];
/** The sandbox of Chromium needs rights that it has not behind the wall. */
const quiet = [
  ...['--no-sandbox', '--no-first-run', '--no-default-browser-check', '--mute-audio', '--disable-breakpad'],
  ...['--disable-extensions', '--disable-background-networking', '--disable-component-update', '--disable-sync'],
  ...['--disable-features=Translate,OptimizationHints,MediaRouter', '--renderer-process-limit=8'],
];

/** Starts browsers; the programs that they need are checked once. */
export class BrowserLauncher {
  readonly #args: readonly string[];
  readonly #bubblewrap: string;
  readonly #chromium: typeof import('playwright-core').chromium;

  private constructor(
    chromium: typeof import('playwright-core').chromium,
    bubblewrap: string,
    args: readonly string[],
  ) {
    this.#chromium = chromium;
    this.#bubblewrap = bubblewrap;
    this.#args = args;
  }

  /** @throws CommandError ERR_BROWSER that says what to install */
  static async create({
    chromium,
    bubblewrap = 'bwrap',
    memoryBytes = 2 * 2 ** 30,
  }: BrowserOptions = {}): Promise<BrowserLauncher> {
    if (process.platform !== 'linux') {
      throw unavailable(`no sandbox is known for ${process.platform}: use Linux`);
    }
    const program = await findChromium(chromium);
    await requireProgram(bubblewrap, 'bubblewrap');
    await requireProgram('prlimit', 'util-linux');
    const library = await import('playwright-core').catch((cause) => {
      throw unavailable('playwright-core is missing: npm install playwright-core', cause);
    });
    const limits = ['prlimit', `--data=${memoryBytes}`, '--core=0', '--'];
    const browser = [
      program,
      ...drawing,
      ...quiet,
      '--remote-debugging-pipe',
      '--user-data-dir=/work/profile',
      'about:blank',
    ];
    return new BrowserLauncher(library.chromium, bubblewrap, [...(await wall(program)), '--', ...limits, ...browser]);
  }

  async launch(): Promise<Browser> {
    const options = {
      executablePath: '/usr/bin/env',
      ignoreDefaultArgs: true,
      args: [this.#bubblewrap, ...this.#args],
      timeout: 60_000,
    };
    try {
      // Interrupts are the command's: it closes the browser when its work has ended.
      return await this.#chromium.launch({
        ...options,
        handleSIGINT: false,
        handleSIGTERM: false,
        handleSIGHUP: false,
      });
    } catch (cause) {
      throw unavailable(`Chromium does not start in the sandbox: ${(cause as Error).message.slice(0, 400)}`, cause);
    }
  }
}

async function findChromium(given: string | undefined): Promise<string> {
  for (const place of given === undefined ? places : [given]) {
    if (
      await access(place).then(
        () => true,
        () => false,
      )
    )
      return await realpath(place);
  }
  const tried = given === undefined ? 'Chromium was not found' : `there is no ${given}`;
  throw unavailable(`${tried} (Debian and Ubuntu: apt-get install chromium, or --chromium FILE)`);
}

/** Arguments of bubblewrap: the system's programs and fonts read-only, and folders in memory. */
async function wall(program: string): Promise<string[]> {
  const args = ['--unshare-user', '--unshare-all', '--die-with-parent', '--new-session', '--cap-drop', 'ALL'];
  args.push('--uid', '65534', '--gid', '65534', '--hostname', 'sandbox', '--clearenv');
  const environment = { PATH: '/usr/bin:/bin', HOME: '/work', TMPDIR: '/work', LANG: 'C.UTF-8', TZ: 'UTC' };
  for (const [name, value] of Object.entries(environment)) args.push('--setenv', name, value);
  for (const path of ['/usr', '/bin', '/lib', '/lib32', '/lib64', '/libx32']) {
    const status = await lstat(path).catch(() => undefined);
    if (status?.isSymbolicLink()) args.push('--symlink', await readlink(path), path);
    else if (status?.isDirectory()) args.push('--ro-bind', path, path);
  }
  for (const path of ['/etc/fonts', '/etc/ld.so.cache', '/etc/alternatives']) args.push('--ro-bind-try', path, path);
  if (!program.startsWith('/usr/')) args.push('--ro-bind', dirname(program), dirname(program));
  args.push('--proc', '/proc', '--dev', '/dev', '--size', String(sharedBytes), '--tmpfs', '/dev/shm');
  args.push('--size', String(scratchBytes), '--tmpfs', '/work', '--chdir', '/work', '--remount-ro', '/');
  return args;
}

/** @param name its package */
async function requireProgram(program: string, name: string) {
  try {
    await run(program, ['--version'], { timeout: 60_000 });
  } catch (cause) {
    throw unavailable(`"${program}" does not start (Debian and Ubuntu: apt-get install ${name})`, cause);
  }
}

const unavailable = (why: string, cause?: unknown) =>
  new CommandError('ERR_BROWSER', `Pages cannot be rendered: ${why}`, { cause });
