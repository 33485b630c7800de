/** logits = hidden * W^T + bias, then the rows of token-logps; the oracle may store [N, V], which the library must not. */
import { type RowGradients, type RowResults, tokenLogps, tokenLogpsBackward } from './token-logps.ts';

export interface LinearRows {
  hidden: Float64Array;
  weight: Float64Array;
  bias?: Float64Array | undefined;
  labels: ArrayLike<number>;
  mask?: ArrayLike<number> | undefined;
  temperature?: number | undefined;
  softcap?: number | null | undefined;
  ignoreIndex?: number | undefined;
}

export interface LinearGradients {
  gradHidden: Float64Array;
  gradWeight: Float64Array;
  gradBias: Float64Array;
}

export function linearLogits({ hidden, weight, bias, labels }: LinearRows): Float64Array {
  const H = hidden.length / labels.length;
  const V = weight.length / H;
  const logits = new Float64Array(labels.length * V);
  for (let i = 0; i < labels.length; i++) {
    for (let v = 0; v < V; v++) {
      let sum = bias?.[v] ?? 0;
      for (let h = 0; h < H; h++) sum += hidden[i * H + h]! * weight[v * H + h]!;
      logits[i * V + v] = sum;
    }
  }
  return logits;
}

export function linearLogps(rows: LinearRows): RowResults {
  return tokenLogps({ ...rows, logits: linearLogits(rows) });
}

export function linearLogpsBackward(rows: LinearRows & RowGradients): LinearGradients {
  return projectGradient(rows, tokenLogpsBackward({ ...rows, logits: linearLogits(rows) }));
}

/** From the gradient of the logits G [N, V]: G * W, G^T * hidden and the column sums. */
export function projectGradient(
  { hidden, weight, labels }: Pick<LinearRows, 'hidden' | 'weight' | 'labels'>,
  gradLogits: Float64Array,
): LinearGradients {
  const H = hidden.length / labels.length;
  const V = weight.length / H;
  const gradHidden = new Float64Array(hidden.length);
  const gradWeight = new Float64Array(weight.length);
  const gradBias = new Float64Array(V);
  for (let i = 0; i < labels.length; i++) {
    for (let v = 0; v < V; v++) {
      const g = gradLogits[i * V + v]!;
      // A row without gradient is not read: a masked row may hold NaN.
      if (g === 0) continue;
      gradBias[v]! += g;
      for (let h = 0; h < H; h++) {
        gradHidden[i * H + h]! += g * weight[v * H + h]!;
        gradWeight[v * H + h]! += g * hidden[i * H + h]!;
      }
    }
  }
  return { gradHidden, gradWeight, gradBias };
}
