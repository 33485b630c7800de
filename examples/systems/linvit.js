/**
 * LINVIT: value iteration that is held to a language model's suggestions, on a path with one right action at each of ten steps.
 *
 * From the paper (LINVIT, arXiv 2402.16181): backwards over the horizon, Q = reward + expected next value + a bonus for what
 * was seen rarely, V = max over policies of Q - lambda KL from the model's action probabilities. Simplified: the path is a
 * combination lock with three actions, an action fails in one of fifty cases, and the "language model" gives the right action a
 * probability of 0.7. With a uniform one, no episode of the 120 has a reward.
 *
 * Calls: softValue.
 * Figure: the mean reward of the last 40 of 120 episodes, at least 0.6 (seeds 1, 2, 3: 0.850, 0.875, 0.775).
 */
import { softValue } from 'sweet-rl/objectives';
import { start } from './shared/run.js';

const [HORIZON, ACTIONS, LAMBDA, BONUS, SLIP, LAST] = [10, 3, 0.05, 0.05, 0.02, 40];
const about = { title: 'LINVIT opens a lock', measure: 'mean reward of 40 episodes', steps: 120, step: 'episode' };
const run = start(import.meta.url, about);
const right = Array.from({ length: HORIZON }, () => run.rand.int(ACTIONS));
/** [HORIZON x 2 states, ACTIONS]: state 0 is on the path, state 1 off it, from where nothing leads back. */
const logPrior = Float64Array.from({ length: HORIZON * 2 * ACTIONS }, (_, i) => {
  const action = i % ACTIONS;
  return Math.log(action === right[Math.floor(i / (2 * ACTIONS))] ? 0.7 : 0.3 / (ACTIONS - 1));
});
const at = (h, state, action) => (2 * h + state) * ACTIONS + action;
const counts = new Float64Array(logPrior.length);
const stayed = new Float64Array(logPrior.length); // how often the next state was on the path
const rewarded = new Float64Array(logPrior.length); // the sum of rewards
const actionOffsets = Int32Array.of(0, ACTIONS, 2 * ACTIONS);

/** [HORIZON x 2, ACTIONS] action probabilities, from what the episodes so far have shown. */
function plan() {
  const policy = new Float64Array(logPrior.length);
  let next = new Float64Array(2);
  for (let h = HORIZON - 1; h >= 0; h--) {
    const from = at(h, 0, 0);
    const q = Float64Array.from({ length: 2 * ACTIONS }, (_, i) => {
      const n = Math.max(1, counts[from + i]);
      const on = stayed[from + i] / n;
      return rewarded[from + i] / n + on * next[0] + (1 - on) * next[1] + BONUS / Math.sqrt(n);
    });
    const prior = logPrior.subarray(from, from + 2 * ACTIONS);
    const { values, logPolicy } = softValue({ logPrior: prior, q, actionOffsets, lambda: LAMBDA });
    policy.set(logPolicy.map(Math.exp), from);
    next = values;
  }
  return policy;
}

const rewards = [];
for (let episode = 1; episode <= run.steps; episode++) {
  const policy = plan();
  let state = 0;
  let reward = 0;
  for (let h = 0; h < HORIZON; h++) {
    const action = run.rand.weighted(Array.from(policy.subarray(at(h, state, 0), at(h, state, ACTIONS))));
    const stays = state === 0 && action === right[h] && run.rand.next() >= SLIP;
    reward = h === HORIZON - 1 && stays ? 1 : 0;
    counts[at(h, state, action)]++;
    stayed[at(h, state, action)] += stays ? 1 : 0;
    rewarded[at(h, state, action)] += reward;
    state = stays ? 0 : 1;
  }
  rewards.push(reward);
  const last = rewards.slice(-LAST);
  run.record(episode, last.reduce((a, b) => a + b) / last.length);
}
run.finish(rewards.slice(-LAST).reduce((a, b) => a + b) / LAST);
