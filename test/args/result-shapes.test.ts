/** Tensors in `out` have the shape and the type of the result, as tensors among the inputs have theirs. */
import {
  linearDivergenceBackward,
  linearLogpsBackward,
  policyUpdate,
  tokenDivergence,
  tokenDivergenceBackward,
  tokenLogps,
  tokenLogpsBackward,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';

const [N, V, H] = [6, 4, 3];
const floats = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i));
const tensor = <A extends { length: number }>(data: A, ...dims: number[]) => ({ data, dims });
const labels = Int32Array.from({ length: N }, (_, i) => i % V);
const [lse, gradLogps] = [floats(N), floats(N)];
const backward = { labels, lse, gradLogps };
const logits = floats(N * V);
const head = { hidden: floats(N * H), weight: floats(V * H), hiddenSize: H, vocabSize: V };
const turns = { turnOffsets: Int32Array.of(0, 3, 6), chosen: Int32Array.of(0), rejected: Int32Array.of(1) };
const update = { labels, ...turns, refLogps: floats(N) };
const single = { ...head, weight: floats(H), vocabSize: 1, labels: new Int32Array(N), lse, gradLogps };
const divergence = { divergence: 'jsd', saved: new Float64Array(4 * N), gradDivergence: floats(N) } as const;
const padded = { logits: floats(N * 5), vocabSize: V, rowStride: 5 };

type Call = (options: never) => unknown;
/** The call without `out`, the result, its length, shapes that fit and shapes that do not. */
const cases: [what: string, Call, object, string, number, right: number[][], wrong: number[][]][] = [
  [
    'gradLogits',
    tokenLogpsBackward,
    { ...backward, logits, vocabSize: V },
    'gradLogits',
    N * V,
    [
      [N, V],
      [2, 3, V],
    ],
    [[V, N], [24]],
  ],
  ['gradLogits with padding', tokenLogpsBackward, { ...backward, ...padded }, 'gradLogits', N * 5, [[N, 5]], [[5, N]]],
  [
    'gradLogits, divergence',
    tokenDivergenceBackward,
    { ...divergence, logits, vocabSize: V, teacherLogits: logits },
    'gradLogits',
    N * V,
    [[1, N, V]],
    [[V, N]],
  ],
  ['gradLogits, update', policyUpdate, { ...update, logits, vocabSize: V }, 'gradLogits', N * V, [[N, V]], [[V, N]]],
  [
    'gradHidden',
    linearLogpsBackward,
    { ...backward, ...head },
    'gradHidden',
    N * H,
    [
      [N, H],
      [3, 2, H],
    ],
    [[H, N]],
  ],
  [
    'gradWeight',
    linearLogpsBackward,
    { ...backward, ...head },
    'gradWeight',
    V * H,
    [[V, H]],
    [[H, V], [1, V, H], [V * H]],
  ],
  [
    'gradWeight [H, V]',
    linearLogpsBackward,
    { ...backward, ...head, weightLayout: 'HV' },
    'gradWeight',
    V * H,
    [[H, V]],
    [[V, H]],
  ],
  ['gradWeight [H, 1]', linearLogpsBackward, { ...single, weightLayout: 'HV' }, 'gradWeight', H, [[H, 1]], [[1, H]]],
  ['gradWeight [1, H]', linearLogpsBackward, single, 'gradWeight', H, [[1, H]], [[H, 1]]],
  ['gradWeight, update', policyUpdate, { ...update, ...head }, 'gradWeight', V * H, [[V, H]], [[H, V]]],
  [
    'gradWeight, divergence',
    linearDivergenceBackward,
    { ...divergence, ...head, teacherHidden: floats(N * H), teacherWeight: floats(V * H) },
    'gradWeight',
    V * H,
    [[V, H]],
    [[H, V]],
  ],
  ['logps', tokenLogps, { logits: tensor(logits, 2, 3, V), labels }, 'logps', N, [[N], [2, 3], [1, 6]], [[3, 2]]],
  ['lse beside labels', tokenLogps, { logits, labels: tensor(labels, 2, 3) }, 'lse', N, [[N], [2, 3]], [[3, 2]]],
  [
    'gradLogits of rows in another order',
    tokenLogpsBackward,
    { ...backward, logits: tensor(logits, 2, 3, V) },
    'gradLogits',
    N * V,
    [[2, 3, V]],
    [[3, 2, V]],
  ],
  [
    'divergence',
    tokenDivergence,
    { logits: tensor(logits, 2, 3, V), teacherLogits: logits, divergence: 'jsd' },
    'divergence',
    N,
    [[2, 3]],
    [[3, 2]],
  ],
];

describe.each(cases)('%s', (_what, call, options, name, length, right, wrong) => {
  it('has its shape', () => {
    const expected = (call({ ...options } as never) as Record<string, Float32Array>)[name];
    for (const dims of right) {
      const data = new Float32Array(length);
      const result = call({ ...options, out: { [name]: tensor(data, ...dims) } } as never) as Record<string, unknown>;
      expect(result[name]).toBe(data);
      expect(data).toEqual(expected);
    }
    for (const dims of wrong) {
      const data = new Float32Array(length).fill(7);
      const thrown = thrownBy(() => call({ ...options, out: { [name]: tensor(data, ...dims) } } as never));
      expect(thrown).toMatchObject({ code: 'ERR_ARG_LENGTH', message: expect.stringContaining(`out.${name}`) });
      expect(data.every((x) => x === 7)).toBe(true);
    }
  });
});

describe('a tensor in out', () => {
  it('that is the logits is overwritten in place', () => {
    const own = tensor(logits.slice(), 2, 3, V);
    const { gradLogits } = tokenLogpsBackward({ ...backward, logits: own, out: { gradLogits: own as never } });
    expect(gradLogits).toBe(own.data);
    expect(gradLogits).toEqual(tokenLogpsBackward({ ...backward, logits, vocabSize: V }).gradLogits);
  });

  it('has the type of the result and an option of its name in messages', () => {
    const half = Uint16Array.from(logits, () => 0x3c00);
    const callWith = (out: object) => () =>
      tokenLogpsBackward({
        ...backward,
        logits: half,
        vocabSize: V,
        dtype: 'bfloat16',
        out: { gradLogits: out },
      } as never);
    expect(callWith({ data: half.slice(), dims: [N, V], type: 'bfloat16' })).not.toThrow();
    expect(callWith({ data: half.slice(), dims: [N, V], type: 'float16' })).toThrow(
      /'bfloat16' for the type of out\.gradLogits/,
    );
    expect(callWith({ data: half.slice(), dims: [N, V + 1] })).toThrow(/for out\.gradLogits\.data/);
  });
});
