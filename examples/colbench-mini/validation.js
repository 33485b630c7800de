/** Trials on the validation seeds, for tune.js and sweep.js. */
import { parseArgs } from 'node:util';
import { Cache } from './cache.js';
import { Executor } from './execute.js';
import { methods, oracles } from './methods.js';
import { Pipeline } from './pipeline.js';
import { settings } from './settings.js';
import { cloneBase, dataStages, prepare, score, stagesOf, train } from './train.js';

export const seeds = [101, 102];
export const all = { ...methods, ...oracles };

const isWidened = ({ base, criticWidth }) => criticWidth !== undefined && criticWidth !== base.width;

/** The number of stages of a trial, and of those before the first trial. */
export const trialStages = (name) => stagesOf(all[name]) + 1;
export const openingStages = (used) => 1 + Number(isWidened(used)) + dataStages;

/** Validation tasks are in no training set and no test set. */
const evaluation = { sampled: 600, greedy: 400 };

/**
 * @typedef {object} Outcome
 * @property {number} sampled success
 * @property {number} greedy success
 * @property {number} [agreement] of the candidates' ranking with an oracle's, if candidates are ranked
 */
/** @typedef {typeof settings & { criticWidth?: number }} Settings */

/** One validation seed: prepares data, tries methods on it, and caches every stage. */
export class Trials {
  #seed;
  #pipeline;
  #executor = new Executor();

  /** @param {number} seed @param {number} total count of stages to come */
  constructor(seed, total) {
    this.#seed = seed;
    this.#pipeline = new Pipeline(new Cache({ resume: true }), total);
  }

  /** The base agent and its dialogues. @param {Settings} used */
  async open(used) {
    const seed = this.#seed;
    const base = await cloneBase(this.#pipeline, used, seed);
    const criticBase = isWidened(used)
      ? await cloneBase(this.#pipeline, { base: { ...used.base, width: used.criticWidth } }, seed)
      : base;
    return prepare(this.#pipeline, base, this.#executor, used, seed, criticBase);
  }

  /**
   * @param {string} name of a method
   * @param {{ critic?: object, policy: object }} tuned
   * @param {import('./train.js').Data} data
   * @param {Settings} used
   * @returns {Promise<Outcome>}
   */
  async try(name, tuned, data, used) {
    const { policy, ranking } = await train(this.#pipeline, name, all[name], tuned, data, used, this.#seed);
    const how = { executor: this.#executor, split: /** @type {const} */ ('validation'), evaluation };
    const { sampled, greedy } = await score(this.#pipeline, name, policy, how, this.#seed);
    return {
      sampled: sampled.success.mean,
      greedy: greedy.success.mean,
      ...(ranking && { agreement: ranking.value.diagnosis.agreement }),
    };
  }

  close() {
    return this.#executor.close();
  }
}

/**
 * The command line: `--seed N` runs all trials of one seed, in parallel with other seeds if wanted; `--write` collects
 * the results.
 * @template Result
 * @param {number} total count of stages of a seed
 * @param {(trials: Trials) => Promise<Result>} tryAll
 * @param {(bySeed: Result[]) => void} write
 */
export async function command(total, tryAll, write) {
  const { values } = parseArgs({ options: { seed: { type: 'string' }, write: { type: 'boolean', default: false } } });
  const chosen = seeds.filter((seed) => values.write || String(seed) === values.seed);
  if (chosen.length === 0) throw new RangeError(`Expected --write or --seed ${seeds.join(' or ')}`);
  const results = [];
  for (const seed of chosen) {
    const trials = new Trials(seed, total);
    try {
      results.push(await tryAll(trials));
    } finally {
      await trials.close();
    }
  }
  if (values.write) write(results);
}
