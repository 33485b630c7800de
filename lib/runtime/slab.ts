// Memory of small arrays of async calls, cut from larger buffers: a buffer of its own takes longer than the rest of a small
// call. No caller gets such an array. A slab is freed when none of its arrays is left.
const SLAB_BYTES = 65536;
let slab = new ArrayBuffer(SLAB_BYTES);
let used = 0;

export const MAX_SMALL_BYTES = 4096;

/** The buffer and the offset of up to MAX_SMALL_BYTES bytes, which are not all 0. */
export function smallMemory(bytes: number): [buffer: ArrayBuffer, byteOffset: number] {
  if (used + bytes > SLAB_BYTES) {
    slab = new ArrayBuffer(SLAB_BYTES);
    used = 0;
  }
  const from = used;
  used += (bytes + 63) & ~63;
  return [slab, from];
}
