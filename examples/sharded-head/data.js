// Data that is the same on every rank: pairs of trajectories, hidden states, and a weight of which each rank uses a
// shard.
export const [ROWS, WIDTH, VOCAB] = [96, 64, 4099];

/** Pseudorandom numbers in [-scale, scale), the same on every machine. */
export function numbers(length, scale, seed) {
  const array = new Float32Array(length);
  for (let i = 0, x = seed; i < length; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    array[i] = scale * (x / 2 ** 31 - 1);
  }
  return array;
}

export const batch = {
  labels: Int32Array.from({ length: ROWS }, (_, i) => (i % 13 === 5 ? -100 : (i * i * 37) % VOCAB)),
  mask: Uint8Array.from({ length: ROWS }, (_, i) => (i % 11 === 4 ? 0 : 1)),
};

export const pairs = {
  turnOffsets: Int32Array.of(0, 7, 20, 21, 40, 55, 70, 83, 96),
  trajectoryOffsets: Int32Array.of(0, 2, 4, 6, 8),
  chosen: Int32Array.of(0, 3),
  rejected: Int32Array.of(1, 2),
};

/** Rank r has the vocabulary shard [offsets[r], offsets[r + 1]); shards have uneven sizes. */
export function shardOffsets(size) {
  const weights = Array.from({ length: size }, (_, rank) => 1 + (rank % 3) / 4);
  const total = weights.reduce((sum, x) => sum + x);
  const offsets = [0];
  for (let rank = 0, sum = 0; rank < size; rank++) {
    sum += weights[rank];
    offsets.push(Math.round((VOCAB * sum) / total));
  }
  return offsets;
}

/** The vocabulary entries of each shard. */
export const shardSizes = (offsets) => offsets.slice(1).map((end, rank) => end - offsets[rank]);

/** The bits of bfloat16, rounded to nearest even. */
export function toBfloat16(array) {
  const bits = new Uint32Array(array.buffer, array.byteOffset, array.length);
  return Uint16Array.from(bits, (x) => (x + 0x7fff + ((x >>> 16) & 1)) >>> 16);
}
