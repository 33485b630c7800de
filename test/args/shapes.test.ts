/** Sizes that are given are exact, tensors bring their shape, and what could be taken for another shape is refused. */
import {
  criticUpdate,
  filteredNll,
  linearDivergence,
  linearLogps,
  linearLogpsBackward,
  policyUpdate,
  tokenDivergence,
  tokenLogps,
  tokenLogpsBackward,
  turnPreferenceLoss,
  vocabParallelStats,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';

function assertNever(): never {
  throw new Error('read');
}
const codeOf = (call: () => unknown) => thrownBy(call).code;
const [N, V, H] = [4, 8, 16];
const floats = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i) * 3);
const labels = Int32Array.of(1, 7, 0, 3);
const logits = floats(N * V);
const head = { hidden: floats(N * H), weight: floats(V * H), labels };
const pair = { chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
const structure = { turnOffsets: Int32Array.of(0, 2, 4), trajectoryOffsets: Int32Array.of(0, 1, 2) };
const update = { labels, ...structure, ...pair };

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

  it.each([
    // vocabSize alone: labels, hidden, weight or vocabSize may be the wrong one.
    [
      { vocabSize: 16 },
      /one H for hidden and weight .* 16 by hidden \(4 rows, labels\.length\) and H = 8 .*\(16 rows, vocabSize\)$/,
    ],
    [{ vocabSize: 7 }, /^Expected 7 rows \(vocabSize\) of one length for weight/],
    [{ vocabSize: 7, hiddenSize: H }, /^Expected 7 rows \(vocabSize\) of H = 16 elements \(hiddenSize\) for weight/],
    [{ hiddenSize: 8 }, /^Expected 4 rows \(labels\.length\) of H = 8 elements \(hiddenSize\) for hidden/],
  ])('that are wrong are named: %o', (sizes, message) => {
    const call = () => linearLogps({ ...head, ...sizes });
    expect(codeOf(call)).toBe('ERR_ARG_LENGTH');
    expect(call).toThrow(message);
  });

  it('of a reference name the head that they are from', () => {
    const refWeight = floats(2 * V * H);
    const call = () =>
      criticUpdate({ ...update, hidden: head.hidden, weight: head.weight, refHidden: head.hidden, refWeight });
    expect(call).toThrow(
      /one H for refHidden and refWeight .* 16 by refHidden .* 32 .*\(8 rows, V of the trained head, from weight\)/,
    );
  });

  it.each([
    ['weight', {}],
    ['vocabSize', { vocabSize: V }],
  ])('of a teacher name the head that they are from, by %s', (source, sizes) => {
    const teacher = { teacherHidden: head.hidden, teacherWeight: floats(2 * V * H) };
    const call = () => linearDivergence({ ...head, hiddenSize: H, ...sizes, ...teacher, divergence: 'forward_kl' });
    expect(codeOf(call)).toBe('ERR_ARG_LENGTH');
    expect(call).toThrow(`32 by teacherWeight (8 rows, V of the student's head, from ${source})`);
    const weight = () =>
      linearDivergence({ ...head, ...sizes, hiddenSize: H, ...teacher, teacherHiddenSize: H } as never);
    expect(weight).toThrow(`8 rows (V of the student's head, from ${source}) of H = 16 elements`);
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

  it('are asked for where elements between hidden states could count as hidden states', () => {
    const call = () => linearLogps({ ...head, hidden: floats(N * (H + 2)), hiddenStride: H + 2 });
    expect(codeOf(call)).toBe('ERR_ARG_TYPE');
    expect(call).toThrow(/hiddenSize/);
  });

  it('change no bit', () => {
    expect(tokenLogps({ logits, labels, vocabSize: V })).toEqual(tokenLogps({ logits, labels }));
    expect(linearLogps({ ...head, vocabSize: V })).toEqual(linearLogps(head));
    expect(linearLogps({ ...head, hiddenSize: H })).toEqual(linearLogps(head));
  });
});

describe('the dtype of a reference', () => {
  const half = (n: number) => Uint16Array.from({ length: n }, (_, i) => 0x3c00 + (i % 50));

  it('is inherited by a Uint16Array alone', () => {
    const mixed = { ...update, logits: half(N * V), dtype: 'bfloat16' as const };
    expect(Number.isFinite(criticUpdate({ ...mixed, refLogits: floats(N * V) }).loss)).toBe(true);
    const heads = { hidden: half(N * H), weight: half(V * H), dtype: 'bfloat16' as const };
    const reference = { refHidden: head.hidden, refWeight: head.weight };
    expect(Number.isFinite(criticUpdate({ ...update, ...heads, ...reference }).loss)).toBe(true);
    expect(criticUpdate({ ...mixed, refLogits: half(N * V) })).toEqual(
      criticUpdate({ ...mixed, refLogits: half(N * V), refDtype: 'bfloat16' }),
    );
  });

  it('is not named with a value that it was not given', () => {
    const call = () => criticUpdate({ ...update, logits, dtype: 'float32', refLogits: half(N * V) });
    expect(codeOf(call)).toBe('ERR_ARG_TYPE');
    expect(call).toThrow(/for refDtype but received undefined/);
    const wrong = () => criticUpdate({ ...update, logits, refLogits: floats(N * V), refDtype: 'bfloat16' });
    expect(wrong).toThrow(/for refDtype but received "bfloat16"/);
  });

  it('is no option elsewhere, where dtype is meant', () => {
    const call = () => tokenLogps({ logits, labels, refDtype: 'bfloat16' } as never);
    expect(codeOf(call)).toBe('ERR_UNKNOWN_OPTION');
    expect(call).toThrow(/"refDtype": did you mean dtype\?/);
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
    const apart = Float32Array.from({ length: N * (H + 2) }, (_, i) =>
      i % (H + 2) < H ? head.hidden[Math.floor(i / (H + 2)) * H + (i % (H + 2))]! : NaN,
    );
    const strided = { hidden: { data: apart, dims: [1, N, H + 2] }, hiddenStride: H + 2, hiddenSize: H };
    expect(linearLogps({ ...strided, weight, labels } as never)).toEqual(linearLogps(head));
    expect(codeOf(() => linearLogps({ ...strided, weight, labels, hiddenStride: H + 1 } as never))).toBe(
      'ERR_ARG_LENGTH',
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

  const shapes: [what: string, shape: object, code: string, message: RegExp][] = [
    [
      'a typed array',
      { dims: Int32Array.of(N, V) },
      'TYPE',
      /an Array of sizes for logits\.dims .*Int32Array\(2\).*Array\.from/,
    ],
    ['a typed array as the shape', { shape: Int32Array.of(N, V) }, 'TYPE', /an Array of sizes for logits\.shape/],
    ['like an Array', { dims: { 0: N, 1: V, length: 2 } }, 'TYPE', /an Array of sizes for logits\.dims/],
    ['a string', { dims: [N, V], shape: '4,8' }, 'TYPE', /an Array of sizes for logits\.shape/],
    ['an Array that throws', { dims: new Proxy([N, V], { get: () => assertNever() }) }, 'TYPE', /logits\.dims/],
    ['of texts', { dims: ['4', '8'] }, 'TYPE', /an integer >= 0 for logits\.dims\[0\] but received "4"/],
    ['of bigints', { dims: [4n, 8n] }, 'TYPE', /logits\.dims\[0\] but received 4n/],
    [
      'with a hole',
      { dims: Object.assign(new Array(3), { 0: N, 2: V }) },
      'TYPE',
      /logits\.dims\[1\] but received undefined/,
    ],
    ['with a fraction', { shape: [N + 0.5, V] }, 'VALUE', /logits\.shape\[0\] but received 4\.5/],
    ['below 0', { dims: [-N, -V] }, 'VALUE', /logits\.dims\[0\] but received -4/],
    ['of too many dimensions', { dims: new Array(2 ** 32 - 1) }, 'LENGTH', /at most 32 dimensions for logits\.dims/],
    ['empty', { dims: [] }, 'LENGTH', /1 elements, as its shape is \[\]/],
    [
      'contradictory',
      { dims: [N, V], shape: [V, N] },
      'LENGTH',
      /^Expected \[4, 8\], as logits\.dims .*logits\.shape .* \[8, 4\]$/,
    ],
    ['contradictory in rank', { dims: [N, V], shape: [1, N, V] }, 'LENGTH', /logits\.shape but received \[1, 4, 8\]/],
  ];
  it.each(shapes)('of a shape that is %s are refused', (_, shape, code, message) => {
    const call = () => tokenLogps({ logits: { data: logits, ...shape }, labels } as never);
    expect(codeOf(call)).toBe(`ERR_ARG_${code}`);
    expect(call).toThrow(message);
    const [name, sizes] = Object.entries(shape).at(-1)!;
    const others = { labels: { data: labels, [name]: sizes } };
    expect(codeOf(() => tokenLogps({ logits, ...others } as never))).toMatch(/^ERR_ARG_/);
    const turns = { logps: new Float32Array(4), rewards: Float32Array.of(1, 0), ...structure };
    expect(codeOf(() => filteredNll({ ...turns, mask: { data: new Uint8Array(4), [name]: sizes } } as never))).toMatch(
      /^ERR_ARG_/,
    );
  });

  it('of a frozen shape, of two equal ones, and with methods of these names are taken', () => {
    const plain = tokenLogps({ logits, labels });
    const dims = Object.freeze([N, V]);
    for (const more of [{}, { shape: [N, V] }, { shape: () => 0 }, { shape: null }]) {
      expect(tokenLogps({ logits: { data: logits, dims, ...more }, labels } as never)).toEqual(plain);
    }
  });

  it('of two types are refused', () => {
    const tensor = { data: new Uint16Array(N * V), dims: [N, V], type: 'float16', dtype: 'bfloat16' };
    const call = () => tokenLogps({ logits: tensor, labels } as never);
    expect(codeOf(call)).toBe('ERR_ARG_TYPE');
    expect(call).toThrow(/'float16'.*logits\.dtype.*"bfloat16"/);
  });

  it('of rows in two orders are refused, whatever rows they are', () => {
    const tensor = (length: number, ...dims: number[]) => ({ data: new Float32Array(length).fill(-1), dims });
    const given = { logits: tensor(6 * V, 2, 3, V), labels: new Int32Array(6) };
    const backward = { lse: tensor(6, 2, 3), gradLogps: tensor(6, 2, 3) };
    const turns = { turnOffsets: Int32Array.of(0, 3, 6), chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
    const update = { ...given, ...turns, refLogits: tensor(6 * V, 2, 3, V) };
    const loss = { ...turns, logps: tensor(6, 2, 3), refLogps: tensor(6, 2, 3) };
    const cases: [(options: never) => unknown, object, object][] = [
      [tokenLogps, given, { mask: { data: new Uint8Array(6), dims: [3, 2] } }],
      [tokenLogpsBackward, { ...given, ...backward }, { lse: tensor(6, 3, 2) }],
      [tokenLogpsBackward, { ...given, ...backward }, { gradLogps: tensor(6, 3, 2) }],
      [policyUpdate, update, { refLogits: tensor(6 * V, 3, 2, V) }],
      [policyUpdate, update, { tokenWeights: { data: new Float32Array(6).fill(1), dims: [3, 2] } }],
      [turnPreferenceLoss, loss, { refLogps: tensor(6, 3, 2) }],
      [turnPreferenceLoss, loss, { tokenWeights: tensor(6, 3, 2) }],
    ];
    for (const [call, valid, change] of cases) {
      call(valid as never);
      const thrown = thrownBy(() => call({ ...valid, ...change } as never));
      expect(thrown).toMatchObject({
        code: 'ERR_ARG_LENGTH',
        message: expect.stringContaining(Object.keys(change)[0]!),
      });
      expect(thrown.message).toMatch(/\[2,3\].*\[3,2\]/);
    }
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

describe('a message', () => {
  const tensor = (data: object, ...dims: number[]) => ({ data, dims });
  const teacher = { vocabSize: 4, divergence: 'jsd', logits: floats(8) };
  const topK = { ...teacher, teacherIndices: Int32Array.of(0, 1, 2, 3), teacherLogps: floats(4).fill(-2) };
  const linear = { ...head, labels: undefined, hiddenSize: H, divergence: 'jsd' };
  const ofTeacher = { teacherHidden: head.hidden, teacherWeight: head.weight };
  const apart = { hidden: tensor(floats(6 * 12), 6, 12), hiddenStride: 18, hiddenSize: H };
  const cases: [what: string, call: (options: never) => unknown, options: object, message: RegExp][] = [
    [
      'dims of logits',
      tokenLogps,
      { logits: tensor(logits, V, N), labels, vocabSize: V },
      /the shape of logits .*\[\.\.\., 4\]/,
    ],
    [
      'dims of hidden',
      linearLogps,
      { ...head, hidden: tensor(head.hidden, H, N), hiddenSize: H },
      /^Expected 4 rows \(labels\.length\) of H = 16 .* for hidden but received the shape \[16, 4\]$/,
    ],
    [
      'dims of teacherLogits',
      tokenDivergence,
      { ...teacher, teacherLogits: tensor(floats(8), 4, 2) },
      /^Expected 2 rows of V = 4 elements for teacherLogits but received the shape \[4, 2\]$/,
    ],
    [
      'dims of the student',
      tokenDivergence,
      { ...teacher, logits: tensor(floats(8), 4, 2), teacherLogits: floats(8) },
      /the shape of logits .*\[\.\.\., 2\]/,
    ],
    [
      'dims of teacherIndices',
      tokenDivergence,
      { ...topK, teacherIndices: tensor(topK.teacherIndices, 4, 1) },
      /for teacherIndices but received the shape \[4, 1\]$/,
    ],
    [
      'dims of teacherLogps',
      tokenDivergence,
      { ...topK, teacherLogps: tensor(topK.teacherLogps, 1, 4) },
      /^Expected 2 rows of K = 2 elements for teacherLogps but received the shape \[1, 4\]$/,
    ],
    [
      'dims of teacherHidden',
      linearDivergence,
      { ...linear, ...ofTeacher, teacherHidden: tensor(head.hidden, H, N) },
      /^Expected 4 rows \(the student's\) .*for teacherHidden but received the shape \[16, 4\]$/,
    ],
    [
      'the length of teacherHidden',
      linearDivergence,
      { ...linear, ...ofTeacher, teacherHidden: floats(60) },
      /^(?!.*labels).*teacherHidden/,
    ],
    [
      'the V of teacherWeight',
      linearDivergence,
      { ...linear, ...ofTeacher, teacherWeight: floats(24) },
      /V of the student.s head/,
    ],
    ['the stride of hidden', linearDivergence, { ...linear, ...ofTeacher, ...apart }, /^(?!.*labels).*hidden/],
  ];
  it.each(cases)('names %s', (_what, call, options, message) => {
    expect(codeOf(() => call(options as never))).toBe('ERR_ARG_LENGTH');
    expect(() => call(options as never)).toThrow(message);
  });
});
