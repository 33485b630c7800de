// Inputs of the size that users have, the same in every run.

/** Numbers spread evenly over −6 … 6. */
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

/** Rows of two trajectories of turns of one length. */
export function pairOf(rows, tokensPerTurn) {
  const turns = rows / tokensPerTurn;
  return {
    turnOffsets: Int32Array.from({ length: turns + 1 }, (_, t) => t * tokensPerTurn),
    trajectoryOffsets: Int32Array.from([0, turns / 2, turns]),
    chosen: Int32Array.from([0]),
    rejected: Int32Array.from([1]),
  };
}
