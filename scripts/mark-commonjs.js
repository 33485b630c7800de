// dist-cjs/ holds CommonJS inside a package of ES modules; Node tells them apart by the nearest package.json. What is
// CommonJS in both folders (the loader, the class of errors) is loaded from dist/ alone, so that there is one of each.
import { readdirSync, writeFileSync } from 'node:fs';

const folder = new URL('../dist-cjs/', import.meta.url);

writeFileSync(new URL('package.json', folder), '{ "type": "commonjs" }\n');
for (const name of readdirSync(folder).filter((name) => name.endsWith('.cjs'))) {
  writeFileSync(new URL(name, folder), `module.exports = require('../dist/${name}');\n`);
}
