import { tokenLogps } from 'sweet-rl';
import { describe, it } from 'vitest';
import { expectClose } from '../helpers/compare.ts';
import { forEachBackend } from '../helpers/machine.ts';
import { Random } from '../helpers/random.ts';

// A confident token has a log-prob near 0, where the specification's tolerance is at its tightest. In a long row far from 0
// it shows what the kernels' shift and its correction are worth: what is left is the rounding of 64 additions to one lane.
describe('a confident token late in a long row', () => {
  const lengths = [1000, 4096, 20_000, 70_000];
  const rows = lengths.map((V, k) => {
    const random = new Random(k + 1);
    const label = Math.floor(V * 0.9);
    const logits = Float32Array.from(
      { length: V },
      (_, v) => 80 + 0.37 * k + 2 * random.uniform() + (v === label ? 14 : 0),
    );
    const others = logits.reduce((sum, x, v) => (v === label ? sum : sum + Math.exp(x - logits[label]!)), 0);
    return { logits, label, expected: -Math.log1p(others) };
  });

  forEachBackend(() => {
    it.each(rows)('has its log-prob to 1e-6: $logits.length words', ({ logits, label, expected }) => {
      const { logps } = tokenLogps({ logits, labels: Int32Array.of(label) });
      expectClose('logps', logps, [expected], () => 1e-6);
    });
  });
});

// Kernels take a row in segments (kSegment in native/segment.h), each relative to its own max.
describe('a long row whose first segment is -inf', () => {
  const [V, label] = [20_000, 19_000];
  const logits = Float32Array.from({ length: V }, (_, v) => (v < 17_000 ? -Infinity : Math.sin(v)));
  const expected = -Math.log(logits.reduce((sum, x) => sum + Math.exp(x - logits[label]!), 0));

  forEachBackend(() => {
    it('has the log-prob of the others', () => {
      const { logps } = tokenLogps({ logits, labels: Int32Array.of(label) });
      expectClose('logps', logps, [expected], () => 1e-5);
    });
  });
});
