/** What was found on the validation seeds: the settings that tune.js chose for each method, and what sweep.js varied. */
import { readFileSync } from 'node:fs';

const read = (name) => JSON.parse(readFileSync(new URL(name, import.meta.url), 'utf8'));
const tuned = read('./tuned.json');

/** @param {string} name of a method @returns {{ critic?: object, policy: object }} */
export function tunedFor(name) {
  const { tried: _, ...settings } = tuned[name];
  return settings;
}

/** All settings that were tried, with their success on validation tasks. */
export const tried = Object.fromEntries(Object.entries(tuned).map(([name, method]) => [name, method.tried]));

/** One thing varied at a time, with its outcomes by method and seed. */
export const sweep = read('./sweep.json');
