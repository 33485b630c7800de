/**
 * GiGPO in a maze with a key (shared/maze.js): walks of one group often stand at the same place, and their next moves are
 * compared.
 *
 * From the paper (GiGPO, arXiv 2505.10978): the advantage of a move is that of its episode in the group plus that of its
 * discounted return (0.95) among the group's moves from the same observation. Simplified: the policy is a table over
 * observations, a move is one token, one epoch on a batch, no KL term.
 *
 * Calls: discountedReturns, stepGroupAdvantages, policyGradientLoss; tokenLogps, tokenLogpsBackward.
 * Figure: shortest length over that of the walk by the most likely moves, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import { discountedReturns, policyGradientLoss, stepGroupAdvantages } from 'sweet-rl/objectives';
import { efficiency, moves, walks } from './shared/maze.js';
import { start } from './shared/run.js';
import { Policy } from './shared/table.js';

const [WALKS, LIMIT] = [32, 40];
const run = start(import.meta.url, { title: 'GiGPO fetches a key', measure: 'success', steps: 40 });
const policy = new Policy(moves.length, { learningRate: 30 });

for (let step = 1; step <= run.steps; step++) {
  const sample = (observation) => policy.sample(observation, run.rand);
  const { batch, trajectoryOffsets, rewards, ends } = walks(WALKS, LIMIT, sample, (observation) =>
    policy.row(observation),
  );
  const { returns } = discountedReturns({ rewards, trajectoryOffsets, gamma: 0.95 });
  const { advantages } = stepGroupAdvantages({
    ...{ returns, trajectoryOffsets, groupIds: new Int32Array(WALKS) },
    observationIds: Int32Array.from(batch.rows),
    episodeRewards: Float64Array.from(ends, ({ reached }) => Number(reached)),
  });
  const forward = policy.forward(batch);
  const { gradLogps } = policyGradientLoss({
    ...{ logps: forward.logps, advantages, trajectoryOffsets },
    reduction: 'sequence-mean-token-mean',
  });
  policy.learn(forward, gradLogps);
  run.record(step, ends.filter(({ reached }) => reached).length / WALKS);
}
run.finish(efficiency(1, (observation) => policy.greedy(observation)));
