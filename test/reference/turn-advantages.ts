/** A_t = (1/L_t) sum m_i w_i (logp_i - refLogp_i) over the tokens of turn t, L_t = sum m_i w_i; "sum" drops 1/L_t. */
import { range } from './range.ts';

export type Reduction = 'mean' | 'sum';

/** What tokens count: 1 unless weights are given, and 0 where the mask is 0, whatever the weight. */
export interface Weighted {
  mask?: ArrayLike<number> | undefined;
  tokenWeights?: ArrayLike<number> | undefined;
}

export interface Turns extends Weighted {
  turnOffsets: ArrayLike<number>;
  reduction?: Reduction | undefined;
}

export function turnAdvantages(turns: Turns & { logps: ArrayLike<number>; refLogps: ArrayLike<number> }): Float64Array {
  const { logps, refLogps } = turns;
  return Float64Array.from(tokensOfTurns(turns), ({ tokens, share }) =>
    tokens.reduce((sum, i) => sum + (logps[i]! - refLogps[i]!) * share(i), 0),
  );
}

export function turnAdvantagesBackward(turns: Turns & { gradAdvantages: ArrayLike<number> }): Float64Array {
  const gradLogps = new Float64Array(turns.turnOffsets[turns.turnOffsets.length - 1]!);
  tokensOfTurns(turns).forEach(({ tokens, share }, t) => {
    for (const i of tokens) gradLogps[i] = turns.gradAdvantages[t]! * share(i);
  });
  return gradLogps;
}

/** m_i w_i of a token. */
export function weightOf({ mask, tokenWeights }: Weighted, i: number): number {
  return mask?.[i] === 0 ? 0 : (tokenWeights?.[i] ?? 1);
}

export function totalWeight(weighted: Weighted, tokens: number[]): number {
  return tokens.reduce((sum, i) => sum + weightOf(weighted, i), 0);
}

/** The tokens of each turn that count, and dA_t/dlogp_i of each of them. */
export function tokensOfTurns(turns: Turns): { tokens: number[]; share: (token: number) => number }[] {
  const { turnOffsets, reduction = 'mean' } = turns;
  return Array.from({ length: turnOffsets.length - 1 }, (_, t) => {
    const tokens = range(turnOffsets[t]!, turnOffsets[t + 1]!).filter((i) => weightOf(turns, i) > 0);
    const divisor = reduction === 'mean' ? totalWeight(turns, tokens) : 1;
    return { tokens, share: (i) => weightOf(turns, i) / divisor };
  });
}
