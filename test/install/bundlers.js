// The bundlers of docs/guide/install.md, each with its line there: the package excluded, the static entry bundled, and the error
// of a bundle that has no addon. And Jest, whose jsdom environment replaces the globals.
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const PACKAGES =
  'next@16 react@19 react-dom@19 webpack@5 webpack-cli@7 node-loader@2 @rspack/core@2 @rspack/cli@2 rollup@4 ' +
  '@rollup/plugin-node-resolve@16 @rollup/plugin-commonjs@29 @rollup/plugin-json@6 vite@8 @vercel/ncc jest@30 jest-environment-jsdom@30';

const program = (entry) => `import { turnAdvantages } from '${entry}';
const batch = { logps: Float32Array.of(-1, -2, -3), refLogps: Float32Array.of(-2, -2, -4), turnOffsets: Int32Array.of(0, 2, 3) };`;
const script = (entry) => `${program(entry)}\nconsole.log(...turnAdvantages(batch));\n`;
const EXPECTED = '0.5 1';

const LINES = {
  next: "serverExternalPackages: ['sweet-rl']",
  pack: "externals: { 'sweet-rl': 'commonjs sweet-rl' }",
  packStatic: "module: { rules: [{ test: /\\.node$/, loader: 'node-loader' }] }",
  rollup: "external: ['sweet-rl']",
  vite: "ssr: { external: ['sweet-rl'] }",
  ncc: 'npx ncc build app.js --external sweet-rl',
  nccStatic: 'npx ncc build app.js',
};

