/**
 * ArCHer on a text game (shared/clues.js): critics over whole messages, a policy over tokens.
 *
 * From the paper (ArCHer, arXiv 2402.19446): two critics, each with Q of a message and V of a state, Polyak targets (0.1), V
 * trained on Q of messages of the current policy, the lesser of the two as advantage, REINFORCE on the tokens. Simplified:
 * critics and policy are tables, the replay buffer holds the last iterations, discount 0.95 as in the released configurations.
 *
 * Calls: tdLoss, clippedValueLoss, doubleMinAdvantages, broadcastTurns, policyGradientLoss; tokenLogps, tokenLogpsBackward.
 * Figure: the mean reward of the most likely words, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import { broadcastTurns, clippedValueLoss, doubleMinAdvantages, policyGradientLoss, tdLoss } from 'sweet-rl/objectives';
import { greedyReward, meanReward, message, objects, pack, play, words } from './shared/clues.js';
import { start } from './shared/run.js';
import { Policy, Table } from './shared/table.js';

const [GAMES, BUFFER, CRITIC_EPOCHS, TAU] = [64, 2, 5, 0.1];
const run = start(import.meta.url, { title: 'ArCHer finds an object', measure: 'mean reward', steps: 50 });
const policy = new Policy(words.length, { learningRate: 30 });
const say = (context) => policy.sample(context, run.rand);

// Two critics; their tables have the same rows, of messages in states and of states.
const [messages, states] = [new Table(1), new Table(1)];
const options = { learningRate: 0.05, adam: true };
const critics = [0, 1].map(() => ({
  q: new Table(1, { ...options, like: messages }).randomize(run.rand, 0.1),
  v: new Table(1, { ...options, like: states }).randomize(run.rand, 0.1),
  targetQ: new Table(1, { like: messages }),
  targetV: new Table(1, { like: states }),
}));
const rowOf = (state, tokens) => messages.row(`${state.text}: ${tokens.map(({ token }) => words[token]).join(' ')}`);

/** The turns of games: rows of the message in its state, of the state and of the next one. */
const transitions = (games) =>
  games.flatMap(({ turns, reward }) =>
    turns.map(({ state, tokens }, t) => {
      const ended = t === turns.length - 1;
      const next = states.row((turns[t + 1]?.state ?? state).text);
      return {
        at: state,
        message: rowOf(state, tokens),
        state: states.row(state.text),
        next,
        ended,
        reward: ended ? reward : 0,
      };
    }),
  );

function trainCritics(turns) {
  const rows = (name) => turns.map((turn) => turn[name]);
  const rewards = Float64Array.from(rows('reward'));
  const terminated = Uint8Array.from(rows('ended'));
  const current = turns.map(({ at }) => rowOf(at, message(at, say))); // what the policy says there now
  for (const { q, v, targetQ, targetV } of critics) {
    const [values, nextValues] = [q.gather(rows('message')), targetV.gather(rows('next'))];
    q.update(rows('message'), tdLoss({ values, rewards, nextValues, terminated, gamma: 0.95 }).gradValues);
    const value = clippedValueLoss({ values: v.gather(rows('state')), returns: targetQ.gather(current), coef: 1 });
    v.update(rows('state'), value.gradValues);
    targetQ.follow(q, TAU);
    targetV.follow(v, TAU);
  }
}

const buffer = [];
for (let step = 1; step <= run.steps; step++) {
  const games = Array.from({ length: GAMES }, (_, i) => play(i % objects, say));
  buffer.push(...games);
  buffer.splice(0, Math.max(0, buffer.length - BUFFER * GAMES));
  const replayed = transitions(buffer);
  for (let epoch = 0; epoch < CRITIC_EPOCHS; epoch++) trainCritics(replayed);

  const turns = transitions(games);
  const numbers = (kind, name) => critics.map((critic) => critic[kind].gather(turns.map((turn) => turn[name])));
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
