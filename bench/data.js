// Inputs of the size that users have, the same in every run.

/** Numbers spread evenly over -6 ... 6. */
export function logitsOf(count) {
  const logits = new Float32Array(count);
  for (let i = 0; i < count; i++) logits[i] = ((Math.imul(i, 0x9e3779b1) >>> 8) / 2 ** 24) * 12 - 6;
  return logits;
}

/** The upper halves of float32 numbers. */
export function toBfloat16(numbers) {
  const halves = new Uint16Array(numbers.buffer, numbers.byteOffset, numbers.length * 2);
  return Uint16Array.from({ length: numbers.length }, (_, i) => halves[2 * i + 1]);
}

export const labelsOf = (rows, vocab) => Int32Array.from({ length: rows }, (_, i) => (i * 997) % vocab);

/** Hidden states and a weight whose logits spread over about -6 ... 6. */
export function linearHeadOf(rows, width, vocab, dtype) {
  const stored = (count) => {
    const numbers = logitsOf(count);
    for (let i = 0; i < count; i++) numbers[i] /= 24;
    return dtype === 'bfloat16' ? toBfloat16(numbers) : numbers;
  };
  return { hidden: stored(rows * width), weight: stored(vocab * width), dtype };
}

/** Rows of pairs of trajectories of turns of one length. */
export function pairsOf(rows, tokensPerTurn, pairs) {
  const turns = rows / tokensPerTurn;
  return {
    turnOffsets: Int32Array.from({ length: turns + 1 }, (_, t) => t * tokensPerTurn),
    trajectoryOffsets: Int32Array.from({ length: 2 * pairs + 1 }, (_, k) => (k * turns) / (2 * pairs)),
    chosen: Int32Array.from({ length: pairs }, (_, p) => 2 * p),
    rejected: Int32Array.from({ length: pairs }, (_, p) => 2 * p + 1),
  };
}
