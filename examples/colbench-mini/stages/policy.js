/** The policy: the base agent trained on pairs of candidate actions, without privileged information. */

import { batchIndices, padBatch, spreadLogps, tokenCount } from '../batch.js';
import { promptOf } from '../dialogue.js';
import { shape } from '../model.js';
import { native } from '../native.js';
import { random } from '../random.js';
import { schedule, Trainer } from '../trainer.js';
import { Anchor } from './anchor.js';

/**
 * The likelihood term has a far larger weight than the paper's 0.01: with less, the gradient away from rejected
 * questions makes so small a network write token sequences that are not questions.
 * @param {import('../model.js').Params} base
 * @param {import('./offline.js').Offline} offline
 * @param {import('./candidates.js').Candidates} candidates
 * @param {{ chosen: Int32Array, rejected: Int32Array }} pairs of candidates
 * @param {{ pairsPerBatch: number, epochs: number, rate: number, beta: number, nllCoef: number }} settings
 */
export function trainPolicy(base, offline, candidates, { chosen, rejected }, settings, seed, onProgress) {
  const rand = random(seed, 51);
  const { states, actions, turnOffsets, logps } = candidates;
  const perState = actions.length / states.length;
  const prompts = states.map(({ task, turns }) => promptOf(task, turns, false));
  const dialogueOf = (index) => [
    { tokens: prompts[Math.floor(index / perState)], agent: false },
    { tokens: actions[index], agent: true },
  ];
  const lengths = Array.from(chosen, (index, p) =>
    Math.max(tokenCount(dialogueOf(index)), tokenCount(dialogueOf(rejected[p]))),
  );
  const batches = batchIndices(lengths, settings.pairsPerBatch, settings.epochs, rand);

  const trainer = new Trainer(base);
  const anchor = new Anchor(offline, rand);
  const curve = batches.map((pairs, i) => {
    const members = [...pairs.map((p) => chosen[p]), ...pairs.map((p) => rejected[p])];
    const batch = padBatch(members.map(dialogueOf));
    const refLogps = spreadLogps(
      batch,
      members.map((index) => logps.subarray(turnOffsets[index], turnOffsets[index + 1])),
    );
    const rate = schedule(i, batches.length, settings.rate);
    const { accuracy, preferenceLoss } = trainer.step(
      batch,
      (logits) =>
        native.policyUpdate({
          logits,
          vocabSize: shape.vocab,
          labels: batch.labels,
          refLogps,
          turnOffsets: batch.turnOffsets,
          chosen: Int32Array.from(pairs.keys()),
          rejected: Int32Array.from(pairs.keys(), (p) => p + pairs.length),
          beta: settings.beta,
          nllCoef: settings.nllCoef,
        }),
      rate,
    );
    anchor.step(trainer, rate);
    onProgress(i + 1, batches.length);
    return { loss: preferenceLoss, accuracy };
  });
  return { params: trainer.finish(), curve };
}
