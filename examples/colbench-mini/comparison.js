/** `--full`: all methods on every seed; each seed has its own base agent. */
import { arch, cpus, platform } from 'node:os';
import { backends } from 'sweet-rl';
import { writeComparison } from './comparison-report.js';
import { methods, oracles } from './methods.js';
import { Pipeline } from './pipeline.js';
import { settings } from './settings.js';
import { cloneBase, dataStages, prepare, score, stagesOf, train } from './train.js';
import { tunedFor } from './tuned.js';

const all = { ...methods, ...oracles };

/** Points of a stored curve. */
const curvePoints = 60;

/**
 * @param {import('./arguments.js').Options} options
 * @param {import('./cache.js').Cache} cache
 * @param {import('./execute.js').Executor} executor
 */
export async function compare(options, cache, executor) {
  const used = { ...settings, offline: { ...settings.offline, tasks: options.tasks } };
  const chosen = options.method.filter((name) => name in all);
  const perSeed = chosen.reduce((sum, name) => sum + stagesOf(all[name]) + 1, 2 + dataStages);
  const pipeline = new Pipeline(cache, perSeed * options.seeds.length);
  const runs = [];
  for (const seed of options.seeds) {
    if (options.seeds.length > 1) console.log(`Seed ${seed}`);
    runs.push(await runSeed(pipeline, chosen, used, executor, seed));
  }
  writeComparison(options.out, {
    node: process.version,
    machine: `${platform()} ${arch()}, ${cpus()[0]?.model ?? 'unknown'}`,
    backend: backends().find(({ active }) => active)?.name,
    settings: used,
    methods: Object.fromEntries(chosen.map((name) => [name, { ...all[name], tuned: tunedFor(name) }])),
    runs,
    seconds: pipeline.timings.reduce((sum, { seconds }) => sum + seconds, 0),
  });
}

async function runSeed(pipeline, chosen, used, executor, seed) {
  const how = { executor, split: /** @type {const} */ ('test'), evaluation: used.evaluation };
  const base = await cloneBase(pipeline, used, seed);
  const scores = { 'zero-shot': await score(pipeline, 'zero-shot', base, how, seed) };
  const data = await prepare(pipeline, base, executor, used, seed);
  const curves = {};
  const diagnoses = {};
  const examples = {};
  for (const name of chosen) {
    const { critic, ranking, policy } = await train(pipeline, name, all[name], tunedFor(name), data, used, seed);
    scores[name] = await score(pipeline, name, policy, how, seed);
    curves[name] = {
      ...(critic && { critic: thin(critic.value.curve) }),
      policy: thin(policy.value.curve),
    };
    if (ranking) {
      diagnoses[name] = ranking.value.diagnosis;
      examples[name] = ranking.value.example;
    }
  }
  return { seed, scores, curves, diagnoses, examples };
}

/** A curve averaged over equal parts of its steps. */
function thin(curve) {
  const parts = Math.min(curvePoints, curve.length);
  const name = 'accuracy' in curve[0] ? 'accuracy' : 'loss';
  const values = Array.from({ length: parts }, (_, i) => {
    const [from, to] = [i, i + 1].map((edge) => Math.round((edge * curve.length) / parts));
    return curve.slice(from, to).reduce((sum, step) => sum + step[name], 0) / (to - from);
  });
  return { [name]: values };
}
