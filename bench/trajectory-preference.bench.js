import { trajectoryPreferenceLoss, turnAdvantages, turnPreferenceLoss } from 'sweet-rl';
import { pairsOf } from './data.js';

/** Reductions over tokens and turns. They touch no vocabulary and take microseconds. */
export function* cases({ backend }) {
  for (const [rows, tokensPerTurn] of [
    [64, 16],
    [8192, 32],
  ]) {
    const logps = Float32Array.from({ length: rows }, (_, i) => -1 - (i % 7));
    const refLogps = Float32Array.from({ length: rows }, (_, i) => -1 - (i % 5));
    const { turnOffsets, trajectoryOffsets, chosen, rejected } = pairsOf(rows, tokensPerTurn, 1);
    const pair = { logps, refLogps, turnOffsets, chosen, rejected };
    yield {
      op: `${rows} tokens`,
      backend,
      threads: 1,
      implementations: {
        turnAdvantages: () => turnAdvantages({ logps, refLogps, turnOffsets }),
        trajectoryPreferenceLoss: () => trajectoryPreferenceLoss({ ...pair, trajectoryOffsets }),
        turnPreferenceLoss: () => turnPreferenceLoss(pair),
      },
    };
  }
}
