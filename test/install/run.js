// npm run test:install: packs the package and proves the tarball on every package manager and runtime.
//   npm run test:install [-- part of a row's name]
// Needs an x64 Linux with the npm registry, the prebuilt binaries' compilers, and qemu for 64-bit Arm. Each package manager
// installs into an empty project with nothing on PATH but Node and itself.
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundlers } from './bundlers.js';
import { fetchTools } from './tools.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const work = join(root, 'build', 'test-install');
const filter = process.argv[2] ?? '';
const PROGRAMS = ['esm.mjs', 'cjs.cjs', 'both.mjs', 'worker.mjs', 'subpaths.cjs'];
const MOST_BYTES = 6e6;

// The backend, and the warnings of an import of the package.
const WITH_WARNINGS = `
  const warnings = [];
  process.on('warning', (warning) => warnings.push(warning));
  const { backends } = await import('sweet-rl');
  const [{ name }] = backends().filter(({ active }) => active);
  await new Promise(setImmediate);
  console.log(warnings[0]?.code, warnings.length, name, warnings[0]?.message);
`;

requireSystemPackages();
const tools = fetchTools(join(work, 'tools'), console.log);
const tarball = pack();
const home = join(work, 'home');
rmSync(home, { recursive: true, force: true }); // with every package manager's cache
mkdirSync(home);
const rows = [];

// -- package managers

const file = `file:${tarball}`;
const npm = { add: ['install', file], exec: ['exec', '--offline', '--'] };
manager('npm 11', { node: 'node 20', command: 'npm', ...npm });
manager('npm 12', { node: 'node 24', command: 'npm', ...npm });
manager('pnpm', { node: 'node 22', command: 'pnpm', add: ['add', file], exec: ['exec'] });
manager('yarn', { node: 'node 20', command: 'yarn', add: ['add', `sweet-rl@${file}`], exec: ['run'], run: ['node'] });
manager('yarn', {
  title: 'yarn, node_modules',
  node: 'node 24',
  command: 'yarn',
  add: ['add', `sweet-rl@${file}`],
  exec: ['run'],
  run: ['node'],
  settings: { '.yarnrc.yml': 'nodeLinker: node-modules\n' },
});
manager('bun', { command: 'bun', add: ['add', file], exec: ['x'], run: [] });

// -- runtimes, all in the project that npm 11 made

const project = join(work, 'projects', 'npm-11');
for (const version of ['node 20.0', 'node 20', 'node 22', 'node 24', 'node 26']) runtime(version, [tools[version]]);
runtime('bun', [tools.bun]);
runtime('deno', [tools.deno, 'run', '--allow-all', '--node-modules-dir=manual']);
const qemu = ['qemu-aarch64-static', '-L', '/usr/aarch64-linux-gnu'];
for (const version of ['node 20 arm64', 'node 24 arm64']) runtime(version, [...qemu, tools[version]]);

// -- where there is no binary

row('no addon', 'sweet-rl build', () => {
  const bare = join(work, 'projects', 'build');
  rmSync(bare, { recursive: true, force: true });
  cpSync(project, bare, { recursive: true });
  rmSync(join(bare, 'node_modules', 'sweet-rl', 'prebuilds'), { recursive: true });
  const HOW = ['linux-x64', 'Node-API', 'npx sweet-rl build', 'npx sweet-rl info'];
  const refused = { cwd: bare, fails: true, env: { SWEET_RL_NO_FALLBACK: '1' } };
  requireText(run([tools['node 20'], 'esm.mjs'], refused), 'ERR_ADDON', ...HOW);
  const slow = [tools['node 20'], '--input-type=module', '--eval', WITH_WARNINGS];
  requireText(run(slow, { cwd: bare }), 'SWEET_RL_FALLBACK 1', 'wasm', ...HOW);
  const PATH = process.env.PATH;
  run([tools['node 20'], 'node_modules/sweet-rl/dist/cli.js', 'build'], { cwd: bare, env: { PATH } });
  const info = run([tools['node 20'], 'node_modules/sweet-rl/dist/cli.js', 'info'], { cwd: bare });
  requireText(info, 'build/Release/sweet_rl.node');
  return run([tools['node 20'], 'esm.mjs'], { cwd: bare });
});

