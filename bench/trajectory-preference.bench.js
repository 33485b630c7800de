import { trajectoryPreferenceLoss, turnAdvantages, turnPreferenceLoss } from 'sweet-rl';
import { pairsOf } from './data.js';

/** What stands beside the rows: reductions over tokens and turns, microseconds where the rows take milliseconds. */
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
      work: { amount: 0 },
      contenders: {
        turnAdvantages: () => turnAdvantages({ logps, refLogps, turnOffsets }),
        trajectoryPreferenceLoss: () => trajectoryPreferenceLoss({ ...pair, trajectoryOffsets }),
        turnPreferenceLoss: () => turnPreferenceLoss(pair),
      },
    };
  }
}
