// npm ci in a clone: says what is missing where the development dependencies, which build dist/, are left out.
import { createRequire } from 'node:module';

try {
  createRequire(import.meta.url).resolve('typescript/package.json');
} catch {
  console.error(
    'A clone of sweet-rl is built by TypeScript, a development dependency that is not installed.\n' +
      '  npm ci                                installs it and builds dist/\n' +
      '  npm ci --omit=dev --ignore-scripts    installs without a build, where dist/ exists',
  );
  process.exitCode = 1;
}
