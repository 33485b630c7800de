/**
 * Tokens whose probability is close to 1: lse comes from a float32 sum, or as float32, and may be the label's z itself, but the
 * other entries keep the digits of 1 - p. Every row is compared relative to its own gradient, however small.
 */
import {
  criticUpdate,
  linearLogps,
  linearLogpsBackward,
  tokenLogps,
  tokenLogpsBackward,
  trajectoryPreferenceLoss,
} from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits, type Tolerance } from '../helpers/compare.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, type DType, decode, store } from '../helpers/storage.ts';
import { linearLogits, linearLogpsBackward as linearOracle } from '../reference/linear-logps.ts';
import { tokenLogpsBackward as oracle } from '../reference/token-logps.ts';

// More columns than a block of the correction has.
const [N, H, V] = [41, 70, 203];

/** Labels 5 to 40 above the other logits; some tokens share a label, some are not confident at all. */
function confidentHead(dtype: DType) {
  const random = new Random(17);
  const weight = store(random.normals(V * H), dtype);
  const bias = store(random.normals(V), dtype);
  const labels = Int32Array.from({ length: N }, (_, i) => (i % 3 === 0 ? 7 : (i * 31) % V));
  const rows = Array.from(labels, (label, i) => {
    const row = weight.values.subarray(label * H, (label + 1) * H);
    const norm = row.reduce((sum, w) => sum + w * w, 0);
    return row.map((w) => (w * (i % 4 === 1 ? 1 : 5 + i)) / norm);
  });
  const hidden = store(
    rows.flatMap((row) => [...row]),
    dtype,
  );
  return { weight, bias, labels, hidden, gradLogps: Float32Array.from(random.normals(N)) };
}

// What is left where an lse of 4 to 50 leaves 1 - p just 12 bits; see LabelGradient in native/softmax.h.
const RELATIVE = 3e-4;

/** Of storing a gradient at logits. */
const storage: Record<DType, Tolerance> = {
  float32: () => 0,
  bfloat16: (x) => 2 ** -8 * Math.abs(x),
  float16: (x) => 2 ** -11 * Math.abs(x) + 2 ** -25,
};

/** Rows of a gradient, each relative to its own largest entry. */
function expectRows(
  name: string,
  actual: ArrayLike<number>,
  expected: Float64Array,
  length: number,
  relative = RELATIVE,
  stored: Tolerance = () => 0,
) {
  for (let i = 0; i * length < expected.length; i++) {
    const row = expected.subarray(i * length, (i + 1) * length);
    const largest = row.reduce((a, b) => Math.max(a, Math.abs(b)), 0);
    const own = Array.from({ length }, (_, v) => actual[i * length + v]!);
    expectClose(`${name} of row ${i}`, own, row, (x, v) => relative * largest + stored(x, v));
  }
}

/** Of linear heads, whose tile of gradients may be rounded to the storage type. */
function allowed(backend: string, dtype: DType, grads: Float32Array): { relative: number; tiny: Tolerance } {
  const onDevice = backend === 'device' && dtype !== 'float32';
  const rounds = onDevice || (backend === 'avx512bf16' && dtype === 'bfloat16');
  // A device has one scale for the float16 tile: subnormal numbers begin at 2^-27 of its largest gradient.
  const largest = grads.reduce((most, g) => Math.max(most, Math.abs(g)), 0);
  const tiny = onDevice && dtype === 'float16' ? 2 ** -38 * largest * V : 0;
  return { relative: rounds ? 1e-2 : RELATIVE, tiny: () => tiny };
}

/** Two trajectories over all rows. */
const batch = {
  turnOffsets: Int32Array.of(0, 9, 10, 28, N),
  trajectoryOffsets: Int32Array.of(0, 2, 4),
  chosen: Int32Array.of(0),
  rejected: Int32Array.of(1),
  refLogps: Float32Array.from({ length: N }, (_, i) => -0.1 * (i % 3)),
};

