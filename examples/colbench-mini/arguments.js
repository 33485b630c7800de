/** Options of the command line. */
import { resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { methods, oracles } from './methods.js';
import { settings } from './settings.js';

const known = ['zero-shot', ...Object.keys(methods), ...Object.keys(oracles)];

export const help = `SWEET-RL in miniature: an agent learns to ask the right questions before it writes a program.

  npm run demo -- [options]           SWEET-RL, compared with the base agent
  npm run demo -- --full [options]    all methods, half an hour per seed

  --seed N      seed of tasks, dialogues and training (default 1)
  --tasks N     training tasks in the offline dialogues (default ${settings.offline.tasks})
  --base        train the base agent again and replace base.bin; about five minutes more
  --resume      reuse the stages that an earlier run finished
  --out DIR     folder for the report and its charts (default examples/colbench-mini/out)
  --help        this text

With --full, instead of --seed and --base (each seed trains its own base agent):
  --seeds A,B   seeds (default 1)
  --method A,B  of ${known.join(', ')} (default all; zero-shot is always included)`;

/**
 * @typedef {object} Options
 * @property {boolean} full
 * @property {number[]} seeds
 * @property {string[]} method
 * @property {number} tasks
 * @property {boolean} base
 * @property {boolean} resume
 * @property {string} out
 * @property {boolean} help
 */

/** @param {string[]} args @returns {Options} */
export function parseArguments(args) {
  const { values } = parseArgs({
    args,
    options: {
      full: { type: 'boolean', default: false },
      seed: { type: 'string' },
      seeds: { type: 'string' },
      method: { type: 'string' },
      tasks: { type: 'string', default: String(settings.offline.tasks) },
      base: { type: 'boolean', default: false },
      resume: { type: 'boolean', default: false },
      out: { type: 'string', default: fileURLToPath(new URL('./out', import.meta.url)) },
      help: { type: 'boolean', default: false },
    },
  });
  const whole = (name, text, low, high) => {
    const number = Number(text);
    if (text !== '' && Number.isInteger(number) && number >= low && number <= high) return number;
    throw new RangeError(`Expected a whole number from ${low} to ${high} for --${name} but received ${text}`);
  };
  const only = (condition, names) => {
    const given = names.find((name) => values[name] !== undefined && values[name] !== false);
    if (given) throw new TypeError(`Expected --${given} only ${condition} --full`);
  };
  only(values.full ? 'without' : 'with', values.full ? ['seed', 'base'] : ['seeds', 'method']);
  const seeds = (values.full ? (values.seeds ?? '1') : (values.seed ?? '1')).split(',');
  const method = values.method?.split(',') ?? known;
  for (const name of method) {
    if (!known.includes(name)) {
      throw new RangeError(`Expected names out of ${known.join(', ')} for --method but received ${name}`);
    }
  }
  return {
    ...values,
    seeds: [...new Set(seeds.map((seed) => whole(values.full ? 'seeds' : 'seed', seed, 0, 1e6)))],
    method: known.filter((name) => name === 'zero-shot' || method.includes(name)),
    tasks: whole('tasks', values.tasks, 400, 1e5),
    out: resolve(values.out),
  };
}
