// The tests as one program, without vitest: it imports the package by its name and reads test/vectors.
import { readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { build } from 'esbuild';

const folder = import.meta.dirname;
const tests = join(folder, '..');

/** Files of the tests, and which of them: the shared vectors, the error table, and what differs between systems. */
const FILES = [
  'platforms/lifecycle.test.ts',
  'args/errors.test.ts',
  'objectives/objectives-vectors.test.ts',
  'objectives/filtered-nll.test.ts',
  ...['token-logps', 'linear-logps', 'turn-advantages', 'trajectory-preference', 'turn-preference', 'critic-update'],
  ...['policy-update', 'policy-gradient-update', 'unpaired-loss', 'token-divergence', 'linear-divergence'],
].map((name) => (name.includes('/') ? name : `ops/${name}.test.ts`));

const MAIN = `
import { backends } from 'sweet-rl';
import { digests } from ${JSON.stringify(join(folder, 'digests.js'))};
import { describe, finish } from ${JSON.stringify(join(folder, 'vitest.js'))};

if (process.argv[2] === 'exit') {
  // With calls under way: the process must end with this status, and at once.
  const { tokenLogpsAsync } = await import('sweet-rl');
  const logits = new Float32Array(64 * 128256);
  for (let k = 0; k < 4; k++) void tokenLogpsAsync({ logits, labels: new Int32Array(64) });
  process.exit(7);
}
const only = new RegExp(process.argv[2] ?? '');
${FILES.map((file) => `await import(${JSON.stringify(join(tests, file))});`).join('\n')}
const names = backends().filter(({ available }) => available).map(({ name }) => name);
console.log(JSON.stringify({ platform: process.platform, arch: process.arch, backends: names }));
const counts = await finish(only, (text) => console.log(text));
console.log(JSON.stringify({ ...counts, digests: digests() }));
process.exitCode = counts.failed > 0 || counts.passed === 0 ? 1 : 0;
`;

export async function bundle(outfile) {
  await build({
    stdin: { contents: MAIN, resolveDir: folder, sourcefile: 'main.js' },
    outfile,
    bundle: true,
    format: 'esm',
    platform: 'node',
    target: 'node20',
    external: ['sweet-rl', 'sweet-rl/*'],
    alias: { vitest: join(folder, 'vitest.js') },
    // Node's require, for the CommonJS parts of the bundle.
    banner: {
      js: "import { createRequire as nodeRequire } from 'node:module'; const require = nodeRequire(import.meta.url);",
    },
    plugins: [{ name: 'folders', setup: (given) => keepFolders(given, dirname(outfile)) }],
    logLevel: 'warning',
  });
}

/** import.meta of a file is its own in the bundle too, wherever the repository lies. */
function keepFolders(given, from) {
  given.onLoad({ filter: /[\\/](test|scripts)[\\/].*\.(ts|js)$/ }, ({ path }) => {
    const own = `new URL(${JSON.stringify(relative(from, path).replaceAll('\\', '/'))}, import.meta.url)`;
    const contents = readFileSync(path, 'utf8').replaceAll(/import\.meta\.(dirname|url)\b/g, (_, key) =>
      key === 'url' ? `${own}.href` : `nodeFileURLToPath(new URL('.', ${own}))`,
    );
    const head = contents.includes('nodeFileURLToPath')
      ? "import { fileURLToPath as nodeFileURLToPath } from 'node:url';"
      : '';
    return { contents: head + contents, loader: path.endsWith('.ts') ? 'ts' : 'js' };
  });
}
