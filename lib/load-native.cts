// The one place that loads the addon. CommonJS, so that both module systems share one copy of it.
import path = require('node:path');

const loadAddon = require('node-gyp-build') as (root: string) => unknown;

export const load = (): unknown => loadAddon(path.join(__dirname, '..'));
