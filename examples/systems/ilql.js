/**
 * ILQL on random walks in a maze with a key (shared/maze.js): offline learning of Q and V of tokens.
 *
 * From the paper (ILQL, as in LMRL-Gym, arXiv 2311.18232): two Q heads over the vocabulary with Polyak targets, V by expectile
 * regression on the lesser one, a conservative term on the Q rows, logits of the behaviour plus beta (Q - V) to act.
 * Simplified: tables, the behaviour is uniform, the reward is 1 at the goal instead of -1 per move, discount 0.9.
 *
 * Calls: ilqlLoss; tokenLogps, tokenLogpsBackward (on the rows of Q).
 * Figure: shortest length over that of the walk by the most likely moves, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import { ilqlLoss } from 'sweet-rl/objectives';
import { efficiency, moves, walks } from './shared/maze.js';
import { start } from './shared/run.js';
import { Policy, Table } from './shared/table.js';

const [WALKS, LIMIT, TAU, BETA] = [64, 40, 0.1, 16];
const run = start(import.meta.url, { title: 'ILQL learns from random walks', measure: 'efficiency', steps: 100 });
const options = { learningRate: 0.05, adam: true };
const values = new Table(1, options);
const head = (given) => new Policy(moves.length, { ...given, like: values }); // a row of Q per observation
const [heads, targets] = [
  [head(options).randomize(run.rand, 0.1), head(options).randomize(run.rand, 0.1)],
  [head(), head()],
];
const rowOf = (observation) => values.row(observation);
const { batch, rewards, trajectoryOffsets, ends } = walks(WALKS, LIMIT, () => run.rand.int(moves.length), rowOf);
const { rows, labels } = batch;
const lastRows = ends.map(({ last }) => last);
const taken = (table) => table.gather(rows).filter((_, i) => i % moves.length === labels[Math.floor(i / moves.length)]);

/** The policy: the behaviour's logits, which are equal, plus beta (min(q1, q2) - v). */
function logitsAt(observation) {
  const [[q1, q2], [v]] = [heads.map((head) => head.at(observation)), values.at(observation)];
  return Array.from(q1, (q, move) => BETA * (Math.min(q, q2[move]) - v));
}
const sample = (observation) => run.rand.weighted(logitsAt(observation).map(Math.exp));
const greedy = (observation) =>
  logitsAt(observation).reduce((best, logit, i, all) => (logit > all[best] ? i : best), 0);

for (let step = 1; step <= run.steps; step++) {
  const forwards = heads.map((head) => head.forward(batch));
  const [[q1, q2], [targetQ1, targetQ2]] = [heads.map(taken), targets.map(taken)];
  const loss = ilqlLoss({
    ...{ q1, q2, targetQ1, targetQ2, values: values.gather(rows), rewards, trajectoryOffsets },
    ...{ qLogps1: forwards[0].logps, qLogps2: forwards[1].logps },
    bootstrapValues: values.gather(lastRows).map((value, k) => (ends[k].reached ? 0 : value)), // walks that were cut short
    ...{ gamma: 0.9, expectile: 0.9, cqlCoef: 0.01 },
  });
  [loss.gradQLogps1, loss.gradQLogps2].forEach((gradQLogps, h) => {
    const gradRows = heads[h].gradient(forwards[h], gradQLogps);
    const gradQ = [loss.gradQ1, loss.gradQ2][h];
    labels.forEach((move, i) => {
      gradRows[i * moves.length + move] += gradQ[i];
    });
    heads[h].update(rows, gradRows);
    targets[h].follow(heads[h], TAU);
  });
  values.update(rows, loss.gradValues);
  run.record(step, efficiency(20, sample));
}
run.finish(efficiency(1, greedy));
