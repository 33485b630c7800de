// Both module systems in one process: one state, and one set of classes.
import { createRequire } from 'node:module';
import * as imported from 'sweet-rl';

const required = createRequire(import.meta.url)('sweet-rl');
required.setThreads(3);
if (imported.threads() !== 3) throw new Error('import and require have two addons');
if (required.SweetError !== imported.SweetError) throw new Error('import and require have two sets of classes');
console.log('one instance');
