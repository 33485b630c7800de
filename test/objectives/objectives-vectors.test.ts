/** sweet-rl/objectives on the shared cases: formulas in float64 (gradients by PyTorch's autograd), and executed released code. */
import * as objectives from 'sweet-rl/objectives';
import { describe, expect, it } from 'vitest';
import { expectCase, jsonVectors } from '../helpers/json-vectors.ts';

const functions = objectives as unknown as Record<string, (options: never) => unknown>;
const vectors = jsonVectors('objectives').filter(({ op }) => op in functions);

it('has cases of every function', () => {
  expect(vectors.map(({ op }) => op).sort()).toEqual(Object.keys(functions).sort());
});

describe.each(vectors)('$op', ({ op, cases }) => {
  it.each(cases)('$name', (given) => expectCase(functions[op]!, given));
});
