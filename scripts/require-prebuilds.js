// npm pack and npm publish: refuses a package without binaries. An installation from git packs without this script; the error
// of the missing addon then says how to build it.
import { existsSync, readdirSync } from 'node:fs';

const folder = new URL('../prebuilds/', import.meta.url);
const files = existsSync(folder) ? readdirSync(folder, { recursive: true, encoding: 'utf8' }) : [];

if (!files.some((path) => path.endsWith('.node'))) {
  console.error(
    'npm pack needs the prebuilt binaries, and prebuilds/ has none.\n' +
      '  npm run build:prebuilds     builds them\n' +
      '  npm pack --ignore-scripts   packs without them: users then need `npx sweet-rl build`',
  );
  process.exitCode = 1;
}
