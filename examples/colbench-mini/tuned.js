/** Results on the validation seeds: the settings that tune.js chose for each method, and the sweeps of sweep.js. */
import { readFileSync } from 'node:fs';

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const tuned = read('./tuned.json');

/** @param {string} name of a method @returns {{ critic?: object, policy: object }} */
export function tunedFor(name) {
  const { tried: _, ...settings } = tuned[name];
  return settings;
}

/** All settings tried, with their success on validation tasks. */
export const tried = Object.fromEntries(Object.entries(tuned).map(([name, method]) => [name, method.tried]));

/** Outcomes by method and seed while one setting varies. */
export const sweep = read('./sweep.json');
