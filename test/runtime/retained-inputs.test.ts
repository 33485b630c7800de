/** Which arrays an async call copies, and which it uses in place. */
import { openShm, unlinkShm } from 'sweet-rl/shm';
import { describe, expect, it } from 'vitest';
import { Results } from '../../dist/runtime/results.js';
import { RetainedInputs } from '../../dist/runtime/retained-inputs.js';

/** More elements than the native code copies. */
const LENGTH = 2048;

/** What takes the place of an input among the arguments. */
function replaced(input: Float32Array): { view: unknown; release: () => void } {
  const results = new Results(undefined, input);
  results.place([['logits', input]]);
  const retained = RetainedInputs.of(results) as RetainedInputs;
  return { view: retained.replaceIn([1, input, undefined])[1], release: () => retained.release() };
}

describe('an input', () => {
  it('is copied from an ArrayBuffer, with just the elements of the view', () => {
    const input = Float32Array.from({ length: LENGTH + 2 }, (_, i) => i).subarray(1, LENGTH + 1);
    const expected = input.slice();
    const { view } = replaced(input);
    expect(view).not.toBe(input);
    expect(view).toEqual(expected);
    input.fill(9);
    expect(view).toEqual(expected);
  });

  it('is left to the native code where it is small', () => {
    const results = new Results(undefined, new Float32Array(1024));
    results.place([['logits', new Float32Array(1024)]]);
    expect(RetainedInputs.of(results)).toBeUndefined();
  });

  it('is used in place in a SharedArrayBuffer', () => {
    const input = new Float32Array(new SharedArrayBuffer(4 * LENGTH));
    expect(replaced(input).view).toBe(input);
  });

  it.runIf(process.platform === 'linux')('is used in place in shared memory, which stays after close', () => {
    const name = `sweet-rl-retained-${process.pid}`;
    const mapping = openShm(name, { create: true, byteLength: 8 * LENGTH });
    unlinkShm(name);
    const input = mapping.float32(16, LENGTH);
    const [first, second] = [replaced(input), replaced(input)];
    expect(first.view).toBe(input);
    expect(second.view).toBe(input);
    first.release();
    mapping.close();
    expect(input.length).toBe(0);
    second.release();
  });
});

it('copies results back, whatever the class of their view', () => {
  const out = { logps: new Float32Array(4).subarray(1, 3) };
  const labels = Int32Array.of(0, 1);
  const results = new Results(out, labels);
  const logps = results.float32('logps', 2);
  results.place([['labels', labels]]);
  const retained = RetainedInputs.of(results) as RetainedInputs;
  const [, copy] = retained.replaceIn([labels, logps]) as [Int32Array, Float32Array];
  copy.set([5, 6]);
  retained.copyBack();
  expect(out.logps).toEqual(Float32Array.of(5, 6));
});
