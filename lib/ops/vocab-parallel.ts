import { check, errorOf } from '../addon/faults.js';
import { invoke } from '../addon/native.js';
import type * as native from '../addon/operations.js';
import { hostView, isOnDevice, lengthOf, typedArray } from '../args/arrays.js';
import {
  checkHead,
  headInputs,
  LINEAR_HEAD,
  type LinearHead,
  LOGITS_HEAD,
  type LogitsHead,
  type ScaleOptions,
} from '../args/head.js';
import { checkLabels, LABEL_OPTIONS, type LabelOptions, labelInputs } from '../args/labels.js';
import { checkOptions, type Mode } from '../args/options.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { checkShard, SHARD_OPTIONS, type ShardOptions } from '../args/vocab-shard.js';
import type { OnDevice } from '../device/device-buffer.js';
import { expected, rangeError } from '../errors.js';
import {
  assertFinite,
  assertFiniteResults,
  assertOnHost,
  checkDebug,
  type DebugOption,
  headMatrices,
  rowsRead,
} from '../runtime/assert-finite.js';
import { type Abortable, type PreparedCall, runAsync, runSync } from '../runtime/call.js';
import { Results } from '../runtime/results.js';
import {
  checkStatistics,
  type ForwardOptions,
  LOGPS_OUT,
  type Logps,
  logpsOut,
  STATISTICS,
  type StatisticsOptions,
} from './logps.js';

// kShardHeaderSize and ShardFormat of native/vocab_parallel.h.
const HEADER_SIZE = 8;
const FLAGS = 6;
const rowSize = ({ argmax, sumSquares }: native.ShardFormat) => 4 + (argmax ? 2 : 0) + (sumSquares ? 1 : 0);

/** `entropy`, `argmax`, `sumSquaredProbs`: what `mergeVocabParallelStats` will be asked for. */
interface StatsInputs extends StatisticsOptions, ScaleOptions, ShardOptions, LabelOptions, DebugOption {
  out?: { stats?: Float64Array | undefined } | undefined;
}

/** What `vocabParallelStats` takes: a head, of logits or of hidden states, with a vocabulary shard. */
export type VocabParallelStatsOptions = StatsInputs & (LogitsHead | LinearHead);

/** The softmax statistics of a vocabulary shard. */
export interface VocabParallelStats {
  /** [8 + R * N]: a header, then R numbers a row; R is 4, 2 more with argmax and 1 more with sumSquaredProbs. */
  stats: Float64Array<ArrayBuffer>;
}

/** What `mergeVocabParallelStats` takes. */
export interface MergeVocabParallelStatsOptions extends ForwardOptions {
  /** [S, 8 + R * N]: of all S shards of a vocabulary, in any order. */
  stats: ArrayOrTensor<Float64Array>;
}

const OPTIONS = [...SHARD_OPTIONS, ...LABEL_OPTIONS, ...STATISTICS, 'debug', 'out'];
const STATS_OPTIONS = new Set<string>([...LOGITS_HEAD, ...LINEAR_HEAD, ...OPTIONS]);
const MERGE_OPTIONS = [...LABEL_OPTIONS, ...STATISTICS, 'debug', 'out'];

const FLOAT64 = ['Float64Array'] as const;

/** The names of the functions and of the statistics; those of ops/partials.ts differ. */
export interface StatsNames {
  compute: string;
  merge: string;
  stats: string;
}

const NAMES: StatsNames = { compute: 'vocabParallelStats', merge: 'mergeVocabParallelStats', stats: 'stats' };

function formatOf(options: StatisticsOptions): native.ShardFormat {
  const { entropy, argmax, sumSquaredProbs } = checkStatistics(options) as Record<keyof StatisticsOptions, boolean>;
  return { entropy, argmax, sumSquares: sumSquaredProbs };
}

export function statsCall(
  given: VocabParallelStatsOptions,
  mode: Mode,
  names = NAMES,
): PreparedCall<'vocabParallelStats'> {
  const options = checkOptions(names.compute, given, STATS_OPTIONS, mode, new Set([names.stats]));
  const labels = checkLabels(options);
  const head = checkHead(options, labels.rows);
  checkShard(options, head);
  const format = formatOf(options);
  const debug = checkDebug(options);
  const results = new Results(options.out, labels.data);
  const stats = results.float64(names.stats, HEADER_SIZE + rowSize(format) * labels.rows);
  const addon = results.place([...headInputs(head), ...labelInputs(labels)]);
  if (debug) assertFinite(headMatrices(head, rowsRead(labels, true)));
  const args = { head, labels, format, stats };
  // Statistics of rows that are not read have max -inf: they are not checked.
  return { addon, operation: 'vocabParallelStats', args, results, debug: false };
}

