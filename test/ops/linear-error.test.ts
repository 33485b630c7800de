/** How exact the linear head is: beside a plain float32 computation, and where many small gradients add up. */
import { linearLogps, linearLogpsBackward } from 'sweet-rl';
import { expect, it } from 'vitest';
import { inputsOf, type LinearCase, randomHead } from '../helpers/linear.ts';
import { forEachBackend } from '../helpers/machine.ts';
import { type DType, decode, encode } from '../helpers/storage.ts';
import {
  linearLogits,
  linearLogps as oracle,
  linearLogpsBackward as oracleBackward,
  projectGradient,
} from '../reference/linear-logps.ts';
import { tokenLogpsBackward } from '../reference/token-logps.ts';

const { fround } = Math;
type Matrix = ArrayLike<number>;

function largest(ours: Matrix, exact: Matrix): number {
  let most = 0;
  for (let i = 0; i < exact.length; i++) most = Math.max(most, Math.abs(ours[i]! - exact[i]!));
  return most;
}

/** sum_k a[i*aRow + k*aStep] * b[j*bRow + k*bStep], every product and every sum rounded to float32. */
function naiveProduct(a: Matrix, b: Matrix, [n, m, depth]: number[], [aRow, aStep, bRow, bStep]: number[]) {
  const out = new Float32Array(n! * m!);
  for (let i = 0; i < n!; i++) {
    for (let j = 0; j < m!; j++) {
      let sum = 0;
      for (let k = 0; k < depth!; k++) {
        sum = fround(sum + fround(a[i * aRow! + k * aStep!]! * b[j * bRow! + k * bStep!]!));
      }
      out[i * m! + j] = sum;
    }
  }
  return out;
}

/** Log-probs and gradients as a plain float32 program computes them. */
function naive(hidden: Matrix, weight: Matrix, labels: Int32Array, gradLogps: Float32Array, H: number, V: number) {
  const N = labels.length;
  const logits = naiveProduct(hidden, weight, [N, V, H], [H, 1, H, 1]);
  const logps = new Float32Array(N);
  const d = new Float32Array(N * V);
  for (let i = 0; i < N; i++) {
    const row = logits.subarray(i * V, (i + 1) * V);
    const most = row.reduce((m, x) => Math.max(m, x), -Infinity);
    let sum = 0;
    for (const x of row) sum = fround(sum + fround(Math.exp(fround(x - most))));
    const lse = fround(most + fround(Math.log(sum)));
    logps[i] = fround(row[labels[i]!]! - lse);
    for (let v = 0; v < V; v++) {
      const p = fround(Math.exp(fround(row[v]! - lse)));
      d[i * V + v] = fround(gradLogps[i]! * fround(Number(v === labels[i]) - p));
    }
  }
  const gradHidden = naiveProduct(d, weight, [N, H, V], [V, 1, 1, H]);
  const gradWeight = naiveProduct(d, hidden, [V, H, N], [1, V, 1, H]);
  return { logps, gradHidden, gradWeight };
}

const shapes = [
  { N: 96, H: 96, V: 700 },
  { N: 33, H: 257, V: 301 },
];

forEachBackend(() => {
  it.each(shapes)('errs at most twice as much as plain float32: $N x $H x $V', ({ N, H, V }) => {
    const head = randomHead({ N, H, V, dtype: 'float32' });
    const { hidden, weight } = head.values;
    const exact = oracleBackward({ ...head.values, labels: head.labels, gradLogps: head.gradLogps });
    const plain = naive(hidden, weight, head.labels, head.gradLogps, H, V);
    const { logps, lse } = linearLogps(inputsOf(head));
    const ours = linearLogpsBackward({ ...inputsOf(head), lse, gradLogps: head.gradLogps });
    const exactLogps = oracle({ ...head.values, labels: head.labels }).logps;
    expect(largest(logps, exactLogps)).toBeLessThanOrEqual(2 * largest(plain.logps, exactLogps));
    for (const name of ['gradHidden', 'gradWeight'] as const) {
      expect(largest(ours[name], exact[name]), name).toBeLessThanOrEqual(2 * largest(plain[name], exact[name]));
    }
  });

  // Storage of 16 bits may round the gradients of the logits once before they are multiplied.
  it.each(['bfloat16', 'float16'] as const)('errs at most as one rounding of the logit gradients does: %s', (dtype) => {
    const [N, H, V] = [96, 96, 700];
    const head = randomHead({ N, H, V, dtype });
    const exact = oracleBackward({ ...head.values, labels: head.labels, gradLogps: head.gradLogps });
    const rounded = projectGradient({ ...head.values, labels: head.labels }, roundedGradients(head, dtype));
    const { lse } = linearLogps(inputsOf(head));
    const ours = linearLogpsBackward({ ...inputsOf(head), lse, gradLogps: head.gradLogps });
    for (const name of ['gradHidden', 'gradWeight'] as const) {
      const [own, once] = [largest(ours[name], exact[name]), largest(rounded[name], exact[name])];
      expect(own, name).toBeLessThanOrEqual(1.1 * once);
    }
  });

  // A sum kept in bfloat16 loses what is smaller than 1/256 of it: after 1 024 chunks most of the gradient is gone.
  it('adds up weight gradients over 1 024 chunks without drift', () => {
    const [N, H, V] = [8, 16, 48];
    const head = randomHead({ N, H, V, dtype: 'bfloat16' });
    const { lse } = linearLogps(inputsOf(head));
    const call = { ...inputsOf(head), lse, gradLogps: head.gradLogps };
    const once = linearLogpsBackward(call);
    const out = { gradHidden: new Float32Array(N * H), gradWeight: new Float32Array(V * H) };
    for (let chunk = 0; chunk < 1024; chunk++) linearLogpsBackward({ ...call, accumulate: true, out });
    const size = once.gradWeight.reduce((most, x) => Math.max(most, Math.abs(x)), 0);
    const drift = largest(
      out.gradWeight.map((x) => x / 1024),
      once.gradWeight,
    );
    expect(drift / size).toBeLessThan(2e-5);
  });
});

function roundedGradients({ values, labels, gradLogps }: LinearCase, dtype: DType): Float64Array {
  const logits = linearLogits({ ...values, labels });
  return decode(encode(tokenLogpsBackward({ logits, labels, gradLogps }), dtype), dtype);
}
