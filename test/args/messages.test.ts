/** What messages say beside what was wrong: sizes, the valid range, the nearest name, what to use instead. */
import { criticUpdate, linearLogps, tokenLogps, trajectoryPreferenceLoss, turnPreferenceLoss } from 'sweet-rl';
import { policyGradientLoss } from 'sweet-rl/objectives';
import { expect, it } from 'vitest';

const logits = new Float32Array(12);
const labels = Int32Array.of(0, 1, 2);
const loss = {
  logps: new Float32Array(3),
  refLogps: new Float32Array(3),
  turnOffsets: Int32Array.of(0, 1, 3),
  chosen: Int32Array.of(0),
  rejected: Int32Array.of(1),
};
const { logps: _, ...batch } = loss;
const update = { ...batch, logits, labels, trajectoryOffsets: Int32Array.of(0, 1, 2) };

it.each<[string, () => unknown, RegExp]>([
  [
    'V and ignoreIndex',
    () => tokenLogps({ logits, labels: Int32Array.of(0, 4, 1), ignoreIndex: -7 }),
    /V = 4.*-7.*\[1\].* 4$/,
  ],
  ['V of a shard', () => tokenLogps({ logits, vocabSize: 4, labels: Int32Array.of(0, 9, 1) }), /V = 4/],
  [
    'the end of offsets',
    () => turnPreferenceLoss({ ...loss, turnOffsets: Int32Array.of(0, 1, 2) }),
    /end at 3, the number/,
  ],
  [
    'the end of trajectories',
    () => trajectoryPreferenceLoss({ ...loss, trajectoryOffsets: Int32Array.of(0, 1, 1) }),
    /end at 2, the number of turns/,
  ],
  [
    'the turns of a pair',
    () => turnPreferenceLoss({ ...loss, chosen: Int32Array.of(2) }),
    /a turn, 0 to 1, for chosen\[0\]/,
  ],
  [
    'the trajectories of a pair',
    () => criticUpdate({ ...update, rejected: Int32Array.of(-1) }),
    /a trajectory, 0 to 1, for rejected\[0\]/,
  ],
  ['the nearest option', () => tokenLogps({ logits, labels, temprature: 1 } as never), /did you mean temperature\?/],
  ['whatever the case', () => tokenLogps({ logits, labels, rowstride: 4 } as never), /did you mean rowStride\?/],
  [
    'the nearest result',
    () => tokenLogps({ logits, labels, out: { logp: loss.logps } } as never),
    /did you mean logps\?/,
  ],
  [
    'all options where none is near',
    () => tokenLogps({ logits, labels, colour: 1 } as never),
    /it knows logits, .*debug/,
  ],
  ['a typed array', () => tokenLogps({ logits: [1, 2], labels } as never), /use Float32Array\.from\(logits\)/],
  ['of integers', () => tokenLogps({ logits, labels: [0, 1, 2] } as never), /use Int32Array\.from\(labels\)/],
  [
    'a tensor of TensorFlow.js',
    () => tokenLogps({ logits: { shape: [3, 4], data: async () => logits }, labels } as never),
    /sweet-rl\/tfjs/,
  ],
  [
    'the shape of a weight',
    () => linearLogps({ hidden: new Float32Array(6), weight: { data: logits, dims: [2, 6] }, labels } as never),
    /\[V, 2\].*\[2, 6\]/,
  ],
])('%s', (_, call, message) => {
  expect(call).toThrow(message);
});

it('cuts the names that it repeats', () => {
  const name = 'x'.repeat(10_000);
  expect(() => tokenLogps({ logits, labels, [name]: 1 } as never)).toThrow(/^.{0,400}$/);
});

it.each([
  new Map([['logps', loss.logps]]),
  new Set(),
  new Date(0),
  new ArrayBuffer(8),
  new SharedArrayBuffer(8),
  Object(3),
])('refuses results in an object without names: %o', (out) => {
  for (const given of [{ logits, labels, out }, out]) {
    expect(() => tokenLogps(given as never)).toThrow(
      expect.objectContaining({
        code: 'ERR_ARG_TYPE',
        message: expect.stringMatching(/an options object for (out|tokenLogps)/),
      }),
    );
  }
  expect(() => policyGradientLoss({ logps: loss.logps, advantages: loss.logps, out } as never)).toThrow(/for out/);
});

it('takes options of a class, with their getters', () => {
  class Options {
    readonly labels = labels;
    get logits() {
      return logits;
    }
  }
  expect(tokenLogps(new Options())).toEqual(tokenLogps({ logits, labels }));
});
