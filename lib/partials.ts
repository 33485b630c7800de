import { alternatives, choose } from './alternatives.js';
import { type Abortable, type Call, callOf, runLater, runNow, type When } from './call.js';
import { boolean, checkOptions, isOnDevice, lengthOf, typedArray } from './checks.js';
import { freshOn, type OnDevice } from './device.js';
import { check, expected, rangeError } from './errors.js';
import {
  checkDebug,
  checkLookable,
  type DebugOption,
  headNumbers,
  lookedThrough,
  lookThrough,
  rowsRead,
} from './finite.js';
import {
  checkLinear,
  checkLogits,
  checkTemperature,
  LINEAR_HEAD,
  type LinearHead,
  LOGITS_HEAD,
  type LogitsHead,
  type TemperatureOption,
} from './head.js';
import { checkLabels, LABEL_OPTIONS, type LabelOptions } from './labels.js';
import type { HeadArgs } from './native.js';
import { Out } from './out.js';
import { checkShard, SHARD_OPTIONS, type ShardOptions } from './shard.js';
import { FORWARD_OUT, type Logps, type LogpsOut, logpsOf, ownLogps } from './token-logps.js';

// What native/partials.h says.
const START = 8;
const OF_ROW = 4;

interface Inputs extends TemperatureOption, ShardOptions, LabelOptions, DebugOption {
  /** Whether `mergePartials` will be asked for the entropy; false by default. */
  entropy?: boolean | undefined;
  out?: { partials?: Float64Array | undefined } | undefined;
}

/** What `partials` takes: logits or a linear head, of a shard of the vocabulary. */
export type PartialsOptions = Inputs & (LogitsHead | LinearHead);

/** What a shard's words come down to. */
export interface Partials {
  /** [8 + 4 * N]: what these are of, then four numbers a row. */
  partials: Float64Array;
}

/** What `mergePartials` takes. */
export interface MergePartialsOptions extends LabelOptions, DebugOption {
  /** [S, 8 + 4 * N]: of all S shards of a vocabulary, one after the other in whatever order. */
  partials: Float64Array;
  /** Whether the entropy is wanted too; false by default. */
  entropy?: boolean | undefined;
  out?: LogpsOut | undefined;
}

const OPTIONS = [...SHARD_OPTIONS, ...LABEL_OPTIONS, 'entropy', 'debug', 'out'];
const HEADS = alternatives([LOGITS_HEAD, LINEAR_HEAD]);
const PARTIALS_OPTIONS = new Set<string>([...LOGITS_HEAD, ...LINEAR_HEAD, ...OPTIONS]);
const PARTIALS_OUT = new Set(['partials']);
const MERGE_OPTIONS = new Set(['partials', ...LABEL_OPTIONS, 'entropy', 'debug', 'out']);

const FLOAT64 = ['Float64Array'] as const;

function freshFloat64(like: { length: number }, length: number): Float64Array {
  return isOnDevice(like) ? (freshOn(like.device, 'float64', length) as never) : new Float64Array(length);
}

function ofShard(given: PartialsOptions, when: When): Call<Partials> {
  const options = checkOptions('partials', given, PARTIALS_OPTIONS, when, PARTIALS_OUT);
  const linear = choose(options, HEADS, 'the head') === 'hidden';
  const labels = checkLabels(options);
  const { count } = labels;
  const temperature = checkTemperature(options);
  const head = linear
    ? checkLinear(options as LinearHead, count, temperature)
    : checkLogits(options as LogitsHead, count, temperature);
  const headArgs = [linear, ...head.args] as unknown as HeadArgs;
  const shard = checkShard(options, head.vocab);
  const entropy = boolean('entropy', options.entropy, false);
  const debug = checkDebug(options);
  const out = new Out(options.out, labels.labels, when);
  const length = START + OF_ROW * count;
  const partials = out.take(
    'partials',
    (argument, value) => typedArray(argument, value, FLOAT64, length),
    () => freshFloat64(labels.labels, length),
  );
  const native = out.settle([...head.inputs, ['labels', labels.labels], ['mask', labels.mask]]);
  if (debug) lookThrough(headNumbers(headArgs, rowsRead(labels, true)));
  return callOf(native, 'partials', [...headArgs, ...shard, ...labels.args, entropy, partials], out, () => ({
    partials,
  }));
}

/**
 * What a shard of the vocabulary comes down to in each row: the first half of `tokenLogps` or `linearLogps` over a head that is
 * cut over devices or machines.
 *
 *     pivot_i near max_v x_iv,  t_iv = log2(e) * (x_iv - pivot_i) / temperature,  [pivot_i, sum_v 2^t_iv, sum_v t_iv 2^t_iv, x_i,label]
 *
 * Each holder of a shard calls it, all exchange the results (8 + 4 * N numbers, whatever the vocabulary's size), and
 * `mergePartials` makes of them what the whole head would have given. An all-gather does it; so does a sum over buffers
 * [S, 8 + 4 * N] in which everyone fills his own part and leaves the others 0. The gradient needs no further exchange of
 * words: `tokenLogpsBackward` and `linearLogpsBackward` take the merged lse and the shard's `vocabOffset` and `totalVocab`.
 *
 * @param options.logits [N, V of the shard], or `hidden` [N, H] and `weight` [V of the shard, H], as in `tokenLogps` and
 * `linearLogps`.
 * @param options.labels [N] words of the whole vocabulary, the same for every shard, as are `mask` and `ignoreIndex`.
 * @param options.vocabOffset the shard's first word; 0 by default. `totalVocab`: all words; those of the head by default.
 * @param options.entropy whether the third number is wanted, for the entropy.
 * @param options.debug 'finite' looks through the head; through results, that of `mergePartials` does.
 * @param options.out `partials`, a Float64Array.
 * @returns partials: [8 + 4 * N] float64: N, vocabOffset, V of the shard, totalVocab, temperature, whether entropy was asked
 * for, 0, 0; then a row's four numbers after the other's, -inf, 0, 0, 0 for a masked row.
 * @throws RangeError ERR_LABEL for a label outside [0, totalVocab); TypeError or RangeError naming a wrong argument.
 * @see arXiv 1909.08053 (Megatron-LM), Section 3, of a cross entropy whose words are cut over devices.
 * @example
 * const labels = new Int32Array([3]); // a word of the second shard
 * const first = partials({ logits: new Float32Array([1, 2]), labels, totalVocab: 4 }).partials;
 * const second = partials({ logits: new Float32Array([3, 4]), labels, vocabOffset: 2, totalVocab: 4 }).partials;
 * const { logps } = mergePartials({ partials: new Float64Array([...first, ...second]), labels }); // [-0.4402]
 */
