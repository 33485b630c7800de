// A vocabulary whose words are cut into shards, one after the other: which of them a head has.
import { integer } from './checks.js';
import { expected, rangeError } from './errors.js';
import { MOST_WORDS } from './head.js';
import type { ShardArgs } from './native.js';

/** Of a head that has some words of the vocabulary: labels stay those of the whole. */
export interface ShardOptions {
  /** The first of the head's words; 0 by default. */
  vocabOffset?: number | undefined;
  /** All words there are; those of the head by default. */
  totalVocab?: number | undefined;
}

export const SHARD_OPTIONS = ['vocabOffset', 'totalVocab'] as const;

export function checkShard(options: ShardOptions, words: number): ShardArgs {
  const total = integer('totalVocab', options.totalVocab, words, Math.max(words, 1), MOST_WORDS);
  const offset = integer('vocabOffset', options.vocabOffset, 0, 0, MOST_WORDS);
  if (offset > total - words) {
    const rule = `at most ${total - words}, as the head has ${words} of ${total} words,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'vocabOffset', offset));
  }
  return [offset, total];
}
