// Vocabulary-parallel heads: which entries of the vocabulary a head has.
import type { Head } from '../addon/operations.js';
import { expected, rangeError } from '../errors.js';
import { MAX_VOCAB_SIZE } from './head.js';
import { integer } from './scalars.js';

/** Of a head with a shard of the vocabulary; labels are token ids of the whole vocabulary. */
export interface ShardOptions {
  /** The token id of the head's first entry; 0 by default. */
  vocabOffset?: number | undefined;
  /** The size of the whole vocabulary; that of the head by default. */
  totalVocab?: number | undefined;
}

export const SHARD_OPTIONS = ['vocabOffset', 'totalVocab'] as const;

/** Sets the shard of a checked head. */
export function checkShard(options: ShardOptions, head: Head): void {
  const { vocabSize } = head;
  const total = integer('totalVocab', options.totalVocab, vocabSize, Math.max(vocabSize, 1), MAX_VOCAB_SIZE);
  const offset = integer('vocabOffset', options.vocabOffset, 0, 0, MAX_VOCAB_SIZE);
  if (offset > total - vocabSize) {
    const rule = `at most ${total - vocabSize}, as the head has ${vocabSize} of ${total} vocabulary entries,`;
    throw rangeError('ERR_ARG_VALUE', expected(rule, 'vocabOffset', offset));
  }
  head.vocabOffset = offset;
  head.totalVocab = total;
}