// -- bundlers

bundlers(join(work, 'projects', 'bundlers'), tarball, readFileSync(join(root, 'docs', 'guide', 'install.md'), 'utf8'), {
  row,
  run,
  requireText,
  node: tools['node 20'],
  npm: tools['npm 11'],
});

// -- from git

row('git', 'npm install', () => {
  const folder = join(work, 'projects', 'git');
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
  const options = { cwd: folder, env: { PATH: process.env.PATH }, timeout: 600_000 };
  run([tools['node 20'], tools['npm 11'], 'install', `git+file://${root}`], options);
  const before = run([tools['node 20'], '--eval', "require('sweet-rl')"], { ...options, fails: true });
  requireText(before, 'ERR_ADDON', 'npx sweet-rl build');
  run([tools['node 20'], 'node_modules/sweet-rl/dist/cli.js', 'build'], options);
  return run([tools['node 20'], '--eval', "console.log(require('sweet-rl').threads())"], options);
});

report();

function requireSystemPackages() {
  const missing = [
    ['cmake', 'cmake'],
    ['g++', 'g++'],
    ['aarch64-linux-gnu-g++', 'g++-aarch64-linux-gnu'],
    ['qemu-aarch64-static', 'qemu-user-static'],
  ].filter(([program]) => spawnSync(program, ['--version']).error !== undefined);
  if (process.platform !== 'linux' || process.arch !== 'x64') throw new Error('The matrix needs Linux on x64');
  if (missing.length === 0) return;
  console.error(`The matrix needs: apt-get install ${missing.map(([, name]) => name).join(' ')}`);
  process.exit(1);
}

function pack() {
  for (const script of ['build', 'build:wasm', 'build:prebuilds']) {
    console.log(`npm run ${script}`);
    run(['npm', 'run', script], { cwd: root, env: process.env });
  }
  for (const old of readdirSync(work).filter((name) => name.endsWith('.tgz'))) rmSync(join(work, old));
  const [{ filename, unpackedSize, files }] = JSON.parse(
    run(['npm', 'pack', '--json', '--ignore-scripts', '--pack-destination', work], { cwd: root, env: process.env }),
  );
  // What a system uses: the package without the binaries of the others.
  const binaries = files.filter(({ path }) => path.startsWith('prebuilds/')).map(({ size }) => size);
  const used = unpackedSize - binaries.reduce((sum, size) => sum + size, 0) + Math.max(...binaries);
  if (used > MOST_BYTES) throw new Error(`A system uses ${used} bytes of the package`);
  console.log(`${filename}: ${files.length} files, ${(unpackedSize / 1e6).toFixed(2)} MB unpacked\n`);
  return join(work, filename);
}

/** Installs in an empty project with a PATH of two programs, then runs everything there. */
function manager(name, { title = name, node, command, add, exec, run: through, settings = {} }) {
  const folder = join(work, 'projects', title.replaceAll(/\W+/g, '-'));
  const PATH = pathOf(join(work, 'path', title.replaceAll(/\W+/g, '-')), { [command]: tools[name], node: tools[node] });
  const client = node === undefined ? [tools[name]] : [tools[node], tools[name]];
  const version = spawnSync(client[0], [...client.slice(1), '--version'], { encoding: 'utf8' }).stdout?.trim();
  const label = `${title === name ? command : title} ${version}`;
  const options = { cwd: folder, env: { PATH } };
  // npm starts programs through a shell.
  const withShell = { cwd: folder, env: { PATH: `${PATH}:${pathOf(join(work, 'path', 'sh'), { sh: '/bin/sh' })}` } };
  const needed = title === 'npm 11';
  row(
    label,
    'install',
    () => {
      rmSync(folder, { recursive: true, force: true });
      cpSync(join(root, 'test', 'install', 'project'), folder, { recursive: true });
      cpSync(join(root, 'test', 'vectors', 'critic_update', 'f32.safetensors'), join(folder, 'case.safetensors'));
      writeFileSync(join(folder, 'package.json'), '{ "name": "empty", "private": true }\n');
      for (const [path, text] of Object.entries({ 'yarn.lock': '', ...settings })) {
        if (command === 'yarn') writeFileSync(join(folder, path), text);
      }
      run([...client, ...add], options);
      return existsSync(join(folder, 'node_modules')) ? 'node_modules' : "Plug'n'Play";
    },
    needed,
  );
  const prefix = through === undefined ? [tools[node]] : [...client, ...through];
  for (const program of PROGRAMS.slice(0, 2)) row(label, program, () => run([...prefix, program], options));
  row(label, 'sweet-rl info', () =>
    requireText(run([...client, ...exec, 'sweet-rl', 'info'], withShell), 'prebuilds/linux-x64'),
  );
}

