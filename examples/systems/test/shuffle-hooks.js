/** Module hooks: the programs get shuffled-objectives.js in place of sweet-rl/objectives. */
const shuffled = new URL('./shuffled-objectives.js', import.meta.url).href;

/** @type {import('node:module').ResolveHook} */
export const resolve = (specifier, context, next) =>
  specifier === 'sweet-rl/objectives' && context.parentURL !== shuffled
    ? { url: shuffled, format: 'module', shortCircuit: true }
    : next(specifier, context);
