/** Seeded test data: the same numbers on every run and every machine. */
export class Random {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** Uniform in [0, 1), by mulberry32. */
  uniform(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#state ^ (this.#state >>> 15), this.#state | 1);
    x ^= x + Math.imul(x ^ (x >>> 7), x | 61);
    return ((x ^ (x >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number in [begin, end). */
  integer(begin: number, end: number): number {
    return begin + Math.floor(this.uniform() * (end - begin));
  }

  /** Standard normal, by Box-Muller. */
  normal(): number {
    return Math.sqrt(-2 * Math.log(1 - this.uniform())) * Math.cos(2 * Math.PI * this.uniform());
  }

  normals(length: number, scale = 1): Float64Array {
    return Float64Array.from({ length }, () => scale * this.normal());
  }

  integers(length: number, begin: number, end: number): Int32Array {
    return Int32Array.from({ length }, () => this.integer(begin, end));
  }

  /** 0 with the given probability, else 1. */
  mask(length: number, zeros: number): Uint8Array {
    return Uint8Array.from({ length }, () => (this.uniform() < zeros ? 0 : 1));
  }

  /** Offsets of `count` ragged groups of 1 ... most members each. */
  offsets(count: number, most: number): Int32Array {
    const offsets = new Int32Array(count + 1);
    for (let k = 0; k < count; k++) offsets[k + 1] = offsets[k]! + this.integer(1, most + 1);
    return offsets;
  }
}
