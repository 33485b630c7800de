/** sweet-rl/objectives, where the arrays that the function named by SHUFFLED returns are in a random order. */
import * as objectives from 'sweet-rl/objectives';
import { random } from '../../colbench-mini/random.js';

const rand = random(0);
const name = process.env.SHUFFLED;
const original = new Map(Object.entries(objectives)).get(name);
if (original === undefined) throw new TypeError(`Expected the name of a function for SHUFFLED but received ${name}`);

function shuffled(options) {
  const result = original(options);
  for (const array of ArrayBuffer.isView(result) ? [result] : Object.values(result)) {
    if (ArrayBuffer.isView(array)) rand.shuffle(array);
  }
  return result;
}

export const {
  broadcastTurns,
  clippedValueLoss,
  collaborativeReturns,
  discountedReturns,
  doubleMinAdvantages,
  generalizedAdvantages,
  groupAdvantages,
  ilqlLoss,
  implicitRewardLoss,
  monteCarloValues,
  policyGradientLoss,
  privilegedAdvantages,
  selectAgentTokens,
  siblingPairs,
  softValue,
  stepGroupAdvantages,
  tdLoss,
  treeValues,
  whiten,
} = { ...objectives, [name]: shuffled };
