/** A_t = (1/L_t) sum m_i (logp_i - refLogp_i) over the tokens of turn t, L_t = sum m_i; "sum" drops 1/L_t. */
import { range } from './range.ts';

export type Reduction = 'mean' | 'sum';

export interface Turns {
  mask?: ArrayLike<number> | undefined;
  turnOffsets: ArrayLike<number>;
  reduction?: Reduction | undefined;
}

export function turnAdvantages(turns: Turns & { logps: ArrayLike<number>; refLogps: ArrayLike<number> }): Float64Array {
  const { logps, refLogps } = turns;
  return Float64Array.from(tokensOfTurns(turns), ({ tokens, share }) =>
    tokens.reduce((sum, i) => sum + (logps[i]! - refLogps[i]!) * share, 0),
  );
}

export function turnAdvantagesBackward(turns: Turns & { gradAdvantages: ArrayLike<number> }): Float64Array {
  const gradLogps = new Float64Array(turns.turnOffsets[turns.turnOffsets.length - 1]!);
  tokensOfTurns(turns).forEach(({ tokens, share }, t) => {
    for (const i of tokens) gradLogps[i] = turns.gradAdvantages[t]! * share;
  });
  return gradLogps;
}

/** The tokens of each turn that count, and dA_t/dlogp_i of each of them. */
export function tokensOfTurns({ mask, turnOffsets, reduction = 'mean' }: Turns): { tokens: number[]; share: number }[] {
  return Array.from({ length: turnOffsets.length - 1 }, (_, t) => {
    const tokens = range(turnOffsets[t]!, turnOffsets[t + 1]!).filter((i) => mask?.[i] !== 0);
    return { tokens, share: reduction === 'mean' ? 1 / tokens.length : 1 };
  });
}
