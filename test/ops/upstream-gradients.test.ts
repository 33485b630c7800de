/**
 * tokenLogpsBackward and linearLogpsBackward from the gradients at log-probs, entropy and lse, in every combination, against
 * the oracle and finite differences, on every backend.
 */
import { linearLogps, linearLogpsBackward, tokenLogps, tokenLogpsBackward } from 'sweet-rl';
import { describe, expect, it } from 'vitest';
import { expectClose, expectSameBits } from '../helpers/compare.ts';
import { thrownBy } from '../helpers/errors.ts';
import { forEachBackend, underThreadCounts } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';
import { DTYPES, type DType, decode, store } from '../helpers/storage.ts';
import { linearLogpsBackward as linearOracle } from '../reference/linear-logps.ts';
import { tokenLogpsBackward as oracle, tokenLogps as tokenOracle } from '../reference/token-logps.ts';

const [N, V, H] = [29, 301, 24];
const random = new Random(23);
const upstream = {
  gradLogps: Float32Array.from(random.normals(N)),
  gradEntropy: Float32Array.from(random.normals(N)),
  gradLse: Float32Array.from(random.normals(N)),
};
type Name = keyof typeof upstream;
const COMBINATIONS: Name[][] = [
  ['gradEntropy'],
  ['gradLse'],
  ['gradLogps', 'gradEntropy'],
  ['gradLogps', 'gradLse'],
  ['gradEntropy', 'gradLse'],
  ['gradLogps', 'gradEntropy', 'gradLse'],
];
const chosen = (names: Name[]) => Object.fromEntries(names.map((name) => [name, upstream[name]]));

const labels = Int32Array.from({ length: N }, (_, i) => (i === 4 ? -100 : (i * 37) % V));
const mask = Uint8Array.from({ length: N }, (_, i) => (i === 7 ? 0 : 1));
const rows = { labels, mask };

/** Rows that are confident, wide, equal, one-hot, and with masked entries; NaN in the masked one. */
function logitsOf(dtype: DType) {
  const values = random.normals(N * V, 3).map((x) => x - 8);
  for (let i = 0; i < N; i++) {
    const at = i * V;
    if (i % 6 === 1) values[at + Math.abs(labels[i]!)] = 9 + i;
    if (i % 6 === 2) for (let v = 0; v < V; v += 2) if (v !== labels[i]) values[at + v] = -Infinity;
    if (i % 6 === 3) values.fill(1.5, at, at + V);
    if (i % 6 === 5) values[at + ((labels[i]! + 5) % V)] = 60;
  }
  values.fill(Number.NaN, 7 * V, 8 * V);
  return store(values, dtype);
}

/** Hidden states at random; some rows are confident, with a logit of the label that is far above the others. */
function hiddenOf(weight: Float64Array) {
  const values = random.normals(N * H);
  for (let i = 1; i < N; i += 6) {
    for (let k = 0; k < H; k++) values[i * H + k] = 6 * weight[Math.abs(labels[i]!) * H + k]!;
  }
  return values;
}

/** float32 and one rounding to the storage type; terms of up to e * p * |log p + H| cancel where p is close to 1. */
const TOLERANCE: Record<DType, number> = { float32: 0, bfloat16: 2 ** -8, float16: 2 ** -11 };

