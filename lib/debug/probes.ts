// The ways in which checkGrad moves parameters: one of them, or many at once.
import { classOf, hostView, typedArray } from '../args/arrays.js';
import { isRecord } from '../args/options.js';
import { generator } from '../data/random.js';
import { expected, typeError } from '../errors.js';

type Floats = Float32Array | Float64Array;

/** One array of parameters or several by their names: the arrays that the model's numbers stand in. */
export type Parameters = Floats | Readonly<Record<string, Floats>>;

/** The parameters after a step of t along some way, and the step that they really made: float32 rounds it. */
type Path = (t: number) => [moved: Parameters, t: number];

/** A way to move, what the gradient says of it, and the step that is small there. */
export interface Probe {
  parameter: string;
  index: number;
  analytic: number;
  scale: number;
  path: Path;
}

export interface Tried extends Probe {
  numeric: number;
  error: number;
  uncertainty: number;
  step: number;
}

interface Checked {
  names: string[];
  arrays: Floats[];
  gradients: Floats[];
  /** In the form in which the caller has his parameters. */
  form: (arrays: Floats[]) => Parameters;
}

const RULE = 'Float32Array, Float64Array or an object of them';

type Takes = (argument: string, value: unknown, length?: number) => Floats;

export function checkParameters(parameters: unknown, gradient: unknown): Checked {
  // What is not moved goes to the caller's functions as he has it.
  const given = new Map<Floats, Floats>();
  const own = (array: Floats) => given.get(array) ?? array;
  const floats: Takes = (argument, value, length) => {
    const array = typedArray(argument, value, ['Float32Array', 'Float64Array'], length);
    const plain = hostView(argument, array);
    given.set(plain, array);
    return plain;
  };
  if (classOf(parameters) !== undefined) {
    const array = floats('parameters', parameters);
    const form = ([only]: Floats[]) => own(only as Floats);
    return { names: [''], arrays: [array], gradients: [floats('gradient', gradient, array.length)], form };
  }
  if (!isRecord(parameters)) throw typeError('ERR_ARG_TYPE', expected(RULE, 'parameters', parameters));
  if (!isRecord(gradient)) throw typeError('ERR_ARG_TYPE', expected('an object of arrays', 'gradient', gradient));
  const left = new Map(Object.entries(gradient));
  const entries = Object.entries(parameters).map(([name, value]) => {
    const array = floats(`parameters.${name}`, value);
    const arrayGradient = floats(`gradient.${name}`, left.get(name), array.length);
    left.delete(name);
    return { name, array, arrayGradient };
  });
  for (const name of left.keys()) {
    throw typeError('ERR_UNKNOWN_OPTION', `Expected no gradient.${name} but received one: parameters has none`);
  }
  const names = entries.map(({ name }) => name);
  return {
    names,
    arrays: entries.map(({ array }) => array),
    gradients: entries.map(({ arrayGradient }) => arrayGradient),
    form: (list) => Object.fromEntries(names.map((name, k) => [name, own(list[k] as Floats)])),
  };
}

type Numbers = Iterable<number> & { length: number };

/** Root of the mean square. */
function sizeOf(array: Numbers): number {
  let [sum, count] = [0, 0];
  for (const x of array) {
    sum += x * x;
    count++;
  }
  return Math.sqrt(sum / Math.max(count, 1));
}

export function largest(array: Numbers): number {
  let most = 0;
  for (const x of array) most = Math.max(most, Math.abs(x));
  return most;
}

/** Half of the parameters at random, half those of the largest gradient among some, in one array after the other. */
export function singles({ names, arrays, gradients, form }: Checked, count: number, seed: number): Probe[] {
  const draw = generator(seed);
  const filled = names.map((_, k) => k).filter((k) => (arrays[k] as Floats).length > 0);
  const taken = new Set<string>();
  const probes: Probe[] = [];
  // Small arrays have fewer parameters than are asked for.
  for (let i = 0; probes.length < count && i < 8 * count; i++) {
    const k = filled[i % filled.length] as number;
    const [array, gradient] = [arrays[k] as Floats, gradients[k] as Floats];
    const tries = Array.from({ length: Math.floor(i / filled.length) % 2 === 0 ? 64 : 1 }, () => draw(array.length));
    const index = tries.reduce((best, at) =>
      Math.abs(gradient[at] as number) > Math.abs(gradient[best] as number) ? at : best,
    );
    if (taken.has(`${k} ${index}`)) continue;
    taken.add(`${k} ${index}`);
    const x = array[index] as number;
    const path: Path = (t) => {
      const moved = array.slice();
      moved[index] = x + t;
      return [form(arrays.with(k, moved)), (moved[index] as number) - x];
    };
    const scale = Math.max(Math.abs(x), sizeOf(array)) || Math.max(...arrays.map(sizeOf)) || 1;
    probes.push({ parameter: names[k] as string, index, analytic: gradient[index] as number, scale, path });
  }
  return probes;
}

/** The arrays whose gradient is 0 everywhere. */
export function unmoved({ arrays, gradients }: Checked): number[] {
  return [...arrays.keys()].filter((k) => (arrays[k] as Floats).length > 0 && largest(gradients[k] as Floats) === 0);
}

/** All parameters of the arrays in `which` at once: along their gradient or, where that is 0, some to and some fro. */
export function together({ names, arrays, gradients, form }: Checked, which: readonly number[], seed: number): Probe {
  const draw = generator(seed);
  const directions = arrays.map((array, k) => {
    if (!which.includes(k)) return undefined;
    const [size, most] = [sizeOf(array) || 1, largest(gradients[k] as Floats)];
    if (most === 0) return Float64Array.from(array, () => size * (2 * draw(2) - 1));
    return Float64Array.from(gradients[k] as Floats, (g) => (g / most) * size);
  });
  const analytic = directions.reduce(
    (sum, direction, k) => direction?.reduce((s, v, i) => s + v * (gradients[k]?.[i] as number), sum) ?? sum,
    0,
  );
  const path: Path = (t) => {
    const moved = arrays.map((array, k) => {
      const direction = directions[k];
      return direction === undefined ? array : (array as Float32Array).map((x, i) => x + t * (direction[i] as number));
    });
    return [form(moved), t];
  };
  return { parameter: which.map((k) => names[k]).join(), index: -1, analytic, scale: 1, path };
}