/**
 * The softmax statistics of a vocabulary shard, row by row: the first half of `tokenLogps` or `linearLogps` for a head whose
 * vocabulary is split over devices or machines.
 *
 *     max_i near max_v x_iv,  t_iv = log2(e) * (x_iv - max_i) / temperature,  [max_i, sum_v 2^t_iv, sum_v t_iv 2^t_iv, x_i,label]
 *
 * With a softcap, x are the capped logits and the header has the softcap.
 *
 * Each rank calls it for its shard, all ranks exchange the results (8 + R * N numbers, whatever the size of the vocabulary),
 * and `mergeVocabParallelStats` computes from them the results of the whole head. The exchange is an all-gather, or a sum
 * (all-reduce) over buffers [S, 8 + R * N] in which each rank fills its own part and leaves the others 0. The gradient needs
 * no further exchange: `tokenLogpsBackward` and `linearLogpsBackward` take the merged lse, `vocabOffset` and `totalVocab`.
 *
 * @param options.logits [N, V of the shard], or `hidden` [N, H] and `weight` [V of the shard, H] (or, with
 * `weightLayout: 'HV'`, [H, V of the shard]), as in `tokenLogps` and `linearLogps`.
 * @param options.labels [N] token ids of the whole vocabulary, the same for every shard, as are `mask` and `ignoreIndex`.
 * @param options.vocabOffset the token id of the shard's first entry; 0 by default. `totalVocab`: the size of the whole
 * vocabulary; that of the head by default.
 * @param options.entropy also compute the third number, for the entropy.
 * @param options.argmax two more numbers a row: the largest logit and its token id of the whole vocabulary, or -inf and -1.
 * @param options.sumSquaredProbs one more number a row, the last: sum_v 2^(2 t_iv).
 * @param options.debug 'finite' checks the head; the results are checked by `mergeVocabParallelStats`.
 * @param options.out `stats`, a Float64Array.
 * @returns stats: [8 + R * N] float64: N, vocabOffset, V of the shard, totalVocab, temperature, 1 with entropy or 0, a checksum
 * of labels and mask (a multiple of 4; 0 in statistics of other programs: not compared) plus 1 with argmax and 2 with
 * sumSquaredProbs, the softcap or 0; then R numbers for each row, 4, 2 more with argmax and 1 more with sumSquaredProbs: -inf, 0, 0, 0, -inf, -1,
 * 0 for a masked row.
 * @throws RangeError ERR_LABEL for a label outside [0, totalVocab); TypeError or RangeError naming a wrong argument.
 * @see arXiv 1909.08053 (Megatron-LM), Section 3: vocabulary-parallel cross entropy.
 * @example
 * const labels = new Int32Array([3]); // an entry of the second shard
 * const first = vocabParallelStats({ logits: new Float32Array([1, 2]), vocabSize: 2, labels, totalVocab: 4 }).stats;
 * const second = vocabParallelStats({ logits: new Float32Array([3, 4]), vocabSize: 2, labels, vocabOffset: 2, totalVocab: 4 }).stats;
 * const { logps } = mergeVocabParallelStats({ stats: new Float64Array([...first, ...second]), labels }); // [-0.4402]
 */
export function vocabParallelStats(options: StatsInputs & LogitsHead): VocabParallelStats;
export function vocabParallelStats(options: VocabParallelStatsOptions): VocabParallelStats;
export function vocabParallelStats(options: OnDevice<VocabParallelStatsOptions>): OnDevice<VocabParallelStats>;
export function vocabParallelStats(
  options: VocabParallelStatsOptions | OnDevice<VocabParallelStatsOptions>,
): VocabParallelStats | OnDevice<VocabParallelStats> {
  return runSync(statsCall(options as VocabParallelStatsOptions, 'sync')) as VocabParallelStats;
}

/**
 * `vocabParallelStats` on another thread.
 *
 *     max_i near max_v x_iv,  t_iv = log2(e) * (x_iv - max_i) / temperature,  [max_i, sum_v 2^t_iv, sum_v t_iv 2^t_iv, x_i,label]
 *
 * @param options as `vocabParallelStats` takes them, which must not be changed until the promise settles.
 * @param options.signal ends the call, waiting or running; the contents of `out` are then undefined.
 * @returns a promise of the result of `vocabParallelStats`; the same bits.
 * @throws nothing; the promise rejects with what `vocabParallelStats` throws, with the signal's reason, and with TypeError
 * ERR_DETACHED where a buffer of `out` was detached meanwhile.
 * @see arXiv 1909.08053 (Megatron-LM), Section 3.
 * @example
 * const { stats } = await vocabParallelStatsAsync({ hidden, weight: rowsOfTheShard, labels, vocabOffset, totalVocab });
 */
export function vocabParallelStatsAsync(options: StatsInputs & LogitsHead & Abortable): Promise<VocabParallelStats>;
export function vocabParallelStatsAsync(options: VocabParallelStatsOptions & Abortable): Promise<VocabParallelStats>;
export function vocabParallelStatsAsync(
  options: OnDevice<VocabParallelStatsOptions> & Abortable,
): Promise<OnDevice<VocabParallelStats>>;
export function vocabParallelStatsAsync(
  options: (VocabParallelStatsOptions | OnDevice<VocabParallelStatsOptions>) & Abortable,
): Promise<VocabParallelStats | OnDevice<VocabParallelStats>> {
  return runAsync(options as VocabParallelStatsOptions, statsCall) as Promise<VocabParallelStats>;
}

