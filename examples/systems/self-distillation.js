/**
 * On-policy self-distillation on sums in steps (shared/sums.js): the policy teaches itself what it would write with the
 * solution in its prompt.
 *
 * From the trainers (prime-rl, TRL and others, 2026): the policy samples without the hidden information, the same policy scores
 * the tokens with it, and the difference of the log-probs is the advantage of an importance-weighted policy gradient without
 * clipping. Simplified: the policy is a table, whose rows of prompts with a solution copy it with some noise, as a model in
 * context does.
 *
 * Calls: privilegedAdvantages, policyGradientLoss; tokenLogps, tokenLogpsBackward.
 * Figure: the share of sums that the most likely steps get right, at least 0.9 (seeds 1, 2, 3: 1.000, 1.000, 1.000).
 */
import { policyGradientLoss, privilegedAdvantages } from 'sweet-rl/objectives';
import { start } from './shared/run.js';
import { accuracy, answer, BASE, contextOf, grade, pack, question } from './shared/sums.js';
import { Policy } from './shared/table.js';

const [ANSWERS, EPOCHS, COPIES] = [64, 2, 4];
const run = start(import.meta.url, { title: 'Self-distillation adds in steps', measure: 'right answers', steps: 40 });
const policy = new Policy(BASE, { learningRate: 20 });

/** The row of a step whose prompt holds the solution. */
function privilegedRow(digits, sums) {
  const solution = digits.slice(0, sums.length + 1).reduce((a, b) => (a + b) % BASE);
  const context = `the next step is ${solution}: ${contextOf(digits, sums)}`;
  policy.at(context)[solution] = COPIES;
  return policy.row(context);
}

for (let step = 1; step <= run.steps; step++) {
  const answers = Array.from({ length: ANSWERS }, () => {
    const digits = question(run.rand);
    return { digits, sums: answer(digits, (context) => policy.sample(context, run.rand)) };
  });
  const batch = pack(answers, policy);
  const rows = answers.flatMap(({ digits, sums }) => sums.map((_, i) => privilegedRow(digits, sums.slice(0, i))));
  const privileged = policy.forward({ rows, labels: batch.labels });

  const oldLogps = policy.forward(batch).logps;
  const advantages = privilegedAdvantages({ logps: oldLogps, privilegedLogps: privileged.logps });
  for (let epoch = 0; epoch < EPOCHS; epoch++) {
    const forward = policy.forward(batch);
    const bounds = { clipLow: 1, clipHigh: Infinity };
    policy.learn(forward, policyGradientLoss({ logps: forward.logps, oldLogps, advantages, ...bounds }).gradLogps);
  }
  run.record(step, answers.reduce((sum, { digits, sums }) => sum + grade(digits, sums), 0) / ANSWERS);
}
run.finish(accuracy(policy));
