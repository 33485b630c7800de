// dist-cjs/ holds CommonJS inside a package of ES modules; Node tells them apart by the nearest package.json. What is
// CommonJS in both folders (the loader, the class of errors) is loaded from dist/ alone, so that there is one of each.
import { readdirSync, writeFileSync } from 'node:fs';
import { sep } from 'node:path';

const folder = new URL('../dist-cjs/', import.meta.url);

writeFileSync(new URL('package.json', folder), '{ "type": "commonjs" }\n');
for (const path of readdirSync(folder, { recursive: true }).filter((each) => each.endsWith('.cjs'))) {
  const up = '../'.repeat(path.split(sep).length);
  writeFileSync(new URL(path, folder), `module.exports = require('${up}dist/${path.replaceAll(sep, '/')}');\n`);
}