export function partials(options: Inputs & LogitsHead): Partials;
export function partials(options: PartialsOptions): Partials;
export function partials(options: OnDevice<PartialsOptions>): OnDevice<Partials>;
export function partials(given: PartialsOptions | OnDevice<PartialsOptions>): Partials | OnDevice<Partials> {
  return runNow(ofShard(given as PartialsOptions, 'now'));
}

/**
 * `partials` on another thread.
 *
 *     pivot_i near max_v x_iv,  t_iv = log2(e) * (x_iv - pivot_i) / temperature,  [pivot_i, sum_v 2^t_iv, sum_v t_iv 2^t_iv, x_i,label]
 *
 * @param options as `partials` takes them, of which nothing may be written to until the promise settles.
 * @param options.signal ends the call, be it running or waiting; buffers in `out` then hold anything.
 * @returns a promise of what `partials` returns, the same bits.
 * @throws nothing; it rejects with what `partials` throws, with the signal's reason, and with TypeError ERR_DETACHED where
 * a buffer of `out` was taken away meanwhile.
 * @see arXiv 1909.08053 (Megatron-LM), Section 3.
 * @example
 * const { partials: own } = await partialsAsync({ hidden, weight: rowsOfTheShard, labels, vocabOffset, totalVocab });
 */
export function partialsAsync(options: Inputs & LogitsHead & Abortable): Promise<Partials>;
export function partialsAsync(options: PartialsOptions & Abortable): Promise<Partials>;
export function partialsAsync(options: OnDevice<PartialsOptions> & Abortable): Promise<OnDevice<Partials>>;
export function partialsAsync(
  options: (PartialsOptions | OnDevice<PartialsOptions>) & Abortable,
): Promise<Partials | OnDevice<Partials>> {
  return runLater(options as PartialsOptions, ofShard);
}

/**
 * The log-probs of tokens, from the partials of all shards of the vocabulary.
 *
 *     lse_i = log sum_v exp(z_iv),  logp_i = z_i,label - lse_i,  H_i = lse_i - sum_v p_iv z_iv  over the words of all shards
 *
 * Shards are joined in float64 in the order of their words: the same partials give the same bits on every processor or device
 * of one kind, in whatever order they came. With one shard these are the bits of `tokenLogps` and `linearLogps`.
 *
 * @param options.partials [S, 8 + 4 * N] float64, what `partials` gave for each of the S shards, one after the other.
 * @param options.labels [N] as `partials` had them, with the same `mask` and `ignoreIndex`.
 * @param options.entropy whether the entropy of each row is wanted too; every shard must have been asked for it.
 * @param options.out buffers to write to: `logps`, `lse`, `entropy`, [N] each.
 * @returns logps, lse and, when asked for, entropy: [N] each, nats.
 * @throws RangeError ERR_PARTIALS where these are not all shards of one vocabulary, each once; ERR_LABEL for a label outside
 * [0, totalVocab); TypeError or RangeError naming a wrong argument.
 * @see arXiv 1909.08053 (Megatron-LM), Section 3.
 * @example
 * const labels = new Int32Array([1, 0]);
 * const { partials: own } = partials({ logits: new Float32Array([1, 2, 3, 4]), labels });
 * const { logps } = mergePartials({ partials: own, labels }); // [-0.3133, -1.3133]
 */
export function mergePartials(options: MergePartialsOptions): Logps;
export function mergePartials(options: OnDevice<MergePartialsOptions>): OnDevice<Logps>;
export function mergePartials(given: MergePartialsOptions | OnDevice<MergePartialsOptions>): Logps | OnDevice<Logps> {
  const options = checkOptions('mergePartials', given as MergePartialsOptions, MERGE_OPTIONS, 'now', FORWARD_OUT);
  const labels = checkLabels(options);
  const { count } = labels;
  const all = typedArray('partials', options.partials, FLOAT64);
  const shards = lengthOf(all) / (START + OF_ROW * count);
  if (!Number.isInteger(shards) || shards === 0) {
    const rule = `${START} + 4 * N = ${START + OF_ROW * count} elements for each shard`;
    throw rangeError('ERR_ARG_LENGTH', expected(rule, 'partials', all));
  }
  const entropy = boolean('entropy', options.entropy, false);
  const debug = checkDebug(options);
  const out = new Out(options.out, labels.labels);
  const results = logpsOf(out, count, entropy);
  const native = out.settle([
    ['partials', all],
    ['labels', labels.labels],
    ['mask', labels.mask],
  ]);
  if (debug) checkLookable('partials', all);
  check(native.mergePartials(count, shards, all, ...labels.args, results.logps, results.lse, results.entropy));
  return lookedThrough(debug, () => ownLogps(results))();
}
