// The first names of the vocabulary-parallel statistics, kept for programs that use them.
import type { OnDevice } from '../device/device-buffer.js';
import { type Abortable, runAsync, runSync } from '../runtime/call.js';
import type { Logps } from './logps.js';
import {
  type MergeVocabParallelStatsOptions,
  mergeStats,
  type StatsNames,
  statsCall,
  type VocabParallelStatsOptions,
} from './vocab-parallel.js';

const NAMES: StatsNames = { compute: 'partials', merge: 'mergePartials', stats: 'partials' };

/** @deprecated `VocabParallelStats`: the result of `partials`. */
export interface Partials {
  partials: Float64Array;
}

type WithPartialsOut<T> = T extends unknown ? Omit<T, 'out'> & { out?: Partial<Partials> | undefined } : never;

/** @deprecated `VocabParallelStatsOptions`: what `partials` takes. */
export type PartialsOptions = WithPartialsOut<VocabParallelStatsOptions>;

/** @deprecated `MergeVocabParallelStatsOptions`: what `mergePartials` takes. */
export type MergePartialsOptions = Omit<MergeVocabParallelStatsOptions, 'stats'> & {
  partials: MergeVocabParallelStatsOptions['stats'];
};

/**
 * `vocabParallelStats` under its first name; the statistics are called `partials` here.
 *
 * @deprecated `vocabParallelStats`
 * @param options as `vocabParallelStats` takes them, with `out.partials` for `out.stats`.
 * @returns partials: the `stats` of `vocabParallelStats`.
 * @throws as `vocabParallelStats` does.
 * @example
 * partials({ logits: new Float32Array([1, 2]), labels: new Int32Array([3]), totalVocab: 4 }).partials.length; // 12
 */
export function partials(options: PartialsOptions): Partials;
export function partials(options: OnDevice<PartialsOptions>): OnDevice<Partials>;
export function partials(options: PartialsOptions | OnDevice<PartialsOptions>): Partials | OnDevice<Partials> {
  return runSync(statsCall(options as VocabParallelStatsOptions, 'sync', NAMES)) as Partials;
}

/**
 * `vocabParallelStatsAsync` under its first name.
 *
 * @deprecated `vocabParallelStatsAsync`
 * @param options as `partials` takes them, and `signal`.
 * @returns a promise of the result of `partials`; the same bits.
 * @throws nothing; the promise rejects as that of `vocabParallelStatsAsync` does.
 * @example
 * const { partials } = await partialsAsync({ logits, labels, vocabOffset, totalVocab });
 */
export function partialsAsync(options: PartialsOptions & Abortable): Promise<Partials>;
export function partialsAsync(options: OnDevice<PartialsOptions> & Abortable): Promise<OnDevice<Partials>>;
export function partialsAsync(
  options: (PartialsOptions | OnDevice<PartialsOptions>) & Abortable,
): Promise<Partials | OnDevice<Partials>> {
  const given = options as VocabParallelStatsOptions;
  return runAsync(given, (each, mode) => statsCall(each, mode, NAMES)) as Promise<Partials>;
}

/**
 * `mergeVocabParallelStats` under its first name.
 *
 * @deprecated `mergeVocabParallelStats`
 * @param options as `mergeVocabParallelStats` takes them, with `partials` for `stats`.
 * @returns the result of `mergeVocabParallelStats`.
 * @throws as `mergeVocabParallelStats` does.
 * @example
 * const labels = new Int32Array([1]);
 * const own = partials({ logits: new Float32Array([1, 2]), vocabSize: 2, labels });
 * mergePartials({ ...own, labels }).logps; // [-0.3133]
 */
export function mergePartials(options: MergePartialsOptions): Logps;
export function mergePartials(options: OnDevice<MergePartialsOptions>): OnDevice<Logps>;
export function mergePartials(options: MergePartialsOptions | OnDevice<MergePartialsOptions>): Logps | OnDevice<Logps> {
  return mergeStats(options as never, NAMES);
}
