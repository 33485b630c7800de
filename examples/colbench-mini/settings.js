/** What a run does, as data. */

/**
 * A method of training the policy. A comparison of methods adds entries here.
 * @typedef {object} Method
 * @property {boolean} withHidden whether the critic, and its reference, see the hidden function
 * @property {'turn-mean' | 'token-mean' | 'sum'} normalization of a trajectory's score in the critic's loss
 * @property {'mean' | 'sum'} reduction of a candidate's score
 */

/** @type {Record<string, Method>} */
export const methods = {
  'SWEET-RL': { withHidden: true, normalization: 'turn-mean', reduction: 'mean' },
};

export const settings = {
  base: { seed: 1, steps: 2500, batch: 16, rate: 3e-3 },
  offline: { tasks: 1000, perTask: 4 },
  critic: { pairsPerBatch: 8, epochs: 1, rate: 5e-4, beta: 1, nllCoef: 0 },
  candidates: { statesPerTask: 1, perState: 16 },
  pairs: { pairsPerState: 3 },
  policy: { pairsPerBatch: 8, epochs: 1, rate: 2e-4, beta: 1, nllCoef: 1 },
  evaluation: { sampled: 1500, greedy: 1000 },
};
