/** A generator of uniform integers below n: a 32-bit counter and a mixing function, the same on every machine. */
export function generator(seed: number): (n: number) => number {
  let counter = seed >>> 0;
  return (n) => {
    counter = (counter + 0x9e3779b9) >>> 0;
    let x = counter;
    x = Math.imul(x ^ (x >>> 16), 0x21f0aaad);
    x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
    x ^= x >>> 15;
    return Math.floor(((x >>> 0) / 2 ** 32) * n);
  };
}
