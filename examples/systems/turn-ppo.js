/**
 * PPO over turns on a text game (shared/clues.js): a critic per turn, and one ratio for all tokens of a message.
 *
 * From the paper (Turn-PPO, arXiv 2512.17008): turns are the steps of generalized advantage estimation, and the clipped ratio
 * is that of a turn. Simplified: policy and critic are tables, the critic's states are what is known of the object.
 *
 * Calls: generalizedAdvantages, whiten, broadcastTurns, policyGradientLoss, clippedValueLoss; tokenLogps, tokenLogpsBackward.
 * Figure: the mean reward of the most likely words, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import {
  broadcastTurns,
  clippedValueLoss,
  generalizedAdvantages,
  policyGradientLoss,
  whiten,
} from 'sweet-rl/objectives';
import { greedyReward, meanReward, objects, pack, play, words } from './shared/clues.js';
import { start } from './shared/run.js';
import { Policy, Table } from './shared/table.js';

const [GAMES, EPOCHS] = [128, 3];
const run = start(import.meta.url, { title: 'PPO over turns finds an object', measure: 'mean reward', steps: 30 });
const policy = new Policy(words.length, { learningRate: 10 });
const critic = new Table(1, { learningRate: 0.05, adam: true });

for (let step = 1; step <= run.steps; step++) {
  const games = Array.from({ length: GAMES }, (_, i) =>
    play(i % objects, (context) => policy.sample(context, run.rand)),
  );
  const batch = pack(games, policy);
  const { turnOffsets, trajectoryOffsets } = batch;
  const states = games.flatMap(({ turns }) => turns.map(({ state }) => critic.row(state.text)));
  const oldValues = critic.gather(states);
  const rewards = Float64Array.from(
    games.flatMap(({ turns, reward }) => turns.map((_, t) => (t === turns.length - 1 ? reward : 0))),
  );
  const { advantages, returns } = generalizedAdvantages({
    ...{ rewards, values: oldValues, trajectoryOffsets },
    ...{ gamma: 0.99, lambda: 0.9 },
  });
  const whitened = whiten({ advantages }).advantages;
  const perToken = broadcastTurns({ advantages: whitened, turnOffsets });

  const oldLogps = policy.forward(batch).logps;
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const forward = policy.forward(batch);
    const { gradLogps } = policyGradientLoss({
      ...{ logps: forward.logps, oldLogps, advantages: perToken, turnOffsets, trajectoryOffsets },
      ratioLevel: 'turn',
    });
    policy.learn(forward, gradLogps);
    critic.update(states, clippedValueLoss({ values: critic.gather(states), oldValues, returns }).gradValues);
  }
  run.record(step, meanReward(games));
}
run.finish(greedyReward(policy));
