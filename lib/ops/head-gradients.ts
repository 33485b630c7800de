// The gradients at a head, as results of a call.
import type * as native from '../addon/operations.js';
import type { FloatArray } from '../args/dtypes.js';
import type { CheckedLinear, CheckedLogits, LinearGradientOptions, WeightLayout } from '../args/head.js';
import { boolean } from '../args/scalars.js';
import { checkMatrixOfOut } from '../args/tensors.js';
import { expected, rangeError, typeError } from '../errors.js';
import type { Matrix } from '../runtime/assert-finite.js';
import type { Results } from '../runtime/results.js';

/** The gradients of a linear head, in float32 whatever its inputs: [N, H], [V, H] (or [H, V], as the weight) and, where there is a bias, [V]. */
export interface LinearGradients {
  gradHidden: Float32Array<ArrayBuffer>;
  gradWeight: Float32Array<ArrayBuffer>;
  gradBias?: Float32Array<ArrayBuffer>;
}

type UnlessFrozen<Frozen, Gradients> = [Frozen] extends [true]
  ? unknown
  : true extends Frozen
    ? Partial<Gradients>
    : Gradients;

/** Without those of what is frozen, by the types of `frozenWeight` and `frozenHidden`. */
export type LinearGradientsOf<FrozenWeight, FrozenHidden> = true extends FrozenWeight | FrozenHidden
  ? UnlessFrozen<FrozenHidden, Pick<LinearGradients, 'gradHidden'>> &
      UnlessFrozen<FrozenWeight, Pick<LinearGradients, 'gradWeight' | 'gradBias'>>
  : LinearGradients;

export const LINEAR_GRADIENTS = ['gradHidden', 'gradWeight', 'gradBias'] as const;

/** The gradient of logits: of their class, their length and their row stride. */
export function logitsGradients(head: CheckedLogits<FloatArray>, results: Results): native.LogitsGradients {
  for (const name of LINEAR_GRADIENTS) results.refuse(name, 'the head is logits');
  const { dtype, rows, vocabSize, rowStride, totalVocab, logits } = head;
  // has_padding of native/head.h: in rows of the whole vocabulary, the other columns are other shards' and not written.
  const written = rowStride === vocabSize || totalVocab <= vocabSize || rowStride < totalVocab;
  const shape = { unit: 'row', dtype, rows, columns: vocabSize, rowStride } as const;
  checkMatrixOfOut(results.out, 'gradLogits', shape);
  return { kind: 'logits', logits: results.sameAs('gradLogits', logits, written, shape) };
}

/** Of the parts of the head that are not frozen. With `accumulate`, the caller must give every buffer. */
export function linearGradients(
  head: CheckedLinear,
  results: Results,
  options: LinearGradientOptions & { weightLayout?: WeightLayout | undefined },
): native.LinearGradients {
  const { rows, vocabSize, hiddenSize: columns, bias } = head;
  const accumulate = boolean('accumulate', options.accumulate, false);
  const frozenWeight = boolean('frozenWeight', options.frozenWeight, false);
  const frozenHidden = boolean('frozenHidden', options.frozenHidden, false);
  if (frozenWeight && frozenHidden) {
    const rule = expected('false, as frozenWeight is true and no gradient would be left,', 'frozenHidden', true);
    throw rangeError('ERR_ARG_VALUE', rule);
  }
  results.refuse('gradLogits', 'the head is hidden states');
  const gradient = (name: string, length: number, why: string | undefined, shape: Omit<Matrix, 'name' | 'array'>) => {
    if (why !== undefined) {
      results.refuse(name, why);
      return undefined;
    }
    if (accumulate && !results.has(name)) {
      throw typeError('ERR_ARG_TYPE', expected('a Float32Array to add to', `out.${name}`, undefined));
    }
    if (shape.columns !== undefined) checkMatrixOfOut(results.out, name, shape as Required<typeof shape>);
    return results.float32(name, length, shape);
  };
  const ofWeight = frozenWeight ? 'frozenWeight is true' : undefined;
  const ofEntry = { unit: 'vocabulary entry', rows: vocabSize } as const;
  return {
    kind: 'linear',
    accumulate,
    hidden: gradient('gradHidden', rows * columns, frozenHidden ? 'frozenHidden is true' : undefined, {
      unit: 'row',
      rows,
      columns,
    }),
    weight: gradient(
      'gradWeight',
      vocabSize * columns,
      ofWeight,
      options.weightLayout === 'HV' ? { unit: 'row', rows: columns, columns: vocabSize } : { ...ofEntry, columns },
    ),
    bias: gradient('gradBias', vocabSize, bias === undefined ? 'there is no bias' : ofWeight, ofEntry),
  };
}