/**
 * The log-probs of tokens, from the softmax statistics of all vocabulary shards.
 *
 *     lse_i = log sum_v exp(z_iv),  logp_i = z_i,label - lse_i,  H_i = lse_i - sum_v p_iv z_iv  over the entries of all shards
 *
 * Shards are merged in float64 in the order of their vocabulary offsets: the same statistics give the same bits on every CPU or
 * device of one kind, in whatever order the shards are given. With one shard these are the bits of `tokenLogps` and
 * `linearLogps`.
 *
 * @param options.stats [S, 8 + R * N] float64, the results of `vocabParallelStats` for each of the S shards, all of them with the
 * same argmax and sumSquaredProbs.
 * @param options.labels [N] as for `vocabParallelStats`, with the same `mask` and `ignoreIndex`.
 * @param options.entropy also compute the entropy of each row; every shard must have been computed with it, as with `argmax`, the
 * token id of the largest logit, and `sumSquaredProbs`, as in `tokenLogps`. On a device, argmax and sumSquaredProbs must be those
 * that the shards were computed with.
 * @param options.out buffers to write to: `logps`, `lse`, `entropy`, `argmax`, `sumSquaredProbs`, [N] each.
 * @returns logps, lse and, when asked for, entropy, argmax and sumSquaredProbs: those of `tokenLogps`.
 * @throws RangeError ERR_PARTIALS where these are not all shards of one vocabulary, each once, or were computed with another
 * temperature or softcap, other labels or another mask; ERR_LABEL for a label outside [0, totalVocab); TypeError or RangeError naming a wrong argument.
 * @see arXiv 1909.08053 (Megatron-LM), Section 3.
 * @example
 * const labels = new Int32Array([1, 0]);
 * const { stats } = vocabParallelStats({ logits: new Float32Array([1, 2, 3, 4]), vocabSize: 2, labels });
 * const { logps } = mergeVocabParallelStats({ stats, labels }); // [-0.3133, -1.3133]
 */
export function mergeVocabParallelStats(options: MergeVocabParallelStatsOptions): Logps;
export function mergeVocabParallelStats(options: OnDevice<MergeVocabParallelStatsOptions>): OnDevice<Logps>;
export function mergeVocabParallelStats(
  options: MergeVocabParallelStatsOptions | OnDevice<MergeVocabParallelStatsOptions>,
): Logps | OnDevice<Logps> {
  return mergeStats(options as MergeVocabParallelStatsOptions);
}

/**
 * The format of all shards, from the flags in their headers: they may have more than is asked for. On a device, where the
 * headers are not read here, it must be what is asked for.
 */
function checkShards(name: string, stats: Float64Array, rows: number, asked: native.ShardFormat) {
  if (isOnDevice(stats)) return shardsOf(name, stats, rows, asked);
  const view = hostView(name, stats) as Float64Array;
  const flagsAt = (header: number) => Math.max((view[header + FLAGS] as number) % 4 || 0, 0);
  const flags = flagsAt(0);
  const format = { ...asked, argmax: flags % 2 === 1, sumSquares: flags >= 2 };
  const size = HEADER_SIZE + rowSize(format) * rows;
  // Before the length, which is a wrong one where shards differ; a header starts with N.
  for (let header = size; header + HEADER_SIZE <= view.length; header += size) {
    if (view[header] !== rows || flagsAt(header) === flags) continue;
    throw errorOf({ code: 'shardStatistics', index: header / size, value: 0 });
  }
  return shardsOf(name, stats, rows, format);
}

function shardsOf(name: string, stats: Float64Array, rows: number, format: native.ShardFormat) {
  const size = HEADER_SIZE + rowSize(format) * rows;
  const shards = lengthOf(stats) / size;
  if (Number.isInteger(shards) && shards > 0) return { format, shards };
  const rule = `${HEADER_SIZE} + ${rowSize(format)} * N = ${size} elements for each shard`;
  throw rangeError('ERR_ARG_LENGTH', expected(rule, name, stats));
}

export function mergeStats(given: MergeVocabParallelStatsOptions, names = NAMES): Logps {
  const options = checkOptions(names.merge, given, new Set([...MERGE_OPTIONS, names.stats]), 'sync', LOGPS_OUT);
  const labels = checkLabels(options);
  const { rows } = labels;
  const stats = typedArray(names.stats, options[names.stats as 'stats'], FLOAT64);
  const { format, shards } = checkShards(names.stats, stats, rows, formatOf(options));
  const debug = checkDebug(options);
  const results = new Results(options.out, labels.data);
  const out = logpsOut(results, rows, options);
  const addon = results.place([[names.stats, stats], ...labelInputs(labels)]);
  if (debug) assertOnHost(names.stats, stats);
  const args = { rows, shards, format, stats, labels, out };
  check(invoke(addon, 'mergeVocabParallelStats', args), args);
  const collected = results.collect() as Logps;
  if (debug) assertFiniteResults(results);
  return collected;
}
