/**
 * Chooses the settings of each method by the mean of sampled and greedy success on the validation tasks of two
 * validation seeds. Six training runs per method: three critics and their policies, or six policies if there is no
 * critic; one more critic if the score is a mean over tokens.
 *
 *   node examples/colbench-mini/tune.js --seed 101          tries all settings with one seed and caches its stages
 *   node examples/colbench-mini/tune.js --write             tries all settings with both seeds and writes tuned.json
 */
import './portable.js';
import { writeAtomically } from './cache.js';
import { settings } from './settings.js';
import { all, command, openingStages, trialStages } from './validation.js';

const pairs = { pairsPerBatch: 8 };
const critic = { ...pairs, nllCoef: 0.01, epochs: 2, rate: 1e-3 };
/**
 * The policy stage, the same for all methods that rank candidates. Its settings were chosen with an oracle's ranking,
 * so that no critic influenced the choice.
 */
const policy = { ...pairs, epochs: 1, nllCoef: 1, rate: 1e-3, beta: 0.3 };

/** The pair rule was chosen after these settings, which were tried with pairs of the best candidate over the worst. */
const used = { ...settings, pairs: { rule: /** @type {const} */ ('best-worst') } };

const critics = (grid) => grid.map((critic) => ({ critic, policy }));
const ratioCritics = (betas) => critics(betas.map((beta) => ({ ...critic, beta })));

/** @type {Record<import('./methods.js').Method['by'], { critic?: object, policy: object }[]>} */
const grids = {
  likelihood: [3e-4, 1e-3, 3e-3].flatMap((rate) => [2, 4].map((epochs) => ({ policy: { batch: 16, epochs, rate } }))),
  trajectories: [
    { epochs: 1, rate: 4e-4 },
    { epochs: 1, rate: 1e-3 },
    { epochs: 2, rate: 1e-3 },
  ].flatMap((training) => [0.1, 0.5].map((beta) => ({ policy: { ...pairs, ...training, nllCoef: 1, beta } }))),
  ratio: ratioCritics([1, 3, 10]),
  value: critics([
    { batch: 16, epochs: 1, rate: 1e-3 },
    { batch: 16, epochs: 2, rate: 1e-3 },
    { batch: 16, epochs: 2, rate: 2e-3 },
  ]),
  oracle: [{ policy }],
};
/** The mean over a trajectory's tokens is about a fifth of the sum of its turns' means, as there are five questions. */
const tokenMeans = ratioCritics([1, 3, 15, 50]);
const gridOf = (name) => (all[name].normalization === 'token-mean' ? tokenMeans : grids[all[name].by]);
const names = Object.keys(all);

async function tryAll(trials) {
  const data = await trials.open(used);
  const successes = {};
  for (const name of names) {
    successes[name] = [];
    for (const tuned of gridOf(name)) {
      const { sampled, greedy } = await trials.try(name, tuned, data, used);
      successes[name].push({ sampled, greedy });
    }
  }
  return successes;
}

/** The best settings of a method, and the results of all. */
function choose(name, bySeed) {
  const tried = gridOf(name).map((tuned, i) => {
    const success = bySeed.map((successes) => successes[name][i]);
    const average = success.reduce((sum, { sampled, greedy }) => sum + sampled + greedy, 0) / (2 * success.length);
    return { ...tuned, success, average };
  });
  const best = tried.reduce((a, b) => (b.average > a.average ? b : a));
  const { success: _, average: __, ...tuned } = best;
  return { ...tuned, tried };
}

const total = names.reduce((sum, name) => sum + gridOf(name).length * trialStages(name), openingStages(used));
await command(total, tryAll, (bySeed) => {
  const tuned = Object.fromEntries(names.map((name) => [name, choose(name, bySeed)]));
  writeAtomically(new URL('./tuned.json', import.meta.url), `${JSON.stringify(tuned, null, 2)}\n`);
  for (const [name, { tried }] of Object.entries(tuned)) {
    console.log(`${name.padEnd(24)}${tried.map(({ average }) => (100 * average).toFixed(1)).join('  ')}`);
  }
});
