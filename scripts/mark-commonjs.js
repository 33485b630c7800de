// dist-cjs/ holds CommonJS inside a package of ES modules; Node tells them apart by the nearest package.json.
import { writeFileSync } from 'node:fs';

writeFileSync(new URL('../dist-cjs/package.json', import.meta.url), '{ "type": "commonjs" }\n');
