/**
 * GiGPO in a maze with a key (shared/maze.js): walks of one group often stand at the same place, and their next moves are compared.
 *
 * Theirs (GiGPO, arXiv 2505.10978): the advantage of a move is that of its episode in the group plus that of its discounted return
 * (0.95) among the group's moves from the same observation. Simplified: the policy is a table over observations, a move is one
 * token, one epoch on a batch, no KL term.
 *
 * Calls: discountedReturns, stepGroupAdvantages, policyGradientLoss; tokenLogps, tokenLogpsBackward.
 * Figure: shortest length over mean length of the last 64 walks, at least 0.8 (seeds 1, 2, 3: ?).
 */
import { discountedReturns, policyGradientLoss, stepGroupAdvantages } from 'sweet-rl/objectives';
import { Maze, moves } from './shared/maze.js';
import { start } from './shared/run.js';
import { Batch, Policy } from './shared/table.js';

const [WALKS, LIMIT] = [32, 40];
const run = start(import.meta.url, { title: 'GiGPO fetches a key', measure: 'success', steps: 60 });
const policy = new Policy(moves.length, { learningRate: 30 });

function walk(batch, choose) {
  const maze = new Maze();
  let length = 0;
  while (!maze.done && length < LIMIT) {
    const { observation } = maze;
    const move = choose(observation);
    batch.add(policy.row(observation), move);
    batch.endTurn();
    maze.go(move);
    length++;
  }
  batch.endTrajectory();
  return { success: maze.done ? 1 : 0, length };
}

for (let step = 1; step <= run.steps; step++) {
  const batch = new Batch();
  const walks = Array.from({ length: WALKS }, () => walk(batch, (observation) => policy.sample(observation, run.rand)));
  const { trajectoryOffsets } = batch;
  const rewards = new Float64Array(batch.labels.length); // 1 at the last move of a walk to the goal
  walks.forEach(({ success }, k) => {
    rewards[trajectoryOffsets[k + 1] - 1] = success;
  });
  const { returns } = discountedReturns({ rewards, trajectoryOffsets, gamma: 0.95 });
  const { advantages } = stepGroupAdvantages({
    ...{ returns, trajectoryOffsets, groupIds: new Int32Array(WALKS) },
    observationIds: Int32Array.from(batch.rows),
    episodeRewards: Float64Array.from(walks, ({ success }) => success),
  });
  const forward = policy.forward(batch);
  const { gradLogps } = policyGradientLoss({
    ...{ logps: forward.logps, advantages, trajectoryOffsets },
    reduction: 'sequence-mean-token-mean',
  });
  policy.learn(forward, gradLogps);
  run.record(step, walks.reduce((sum, { success }) => sum + success, 0) / WALKS);
}
const { success, length } = walk(new Batch(), (observation) => policy.greedy(observation));
run.finish(success ? 9 / length : 0);
