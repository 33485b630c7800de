// Inputs of realistic sizes, the same in every run.

/** float32 values spread evenly over [-6, 6). */
export function logitsOf(count) {
  const logits = new Float32Array(count);
  for (let i = 0; i < count; i++) logits[i] = ((Math.imul(i, 0x9e3779b1) >>> 8) / 2 ** 24) * 12 - 6;
  return logits;
}

/** The upper halves of float32 values: bfloat16, rounded toward zero. */
export function toBfloat16(values) {
  const halves = new Uint16Array(values.buffer, values.byteOffset, values.length * 2);
  const upper = new Uint16Array(values.length);
  for (let i = 0; i < upper.length; i++) upper[i] = halves[2 * i + 1];
  return upper;
}

export const labelsOf = (rows, vocab) => Int32Array.from({ length: rows }, (_, i) => (i * 997) % vocab);

/** Hidden states [rows, width] and a weight [vocab, width], spread evenly over [-1/4, 1/4). */
export function linearHeadOf(rows, width, vocab, dtype) {
  const matrix = (count) => {
    const values = logitsOf(count);
    for (let i = 0; i < count; i++) values[i] /= 24;
    return dtype === 'bfloat16' ? toBfloat16(values) : values;
  };
  return { hidden: matrix(rows * width), weight: matrix(vocab * width), dtype };
}

/** Pairs of trajectories over `rows` tokens; all trajectories and all turns have the same length. */
export function pairsOf(rows, tokensPerTurn, pairs) {
  const turns = rows / tokensPerTurn;
  return {
    turnOffsets: Int32Array.from({ length: turns + 1 }, (_, t) => t * tokensPerTurn),
    trajectoryOffsets: Int32Array.from({ length: 2 * pairs + 1 }, (_, k) => (k * turns) / (2 * pairs)),
    chosen: Int32Array.from({ length: pairs }, (_, p) => 2 * p),
    rejected: Int32Array.from({ length: pairs }, (_, p) => 2 * p + 1),
  };
}

/**
 * Shapes at which the costs of options are measured: logits in memory, logits in a cache, and linear heads. In a cache, starting
 * a second thread would take as long as the work.
 */
export function headShapes({ backend, threadCounts }) {
  const threads = Math.max(...threadCounts);
  const at = (shape) => ['float32', 'bfloat16'].map((dtype) => ({ ...shape, dtype, backend }));
  return {
    logits: [
      ...at({ rows: 256, vocab: 128_256, threads, inCache: false }),
      ...at({ rows: 64, vocab: 2048, threads: 1, inCache: true }),
    ],
    linear: at({ rows: 512, width: 1024, vocab: 16_384, threads }),
  };
}
