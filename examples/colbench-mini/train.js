/** The stages of training an agent by one method, and the data that the methods share. */
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

/**
 * @typedef {Record<'base' | 'criticBase' | 'offline' | 'candidates' | 'reference', import('./pipeline.js').Stage<any>>}
 *   Data
 */

const percent = (share) => `${(100 * share).toFixed(1)} %`;
const lastQuarter = (curve, name) => {
  const end = curve.slice(-Math.ceil(curve.length / 4));
  return end.reduce((sum, step) => sum + step[name], 0) / end.length;
};
const describeCurve = ({ curve }) =>
  'accuracy' in curve[0]
    ? `${curve.length} steps, final accuracy ${percent(lastQuarter(curve, 'accuracy'))}`
    : `${curve.length} steps, final loss ${lastQuarter(curve, 'loss').toFixed(3)}`;
const describeScore = ({ sampled, greedy }) =>
  `success ${percent(sampled.success.mean)} sampled, ${percent(greedy.success.mean)} greedy`;
const describeRanking = ({ chosen, diagnosis }) =>
  `${chosen.length} pairs, ${percent(diagnosis.agreement)} agreement with an oracle`;

/** The base agent of a seed. @returns {Promise<import('./pipeline.js').Stage<import('./model.js').Params>>} */
export const cloneBase = (pipeline, settings, seed) =>
  pipeline.stage(
    'base agent',
    { ...settings.base, seed },
    [],
    (onProgress) => trainBase({ ...settings.base, seed }, onProgress).params,
    () => 'cloned from demonstrators',
  );

/** The number of stages of `prepare`. */
export const dataStages = 3;

/**
 * The base agent's dialogues, candidates at their turns, and the candidates' reference log-probs under the critics'
 * initial network with privileged information.
 * @param {import('./pipeline.js').Pipeline} pipeline
 * @param {import('./pipeline.js').Stage<import('./model.js').Params>} base
 * @param {import('./execute.js').Executor} executor
 * @param {{ offline: object, candidates: object }} settings
 * @param {number} seed
 * @param {import('./pipeline.js').Stage<import('./model.js').Params>} criticBase the critics' initial network, default
 *   the base agent
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
    (logps) => `${logps.length} tokens, with privileged information`,
  );
  return { base, criticBase, offline, candidates, reference };
}

/** A trained critic's scores of all candidates. */
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

/** The number of stages of `train` for a method. */
export const stagesOf = (method) => (byCritic(method) ? 3 : method.by === 'oracle' ? 2 : 1);

/**
 * @param {import('./pipeline.js').Pipeline} pipeline
 * @param {string} name
 * @param {import('./methods.js').Method} method
 * @param {{ critic?: object, policy: object }} tuned settings of the method
 * @param {Data} data
 * @param {{ pairs: object }} settings settings that all methods share
 * @param {number} seed
 */
export async function train(pipeline, name, method, tuned, data, settings, seed) {
  const { base, criticBase, offline, candidates, reference } = data;
  const stage = (title, settings, inputs, compute, describe) =>
    pipeline.stage(`${name}: ${title}`, { seed, method, ...settings }, inputs, compute, describe);

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
 * The evaluation of an agent on tasks of a split.
 * @param {import('./pipeline.js').Pipeline} pipeline
 * @param {string} name
 * @param {import('./pipeline.js').Stage<any>} agent its parameters, or the result of a training stage
 * @param {{ executor: import('./execute.js').Executor, split: 'validation' | 'test', evaluation:
 *   import('./stages/evaluate.js').Evaluation }} how
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
