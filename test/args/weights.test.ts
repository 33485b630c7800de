/** The types and the layout of a weight: which arrays need options, what tensors must have, what is refused. */
import {
  linearLogps,
  linearLogpsAsync,
  linearLogpsBackward,
  linearLogpsBackwardAsync,
  vocabParallelStats,
  vocabParallelStatsAsync,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';
import { inputsOf, otherHead, randomHead, transposed } from '../helpers/linear.ts';
import { type DType, type Stored, store } from '../helpers/storage.ts';

it('give the same bits on another thread', async () => {
  const head = otherHead(
    { N: 21, H: 19, V: 120, dtype: 'bfloat16', withBias: true },
    { weightDtype: 'float16', weightLayout: 'HV' },
  );
  const call = inputsOf(head);
  const forward = linearLogps(call);
  expect(await linearLogpsAsync(call)).toEqual(forward);
  const upstream = { lse: forward.lse, gradLogps: head.gradLogps };
  expect(await linearLogpsBackwardAsync({ ...call, ...upstream })).toEqual(
    linearLogpsBackward({ ...call, ...upstream }),
  );
  expect(await vocabParallelStatsAsync(call)).toEqual(vocabParallelStats(call));
});

describe('types', () => {
  const [N, H, V] = [3, 4, 6];
  const labels = Int32Array.of(0, 5, 2);
  const of = (length: number, dtype: DType) =>
    store(
      Float64Array.from({ length }, (_, i) => Math.sin(i) * 2),
      dtype,
    ).data;
  const codeOf = (options: object) => thrownBy(() => linearLogps({ labels, hiddenSize: H, ...options } as never));
  const call = (hidden: Stored, weight: Stored, options: object) =>
    linearLogps({ hidden, weight, labels, hiddenSize: H, ...options } as never).logps;

  it('are those of the array classes where these name one', () => {
    const [f32, bf16] = [of(N * H, 'float32'), of(N * H, 'bfloat16')];
    const [w32, w16] = [of(V * H, 'float32'), of(V * H, 'bfloat16')];
    const mixed = call(bf16, w32, { dtype: 'bfloat16', weightDtype: 'float32' });
    expect(call(bf16, w32, { dtype: 'bfloat16' })).toEqual(mixed);
    expect(call(f32, w16, { dtype: 'float32', weightDtype: 'bfloat16' })).toEqual(
      call(f32, w16, { weightDtype: 'bfloat16' }),
    );
    expect(call(bf16, w16, { dtype: 'bfloat16', weightDtype: 'bfloat16' })).toEqual(
      call(bf16, w16, { dtype: 'bfloat16' }),
    );
  });

  it('are those of tensors', () => {
    const [hidden, weight, bias] = [of(N * H, 'bfloat16'), of(V * H, 'float16'), of(V, 'float16')];
    const expected = call(hidden, weight, { dtype: 'bfloat16', weightDtype: 'float16', bias });
    const tensors = {
      hidden: { data: hidden, dims: [1, N, H], type: 'bfloat16' },
      weight: { data: weight, dims: [V, H], dtype: 'float16' },
    };
    for (const each of [bias, { data: bias, dims: [V], type: 'float16' }]) {
      expect(linearLogps({ labels, ...tensors, bias: each } as never).logps).toEqual(expected);
    }
    const other = { labels, ...tensors, bias: { data: bias, dims: [V], type: 'bfloat16' } };
    expect(thrownBy(() => linearLogps(other as never))).toMatchObject({
      code: 'ERR_ARG_TYPE',
      message: expect.stringMatching(/'float16' for the type of bias but received "bfloat16"/),
    });
    const contradiction = { labels, ...tensors, weightDtype: 'bfloat16' };
    expect(thrownBy(() => linearLogps(contradiction as never)).message).toMatch(/'float16'.*weight.*weightDtype/);
  });

  it.each([
    ['of no type', { hidden: of(12, 'float32'), weight: of(24, 'bfloat16') }, 'TYPE', /weightDtype but received undef/],
    [
      'of another class',
      { hidden: of(12, 'float32'), weight: of(24, 'float32'), weightDtype: 'float16' },
      'TYPE',
      /weightDtype/,
    ],
    [
      'of no known type',
      { hidden: of(12, 'float32'), weight: of(24, 'float16'), weightDtype: 'int8' },
      'VALUE',
      /weightDtype/,
    ],
    [
      'null',
      { hidden: of(12, 'float16'), weight: of(24, 'float16'), dtype: 'float16', weightDtype: null },
      'TYPE',
      /weightDtype/,
    ],
    [
      'a bias of 16 bits beside a float32 weight',
      { hidden: of(12, 'float16'), weight: of(24, 'float32'), dtype: 'float16', bias: of(6, 'float16') },
      'TYPE',
      /Float32Array, as weight has float32, for bias/,
    ],
    [
      'a bias of another class',
      { hidden: of(12, 'float32'), weight: of(24, 'float32'), bias: new Float64Array(6) },
      'TYPE',
      /for bias .*Float64Array/,
    ],
    [
      'a bias that is too long',
      { hidden: of(12, 'float32'), weight: of(24, 'float16'), weightDtype: 'float16', bias: of(7, 'float32') },
      'LENGTH',
      /V = 6 elements for bias/,
    ],
    [
      'a weight of another length',
      { hidden: of(12, 'float32'), weight: of(25, 'float16'), weightDtype: 'float16' },
      'LENGTH',
      /for weight/,
    ],
  ])('%s is refused', (_, options, code, message) => {
    const thrown = codeOf(options);
    expect(thrown.code).toBe(`ERR_ARG_${code}`);
    expect(thrown.message).toMatch(message);
  });
});

describe('layouts', () => {
  const { hidden, weight, labels } = randomHead({ N: 3, H: 4, V: 6, dtype: 'float32' });
  const HV = transposed(weight, 6, 4);
  const failure = (options: object) => thrownBy(() => linearLogps({ hidden, labels, ...options } as never));

  it.each(['vh', 'hv', '', 'V, H'])('%s is none', (weightLayout) => {
    expect(failure({ weight, weightLayout })).toMatchObject({
      code: 'ERR_ARG_VALUE',
      message: expect.stringMatching(/'VH' \| 'HV' for weightLayout/),
    });
  });

  it('must be those of tensors', () => {
    const expected = linearLogps({ hidden, weight, labels });
    const ofHV = { data: HV, dims: [4, 6] };
    for (const sizes of [{}, { hiddenSize: 4 }, { vocabSize: 6 }, { hiddenSize: 4, vocabSize: 6 }]) {
      const call = { hidden, labels, ...sizes };
      expect(linearLogps({ ...call, weight: ofHV, weightLayout: 'HV' })).toEqual(expected);
      expect(linearLogps({ ...call, weight: HV, weightLayout: 'HV' })).toEqual(expected);
      for (const [dims, weightLayout] of [
        [[4, 6], undefined],
        [[4, 6], 'VH'],
        [[6, 4], 'HV'],
        [[24], 'HV'],
        [[1, 6, 4], undefined],
        [[1, 4, 6], 'HV'],
      ]) {
        const thrown = failure({ ...sizes, weight: { data: HV, dims }, weightLayout });
        expect(thrown.code).toBe('ERR_ARG_LENGTH');
        expect(thrown.message).toMatch(/weightLayout is '(VH|HV)'/);
        expect(thrown.message).toContain(`[${(dims as number[]).join(', ')}]`);
      }
    }
  });
});
