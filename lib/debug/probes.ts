// The steps in parameter space along which checkGrad compares a gradient with finite differences: along one coordinate,
// or along a direction of many.
import { classOf, hostView, typedArray } from '../args/arrays.js';
import { isRecord } from '../args/options.js';
import { generator } from '../data/random.js';
import { expected, typeError } from '../errors.js';

type Floats = Float32Array | Float64Array;

/** One array of parameters, or several by name. */
export type Parameters = Floats | Readonly<Record<string, Floats>>;

/** The parameters after a step of size t, and the size of the step that was taken: float32 rounds it. */
type Move = (t: number) => [moved: Parameters, t: number];

/** A coordinate or a direction, and the derivative along it by the gradient. */
export interface Probe {
  /** The name of the array; of a direction, the names of its arrays. */
  parameter: string;
  /** Of the coordinate; -1 of a direction. */
  index: number;
  analytic: number;
  /** Of the parameters that move: step sizes are relative to it. */
  scale: number;
  move: Move;
}

/** A probe with the derivative by finite differences; `step` is the smallest step of these. */
export interface ProbeResult extends Probe {
  numeric: number;
  error: number;
  uncertainty: number;
  step: number;
}

interface CheckedParameters {
  names: string[];
  arrays: Floats[];
  gradients: Floats[];
  /** The parameters in the caller's form. */
  assemble: (arrays: Floats[]) => Parameters;
}

export function checkParameters(parameters: unknown, gradient: unknown): CheckedParameters {
  // The caller's functions get arrays that do not move as they were given.
  const originals = new Map<Floats, Floats>();
  const original = (array: Floats) => originals.get(array) ?? array;
  const floats = (argument: string, value: unknown, length?: number): Floats => {
    const array = typedArray(argument, value, ['Float32Array', 'Float64Array'], length);
    const plain: Floats = hostView(argument, array);
    originals.set(plain, array);
    return plain;
  };
  if (classOf(parameters) !== undefined) {
    const array = floats('parameters', parameters);
    const assemble = ([only]: Floats[]) => original(only as Floats);
    return { names: [''], arrays: [array], gradients: [floats('gradient', gradient, array.length)], assemble };
  }
  if (!isRecord(parameters)) {
    const rule = 'Float32Array, Float64Array or an object of them';
    throw typeError('ERR_ARG_TYPE', expected(rule, 'parameters', parameters));
  }
  if (!isRecord(gradient)) throw typeError('ERR_ARG_TYPE', expected('an object of arrays', 'gradient', gradient));
  const unmatched = new Map(Object.entries(gradient));
  const entries = Object.entries(parameters).map(([name, value]) => {
    const array = floats(`parameters.${name}`, value);
    const arrayGradient = floats(`gradient.${name}`, unmatched.get(name), array.length);
    unmatched.delete(name);
    return { name, array, arrayGradient };
  });
  for (const name of unmatched.keys()) {
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no gradient.${name} but received one: parameters has none`);
  }
  const names = entries.map(({ name }) => name);
  return {
    names,
    arrays: entries.map(({ array }) => array),
    gradients: entries.map(({ arrayGradient }) => arrayGradient),
    assemble: (arrays) => Object.fromEntries(names.map((name, k) => [name, original(arrays[k] as Floats)])),
  };
}

type Numbers = Iterable<number> & { length: number };

function rootMeanSquare(array: Numbers): number {
  let [sum, count] = [0, 0];
  for (const x of array) {
    sum += x * x;
    count++;
  }
  return Math.sqrt(sum / Math.max(count, 1));
}

export function maxAbs(array: Numbers): number {
  let max = 0;
  for (const x of array) max = Math.max(max, Math.abs(x));
  return max;
}

/** Half of the coordinates are random, half have the largest gradient of 64 random ones; arrays are sampled round-robin. */
export function coordinateProbes(
  { names, arrays, gradients, assemble }: CheckedParameters,
  count: number,
  seed: number,
): Probe[] {
  const draw = generator(seed);
  const filled = names.map((_, k) => k).filter((k) => (arrays[k] as Floats).length > 0);
  const drawn = new Set<string>();
  const probes: Probe[] = [];
  // Small arrays may have fewer parameters than `count`: the number of draws is limited.
  for (let i = 0; probes.length < count && i < 8 * count; i++) {
    const k = filled[i % filled.length] as number;
    const [array, gradient] = [arrays[k] as Floats, gradients[k] as Floats];
    const candidates = Array.from({ length: Math.floor(i / filled.length) % 2 === 0 ? 64 : 1 }, () =>
      draw(array.length),
    );
    const index = candidates.reduce((best, at) =>
      Math.abs(gradient[at] as number) > Math.abs(gradient[best] as number) ? at : best,
    );
    if (drawn.has(`${k} ${index}`)) continue;
    drawn.add(`${k} ${index}`);
    const x = array[index] as number;
    const move: Move = (t) => {
      const moved = array.slice();
      moved[index] = x + t;
      return [assemble(arrays.with(k, moved)), (moved[index] as number) - x];
    };
    const scale = Math.max(Math.abs(x), rootMeanSquare(array)) || Math.max(...arrays.map(rootMeanSquare)) || 1;
    probes.push({ parameter: names[k] as string, index, analytic: gradient[index] as number, scale, move });
  }
  return probes;
}

/** The indices of the arrays whose gradient is 0 everywhere. */
export function zeroGradientArrays({ arrays, gradients }: CheckedParameters): number[] {
  return [...arrays.keys()].filter((k) => (arrays[k] as Floats).length > 0 && maxAbs(gradients[k] as Floats) === 0);
}

/** All parameters of the arrays in `which` at once: along their gradient or, where that is 0, with random signs. */
export function directionalProbe(
  { names, arrays, gradients, assemble }: CheckedParameters,
  which: readonly number[],
  seed: number,
): Probe {
  const draw = generator(seed);
  const directions = arrays.map((array, k) => {
    if (!which.includes(k)) return undefined;
    const [scale, max] = [rootMeanSquare(array) || 1, maxAbs(gradients[k] as Floats)];
    if (max === 0) return Float64Array.from(array, () => scale * (2 * draw(2) - 1));
    return Float64Array.from(gradients[k] as Floats, (g) => (g / max) * scale);
  });
  const analytic = directions.reduce(
    (sum, direction, k) => direction?.reduce((s, v, i) => s + v * (gradients[k]?.[i] as number), sum) ?? sum,
    0,
  );
  const move: Move = (t) => {
    const moved = arrays.map((array, k) => {
      const direction = directions[k];
      return direction === undefined ? array : (array as Float32Array).map((x, i) => x + t * (direction[i] as number));
    });
    return [assemble(moved), t];
  };
  return { parameter: which.map((k) => names[k]).join(), index: -1, analytic, scale: 1, move };
}
