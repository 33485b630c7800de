/**
 * Monte-Carlo returns on random walks in a maze with a key (shared/maze.js): one step of improvement over the walker.
 *
 * From the paper (MC returns of LMRL-Gym, arXiv 2311.18232): Q of a token is trained on the discounted return after it, and
 * logits of the behaviour plus beta Q act. Simplified: a table, no conservative term, the behaviour is uniform, the reward is 1
 * at the goal instead of -1 per move, discount 0.9.
 *
 * Calls: discountedReturns, clippedValueLoss.
 * Figure: shortest length over that of the walk by the most likely moves, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import { clippedValueLoss, discountedReturns } from 'sweet-rl/objectives';
import { efficiency, moves, walks } from './shared/maze.js';
import { start } from './shared/run.js';
import { Policy } from './shared/table.js';

const [WALKS, LIMIT, BETA] = [200, 60, 32];
const run = start(import.meta.url, { title: 'Monte-Carlo returns of random walks', measure: 'efficiency', steps: 40 });
const q = new Policy(moves.length, { learningRate: 0.02, adam: true });
const randomWalks = walks(
  WALKS,
  LIMIT,
  () => run.rand.int(moves.length),
  (observation) => q.row(observation),
);
const { batch, rewards, trajectoryOffsets } = randomWalks;
const { rows, labels } = batch;
const { returns } = discountedReturns({ rewards, trajectoryOffsets, gamma: 0.9 });
/** The behaviour's logits, which are equal, plus beta Q. */
const sample = (observation) => run.rand.weighted(Array.from(q.at(observation), (value) => Math.exp(BETA * value)));

for (let step = 1; step <= run.steps; step++) {
  const all = q.gather(rows);
  const taken = Float32Array.from(labels, (move, i) => all[i * moves.length + move]);
  const { gradValues } = clippedValueLoss({ values: taken, returns });
  const gradRows = new Float32Array(all.length);
  labels.forEach((move, i) => {
    gradRows[i * moves.length + move] = gradValues[i];
  });
  q.update(rows, gradRows);
  run.record(step, efficiency(20, sample));
}
run.finish(efficiency(1, (observation) => q.greedy(observation)));
