/**
 * Arrays that are not what they were when they were looked at: another thread lets their buffer grow, a getter among the
 * options takes their memory away, a subclass tells another length. No call may touch what is not there.
 */
import {
  criticUpdate,
  linearLogps,
  tokenLogps,
  tokenLogpsBackward,
  turnAdvantages,
  turnPreferenceLoss,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { invoke, native } from '../../dist/addon/native.js';
import { thrownBy } from '../helpers/errors.ts';

const floats = (length: number) => new Float32Array(length).fill(1);
const ints = (...values: number[]) => Int32Array.from(values);

/** So large that its memory leaves the process when it is taken away. */
const MANY = 2 ** 22;

function takeAway(array: ArrayBufferView): void {
  structuredClone(array.buffer, { transfer: [array.buffer as ArrayBuffer] });
}

/** The options, of which the last one that is read takes the memory of another away. */
function withThief<T extends object>(options: T, name: string, value: unknown, victim: ArrayBufferView): T {
  return Object.defineProperty(options, name, {
    enumerable: true,
    get: () => {
      takeAway(victim);
      return value;
    },
  });
}

describe('memory that a getter takes away while the options are read', () => {
  const cases: [string, () => unknown][] = [
    [
      'logits',
      () => {
        const logits = floats(MANY);
        return tokenLogps(withThief({ logits, labels: ints(1, 2) }, 'entropy', false, logits));
      },
    ],
    [
      'labels',
      () => {
        const labels = new Int32Array(2 ** 18);
        return tokenLogps(withThief({ logits: floats(MANY), labels }, 'entropy', false, labels));
      },
    ],
    [
      'a result',
      () => {
        const gradLogits = floats(MANY);
        const given = { logits: floats(MANY), labels: ints(1, 2), lse: floats(2), gradLogps: floats(2) };
        const out = withThief({ gradLogits }, 'unused', undefined, gradLogits);
        return tokenLogpsBackward({ ...given, out } as never);
      },
    ],
    [
      'a weight',
      () => {
        const weight = floats(MANY);
        return linearLogps(withThief({ hidden: floats(8), weight, labels: ints(1, 2) }, 'entropy', false, weight));
      },
    ],
    [
      'log-probs of a loss',
      () => {
        const logps = floats(MANY);
        const turns = { turnOffsets: ints(0, 5, MANY), chosen: ints(0), rejected: ints(1) };
        return turnPreferenceLoss(withThief({ logps, refLogps: floats(MANY), ...turns }, 'nllCoef', 0.1, logps));
      },
    ],
    [
      'offsets',
      () => {
        const trajectoryOffsets = ints(0, 1, 2);
        const batch = { labels: ints(1, 2), refLogps: floats(2), turnOffsets: ints(0, 1, 2), trajectoryOffsets };
        const pairs = { chosen: ints(0), rejected: ints(1) };
        return criticUpdate(
          withThief({ logits: floats(16), ...batch, ...pairs }, 'accumulate', false, trajectoryOffsets) as never,
        );
      },
    ],
  ];

  it.each(cases)('%s', (_name, call) => {
    const error = thrownBy(call);
    expect(error).toBeInstanceOf(error.name === 'TypeError' ? TypeError : RangeError);
    expect(error.code).toMatch(/^ERR_(ARG_|UNKNOWN_OPTION)/);
  });
});

describe('a shared buffer that grows', () => {
  type Growable = SharedArrayBuffer & { grow(bytes: number): void };
  const growable = (elements: number, most: number) =>
    new (SharedArrayBuffer as unknown as new (bytes: number, options: object) => Growable)(4 * elements, {
      maxByteLength: 4 * most,
    });

  // As another thread would: between the first look at the offsets and the call.
  it('gives no turn more than the results have room for', () => {
    const buffer = growable(3, 1000);
    const turnOffsets = new Int32Array(buffer);
    turnOffsets.set([0, 1, 2]);
    const options = { logps: floats(2), refLogps: floats(2), turnOffsets, allowEmptyTurns: true };
    const given = Object.defineProperty(options, 'allowEmptyTurns', {
      get: () => {
        buffer.grow(4000);
        turnOffsets.fill(2, 3);
        return true;
      },
    });
    const result = (() => {
      try {
        return turnAdvantages(given);
      } catch (error) {
        return error as { code: string };
      }
    })();
    if (result instanceof Float32Array) expect(result.length).toBe(turnOffsets.length - 1);
    else expect(result.code).toMatch(/^ERR_/);
  });

  it('gives no pair more than the results have room for', () => {
    const buffer = growable(1, 1000);
    const chosen = new Int32Array(buffer);
    const options = { logps: floats(2), refLogps: floats(2), turnOffsets: ints(0, 1, 2), chosen, rejected: ints(1) };
    const given = Object.defineProperty(options, 'nllCoef', {
      enumerable: true,
      get: () => {
        buffer.grow(4000);
        return 0;
      },
    });
    expect(thrownBy(() => turnPreferenceLoss(given)).code).toBe('ERR_ARG_LENGTH');
  });
});

// What lib/ has checked may have changed when the native code looks at it: that does not trust the shapes it is told.
describe('arrays that are shorter than a native call says', () => {
  it('of logits', () => {
    const [N, V] = [2, 8];
    const shape = { dtype: 'float32', rows: N, vocabSize: V, rowStride: V, logitsLength: N * V } as const;
    const of = (elements: number, ...results: number[]) => {
      const [logps, lse, entropy] = results.map(floats) as [Float32Array, Float32Array, Float32Array];
      return invoke(native, 'logps', {
        head: {
          kind: 'logits',
          ...shape,
          vocabOffset: 0,
          totalVocab: 0,
          softcap: 0,
          temperature: 1,
          logits: floats(4 * N * V).subarray(0, elements),
        },
        labels: { wide: false, ignoreIndex: -100, data: ints(1, 2), mask: undefined },
        out: { logps, lse, entropy, argmax: undefined, sumSquaredProbs: undefined },
      });
    };
    expect(of(N * V, N, N, N)).toBe(undefined);
    for (const [elements, ...results] of [
      [N * V - 1, N, N, N],
      [N * V, N - 1, N, N],
      [N * V, N, N - 1, N],
      [N * V, N, N, N - 1],
    ] as const) {
      expect(of(elements, ...results)).toMatchObject({ code: 'shape' });
    }
  });

  it('of a loss', () => {
    const of = (turnOffsets: Int32Array, rejected: Int32Array, level: 'turn' | 'trajectory' = 'turn', weights = 2) =>
      invoke(native, 'preferenceLoss', {
        batch: {
          ...({ level, tokens: 2, turns: 2, trajectories: 0 } as const),
          labels: { wide: false, ignoreIndex: -100, data: undefined, mask: undefined, weights: floats(weights) },
          ...{ turnOffsets, trajectoryOffsets: undefined },
          pairs: { count: 1, chosen: ints(0), rejected, weights: undefined },
        },
        options: {
          ...({ normalization: 'sum', allowEmptyTurns: false } as const),
          pairLoss: {
            terms: [{ type: 'sigmoid', weight: 1 }],
            parameters: {
              ...({ beta: 0.1, labelSmoothing: 0, gamma: 0.5, discopopTau: 0.05 } as const),
              ...({ fDivergence: 'reverse_kl', fAlpha: 0.5, dpopLambda: 0 } as const),
            },
          },
          ...{ pairDenominator: 0, nllCoef: 0, nllDenominator: 0, ldAlpha: 1, useWeighting: false },
        },
        logps: floats(2),
        refLogps: floats(2),
        sumSquaredProbs: undefined,
        out: {
          scalars: new Float64Array(4),
          ...{ pairLosses: floats(1), margins: floats(1), chosenRewards: floats(1), rejectedRewards: floats(1) },
          ...{ turnAdvantages: floats(2), gradLogps: floats(2) },
        },
      });
    expect(of(ints(0, 1, 2), ints(1))).toBe(undefined);
    expect(of(ints(), ints(1))).toMatchObject({ code: 'shape' });
    expect(of(ints(0, 1, 2), ints())).toMatchObject({ code: 'shape' });
    expect(of(ints(0, 1, 2), ints(1), 'trajectory')).toMatchObject({ code: 'shape' });
    expect(of(ints(0, 1, 2), ints(1), 'turn', 1)).toMatchObject({ code: 'shape' });
  });
});
