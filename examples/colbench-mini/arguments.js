/** The command line. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { settings } from './settings.js';

export const help = `SWEET-RL in miniature: an agent learns to ask the right questions before it writes a program.

  npm run demo -- [options]

  --seed N    seed of tasks, dialogues and training (default 1)
  --tasks N   training tasks of the offline dialogues (default ${settings.offline.tasks})
  --base      train the base agent anew and replace base.bin; some five minutes more
  --fresh     compute every stage, whatever earlier runs have left in .cache
  --out DIR   where report.json and curves.svg go (default examples/colbench-mini/out)
  --help      this text`;

/** @typedef {{ seed: number, tasks: number, base: boolean, fresh: boolean, out: string, help: boolean }} Options */

/** @param {string[]} args @returns {Options} */
export function parseArguments(args) {
  const { values } = parseArgs({
    args,
    options: {
      seed: { type: 'string', default: '1' },
      tasks: { type: 'string', default: String(settings.offline.tasks) },
      base: { type: 'boolean', default: false },
      fresh: { type: 'boolean', default: false },
      out: { type: 'string', default: fileURLToPath(new URL('./out', import.meta.url)) },
      help: { type: 'boolean', default: false },
    },
  });
  const whole = (name, low, high) => {
    const number = Number(values[name]);
    if (Number.isInteger(number) && number >= low && number <= high) return number;
    throw new RangeError(`Expected a whole number from ${low} to ${high} for --${name} but received ${values[name]}`);
  };
  return { ...values, seed: whole('seed', 0, 1e6), tasks: whole('tasks', 400, 1e5), out: resolve(values.out) };
}
