/** The demo: trains an agent by SWEET-RL from its own dialogues and compares it with the agent it started from. */
import { readFileSync } from 'node:fs';
import { help, parseArguments } from './arguments.js';
import { Cache, hash } from './cache.js';
import { loadParams, saveParams } from './checkpoint.js';
import { Executor } from './execute.js';
import { Pipeline } from './pipeline.js';
import { writeReport } from './report.js';
import { methods, settings } from './settings.js';
import { trainBase } from './stages/base.js';
import { candidateLogps, pairCandidates, sampleCandidates } from './stages/candidates.js';
import { trainCritic } from './stages/critic.js';
import { evaluate } from './stages/evaluate.js';
import { collectOffline } from './stages/offline.js';
import { trainPolicy } from './stages/policy.js';

const checkpoint = new URL('./base.bin', import.meta.url);

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const describeScore = ({ sampled, greedy }) =>
  `success ${percent(sampled.success.mean)} sampled, ${percent(greedy.success.mean)} greedy`;
const describeCurve = (curve) => {
  const end = curve.slice(-Math.ceil(curve.length / 4));
  const accuracy = end.reduce((sum, step) => sum + step.accuracy, 0) / end.length;
  return `${curve.length} steps, at the end ${percent(accuracy)} of the pairs in the right order`;
};

/** @param {Pipeline} pipeline @param {import('./arguments.js').Options} options */
async function loadBase(pipeline, options) {
  if (options.base) {
    const { value } = await pipeline.stage(
      'base agent',
      settings.base,
      [],
      (onProgress) => trainBase(settings.base, onProgress),
      ({ curve }) => `cloned from demonstrators, ${curve.length} steps, loss ${curve.at(-1).toFixed(2)}: base.bin`,
    );
    saveParams(checkpoint, value.params);
  }
  return { value: loadParams(checkpoint), key: hash(readFileSync(checkpoint)) };
}

/**
 * Critic, ranking and policy of one method.
 * @param {Pipeline} pipeline
 * @param {string} name
 * @param {import('./settings.js').Method} method
 * @param {Record<'base' | 'offline' | 'candidates', import('./pipeline.js').Stage<any>>} data
 * @param {number} seed
 */
async function trainMethod(pipeline, name, method, { base, offline, candidates }, seed) {
  const critic = await pipeline.stage(
    `${name}: critic`,
    { seed, method, ...settings.critic },
    [base, offline],
    (onProgress) => trainCritic(base.value, offline.value, method, settings.critic, seed, onProgress),
    ({ curve }) => describeCurve(curve),
  );
  const ranking = await pipeline.stage(
    `${name}: ranking`,
    { seed, method, ...settings.pairs },
    [base, candidates, critic],
    (onProgress) => {
      const [criticLogps, refLogps] = [critic.value.params, base.value].map((params, i) =>
        candidateLogps(params, candidates.value, method.withHidden, (done, total) =>
          onProgress(i * total + done, 2 * total),
        ),
      );
      return pairCandidates(candidates.value, criticLogps, refLogps, method, settings.pairs, seed);
    },
    ({ chosen, droppedTies }) => `${chosen.length} pairs of actions, ${droppedTies} ties dropped`,
  );
  const policy = await pipeline.stage(
    `${name}: policy`,
    { seed, ...settings.policy },
    [base, candidates, ranking],
    (onProgress) => trainPolicy(base.value, candidates.value, ranking.value, settings.policy, seed, onProgress),
    ({ curve }) => describeCurve(curve),
  );
  return { critic, ranking, policy };
}

/** @param {import('./arguments.js').Options} options */
async function main(options) {
  const { seed } = options;
  const offlineSettings = { ...settings.offline, tasks: options.tasks };
  const pipeline = new Pipeline(new Cache(options), 3 + Number(options.base) + 4 * Object.keys(methods).length);
  const executor = new Executor();
  const evaluateAgent = (name, params, stage) =>
    pipeline.stage(
      `${name}: evaluation`,
      { seed, ...settings.evaluation },
      [stage],
      (onProgress) => evaluate(params, executor, settings.evaluation, seed, onProgress),
      describeScore,
    );
  try {
    const base = await loadBase(pipeline, options);
    const scores = { 'base agent': (await evaluateAgent('base agent', base.value, base)).value };
    const offline = await pipeline.stage(
      'offline dialogues',
      { seed, ...offlineSettings },
      [base],
      (onProgress) => collectOffline(base.value, executor, offlineSettings, seed, onProgress),
      ({ trajectories, chosen }) => `${trajectories.length} trajectories, ${chosen.length} pairs of them`,
    );
    const candidates = await pipeline.stage(
      'candidates',
      { seed, ...settings.candidates },
      [base, offline],
      (onProgress) => sampleCandidates(base.value, offline.value, settings.candidates, seed, onProgress),
      ({ actions, states }) => `${actions.length} actions at ${states.length} turns`,
    );
    const curves = {};
    const examples = {};
    for (const [name, method] of Object.entries(methods)) {
      const { critic, ranking, policy } = await trainMethod(
        pipeline,
        name,
        method,
        { base, offline, candidates },
        seed,
      );
      scores[name] = (await evaluateAgent(name, policy.value.params, policy)).value;
      curves[name] = { critic: critic.value.curve, policy: policy.value.curve };
      examples[name] = ranking.value.example;
    }
    const used = { ...settings, offline: offlineSettings };
    writeReport(options.out, { seed, settings: used, methods, scores, curves, examples, timings: pipeline.timings });
  } finally {
    await executor.close();
  }
}

let options;
try {
  options = parseArguments(process.argv.slice(2));
} catch (error) {
  console.error(`${error.message}\n\n${help}`);
  process.exit(2);
}
if (options.help) console.log(help);
else await main(options);
