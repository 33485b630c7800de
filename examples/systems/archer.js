/**
 * ArCHer on a text game (shared/clues.js): critics over whole messages, a policy over tokens.
 *
 * Theirs (ArCHer, arXiv 2402.19446): two critics, each with Q of a message and V of a state, Polyak targets (0.1), V trained on Q
 * of messages of the current policy, the lesser of the two as advantage, REINFORCE on the tokens. Simplified: critics and policy
 * are tables, the replay buffer holds the last iterations, discount 0.95 as in the released configurations.
 *
 * Calls: tdLoss, clippedValueLoss, doubleMinAdvantages, broadcastTurns, policyGradientLoss; tokenLogps, tokenLogpsBackward.
 * Figure: the share of objects found by the most likely words, at least 0.875 (seeds 1, 2, 3: ?).
 */
import {
  broadcastTurns,
  clippedValueLoss,
  doubleMinAdvantages,
  policyGradientLoss,
  tdLoss,
} from 'sweet-rl/objectives';
import { meanReward, objects, pack, play, greedyReward, words } from './shared/clues.js';
import { start } from './shared/run.js';
import { Policy, Table } from './shared/table.js';

const [GAMES, BUFFER, CRITIC_EPOCHS, TAU] = [64, 2, 5, 0.1];
const run = start(import.meta.url, { title: 'ArCHer finds an object', measure: 'mean reward', steps: 60 });
const policy = new Policy(words.length, { learningRate: 30 });
const table = () => new Table(1, { learningRate: 0.05, adam: true });
const critics = [0, 1].map(() => ({ q: table(), v: table(), targetQ: table(), targetV: table() }));

/** The turns of games: rows of (state, message), of the state, of the next state and of a message that the policy says now. */
function transitions(games) {
  const list = games.flatMap(({ turns, reward }) =>
    turns.map(({ state, tokens }, t) => {
      const ended = t === turns.length - 1;
      return { state, next: turns[t + 1]?.state ?? state, message: messageOf(state, tokens), reward: ended ? reward : 0, ended };
    }),
  );
  return {
    list,
    rewards: Float64Array.from(list, ({ reward }) => reward),
    terminated: Uint8Array.from(list, ({ ended }) => (ended ? 1 : 0)),
  };
}

const messageOf = (state, tokens) => `${state}: ${tokens.map(({ token }) => words[token]).join(' ')}`;

function sampledMessage(state) {
  const verb = policy.sample(`${state}:`, run.rand);
  const noun = policy.sample(`${state}: ${words[verb]}`, run.rand);
  return messageOf(state, [{ token: verb }, { token: noun }]);
}

function trainCritics({ list, rewards, terminated }) {
  const sampled = list.map(({ state }) => sampledMessage(state));
  for (const { q, v, targetQ, targetV } of critics) {
    // Tables that are made together have the same rows, in the order of the first use.
    const rowsOf = (contexts, ...tables) => contexts.map((context) => tables.map((each) => each.row(context))[0]);
    const messages = rowsOf(list.map(({ message }) => message), q, targetQ);
    const others = rowsOf(sampled, q, targetQ);
    const states = rowsOf(list.map(({ state }) => state), v, targetV);
    const next = rowsOf(list.map((each) => each.next), v, targetV);
    const td = tdLoss({
      ...{ values: q.gather(messages), rewards, nextValues: targetV.gather(next), terminated },
      gamma: 0.95,
    });
    q.update(messages, td.gradValues);
    const value = clippedValueLoss({ values: v.gather(states), returns: targetQ.gather(others), coef: 1 });
    v.update(states, value.gradValues);
    targetQ.follow(q, TAU);
    targetV.follow(v, TAU);
  }
}

const buffer = [];
for (let step = 1; step <= run.steps; step++) {
  const games = Array.from({ length: GAMES }, (_, i) =>
    play(i % objects, (context) => policy.sample(context, run.rand)),
  );
  buffer.push(...games);
  buffer.splice(0, Math.max(0, buffer.length - BUFFER * GAMES));
  const replayed = transitions(buffer);
  for (let epoch = 0; epoch < CRITIC_EPOCHS; epoch++) trainCritics(replayed);

  const { list } = transitions(games);
  const numbers = (kind, name) => critics.map((critic) => Float64Array.from(list, (turn) => critic[kind].at(turn[name])[0]));
  const [[q1, q2], [v1, v2]] = [numbers('q', 'message'), numbers('v', 'state')];
  const batch = pack(games, policy);
  const { turnOffsets } = batch;
  const forward = policy.forward(batch);
  const { gradLogps } = policyGradientLoss({
    ...{ logps: forward.logps, turnOffsets, objective: 'reinforce', reduction: 'sequence-mean-token-sum' },
    advantages: broadcastTurns({ advantages: doubleMinAdvantages({ q1, q2, v1, v2 }), turnOffsets }),
    trajectoryOffsets: Int32Array.from({ length: turnOffsets.length }, (_, turn) => turn), // each turn alone
  });
  policy.learn(forward, gradLogps);
  run.record(step, meanReward(games));
}
run.finish(greedyReward(policy));
