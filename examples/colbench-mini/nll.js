/** Negative log-likelihood, the loss of imitation learning. */
import { shape } from './model.js';
import { native } from './native.js';

/** The mean over the agent's tokens of a batch, and its gradient with respect to the logits. */
export function negativeLogLikelihood(logits, { labels, turnOffsets, trajectoryOffsets, size }) {
  const { logps, lse } = native.tokenLogps({ logits, vocabSize: shape.vocab, labels });
  const { loss, gradLogps } = native.filteredNll({
    logps,
    labels,
    turnOffsets,
    trajectoryOffsets,
    rewards: new Float32Array(size).fill(1),
  });
  const { gradLogits } = native.tokenLogpsBackward({ logits, vocabSize: shape.vocab, labels, lse, gradLogps });
  return { loss, gradLogits };
}
