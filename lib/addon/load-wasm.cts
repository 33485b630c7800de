// Reads the WebAssembly module of the package.
import fs = require('node:fs');
import path = require('node:path');
import native = require('./load-native.cjs');

export const file: string = path.join(native.root, 'dist-wasm', 'sweet-rl.wasm');

export const read = (): Uint8Array => fs.readFileSync(file);
