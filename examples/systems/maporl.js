/**
 * MAPoRL: two agents with one clue each debate for three turns, and a verifier scores every answer.
 *
 * From the paper (MAPoRL, arXiv 2502.18439): the return of an answer is its score and those of all agents in later turns,
 * discounted by 0.3, with incentives for changing to the right answer; each agent trains by PPO with its own critic.
 * Simplified: tables, an answer is one token, the verifier knows the answer, no KL term.
 *
 * Calls: collaborativeReturns, generalizedAdvantages, whiten, policyGradientLoss, clippedValueLoss; tokenLogps,
 * tokenLogpsBackward.
 * Figure: the mean score of the last answers by the most likely tokens, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import {
  clippedValueLoss,
  collaborativeReturns,
  generalizedAdvantages,
  policyGradientLoss,
  whiten,
} from 'sweet-rl/objectives';
import { start } from './shared/run.js';
import { Policy, Table } from './shared/table.js';

const [AGENTS, TURNS, DEBATES, EPOCHS, ANSWERS] = [2, 3, 64, 3, 4];
const run = start(import.meta.url, { title: 'MAPoRL debates', measure: 'score of the last answers', steps: 60 });
const agents = Array.from({ length: AGENTS }, () => ({
  policy: new Policy(ANSWERS, { learningRate: 10 }),
  critic: new Table(1, { learningRate: 0.05, adam: true }),
}));

/** A debate: the answer has two bits, and agent a is told bit a. Each turn sees the answers of the one before. */
function debate(solution, say) {
  const turns = [];
  for (let t = 0; t < TURNS; t++) {
    const before = turns.at(-1)?.answers;
    const contexts = agents.map((_, a) => {
      const heard = before ? `, I said ${before[a]}, heard ${before[1 - a]}` : '';
      return `turn ${t}, my bit is ${(solution >> a) & 1}${heard}`;
    });
    turns.push({ contexts, answers: contexts.map((context, a) => say(a, context)) });
  }
  return { solution, turns };
}

const scoresOf = ({ solution, turns }) =>
  turns.flatMap(({ answers }) => answers.map((answer) => Number(answer === solution)));

function lastScore(debates) {
  const last = debates.flatMap((each) => scoresOf(each).slice(-AGENTS));
  return last.reduce((a, b) => a + b) / last.length;
}

for (let step = 1; step <= run.steps; step++) {
  const debates = Array.from({ length: DEBATES }, (_, i) =>
    debate(i % ANSWERS, (a, context) => agents[a].policy.sample(context, run.rand)),
  );
  const trajectoryOffsets = Int32Array.from({ length: DEBATES + 1 }, (_, q) => q * TURNS);
  const { returns } = collaborativeReturns({
    ...{ scores: Float64Array.from(debates.flatMap(scoresOf)), agents: AGENTS, trajectoryOffsets },
    ...{ gamma: 0.3, incentives: Float64Array.of(0.1, 0.1, 0.1, 0.1) },
  });
  const turns = debates.flatMap((each) => each.turns);
  agents.forEach(({ policy, critic }, a) => {
    const rows = turns.map(({ contexts }) => policy.row(contexts[a]));
    const batch = { rows, labels: turns.map(({ answers }) => answers[a]) };
    const states = turns.map(({ contexts }) => critic.row(contexts[a]));
    const oldValues = critic.gather(states);
    // The return is the reward of the answer's only token, and an answer is an episode of its own.
    const own = generalizedAdvantages({
      ...{ rewards: returns.filter((_, i) => i % AGENTS === a), values: oldValues },
      trajectoryOffsets: Int32Array.from({ length: turns.length + 1 }, (_, t) => t),
    });
    const { advantages } = whiten({ advantages: own.advantages });
    const oldLogps = policy.forward(batch).logps;
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      const forward = policy.forward(batch);
      policy.learn(forward, policyGradientLoss({ logps: forward.logps, oldLogps, advantages }).gradLogps);
      const value = clippedValueLoss({ values: critic.gather(states), oldValues, returns: own.returns });
      critic.update(states, value.gradValues);
    }
  });
  run.record(step, lastScore(debates));
}
const greedy = (a, context) => agents[a].policy.greedy(context);
run.finish(lastScore(Array.from({ length: ANSWERS }, (_, solution) => debate(solution, greedy))));
