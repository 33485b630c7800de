// The same interface for programs that are bundled into one file: the addon is required by its literal path.
import './addon/static-addon.cjs';

export * from './index.js';