/** A folder that holds these programs and nothing else. */
function pathOf(folder, programs) {
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  for (const [name, path] of Object.entries(programs)) if (path) symlinkSync(path, join(folder, name));
  return folder;
}

function runtime(name, command) {
  const program = command.filter((part) => !/^(run|--allow-all|--node-modules-dir=manual)$/.test(part));
  const version = /\d[\d.]*/.exec(run([...program, '--version'], { cwd: project }))[0];
  const label = `${name.replace(/ [\d.]+/, '')} ${version}`;
  for (const program of PROGRAMS) row(label, program, () => run([...command, program], { cwd: project }));
}

// -- rows

function row(who, what, action, always = false) {
  if (!always && !`${who} ${what}`.includes(filter)) return;
  const start = performance.now();
  const entry = { who, what, ok: true, detail: '' };
  try {
    entry.detail = action().trim().split('\n').at(-1);
  } catch (error) {
    entry.ok = false;
    entry.detail = error.message;
  }
  entry.seconds = (performance.now() - start) / 1000;
  rows.push(entry);
  print(entry);
}

function print({ who, what, ok, detail, seconds }) {
  const cells = [who.padEnd(28), what.padEnd(16), ok ? 'ok    ' : 'FAILED', `${seconds.toFixed(1)} s`.padStart(7)];
  console.log(`${cells.join('  ')}  ${detail.split('\n')[0]}`);
}

function report() {
  const failed = rows.filter(({ ok }) => !ok);
  for (const { who, what, detail } of failed) console.error(`\n-- ${who}, ${what}\n${detail}`);
  console.log(`\n${rows.length - failed.length} passed, ${failed.length} failed`);
  process.exitCode = failed.length > 0 || rows.length === 0 ? 1 : 0;
}

function run([command, ...args], { cwd, env = {}, fails = false, timeout = 180_000 }) {
  const { NODE_EXTRA_CA_CERTS } = process.env;
  const base = { HOME: join(work, 'home'), PATH: '/nowhere', CI: '1', YARN_ENABLE_TELEMETRY: '0', NODE_EXTRA_CA_CERTS };
  const result = spawnSync(command.startsWith('/') ? command : (which(command) ?? command), args, {
    cwd,
    encoding: 'utf8',
    env: { ...base, ...env },
    timeout,
  });
  const output = `${result.stdout}${result.stderr}`;
  if ((result.status === 0) === fails) {
    throw new Error(`${command} ${args.join(' ')} ended with ${result.status ?? result.signal}\n${output}`);
  }
  return fails ? output : result.stdout || output;
}

function which(command) {
  return process.env.PATH.split(delimiter)
    .map((folder) => join(folder, command))
    .find((path) => existsSync(path));
}

function requireText(text, ...wanted) {
  const missing = wanted.filter((part) => !text.includes(part));
  if (missing.length > 0) throw new Error(`"${missing.join('", "')}" is missing in:\n${text}`);
  return `says ${wanted[0]}`;
}
