/** The methods that the comparison trains, as data. */

/**
 * @typedef {object} Method
 * @property {'likelihood' | 'trajectories' | 'ratio' | 'value' | 'oracle'} by what the policy learns from: its successful dialogues,
 *   pairs of whole dialogues, or pairs of candidate actions, ranked by a critic's log-prob ratio, by a value head or by an oracle
 * @property {boolean} [withHidden] whether the critic sees the hidden function, c
 * @property {boolean} [refWithHidden] whether its reference does when candidates are scored
 * @property {'turn-mean' | 'token-mean' | 'sum'} [normalization] of a trajectory's score in the loss
 * @property {'mean' | 'sum'} [reduction] of a candidate's score
 * @property {Record<string, number>} [worth] an oracle's score of kinds of questions, 0 for the others
 */

/** @type {Method} */
const sweet = { by: 'ratio', withHidden: true, refWithHidden: true, normalization: 'turn-mean', reduction: 'mean' };

/** @type {Record<string, Method>} */
export const methods = {
  'rejection fine-tuning': { by: 'likelihood' },
  'multi-turn DPO': { by: 'trajectories', withHidden: false, normalization: 'sum' },
  'SWEET-RL': sweet,
  'value head': { by: 'value', withHidden: true },
  'without c': { ...sweet, withHidden: false, refWithHidden: false },
  sum: { ...sweet, normalization: 'sum', reduction: 'sum' },
  'token-mean': { ...sweet, normalization: 'token-mean' },
  'released scoring': { ...sweet, normalization: 'token-mean', refWithHidden: false },
};

/** What the policy stage makes of a perfect ranking: not methods, but bounds of what a critic can be worth here. */
/** @type {Record<string, Method>} */
export const oracles = {
  'oracle that sees c': { by: 'oracle', worth: { useful: 1 } },
  'oracle without c': { by: 'oracle', worth: { useful: 1, absent: 1 } },
};
