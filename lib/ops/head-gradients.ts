// The gradients at a head, as results of a call.
import type * as native from '../addon/operations.js';
import { lengthOf } from '../args/arrays.js';
import type { FloatArray } from '../args/dtypes.js';
import type { CheckedLinear, CheckedLogits } from '../args/head.js';
import { expected, typeError } from '../errors.js';
import type { Results } from '../runtime/results.js';

/** The gradients of a linear head, in float32 whatever its inputs: [N, H], [V, H] and, where there is a bias, [V]. */
export interface LinearGradients {
  gradHidden: Float32Array<ArrayBuffer>;
  gradWeight: Float32Array<ArrayBuffer>;
  gradBias?: Float32Array<ArrayBuffer>;
}

export const LINEAR_GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;

/** The gradient of logits: of their class, their length and their row stride. */
export function logitsGradients(head: CheckedLogits<FloatArray>, results: Results): native.LogitsGradients {
  for (const name of LINEAR_GRADIENTS) results.refuse(name, 'the head is logits');
  const { dtype, rows, vocabSize, rowStride, totalVocab, logits } = head;
  // has_padding of native/head.h: in rows of the whole vocabulary, the other columns are other shards' and not written.
  const written = rowStride === vocabSize || totalVocab <= vocabSize || rowStride < totalVocab;
  const shape = { unit: 'row', dtype, rows, columns: vocabSize, rowStride } as const;
  return { kind: 'logits', logits: results.sameAs('gradLogits', logits, written, shape) };
}

/** With `accumulate`, the caller must give every buffer. */
export function linearGradients(head: CheckedLinear, results: Results, accumulate: boolean): native.LinearGradients {
  const { rows, vocabSize, hiddenSize: columns, hidden, weight, bias } = head;
  results.refuse('gradLogits', 'the head is hidden states');
  for (const name of bias === undefined ? LINEAR_GRADIENTS.slice(0, 2) : LINEAR_GRADIENTS) {
    if (accumulate && !results.has(name)) {
      throw typeError('ERR_ARG_TYPE', expected('a Float32Array to add to', `out.${name}`, undefined));
    }
  }
  const entry = 'vocabulary entry';
  const gradHidden = results.float32('gradHidden', lengthOf(hidden), { unit: 'row', rows, columns });
  const gradWeight = results.float32('gradWeight', lengthOf(weight), { unit: entry, rows: vocabSize, columns });
  if (bias === undefined) results.refuse('gradBias', 'there is no bias');
  const gradBias = bias && results.float32('gradBias', lengthOf(bias), { unit: entry });
  return { kind: 'linear', accumulate, hidden: gradHidden, weight: gradWeight, bias: gradBias };
}
