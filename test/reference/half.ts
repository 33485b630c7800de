/**
 * The two 16-bit storage types, from their definition: a sign, an exponent and a fraction.
 * Encoding goes straight from float64, so it rounds once, to the nearest, ties to even.
 */
export type HalfType = 'float16' | 'bfloat16';

const FORMATS = {
  float16: { exponentBits: 5, fractionBits: 10 },
  bfloat16: { exponentBits: 8, fractionBits: 7 },
} as const;

export function encodeHalf(x: number, type: HalfType): number {
  const { exponentBits, fractionBits } = FORMATS[type];
  const infinity = (2 ** exponentBits - 1) * 2 ** fractionBits;
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  if (Number.isNaN(x)) return infinity + 2 ** (fractionBits - 1);
  if (x === 0 || Math.abs(x) === Infinity) return sign + (x === 0 ? 0 : infinity);
  const exponent = exponentOf(x, exponentBits);
  // A carry out of the fraction runs into the exponent, which is exactly what rounding up to the next power of two means.
  const steps = roundHalfEven(Math.abs(x) / 2 ** (exponent - fractionBits));
  const bits = (exponent + bias(exponentBits) - 1) * 2 ** fractionBits + steps;
  return sign + Math.min(bits, infinity);
}

export function decodeHalf(bits: number, type: HalfType): number {
  const { exponentBits, fractionBits } = FORMATS[type];
  const sign = bits >= 0x8000 ? -1 : 1;
  const exponent = Math.floor((bits % 0x8000) / 2 ** fractionBits);
  const fraction = bits % 2 ** fractionBits;
  if (exponent === 2 ** exponentBits - 1) return fraction === 0 ? sign * Infinity : NaN;
  const significand = exponent === 0 ? fraction : fraction + 2 ** fractionBits;
  return sign * significand * 2 ** (Math.max(exponent, 1) - bias(exponentBits) - fractionBits);
}

/** The distance between neighbouring values of the type around x. */
export function unitInLastPlace(x: number, type: HalfType): number {
  const { exponentBits, fractionBits } = FORMATS[type];
  return 2 ** (exponentOf(x, exponentBits) - fractionBits);
}

/** floor(log2 |x|), no lower than the exponent that subnormals share. */
function exponentOf(x: number, exponentBits: number): number {
  return Math.max(Math.floor(Math.log2(Math.abs(x))), 1 - bias(exponentBits));
}

function bias(exponentBits: number): number {
  return 2 ** (exponentBits - 1) - 1;
}

function roundHalfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