/** Adds the rows; `node` and `npm` are paths of the programs, `guide` the text of install.md. */
export function bundlers(folder, tarball, guide, { row, run, requireText, node, npm }) {
  const name = 'bundlers';
  const exec = (cwd, program, args, { env, ...options } = {}) =>
    run([node, join(folder, 'node_modules', program), ...args], {
      cwd,
      env: { PATH: process.env.PATH, ...env },
      timeout: 600_000,
      ...options,
    });
  row(name, 'install', () => {
    mkdirSync(folder, { recursive: true });
    writeFileSync(join(folder, 'package.json'), '{ "private": true }\n');
    const packages = [...PACKAGES.split(' '), `file:${tarball}`];
    run([node, npm, 'install', '--no-audit', '--no-fund', '--ignore-scripts', ...packages], {
      cwd: folder,
      env: { PATH: process.env.PATH },
      timeout: 600_000,
    });
    for (const line of Object.values(LINES)) requireText(guide, line);
    return 'installed';
  });

  /** A project with these files; builds it and runs the bundle. */
  const bundle = (title, files, build, output, wanted) =>
    row(name, title, () => {
      const project = join(folder, title.replaceAll(/\W+/g, '-'));
      rmSync(project, { recursive: true, force: true });
      mkdirSync(project);
      for (const [path, text] of Object.entries(files)) writeFileSync(join(project, path), text);
      build(project);
      const bare = wanted === EXPECTED;
      return requireText(
        run([node, join(project, output)], { cwd: '/', fails: !bare }),
        ...(bare ? [EXPECTED] : wanted),
      );
    });
  const TWO_WAYS = ['ERR_ADDON', 'serverExternalPackages', 'sweet-rl/static'];

  for (const tool of ['webpack', 'rspack']) {
    const config = (line) =>
      `module.exports = { mode: 'production', target: 'node', entry: './app.js', context: __dirname, ${line}output: { path: __dirname, filename: 'out.cjs' } };`;
    const bin = tool === 'webpack' ? 'webpack-cli/bin/cli.js' : '@rspack/cli/bin/rspack.js';
    const build = (project) => exec(project, bin, ['-c', 'config.cjs']);
    const files = (entry, line) => ({ 'app.js': script(entry), 'config.cjs': config(line) });
    bundle(`${tool}, excluded`, files('sweet-rl', `${LINES.pack}, `), build, 'out.cjs', EXPECTED);
    bundle(`${tool}, static`, files('sweet-rl/static', `${LINES.packStatic}, `), build, 'out.cjs', EXPECTED);
    bundle(`${tool}, bundled`, files('sweet-rl', ''), build, 'out.cjs', TWO_WAYS);
  }
  const rollup = (line) => `import resolve from '@rollup/plugin-node-resolve';
    import commonjs from '@rollup/plugin-commonjs';
    import json from '@rollup/plugin-json';
    export default { input: 'app.js', ${line}plugins: [json(), resolve(), commonjs()], output: { file: 'out.mjs', format: 'es' } };`;
  const vite = (line) =>
    `export default { ${line}, build: { ssr: 'app.js', outDir: '.', emptyOutDir: false, rollupOptions: { output: { entryFileNames: 'out.mjs' } } } };`;
  const app = { 'app.js': script('sweet-rl') };
  const byRollup = (project) => exec(project, 'rollup/dist/bin/rollup', ['-c', 'config.mjs']);
  const byVite = (project) => exec(project, 'vite/bin/vite.js', ['build', '-c', 'config.mjs']);
  bundle('rollup, excluded', { ...app, 'config.mjs': rollup(`${LINES.rollup}, `) }, byRollup, 'out.mjs', EXPECTED);
  bundle('rollup, bundled', { ...app, 'config.mjs': rollup('') }, byRollup, 'out.mjs', TWO_WAYS);
  bundle('vite, excluded', { ...app, 'config.mjs': vite(LINES.vite) }, byVite, 'out.mjs', EXPECTED);
  bundle('vite, bundled', { ...app, 'config.mjs': vite('ssr: { noExternal: true }') }, byVite, 'out.mjs', TWO_WAYS);
  const ncc = (line) => (project) => exec(project, '@vercel/ncc/dist/ncc/cli.js', line.split(' ').slice(2));
  bundle('ncc, excluded', app, ncc(LINES.ncc), 'dist/index.js', EXPECTED);
  bundle('ncc, static', { 'app.js': script('sweet-rl/static') }, ncc(LINES.nccStatic), 'dist/index.js', EXPECTED);

  for (const bundler of ['turbopack', 'webpack']) {
    for (const excluded of [true, false]) {
      row(name, `next, ${bundler}${excluded ? ', excluded' : ''}`, () => {
        const project = join(folder, 'next');
        rmSync(project, { recursive: true, force: true });
        mkdirSync(join(project, 'app'), { recursive: true });
        symlinkSync('../node_modules', join(project, 'node_modules'));
        writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
        // Node's modules are outside of the project, whose root Turbopack infers from what surrounds it.
        const root = `turbopack: { root: ${JSON.stringify(folder)} }`;
        writeFileSync(join(project, 'next.config.mjs'), `export default { ${root}, ${excluded ? LINES.next : ''} };`);
        writeFileSync(
          join(project, 'app', 'layout.js'),
          'export default function Layout({ children }) { return <html><body>{children}</body></html>; }',
        );
        writeFileSync(
          join(project, 'app', 'page.js'),
          `${program('sweet-rl')}\nexport default function Page() { return <p>{[...turnAdvantages(batch)].join(' ')}</p>; }`,
        );
        const env = { NEXT_TELEMETRY_DISABLED: '1' };
        const answer = exec(project, 'next/dist/bin/next', ['build', `--${bundler}`], { env, fails: !excluded });
        if (!excluded) return requireText(answer, ...TWO_WAYS);
        return requireText(readFileSync(join(project, '.next', 'server', 'app', 'index.html'), 'utf8'), EXPECTED);
      });
    }
  }

  row(name, 'jest, jsdom', () => {
    const project = join(folder, 'jest');
    mkdirSync(project, { recursive: true });
    writeFileSync(join(project, 'package.json'), '{ "private": true }\n');
    writeFileSync(
      join(project, 'some.test.js'),
      `/** @jest-environment jsdom */
      const { parseSafetensors, readSafetensors, serializeSafetensors, writeSafetensors } = require('sweet-rl/safetensors');
      test('safetensors', () => {
        const tensors = { a: Float32Array.of(1, 2), b: Buffer.from('c') };
        const url = new URL('file://' + __dirname + '/file.safetensors');
        writeSafetensors(url, { tensors });
        const bytes = serializeSafetensors({ tensors });
        for (const read of [parseSafetensors(bytes), parseSafetensors(Buffer.from(bytes)), readSafetensors(url)]) {
          expect([...read.tensors.a.data, ...read.tensors.b.data]).toEqual([1, 2, 99]);
        }
      });`,
    );
    return requireText(exec(project, 'jest/bin/jest.js', []), '1 passed');
  });
}
