// npm pack and npm publish: refuses a package without binaries. Package managers that run this script in an installation from git
// may go on: there the error of the missing addon says how to build it.
import { existsSync, readdirSync } from 'node:fs';

const wasm = existsSync(new URL('../dist-wasm/index.js', import.meta.url));
const folder = new URL('../prebuilds/', import.meta.url);
const files = existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [];

const packing = /^(pack|publish)$/.test(process.env.npm_command ?? '');
if (packing && !wasm) {
  console.error('npm pack needs dist-wasm/, which `npm run build:wasm` builds');
  process.exitCode = 1;
}
if (packing && !files.some((path) => path.endsWith('.node'))) {
  console.error(
    'npm pack needs the prebuilt binaries, and prebuilds/ has none.\n' +
      '  npm run build:prebuilds     builds them\n' +
      '  npm pack --ignore-scripts   packs without them: users then need `npx sweet-rl build`',
  );
  process.exitCode = 1;
}
