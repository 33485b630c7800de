/** Negative log-likelihood, the loss of imitation learning. */
import { IGNORE_INDEX } from 'sweet-rl';
import { native } from './native.js';

/** The mean over the agent's tokens of a batch, and its gradient with respect to the logits. */
export function negativeLogLikelihood(logits, { labels, turnOffsets, trajectoryOffsets, size }) {
  const { logps, lse } = native.tokenLogps({ logits, labels });
  const { loss, gradLogps } = native.filteredNll({
    logps,
    mask: Uint8Array.from(labels, (label) => Number(label !== IGNORE_INDEX)),
    turnOffsets,
    trajectoryOffsets,
    rewards: new Float32Array(size).fill(1),
  });
  const { gradLogits } = native.tokenLogpsBackward({ logits, labels, lse, gradLogps });
  return { loss, gradLogits };
}
