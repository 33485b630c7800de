/**
 * Varies one setting at a time on the validation seeds, with all others as tune.js chose them. It shows what the
 * comparison depends on; no setting is chosen by it.
 *
 *   node examples/colbench-mini/sweep.js --seed 101         runs one seed and caches its stages
 *   node examples/colbench-mini/sweep.js --write            runs both seeds and writes sweep.json
 */
import './portable.js';
import { writeAtomically } from './cache.js';
import { settings } from './settings.js';
import { tunedFor } from './tuned.js';
import { command, openingStages, trialStages } from './validation.js';

const offline = (changes) => ({ ...settings, offline: { ...settings.offline, ...changes } });

/**
 * @typedef {object} Variation
 * @property {string} title
 * @property {string[]} methods
 * @property {{ label: string, settings: import('./validation.js').Settings }[]} values
 */
/** @type {Variation[]} */
const variations = [
  {
    title: 'tasks of the offline dialogues',
    methods: ['rejection fine-tuning', 'multi-turn DPO', 'SWEET-RL'],
    values: [750, 2000, 4000].map((tasks) => ({ label: String(tasks), settings: offline({ tasks }) })),
  },
  {
    title: 'pairs of candidates',
    methods: ['SWEET-RL', 'oracle that sees c'],
    values: [
      { rule: /** @type {const} */ ('halves'), numPairs: 2 },
      { rule: /** @type {const} */ ('best-worst') },
      settings.pairs,
    ].map((pairs) => ({ label: pairs.rule, settings: { ...settings, pairs } })),
  },
  {
    title: 'label noise',
    methods: ['multi-turn DPO', 'SWEET-RL'],
    values: [0, 0.1].map((noise) => ({ label: `${100 * noise} %`, settings: offline({ noise }) })),
  },
  {
    title: 'width of the critic',
    methods: ['SWEET-RL'],
    values: [32, 64, 80].map((criticWidth) => ({ label: String(criticWidth), settings: { ...settings, criticWidth } })),
  },
];

/** @returns {Promise<import('./validation.js').Outcome[][][]>} by variation, value and method */
async function tryAll(trials) {
  const outcomes = [];
  for (const { methods, values } of variations) {
    const byValue = [];
    for (const { settings: used } of values) {
      const data = await trials.open(used);
      const byMethod = [];
      for (const name of methods) byMethod.push(await trials.try(name, tunedFor(name), data, used));
      byValue.push(byMethod);
    }
    outcomes.push(byValue);
  }
  return outcomes;
}

const total = variations
  .flatMap(({ methods, values }) =>
    values.map(({ settings: used }) => methods.reduce((sum, name) => sum + trialStages(name), openingStages(used))),
  )
  .reduce((sum, stages) => sum + stages, 0);
await command(total, tryAll, (bySeed) => {
  const sweep = variations.map(({ title, methods, values }, v) => ({
    title,
    values: values.map(({ label }, i) => ({
      label,
      outcomes: Object.fromEntries(methods.map((name, m) => [name, bySeed.map((outcomes) => outcomes[v][i][m])])),
    })),
  }));
  writeAtomically(new URL('./sweep.json', import.meta.url), `${JSON.stringify(sweep, null, 2)}\n`);
});
