// npm run build:wasm: compiles the module and writes dist-wasm/, which needs dist/ (npm run build:types):
//
//   sweet-rl.wasm             for Node without an addon
//   index.js jax.js tfjs.js   ES modules for browsers, the module inside
//   index.cjs                 for `require('sweet-rl/wasm')` in Node, reads the file
import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { gzipSync } from 'node:zlib';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('../..', import.meta.url));
const folder = join(root, 'build', 'wasm');
const out = join(root, 'dist-wasm');

function run(...args) {
  const { status } = spawnSync('cmake', args, { cwd: root, stdio: ['ignore', 'ignore', 'inherit'] });
  if (status !== 0)
    throw new Error(`cmake ${args[0]} ended with ${status}; binding/wasm/CMakeLists.txt says what it needs`);
}
run('-S', 'binding/wasm', '-B', folder, '-DCMAKE_CXX_COMPILER=clang++-19');
run('--build', folder, '--parallel');

const module = join(folder, 'sweet-rl.wasm');
const { length } = readFileSync(module);
if (WebAssembly.Module.imports(new WebAssembly.Module(readFileSync(module))).length > 0) {
  throw new Error('The WebAssembly module must not import anything');
}
console.log(`sweet-rl.wasm ${length} bytes, ${gzipSync(readFileSync(module), { level: 9 }).length} with gzip`);

/** The files that dist-wasm/ has in place of those of Node. */
const REPLACED = { 'load.js': 'load-wasm-only.js', 'load-cuda.cjs': 'no-cuda.js' };
const withoutNode = {
  name: 'without-node',
  setup({ onResolve }) {
    onResolve({ filter: /\/load(-cuda)?\.c?js$/ }, ({ path }) => {
      return { path: join(root, 'dist', 'addon', REPLACED[basename(path)]) };
    });
    onResolve({ filter: /^sweet-rl\.wasm$/ }, () => ({ path: module }));
  },
};
const options = {
  absWorkingDir: root,
  bundle: true,
  platform: 'neutral',
  target: 'es2022',
  minifySyntax: true,
  minifyWhitespace: true,
  loader: { '.wasm': 'binary' },
  external: ['@jax-js/jax', '@tensorflow/tfjs-core'],
  outdir: 'dist-wasm',
  plugins: [withoutNode],
};
const inNode = {
  name: 'in-node',
  setup({ onLoad }) {
    onLoad({ filter: /sweet-rl[.]wasm$/ }, () => ({
      contents:
        "module.exports = require('node:fs').readFileSync(require('node:path').join(__dirname, 'sweet-rl.wasm'));",
    }));
  },
};
const entryPoints = {
  index: 'dist/index.js',
  jax: 'dist/adapters/jax.js',
  tfjs: 'dist/adapters/tfjs.js',
};
rmSync(out, { recursive: true, force: true });
mkdirSync(out);
copyFileSync(module, join(out, 'sweet-rl.wasm'));
await build({ ...options, entryPoints, format: 'esm', splitting: true });
await build({
  ...options,
  entryPoints: { index: entryPoints.index },
  format: 'cjs',
  platform: 'node',
  outExtension: { '.js': '.cjs' },
  plugins: [withoutNode, inNode],
});
