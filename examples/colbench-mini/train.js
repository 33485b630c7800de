/** The stages that make an agent by one method, and the data that the methods share. */

import { native } from './native.js';
import { trainBase } from './stages/base.js';
import { candidateLogps, candidateValues, sampleCandidates } from './stages/candidates.js';
import { evaluate } from './stages/evaluate.js';
import { trainOnSuccesses } from './stages/likelihood.js';
import { collectOffline } from './stages/offline.js';
import { trainPolicy } from './stages/policy.js';
import { oracleScores, pairCandidates } from './stages/ranking.js';
import { trainOnTrajectories } from './stages/trajectories.js';
import { trainValueCritic } from './stages/value.js';

/** @typedef {Record<'base' | 'criticBase' | 'offline' | 'candidates' | 'reference', import('./pipeline.js').Stage<any>>} Data */

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const lastQuarter = (curve, name) => {
  const end = curve.slice(-Math.ceil(curve.length / 4));
  return end.reduce((sum, step) => sum + step[name], 0) / end.length;
};
const describeCurve = ({ curve }) =>
  'accuracy' in curve[0]
    ? `${curve.length} steps, at the end ${percent(lastQuarter(curve, 'accuracy'))} in the right order`
    : `${curve.length} steps, loss at the end ${lastQuarter(curve, 'loss').toFixed(3)}`;
const describeScore = ({ sampled, greedy }) =>
  `success ${percent(sampled.success.mean)} sampled, ${percent(greedy.success.mean)} greedy`;
const describeRanking = ({ chosen, diagnosis }) =>
  `${chosen.length} pairs, ${percent(diagnosis.agreement)} as an oracle ranks`;

/** A base agent of the seed's own. @returns {Promise<import('./pipeline.js').Stage<import('./model.js').Params>>} */
export const cloneBase = (pipeline, settings, seed) =>
  pipeline.stage(
    'base agent',
    { ...settings.base, seed },
    [],
    (onProgress) => trainBase({ ...settings.base, seed }, onProgress).params,
    () => 'cloned from demonstrators',
  );

/** Stages of `prepare`. */
export const dataStages = 3;

/**
 * The base agent's dialogues, candidates at their turns, and what the network that critics start from makes of them with the
 * hidden function in sight.
 * @param {import('./pipeline.js').Pipeline} pipeline
 * @param {import('./pipeline.js').Stage<import('./model.js').Params>} base
 * @param {import('./execute.js').Executor} executor
 * @param {{ offline: object, candidates: object }} settings
 * @param {number} seed
 * @param {import('./pipeline.js').Stage<import('./model.js').Params>} criticBase of another width, where it is not the base agent
 * @returns {Promise<Data>}
 */
export async function prepare(pipeline, base, executor, settings, seed, criticBase = base) {
  const offline = await pipeline.stage(
    'offline dialogues',
    { seed, ...settings.offline },
    [base],
    (onProgress) => collectOffline(base.value, executor, settings.offline, seed, onProgress),
    ({ trajectories, chosen }) => `${trajectories.length} trajectories, ${chosen.length} pairs of them`,
  );
  const candidates = await pipeline.stage(
    'candidates',
    { seed, ...settings.candidates },
    [base, offline],
    (onProgress) => sampleCandidates(base.value, offline.value, settings.candidates, seed, onProgress),
    ({ actions, states }) => `${actions.length} actions at ${states.length} turns`,
  );
  const reference = await pipeline.stage(
    'reference log-probs',
    {},
    [criticBase, candidates],
    (onProgress) => candidateLogps(criticBase.value, candidates.value, true, onProgress),
    (logps) => `${logps.length} tokens, the hidden function in sight`,
  );
  return { base, criticBase, offline, candidates, reference };
}

/** Scores of all candidates by a trained critic. */
function scoresOf(method, critic, { candidates, reference }, onProgress) {
  if (method.by === 'value') return candidateValues(critic, candidates.value, onProgress);
  return native.turnAdvantages({
    logps: candidateLogps(critic, candidates.value, method.withHidden, onProgress),
    refLogps: method.refWithHidden ? reference.value : candidates.value.logps,
    turnOffsets: candidates.value.turnOffsets,
    reduction: method.reduction,
  });
}

const byCritic = (method) => method.by === 'ratio' || method.by === 'value';

/** How many stages `train` has for a method. */
export const stagesOf = (method) => (byCritic(method) ? 3 : method.by === 'oracle' ? 2 : 1);

/**
 * @param {import('./pipeline.js').Pipeline} pipeline
 * @param {string} name
 * @param {import('./methods.js').Method} method
 * @param {{ critic?: object, policy: object }} tuned settings of the method's own
 * @param {Data} data
 * @param {{ pairs: object }} settings those that all methods share
 * @param {number} seed
 */
export async function train(pipeline, name, method, tuned, data, settings, seed) {
  const { base, criticBase, offline, candidates, reference } = data;
  const stage = (title, own, inputs, compute, describe) =>
    pipeline.stage(`${name}: ${title}`, { seed, method, ...own }, inputs, compute, describe);

  if (method.by === 'likelihood' || method.by === 'trajectories') {
    const policy = await stage(
      'policy',
      tuned.policy,
      [base, offline],
      (onProgress) =>
        method.by === 'likelihood'
          ? trainOnSuccesses(base.value, offline.value, tuned.policy, seed, onProgress)
          : trainOnTrajectories(base.value, offline.value, method, tuned.policy, seed, onProgress),
      describeCurve,
    );
    return { policy };
  }

  const critic =
    byCritic(method) &&
    (await stage(
      'critic',
      tuned.critic,
      [criticBase, offline],
      (onProgress) =>
        method.by === 'value'
          ? trainValueCritic(criticBase.value, offline.value, tuned.critic, seed, onProgress)
          : trainOnTrajectories(criticBase.value, offline.value, method, tuned.critic, seed, onProgress),
      describeCurve,
    ));
  const ranking = await stage(
    'ranking',
    settings.pairs,
    [candidates, ...(critic ? [reference, critic] : [])],
    (onProgress) => {
      const scores = critic
        ? scoresOf(method, critic.value.params, data, onProgress)
        : oracleScores(candidates.value, method.worth);
      return pairCandidates(candidates.value, scores, settings.pairs, seed);
    },
    describeRanking,
  );
  const policy = await stage(
    'policy',
    tuned.policy,
    [base, offline, candidates, ranking],
    (onProgress) =>
      trainPolicy(base.value, offline.value, candidates.value, ranking.value, tuned.policy, seed, onProgress),
    describeCurve,
  );
  return { ...(critic && { critic }), ranking, policy };
}

/**
 * How an agent does on tasks of a split.
 * @param {import('./pipeline.js').Pipeline} pipeline
 * @param {string} name
 * @param {import('./pipeline.js').Stage<any>} agent its parameters, or what `train` made of them
 * @param {{ executor: import('./execute.js').Executor, split: 'validation' | 'test', evaluation: { sampled: number, greedy: number } }} how
 * @param {number} seed
 */
export async function score(pipeline, name, agent, { executor, split, evaluation }, seed) {
  const params = agent.value.params ?? agent.value;
  const stage = await pipeline.stage(
    `${name}: evaluation`,
    { seed, split, ...evaluation },
    [agent],
    (onProgress) => evaluate(params, executor, split, evaluation, seed, onProgress),
    describeScore,
  );
  return stage.value;
}
