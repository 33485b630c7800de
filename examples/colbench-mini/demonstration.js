/** SWEET-RL, compared with the base agent in base.bin from which it starts. */
import { readFileSync } from 'node:fs';
import { hash } from './cache.js';
import { loadParams, saveParams } from './checkpoint.js';
import { methods } from './methods.js';
import { Pipeline } from './pipeline.js';
import { writeReport } from './report.js';
import { settings } from './settings.js';
import { trainBase } from './stages/base.js';
import { dataStages, prepare, score, stagesOf, train } from './train.js';
import { tunedFor } from './tuned.js';

const checkpoint = new URL('./base.bin', import.meta.url);
const name = 'SWEET-RL';

/**
 * @param {import('./arguments.js').Options} options
 * @param {import('./cache.js').Cache} cache
 * @param {import('./execute.js').Executor} executor
 */
export async function demonstrate(options, cache, executor) {
  const [seed] = options.seeds;
  const method = methods[name];
  const used = { ...settings, offline: { ...settings.offline, tasks: options.tasks } };
  const pipeline = new Pipeline(cache, 2 + Number(options.base) + dataStages + stagesOf(method));
  const how = { executor, split: /** @type {const} */ ('test'), evaluation: used.evaluation };

  if (options.base) {
    const { value } = await pipeline.stage(
      'base agent',
      used.base,
      [],
      (onProgress) => trainBase(used.base, onProgress),
      ({ curve }) => `cloned from demonstrators, ${curve.length} steps, loss ${curve.at(-1).toFixed(2)}: base.bin`,
    );
    saveParams(checkpoint, value.params);
  }
  const base = { value: loadParams(checkpoint), key: hash(readFileSync(checkpoint)) };
  const scores = { 'base agent': await score(pipeline, 'base agent', base, how, seed) };
  const data = await prepare(pipeline, base, executor, used, seed);
  const tuned = tunedFor(name);
  const { critic, ranking, policy } = await train(pipeline, name, method, tuned, data, used, seed);
  scores[name] = await score(pipeline, name, policy, how, seed);
  writeReport(options.out, {
    seed,
    settings: { ...used, ...tuned },
    method,
    scores,
    curves: { [name]: { critic: critic.value.curve, policy: policy.value.curve } },
    examples: { [name]: ranking.value.example },
    diagnoses: { [name]: ranking.value.diagnosis },
    timings: pipeline.timings,
  });
}
