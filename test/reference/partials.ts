/**
 * A row's words cut into shards. Of each: its own log sum_v e^z_v and the mean of z under its own softmax; of all:
 * lse = log sum_s e^lse_s,  sum_v p_v z_v = sum_s e^(lse_s - lse) * mean_s,  H = lse - sum_v p_v z_v.
 */
import { logSumExp } from './token-logps.ts';

export interface ShardSums {
  lse: number;
  /** Of no meaning where there is no word but masked ones. */
  mean: number;
}

export function sumsOf(z: Float64Array): ShardSums {
  const lse = logSumExp(z);
  return { lse, mean: z.reduce((sum, zv) => (zv === -Infinity ? sum : sum + Math.exp(zv - lse) * zv), 0) };
}

export function mergeSums(shards: readonly ShardSums[]): { lse: number; entropy: number } {
  const some = shards.filter((shard) => shard.lse !== -Infinity && !Number.isNaN(shard.lse));
  const lse = logSumExp(Float64Array.from(some, (shard) => shard.lse));
  return { lse, entropy: lse - some.reduce((sum, shard) => sum + Math.exp(shard.lse - lse) * shard.mean, 0) };
}