describe.each(DTYPES)('confident tokens, %s', (dtype) => {
  const { weight, bias, labels, hidden, gradLogps } = confidentHead(dtype);
  const stored = { hidden: hidden.data, weight: weight.data, bias: bias.data, dtype, hiddenSize: H, vocabSize: V };
  const head = { hidden: hidden.values, weight: weight.values, bias: bias.values };

  forEachBackend((backend) => {
    it.each([1, 0.7])('logits at temperature %d', (temperature) => {
      const logits = store(linearLogits({ ...head, labels }), dtype);
      const rows = { labels, temperature };
      const expected = oracle({ ...rows, logits: logits.values, gradLogps });
      const options = { ...rows, logits: logits.data, dtype, vocabSize: V };
      const { lse } = tokenLogps(options);
      const results = underThreadCounts(() => tokenLogpsBackward({ ...options, lse, gradLogps }).gradLogits);
      expectRows('gradLogits', decode(results[0]!.result, dtype), expected, V, RELATIVE, storage[dtype]);
      for (const { result } of results) expectSameBits('gradLogits', result, results[0]!.result);
      const copy = logits.data.slice();
      tokenLogpsBackward({ ...options, logits: copy, lse, gradLogps, out: { gradLogits: copy } });
      expectSameBits('in place', copy, results[0]!.result);
    });

    it('updates of logits', () => {
      const logits = store(linearLogits({ ...head, labels }), dtype);
      const update = criticUpdate({ ...batch, labels, logits: logits.data, dtype, vocabSize: V });
      const { gradLogps: upstream } = trajectoryPreferenceLoss({ ...batch, logps: update.logps });
      const expected = oracle({ labels, logits: logits.values, gradLogps: upstream });
      expectRows('gradLogits', decode(update.gradLogits, dtype), expected, V, RELATIVE, storage[dtype]);
    });

    it('updates of linear heads', () => {
      const update = criticUpdate({ ...batch, labels, ...stored });
      const { gradLogps: upstream } = trajectoryPreferenceLoss({ ...batch, logps: update.logps });
      const expected = linearOracle({ labels, ...head, gradLogps: upstream });
      const { relative, tiny } = allowed(backend, dtype, upstream);
      expectRows('gradHidden', update.gradHidden, expected.gradHidden, H, relative, tiny);
      expectRows('gradWeight', update.gradWeight, expected.gradWeight, V * H, relative, tiny);
      expectRows('gradBias', update.gradBias!, expected.gradBias, V, relative, tiny);
    });

    it.each([1, 0.7])('linear heads at temperature %d', (temperature) => {
      const rows = { labels, temperature };
      const expected = linearOracle({ ...rows, ...head, gradLogps });
      const options = { ...rows, ...stored };
      const { lse } = linearLogps(options);
      const results = underThreadCounts(() => linearLogpsBackward({ ...options, lse, gradLogps }));
      const { gradHidden, gradWeight, gradBias } = results[0]!.result;
      const { relative, tiny } = allowed(
        backend,
        dtype,
        gradLogps.map((g) => g / temperature),
      );
      expectRows('gradHidden', gradHidden, expected.gradHidden, H, relative, tiny);
      expectRows('gradWeight', gradWeight, expected.gradWeight, V * H, relative, tiny);
      expectRows('gradBias', gradBias!, expected.gradBias!, V, relative, tiny);
      for (const { result } of results) {
        for (const name of ['gradHidden', 'gradWeight', 'gradBias'] as const) {
          expectSameBits(name, result[name]!, results[0]!.result[name]!);
        }
      }
      const accumulated = linearLogpsBackward({
        ...options,
        lse,
        gradLogps,
        accumulate: true,
        out: { gradHidden, gradWeight, gradBias: gradBias! },
      });
      expectRows(
        'gradHidden added',
        accumulated.gradHidden,
        expected.gradHidden.map((x) => 2 * x),
        H,
        relative,
        tiny,
      );
    });
  });
});

it.each([
  [17.3, 0.3],
  [-20, -37],
])('the sign where a label of %d stands over %d', (label, other) => {
  const [weight, labels, gradLogps] = [Float32Array.of(label, other), Int32Array.of(0), Float32Array.of(1)];
  const head = { hidden: Float32Array.of(1), weight, hiddenSize: 1, vocabSize: 2, labels };
  const rest = Math.exp(weight[1]! - weight[0]!);
  const { gradHidden, gradWeight } = linearLogpsBackward({ ...head, lse: linearLogps(head).lse, gradLogps });
  expect(gradHidden[0]! / (rest * (weight[0]! - weight[1]!))).toBeCloseTo(1, 4);
  expect(gradWeight[0]! / rest).toBeCloseTo(1, 4);
});
