/**
 * Chooses the settings that belong to a method alone, on two validation seeds, by success on validation tasks, sampled and
 * greedy alike: two settings for each critic (three where the score is a mean over tokens), six for each method that
 * has none.
 *
 *   node examples/colbench-mini/tune.js --seed 101          tries all settings with one seed, and keeps the stages
 *   node examples/colbench-mini/tune.js --write             all settings of both seeds; writes tuned.json
 *
 * The seeds may be tried side by side by two processes.
 */
import './portable.js';
import { parseArgs } from 'node:util';
import { Cache, writeAtomically } from './cache.js';
import { maxQuestions } from './dialogue.js';
import { Executor } from './execute.js';
import { methods, oracles } from './methods.js';
import { Pipeline } from './pipeline.js';
import { settings } from './settings.js';
import { cloneBase, dataStages, prepare, score, stagesOf, train } from './train.js';

const seeds = [101, 102];
const evaluation = { sampled: 600, greedy: 400 };

const pairs = { pairsPerBatch: 8 };
const critic = { ...pairs, nllCoef: 0.01 };
/**
 * The last stage is one for all methods that rank candidates. Its settings here were chosen with the ranking of an oracle, so
 * that no critic had a part in the choice.
 */
const policy = { ...pairs, epochs: 1, nllCoef: 1, rate: 1e-3, beta: 0.3 };

/** @type {Record<import('./methods.js').Method['by'], { critic?: object, policy: object }[]>} */
const grids = {
  ratio: [3, 1].map((beta) => ({ critic: { ...critic, epochs: 2, rate: 1e-3, beta }, policy })),
  value: [2, 1].map((epochs) => ({ critic: { batch: 16, epochs, rate: 1e-3 }, policy })),
  trajectories: [
    { epochs: 1, rate: 4e-4 },
    { epochs: 1, rate: 1e-3 },
    { epochs: 2, rate: 1e-3 },
  ].flatMap((training) => [0.1, 0.5].map((beta) => ({ policy: { ...pairs, ...training, nllCoef: 1, beta } }))),
  likelihood: [3e-4, 1e-3, 3e-3].flatMap((rate) => [2, 4].map((epochs) => ({ policy: { batch: 16, epochs, rate } }))),
  oracle: [{ policy }],
};
/**
 * One mean over a trajectory's tokens is to a sum of turns' means about as one to the number of turns. Where it is the score, a third
 * setting has a β that makes up for it.
 */
const tokenMean = grids.ratio.slice(0, 1).map(({ critic, policy }) => ({
  critic: { ...critic, beta: maxQuestions * critic.beta },
  policy,
}));
const gridOf = ({ by, normalization }) => (normalization === 'token-mean' ? [...grids[by], ...tokenMean] : grids[by]);

async function tryAll(seed) {
  const all = Object.entries({ ...methods, ...oracles });
  const total = all.reduce((sum, [, method]) => sum + gridOf(method).length * (stagesOf(method) + 1), 2 + dataStages);
  const pipeline = new Pipeline(new Cache({ resume: true }), total);
  const executor = new Executor();
  const how = { executor, split: 'validation', evaluation };
  try {
    const base = await cloneBase(pipeline, settings, seed);
    const scores = { base: await score(pipeline, 'base agent', base, how, seed) };
    const data = await prepare(pipeline, base, executor, settings, seed);
    for (const [name, method] of all) {
      scores[name] = [];
      for (const tuned of gridOf(method)) {
        const { policy } = await train(pipeline, name, method, tuned, data, settings, seed);
        scores[name].push({ tuned, score: await score(pipeline, name, policy, how, seed) });
      }
    }
    return scores;
  } finally {
    await executor.close();
  }
}

/** The best settings of each method, and what all of them came to. */
function choose(bySeed) {
  const { base: _, ...tried } = bySeed[0];
  return Object.fromEntries(
    Object.entries(tried).map(([name, choices]) => {
      const successes = choices.map((_, i) =>
        bySeed.map((scores) => {
          const { sampled, greedy } = scores[name][i].score;
          return { sampled: sampled.success.mean, greedy: greedy.success.mean };
        }),
      );
      const averages = successes.map(
        (each) => each.reduce((sum, { sampled, greedy }) => sum + sampled + greedy, 0) / (2 * each.length),
      );
      const best = averages.indexOf(Math.max(...averages));
      const all = choices.map(({ tuned }, i) => ({ ...tuned, success: successes[i], average: averages[i] }));
      return [name, { ...choices[best].tuned, tried: all }];
    }),
  );
}

const { values } = parseArgs({ options: { seed: { type: 'string' }, write: { type: 'boolean', default: false } } });
if (values.seed !== undefined) await tryAll(Number(values.seed));
if (values.write) {
  const bySeed = [];
  for (const seed of seeds) bySeed.push(await tryAll(seed));
  const tuned = choose(bySeed);
  writeAtomically(new URL('./tuned.json', import.meta.url), `${JSON.stringify(tuned, null, 2)}\n`);
  for (const [name, { tried }] of Object.entries(tuned)) {
    console.log(`${name.padEnd(24)}${tried.map(({ average }) => (100 * average).toFixed(1)).join('  ')}`);
  }
}
