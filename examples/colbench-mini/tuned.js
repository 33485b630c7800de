/** The settings that tune.js chose for each method. */
import { readFileSync } from 'node:fs';

const tuned = JSON.parse(readFileSync(new URL('./tuned.json', import.meta.url), 'utf8'));

/** @param {string} name of a method @returns {{ critic?: object, policy: object }} */
export function tunedFor(name) {
  const { tried: _, ...settings } = tuned[name];
  return settings;
}

/** All settings that were tried, with their success on validation tasks. */
export const tried = Object.fromEntries(Object.entries(tuned).map(([name, method]) => [name, method.tried]));
