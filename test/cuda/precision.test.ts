/** The option `precision` on a device: 'float32' keeps the gradients of the logits of a 16-bit head to float32. */
import { DeviceBuffer, linearLogps, linearLogpsBackward } from 'sweet-rl';
import { afterEach, describe, expect, it } from 'vitest';
import { randomHead } from '../helpers/linear.ts';
import { linearLogpsBackward as oracle } from '../reference/linear-logps.ts';
import { reset } from './emulated.ts';

afterEach(reset);

const [N, H, V] = [97, 40, 333];

describe.each(['bfloat16', 'float16'] as const)('%s', (dtype) => {
  const head = randomHead({ N, H, V, dtype, withBias: true });
  const exact = oracle({ ...head.values, labels: head.labels, gradLogps: head.gradLogps });
  const upload = (data: Uint16Array) => DeviceBuffer.from(data, { dtype });
  const stored = {
    hidden: upload(head.hidden as Uint16Array),
    weight: upload(head.weight as Uint16Array),
    bias: upload(head.bias as Uint16Array),
    labels: DeviceBuffer.from(head.labels),
    hiddenSize: H,
    vocabSize: V,
  };

  /** The largest error of each gradient, relative to the gradient's largest entry. */
  function errorsOf(options: object): Record<string, number> {
    const { lse } = linearLogps(stored as never) as unknown as { lse: DeviceBuffer };
    const call = { ...stored, lse, gradLogps: DeviceBuffer.from(head.gradLogps), ...options };
    const ours = linearLogpsBackward(call as never) as unknown as Record<string, DeviceBuffer>;
    return Object.fromEntries(
      (['gradHidden', 'gradWeight', 'gradBias'] as const).map((name) => {
        const array = ours[name]!.toArray() as Float32Array;
        const size = exact[name]!.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
        return [name, exact[name]!.reduce((most, x, i) => Math.max(most, Math.abs(array[i]! - x)), 0) / size];
      }),
    );
  }

  it.each([{}, { chunkBytes: 40_000 }])('float32 has the accuracy of float32: %o', (options) => {
    for (const error of Object.values(errorsOf({ ...options, precision: 'float32' }))) expect(error).toBeLessThan(4e-6);
  });

  it('storage, the default, rounds them once', () => {
    const rounded = errorsOf({ precision: 'storage' });
    expect(errorsOf({})).toEqual(rounded);
    for (const error of Object.values(rounded)) {
      expect(error).toBeGreaterThan(dtype === 'bfloat16' ? 1e-4 : 1e-5);
      expect(error).toBeLessThan(dtype === 'bfloat16' ? 4e-3 : 5e-4);
    }
  });
});
