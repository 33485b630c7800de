/** The option `precision`: whether the gradients of the logits of bfloat16 heads are rounded before the products. */
import { backends, criticUpdate, linearLogps, linearLogpsBackward } from 'sweet-rl';
import { expect, it } from 'vitest';
import { thrownBy } from '../helpers/errors.ts';
import { inputsOf, randomHead } from '../helpers/linear.ts';
import { forEachBackend } from '../helpers/machine.ts';
import { decode, encode } from '../helpers/storage.ts';
import { linearLogits, linearLogpsBackward as oracleBackward, projectGradient } from '../reference/linear-logps.ts';
import { tokenLogpsBackward } from '../reference/token-logps.ts';

type Matrix = ArrayLike<number>;

function largest(ours: Matrix, exact: Matrix): number {
  let most = 0;
  for (let i = 0; i < exact.length; i++) most = Math.max(most, Math.abs(ours[i]! - exact[i]!));
  return most;
}

forEachBackend(() => {
  it("keeps the logit gradients in float32 with precision 'float32', and rounds them with 'storage'", () => {
    const [N, H, V] = [96, 95, 700];
    const head = randomHead({ N, H, V, dtype: 'bfloat16' });
    const exact = oracleBackward({ ...head.values, labels: head.labels, gradLogps: head.gradLogps });
    const logits = linearLogits({ ...head.values, labels: head.labels });
    const gradients = tokenLogpsBackward({ logits, labels: head.labels, gradLogps: head.gradLogps });
    const once = decode(encode(gradients, 'bfloat16'), 'bfloat16');
    const rounded = projectGradient({ ...head.values, labels: head.labels }, once);
    const { lse } = linearLogps(inputsOf(head));
    const call = { ...inputsOf(head), lse, gradLogps: head.gradLogps };
    const widened = linearLogpsBackward({
      ...{ lse, labels: head.labels, gradLogps: head.gradLogps },
      hidden: Float32Array.from(head.values.hidden),
      weight: Float32Array.from(head.values.weight),
    });
    const float32 = linearLogpsBackward({ ...call, precision: 'float32' });
    const storage = linearLogpsBackward({ ...call, precision: 'storage' });
    for (const name of ['gradHidden', 'gradWeight'] as const) {
      const size = exact[name].reduce((most: number, x: number) => Math.max(most, Math.abs(x)), 0);
      expect(float32[name], name).toEqual(widened[name]);
      expect(largest(float32[name], exact[name]) / size, name).toBeLessThan(1e-5);
      // As PyTorch: one rounding of the logit gradients, which is far more than float32's.
      expect(largest(storage[name], rounded[name]) / size, name).toBeLessThan(4e-4);
      expect(largest(storage[name], exact[name]) / size, name).toBeGreaterThan(5e-4);
    }
    const active = backends().find((backend) => backend.active)!;
    expect(linearLogpsBackward(call)).toEqual(active.precision === 'storage' ? storage : float32);
  });

  it('is the same for float32 heads', () => {
    const head = randomHead({ N: 7, H: 9, V: 33, dtype: 'float32' });
    const { lse } = linearLogps(inputsOf(head));
    const call = { ...inputsOf(head), lse, gradLogps: head.gradLogps };
    expect(linearLogpsBackward({ ...call, precision: 'storage' })).toEqual(
      linearLogpsBackward({ ...call, precision: 'float32' }),
    );
  });

  it("is 'float32' alone for typed arrays of float16, but not by their reference", () => {
    const head = inputsOf(randomHead({ N: 4, H: 9, V: 33, dtype: 'float16' }));
    const { lse } = linearLogps({ ...head, precision: 'float32' });
    const gradLogps = new Float32Array(4).fill(1);
    expect(linearLogpsBackward({ ...head, lse, gradLogps, precision: 'float32' })).toEqual(
      linearLogpsBackward({ ...head, lse, gradLogps }),
    );
    const batch = {
      turnOffsets: Int32Array.of(0, 2, 4),
      trajectoryOffsets: Int32Array.of(0, 1, 2),
      chosen: Int32Array.of(0),
      rejected: Int32Array.of(1),
    };
    const refLogps = new Float32Array(4);
    for (const call of [
      () => linearLogps({ ...head, precision: 'storage' }),
      () => linearLogpsBackward({ ...head, lse, gradLogps, precision: 'storage' }),
      () => criticUpdate({ ...batch, ...head, refLogps, precision: 'storage' }),
    ]) {
      expect(thrownBy(call)).toMatchObject({
        code: 'ERR_ARG_VALUE',
        message: expect.stringMatching(/'float32', since hidden is .* float16.* for precision .*"storage"/),
      });
    }
    const trained = inputsOf(randomHead({ N: 4, H: 9, V: 33, dtype: 'bfloat16' }));
    const reference = { refHidden: head.hidden, refWeight: head.weight, refDtype: 'float16' as const };
    const { labels } = trained;
    const { loss } = criticUpdate({ ...batch, ...trained, ...reference, labels, precision: 'storage' });
    expect(Number.isFinite(loss)).toBe(true);
  });
});
