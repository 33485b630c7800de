// Digests of the bits of results: equal on every platform for the same backend.
import { createHash } from 'node:crypto';
import * as sweetRl from 'sweet-rl';

const [N, V, H] = [64, 32003, 96];

function random(seed) {
  let state = seed;
  return () => {
    state = (state * 1664525 + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

const numbers = {
  float32: (length, next) => Float32Array.from({ length }, () => next() * 8 - 4),
  bfloat16: (length, next) =>
    Uint16Array.from({ length }, () => (next() < 0.5 ? 0x8000 : 0) | (0x3e00 + Math.floor(next() * 0x200))),
  float16: (length, next) =>
    Uint16Array.from({ length }, () => (next() < 0.5 ? 0x8000 : 0) | (0x3000 + Math.floor(next() * 0x1400))),
};

/** Of all arrays and numbers of a result, in the order of their names. */
function digest(results) {
  const hash = createHash('sha256');
  for (const name of Object.keys(results).sort()) {
    const value = results[name];
    if (value === undefined) continue;
    const array = ArrayBuffer.isView(value) ? value : Float64Array.of(value);
    hash.update(name).update(new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  }
  return hash.digest('hex').slice(0, 16);
}

/** { "backend dtype function": digest } of every backend of the CPU. */
export function digests() {
  const all = {};
  const before = sweetRl.backends().find(({ active }) => active).name;
  for (const { name: backend, available } of sweetRl.backends()) {
    if (!available || backend === 'cuda') continue;
    sweetRl.useBackend(backend);
    for (const dtype of Object.keys(numbers)) {
      for (const [name, results] of Object.entries(resultsOf(dtype)))
        all[`${backend} ${dtype} ${name}`] = digest(results);
    }
  }
  sweetRl.useBackend(before);
  return all;
}

function resultsOf(dtype) {
  const next = random(7);
  const typed = dtype === 'float32' ? {} : { dtype };
  const logits = numbers[dtype](N * V, next);
  const labels = Int32Array.from({ length: N }, () => Math.floor(next() * V));
  const batch = {
    refLogps: Float32Array.from({ length: N }, () => -10 - next()),
    turnOffsets: Int32Array.from({ length: 9 }, (_, i) => i * 8),
    trajectoryOffsets: Int32Array.of(0, 2, 4, 6, 8),
    chosen: Int32Array.of(0, 2),
    rejected: Int32Array.of(1, 3),
  };
  const width = 3001;
  const head = {
    hidden: numbers[dtype](N * H, next),
    weight: numbers[dtype](width * H, next),
    labels: labels.map((label) => label % width),
    ...typed,
  };
  const linear = sweetRl.linearLogps(head);
  const gradLogps = Float32Array.from({ length: N }, () => next() - 0.5);
  return {
    tokenLogps: sweetRl.tokenLogps({ logits, labels, entropy: true, ...typed }),
    criticUpdate: sweetRl.criticUpdate({ logits, labels, ...typed, ...batch }),
    linearLogps: linear,
    linearLogpsBackward: sweetRl.linearLogpsBackward({ ...head, lse: linear.lse, gradLogps }),
  };
}
