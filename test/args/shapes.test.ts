/** Sizes that are given are exact, tensors bring their shape, and what could be taken for another shape is refused. */
import { linearLogps, linearLogpsBackward, tokenLogps, tokenLogpsBackward, vocabParallelStats } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';

const codeOf = (call: () => unknown) => thrownBy(call).code;
const [N, V, H] = [4, 8, 16];
const floats = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i) * 3);
const labels = Int32Array.of(1, 7, 0, 3);
const logits = floats(N * V);
const head = { hidden: floats(N * H), weight: floats(V * H), labels };

describe('sizes that are given', () => {
  it.each([
    // The product divides in all of them: without vocabSize or hiddenSize, they pass with other rows.
    ['a label too few', () => tokenLogps({ logits: floats(65 * 64), labels: new Int32Array(64), vocabSize: 64 }), /64/],
    ['half the labels', () => tokenLogps({ logits, labels: labels.subarray(2), vocabSize: V }), /vocabSize = 8/],
    ['a longer array', () => tokenLogps({ logits: floats(N * V + 1), labels, vocabSize: V }), /vocabSize = 8/],
    ['half the labels, linear', () => linearLogps({ ...head, labels: labels.subarray(2), hiddenSize: H }), /H = 16/],
    ['half the labels, by V', () => linearLogps({ ...head, labels: labels.subarray(2), vocabSize: V }), /H = 16/],
    ['another V', () => linearLogps({ ...head, hiddenSize: H, vocabSize: V + 1 }), /weight/],
    ['another H', () => linearLogps({ ...head, hiddenSize: H / 2 }), /hidden .*\(64\)/],
  ])('%s is an error', (_, call, message) => {
    expect(codeOf(call)).toBe('ERR_ARG_LENGTH');
    expect(call).toThrow(message);
  });

  it('leave two lengths with rowStride', () => {
    const at = (length: number) => () => tokenLogps({ logits: floats(length), labels, vocabSize: V, rowStride: 10 });
    for (const length of [40, 38]) expect(at(length)().logps.length).toBe(N);
    for (const length of [37, 39, 41, 48]) expect(codeOf(at(length))).toBe('ERR_ARG_LENGTH');
  });

  it('are asked for where padding could count as vocabulary', () => {
    const call = () => tokenLogps({ logits: floats(N * 10), labels, rowStride: 10 });
    expect(codeOf(call)).toBe('ERR_ARG_TYPE');
    expect(call).toThrow(/vocabSize/);
  });

  it('change no bit', () => {
    expect(tokenLogps({ logits, labels, vocabSize: V })).toEqual(tokenLogps({ logits, labels }));
    expect(linearLogps({ ...head, vocabSize: V })).toEqual(linearLogps(head));
    expect(linearLogps({ ...head, hiddenSize: H })).toEqual(linearLogps(head));
  });
});

describe('tensors', () => {
  it.each([[[N, V]], [[1, N, V]], [[2, 2, V]]])('of logits %j', (dims) => {
    const plain = tokenLogps({ logits, labels });
    expect(tokenLogps({ logits: { data: logits, dims }, labels } as never)).toEqual(plain);
    const shaped = { logits: { data: logits, shape: dims }, labels: { data: labels, dims: [2, 2] }, vocabSize: V };
    expect(tokenLogps(shaped as never)).toEqual(plain);
    const { lse } = plain;
    const backward = { labels, lse, gradLogps: new Float32Array(N).fill(1) };
    expect(tokenLogpsBackward({ ...backward, logits: { data: logits, dims } } as never)).toEqual(
      tokenLogpsBackward({ ...backward, logits }),
    );
  });

  it('of a linear head', () => {
    const hidden = { data: head.hidden, dims: [2, 2, H] };
    const weight = { data: head.weight, dims: [V, H] };
    expect(linearLogps({ hidden, weight, labels } as never)).toEqual(linearLogps(head));
    const { lse } = linearLogps(head);
    const backward = { labels, lse, gradLogps: new Float32Array(N).fill(1) };
    expect(linearLogpsBackward({ hidden, weight, ...backward } as never)).toEqual(
      linearLogpsBackward({ ...head, ...backward }),
    );
    const stats = vocabParallelStats({ hidden, weight, labels, totalVocab: V } as never);
    expect(stats).toEqual(vocabParallelStats({ ...head, totalVocab: V }));
  });

  it('have the type of their 16-bit numbers', () => {
    const data = Uint16Array.from(logits, (_, i) => 0x3c00 + i);
    for (const dtype of ['float16', 'bfloat16'] as const) {
      const tensor = { data, dims: [N, V], type: dtype };
      expect(tokenLogps({ logits: tensor, labels } as never)).toEqual(tokenLogps({ logits: data, labels, dtype }));
    }
    const contradiction = { logits: { data, dims: [N, V], type: 'float16' }, labels, dtype: 'bfloat16' };
    expect(codeOf(() => tokenLogps(contradiction as never))).toBe('ERR_ARG_TYPE');
  });

  it.each([
    ['the product of the shape is not the length', { logits: { data: logits, dims: [N, V + 1] }, labels }, 'LENGTH'],
    ['rows and columns swapped', { logits: { data: logits, dims: [V, N] }, labels }, 'LENGTH'],
    ['another vocabSize', { logits: { data: logits, dims: [N, V] }, labels, vocabSize: V / 2 }, 'LENGTH'],
    ['data is a function', { logits: { data: async () => logits, shape: [N, V] }, labels }, 'TYPE'],
    [
      'labels of one dimension: no error',
      { logits: { data: logits, dims: [2, 2, V] }, labels: { data: labels, dims: [4] } },
      undefined,
    ],
    [
      'batch and time swapped',
      { logits: { data: floats(6 * V), dims: [2, 3, V] }, labels: { data: new Int32Array(6), dims: [3, 2] } },
      'LENGTH',
    ],
    ['no labels of this shape', { logits, labels: { data: labels, dims: [5] } }, 'LENGTH'],
  ])('%s', (_, options, code) => {
    if (code === undefined) expect(tokenLogps(options as never).logps.length).toBe(N);
    else expect(codeOf(() => tokenLogps(options as never))).toBe(`ERR_ARG_${code}`);
  });

  it('in memory that cannot be read say what to pass', () => {
    const tensor = Object.defineProperty({ dims: [N, V] }, 'data', {
      get() {
        throw new Error('The data is not on CPU.');
      },
    });
    expect(() => tokenLogps({ logits: tensor, labels } as never)).toThrow(/logits\.data.*not on CPU.*getData\(\)/);
  });

  it('a weight of [H, V] is refused', () => {
    const weight = { data: head.weight, dims: [H, V] };
    const call = () => linearLogps({ ...head, weight } as never);
    expect(codeOf(call)).toBe('ERR_ARG_LENGTH');
    expect(call).toThrow(/\[V, 16\].*\[16, 8\]/);
  });
});
