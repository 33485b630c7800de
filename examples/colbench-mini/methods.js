/** The methods of the comparison, as data. */

/**
 * @typedef {object} Method
 * @property {'likelihood' | 'trajectories' | 'ratio' | 'value' | 'oracle'} by the training data of the policy: its
 *   successful dialogues, pairs of trajectories, or pairs of candidate actions, ranked by a critic's log-prob ratio, a
 *   value head or an oracle
 * @property {boolean} [withHidden] whether the critic sees the privileged information: the hidden function (c in the
 *   paper)
 * @property {boolean} [refWithHidden] whether its reference model does when candidates are scored
 * @property {'turn-mean' | 'token-mean' | 'sum'} [normalization] of a trajectory's score in the loss
 * @property {'mean' | 'sum'} [reduction] of a candidate's score
 * @property {Record<string, number>} [worth] an oracle's scores by kind of question; other kinds score 0
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

/** Upper bounds: the policy stage with a perfect ranking in place of a critic's. */
/** @type {Record<string, Method>} */
export const oracles = {
  'oracle that sees c': { by: 'oracle', worth: { useful: 1 } },
  'oracle without c': { by: 'oracle', worth: { useful: 1, absent: 1 } },
};
