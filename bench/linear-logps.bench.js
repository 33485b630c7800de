import { linearLogps, linearLogpsBackward } from 'sweet-rl';
import { labelsOf, logitsOf, toBfloat16 } from './data.js';
import { multiplyAddLimit } from './machine.js';

/** 2·N·H·V operations forward, 6·N·H·V backward, where the logits are formed again. */
export function* cases({ quick, backend, threadCounts }) {
  const [rows, width, vocab] = [quick ? 128 : 512, 896, 32_768];
  const threads = Math.max(...threadCounts);
  for (const dtype of ['float32', 'bfloat16']) {
    const stored = (count) => {
      const numbers = logitsOf(count).map((x) => x / 24);
      return dtype === 'bfloat16' ? toBfloat16(numbers) : numbers;
    };
    const head = { hidden: stored(rows * width), weight: stored(vocab * width), labels: labelsOf(rows, vocab) };
    const input = dtype === 'bfloat16' ? { ...head, dtype } : head;
    const gradLogps = new Float32Array(rows).fill(1e-3);
    const { lse } = linearLogps(input);
    const out = linearLogpsBackward({ ...input, lse, gradLogps });
    const shape = { rows, vocab, width, dtype, backend, threads };
    const operations = 2 * rows * width * vocab;
    yield {
      op: 'linearLogps',
      ...shape,
      limit: multiplyAddLimit(operations, dtype, threads),
      work: { amount: operations, unit: 'GFLOP/s' },
      contenders: { 'sweet-rl': () => linearLogps(input) },
    };
    yield {
      op: 'linearLogpsBackward',
      ...shape,
      limit: multiplyAddLimit(3 * operations, dtype, threads),
      work: { amount: 3 * operations, unit: 'GFLOP/s' },
      contenders: { 'sweet-rl': () => linearLogpsBackward({ ...input, lse, gradLogps, out }) },
    };
  }
}
