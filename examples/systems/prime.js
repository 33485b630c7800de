/**
 * PRIME on sums in steps (shared/sums.js): a reward model of tokens that is trained on outcomes alone.
 *
 * From the paper (PRIME, arXiv 2502.01456; implicit rewards, arXiv 2412.01981): the reward of a token is beta times the
 * log-ratio of a model to a frozen reference, whose sum over an answer is trained by cross-entropy against the outcome, on the
 * policy's own answers; a token's advantage is the sum of the rewards from it on, each minus the mean reward of the other
 * answers of its group. Simplified: tables, beta 1 instead of 0.05, five epochs of the reward model on a batch, no filter of
 * prompts, no outcome in the advantages: the policy learns from the reward model alone.
 *
 * Calls: implicitRewardLoss, groupAdvantages, broadcastTurns, discountedReturns, policyGradientLoss; tokenLogps,
 * tokenLogpsBackward.
 * Figure: the share of sums that the most likely steps get right, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import {
  broadcastTurns,
  discountedReturns,
  groupAdvantages,
  implicitRewardLoss,
  policyGradientLoss,
} from 'sweet-rl/objectives';
import { start } from './shared/run.js';
import { accuracy, answer, BASE, grade, LENGTH, pack, question } from './shared/sums.js';
import { Policy } from './shared/table.js';

const [QUESTIONS, GROUP, BETA, EPOCHS] = [16, 16, 1, 5];
const run = start(import.meta.url, { title: 'PRIME adds in steps', measure: 'right answers', steps: 120 });
const policy = new Policy(BASE, { learningRate: 2 });
const rewardModel = new Policy(BASE, { learningRate: 0.5, adam: true });
const refLogp = -Math.log(BASE); // the reference is the model at the start, whose rows are 0
const groupIds = Int32Array.from({ length: QUESTIONS * GROUP }, (_, i) => Math.floor(i / GROUP));

for (let step = 1; step <= run.steps; step++) {
  const questions = Array.from({ length: QUESTIONS }, () => question(run.rand));
  const answers = Array.from(groupIds, (group) => {
    const digits = questions[group];
    return { digits, sums: answer(digits, (context) => policy.sample(context, run.rand)) };
  });
  const outcomes = Float64Array.from(answers, ({ digits, sums }) => grade(digits, sums));

  const batch = pack(answers, policy);
  const { trajectoryOffsets } = batch; // a token is a turn
  const judgedBatch = pack(answers, rewardModel);
  const refLogps = new Float32Array(batch.labels.length).fill(refLogp);
  const judge = (judged) =>
    implicitRewardLoss({ logps: judged.logps, refLogps, outcomes, trajectoryOffsets, beta: BETA });
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const judged = rewardModel.forward(judgedBatch);
    rewardModel.learn(judged, judge(judged).gradLogps);
  }
  const judged = rewardModel.forward(judgedBatch);
  const model = judge(judged);

  const means = model.trajectoryRewards.map((sum) => sum / LENGTH);
  const relative = groupAdvantages({ rewards: means, groupIds, baseline: 'leave-one-out', scale: 'none' }).advantages;
  const baselines = broadcastTurns({ advantages: means.map((mean, k) => mean - relative[k]), trajectoryOffsets });
  const rewards = Float64Array.from(judged.logps, (logp, i) => BETA * (logp - refLogp) - baselines[i]);
  const { returns } = discountedReturns({ rewards, trajectoryOffsets });

  const forward = policy.forward(batch);
  const advantages = returns;
  policy.learn(forward, policyGradientLoss({ logps: forward.logps, advantages, trajectoryOffsets }).gradLogps);
  run.record(step, outcomes.reduce((sum, outcome) => sum + outcome, 0) / outcomes.length);
}
run.finish(accuracy(policy));