describe.each(DTYPES)('%s', (dtype) => {
  const logits = logitsOf(dtype);
  const weight = store(random.normals(V * H, 0.8), dtype);
  const hidden = store(hiddenOf(weight.values), dtype);
  // Some entries are masked.
  const isMasked = (v: number) => v % 50 === 2 && !labels.includes(v);
  const bias = store(
    random.normals(V).map((x, v) => (isMasked(v) ? -Infinity : x)),
    dtype,
  );

  forEachBackend((backend) => {
    describe.each([1, 0.6])('at temperature %d', (temperature) => {
      it.each(COMBINATIONS.map((names) => [names.join(', '), names] as const))('logits: %s', (_, names) => {
        const call = { ...rows, temperature, logits: logits.data, dtype, vocabSize: V };
        const { lse, entropy } = tokenLogps({ ...call, entropy: true });
        const options = { ...call, lse, ...chosen(names), ...(names.includes('gradEntropy') && { entropy: entropy! }) };
        const expected = oracle({ ...rows, temperature, logits: logits.values, ...chosen(names) });
        const results = underThreadCounts(() => tokenLogpsBackward(options).gradLogits);
        const exact = tokenOracle({ ...rows, temperature, logits: logits.values });
        const tiny = dtype === 'float16' ? 2 ** -25 : 1e-30;
        expectClose('gradLogits', decode(results[0]!.result, dtype), expected, (x, at) => {
          const i = Math.floor(at / V);
          const size = names.reduce((sum, name) => sum + Math.abs(upstream[name][i]!), 0) / temperature;
          // lse and the entropy are handed over in float32, and p is off by as much.
          const off = 3e-7 * (4 + Math.abs(exact.lse[i]!) + exact.entropy[i]!);
          return TOLERANCE[dtype] * Math.abs(x) + size * off + tiny;
        });
        for (const { result } of results) expectSameBits('gradLogits', result, results[0]!.result);
        const inPlace = logits.data.slice();
        tokenLogpsBackward({ ...options, logits: inPlace, out: { gradLogits: inPlace } });
        expectSameBits('in place', inPlace, results[0]!.result);
      });

      it.each(COMBINATIONS.map((names) => [names.join(', '), names] as const))('linear heads: %s', (_, names) => {
        const stored = {
          hidden: hidden.data,
          weight: weight.data,
          bias: bias.data,
          dtype,
          hiddenSize: H,
          vocabSize: V,
        };
        const call = { ...rows, temperature, ...stored };
        const { lse, entropy } = linearLogps({ ...call, entropy: true });
        const options = { ...call, lse, ...chosen(names), ...(names.includes('gradEntropy') && { entropy: entropy! }) };
        const values = { hidden: hidden.values, weight: weight.values, bias: bias.values };
        const expected = linearOracle({ ...rows, temperature, ...values, ...chosen(names) });
        const results = underThreadCounts(() => linearLogpsBackward(options));
        const onDevice = (backend as string) === 'device';
        const rounds = onDevice ? dtype !== 'float32' : backend === 'avx512bf16' && dtype === 'bfloat16';
        const relative = rounds ? (dtype === 'bfloat16' ? 4e-3 : 5e-4) : 2e-5; // head.md's tolerances
        for (const name of ['gradHidden', 'gradWeight', 'gradBias'] as const) {
          const largest = expected[name].reduce((most, x) => Math.max(most, Math.abs(x)), 0);
          expectClose(name, results[0]!.result[name]!, expected[name], () => relative * largest);
          for (const { result } of results) expectSameBits(name, result[name]!, results[0]!.result[name]!);
        }
      });
    });

    it('a gradient of 0 gives the bits of none', () => {
      const head = { ...rows, logits: logits.data, dtype, vocabSize: V };
      const { lse, entropy } = tokenLogps({ ...head, entropy: true });
      const call = { ...head, gradLogps: upstream.gradLogps };
      const zeros = new Float32Array(N);
      const plain = tokenLogpsBackward({ ...call, lse }).gradLogits;
      const more = { gradEntropy: zeros, entropy: entropy!, gradLse: zeros };
      expectSameBits('gradLogits', tokenLogpsBackward({ ...call, lse, ...more }).gradLogits, plain);
    });
  });
});

describe('wrong calls', () => {
  const call = { logits: new Float32Array(6), vocabSize: 3, labels: Int32Array.of(1, 2), lse: new Float32Array(2) };
  const two = new Float32Array(2);
  it.each([
    ['no gradient', {}, 'ERR_ARG_TYPE', /gradLogps, gradEntropy or gradLse/],
    ['gradEntropy without entropy', { gradEntropy: two }, 'ERR_ARG_TYPE', /entropy/],
    ['entropy without gradEntropy', { gradLse: two, entropy: two }, 'ERR_UNKNOWN_OPTION', /gradEntropy/],
    ['a wrong length', { gradLse: new Float32Array(3) }, 'ERR_ARG_LENGTH', /gradLse/],
  ])('%s', (_, more, code, message) => {
    const error = thrownBy(() => tokenLogpsBackward({ ...call, ...more } as never));
    expect(error).toMatchObject({ code, message: expect.stringMatching(message) });
  });
});
