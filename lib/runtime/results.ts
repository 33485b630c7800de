// The results of a call: the caller's buffers or fresh ones, listed in the order of the returned object. Each buffer of the
// caller must have the class, length and place of a fresh one, and must not overlap an input or another result.
import { type Addon, native } from '../addon/native.js';
import {
  bytesOf,
  classOf,
  float32,
  int32,
  isOnDevice,
  lengthOf,
  type NamedArray,
  originalOf,
  typedArray,
} from '../args/arrays.js';
import { type DType, type FloatArray, newArray, sameDtype } from '../args/dtypes.js';
import { freshOn, zerosOn } from '../device/device-buffer.js';
import { expected, rangeError, typeError } from '../errors.js';
import type { Matrix, ResultNumbers } from './assert-finite.js';
import { addonFor } from './placement.js';

export type View = ArrayBufferView & { length: number };

/** What `debug: 'finite'` says of a result that is not finite; a matrix where it has columns. */
type Shape = Omit<Matrix, 'name' | 'array'>;

const ROWS: Shape = { unit: 'row' };

interface Result {
  name: string;
  view: View;
  shape: Shape;
  from: 'fresh' | 'scratch' | 'caller';
}

type Given = readonly [name: string, view: View];

// V8 keeps typed arrays of up to 64 bytes in its own heap and moves them out when native code asks for their memory, which
// takes longer than the rest of a small call. So a call writes small results into scratch memory, and collect() copies them.
// All calls use the same one: the native code writes the results of an async call there when the call has ended.
const SCRATCH_LENGTH = 16;
const SCRATCH_BUFFERS = 16;
const scratch = new ArrayBuffer(4 * SCRATCH_LENGTH * SCRATCH_BUFFERS);
const scratchViews = <T>(Class: new (buffer: ArrayBuffer, from: number, length: number) => T): T[][] =>
  Array.from({ length: SCRATCH_BUFFERS }, (_, i) =>
    Array.from({ length: SCRATCH_LENGTH + 1 }, (_, length) => new Class(scratch, 4 * SCRATCH_LENGTH * i, length)),
  );
const scratchFloats = scratchViews(Float32Array);
const scratchInts = scratchViews(Int32Array);

const SCALARS = 6;
const scratchScalars = new Float64Array(SCALARS);

// Of each array of a call: its memory, and the range of its bytes there, see `addresses` in addon/native.ts. Not the buffers,
// of which several can have the same memory.
let places = new Float64Array(3 * 64);
const [MEMORY, FROM, TO] = [0, 1, 2];
const at = (array: number, what: number): number => places[3 * array + what] as number;

const view = ([, array]: NamedArray) => originalOf(array);

function locate(arrays: readonly NamedArray[], addon: Addon): void {
  if (3 * arrays.length > places.length) places = new Float64Array(3 * arrays.length);
  if (addon === native) {
    native.addresses(places, ...arrays.map(view));
    return;
  }
  for (const [i, named] of arrays.entries()) {
    const array = view(named);
    const { from, to } = array ? bytesOf(array) : { from: 0, to: 0 };
    places.set([0, from, to], 3 * i);
  }
}

function overlap(i: number, j: number): boolean {
  return at(i, MEMORY) === at(j, MEMORY) && at(i, FROM) < at(j, TO) && at(j, FROM) < at(i, TO);
}

/** A fresh array where `like` is. */
export function freshFloat32(like: View, length: number): Float32Array<ArrayBuffer> {
  return isOnDevice(like) ? (freshOn(like.device, 'float32', length) as never) : new Float32Array(length);
}

function collectedView({ view, from }: Result): View {
  if (from !== 'scratch') return view;
  const length = lengthOf(view);
  const copy = view instanceof Int32Array ? new Int32Array(length) : new Float32Array(length);
  for (let i = 0; i < length; i++) copy[i] = (view as Float32Array | Int32Array)[i] as number;
  return copy;
}

const NONE = {};
const NO_ARRAYS: readonly NamedArray[] = [];
const NO_NAMES: readonly string[] = [];

export class Results {
  private readonly given: Readonly<Record<string, unknown>>;
  private results: Result[] = [];
  private inputs = NO_ARRAYS;
  private collected: Record<string, unknown> = NONE;
  private scalarNames: readonly string[] = NO_NAMES;
  private complete: ((collected: Record<string, unknown>, scalars: Float64Array) => void) | undefined;
  private scratchUsed = 0;

  /** `out` has known names only (checkOptions); fresh results are allocated where `like` is. */
  constructor(
    out: object | undefined,
    private readonly like: View,
  ) {
    this.given = (out ?? NONE) as Record<string, unknown>;
  }

  /** Whether the caller gave this buffer. */
  has(name: string): boolean {
    return this.given[name] !== undefined;
  }

  float32(name: string, length: number, shape: Shape = ROWS): Float32Array {
    const value = this.given[name];
    if (value !== undefined) return this.take(name, float32(`out.${name}`, value, length), shape);
    if (length > SCRATCH_LENGTH || isOnDevice(this.like)) return this.add(name, freshFloat32(this.like, length), shape);
    return this.add(name, scratchFloats[this.scratchUsed++]?.[length] as Float32Array, shape, 'scratch');
  }

  int32(name: string, length: number): Int32Array {
    const value = this.given[name];
    if (value !== undefined) return this.take(name, int32(`out.${name}`, value, length), ROWS);
    if (isOnDevice(this.like)) return this.add(name, freshOn(this.like.device, 'int32', length) as never, ROWS);
    if (length > SCRATCH_LENGTH) return this.add(name, new Int32Array(length), ROWS);
    return this.add(name, scratchInts[this.scratchUsed++]?.[length] as Int32Array, ROWS, 'scratch');
  }

  float64(name: string, length: number): Float64Array {
    const value = this.given[name];
    if (value !== undefined) {
      return this.take(name, typedArray(`out.${name}`, value, ['Float64Array'], length), ROWS);
    }
    const { like } = this;
    const fresh = isOnDevice(like) ? freshOn(like.device, 'float64', length) : new Float64Array(length);
    return this.add(name, fresh as Float64Array, ROWS);
  }

  /** Of the class and the length of another array. `written`: the operation writes every element. */
  sameAs<T extends FloatArray>(name: string, like: T, written: boolean, shape: Shape & { dtype: DType }): T {
    const length = lengthOf(like);
    const value = this.given[name];
    if (value !== undefined) {
      const view = sameDtype(`out.${name}`, value, like);
      if (lengthOf(view) === length) return this.take(name, view, shape);
      throw rangeError('ERR_ARG_LENGTH', expected(`${length} elements`, `out.${name}`, view));
    }
    const fresh = isOnDevice(like)
      ? ((written ? freshOn : zerosOn)(like.device, like.dtype as DType, length) as unknown as T)
      : newArray(classOf(like) as string, length);
    return this.add(name, fresh as T, shape);
  }

  /** [6] numbers, of which the first get these names; `complete` may add to what the call returns. */
  scalars(names: readonly string[], complete?: typeof this.complete): Float64Array {
    this.scalarNames = names;
    this.complete = complete;
    return scratchScalars;
  }

  /** The caller's buffers, with the shapes of those that were tensors. */
  get out(): object {
    return this.given;
  }

  /** Throws where the caller gave a buffer for a result that this call does not have. */
  refuse(name: string, why: string): void {
    if (this.has(name)) throw typeError('ERR_UNKNOWN_OPTION', `Expected no out.${name} but received one: ${why}`);
  }

  private add<T extends View>(name: string, view: T, shape: Shape, from: Result['from'] = 'fresh'): T {
    this.results.push({ name, view, shape, from });
    return view;
  }

  private take<T extends View>(name: string, view: T, shape: Shape): T {
    return this.add(name, view, shape, 'caller');
  }

  /**
   * Checks where inputs and results are; returns the addon that works there. inPlace: one result that may be exactly one
   * of the inputs.
   */
  place(inputs: readonly NamedArray[], inPlace?: { result: string; input: string }): Addon {
    this.results = [...this.results]; // without the capacity that push adds, which a long queue would keep
    this.inputs = inputs;
    const ofCaller = this.callerResults();
    const addon = addonFor(inputs, ofCaller);
    if (ofCaller.length === 0) return addon;
    const all: readonly NamedArray[] = [...inputs, ...ofCaller];
    locate(all, addon);
    for (let i = inputs.length; i < all.length; i++) {
      for (let j = 0; j < i; j++) {
        if (!overlap(i, j)) continue;
        const [[name], [otherName]] = [all[i], all[j]] as [NamedArray, NamedArray];
        const allowed = inPlace !== undefined && name === `out.${inPlace.result}` && otherName === inPlace.input;
        if (allowed && at(i, FROM) === at(j, FROM) && at(i, TO) === at(j, TO)) continue;
        throw rangeError(
          'ERR_OVERLAP',
          `Expected memory of its own for ${name} but received one that overlaps ${otherName}`,
        );
      }
    }
    return addon;
  }

  /** The caller's buffers for results. */
  callerResults(): readonly Given[] {
    const given = this.results.filter(({ from }) => from === 'caller');
    return given.map(({ name, view }) => [`out.${name}`, view]);
  }

  /** Once, so that a waiting call does not keep the list. */
  takeInputs(): readonly NamedArray[] {
    const { inputs } = this;
    this.inputs = NO_ARRAYS;
    return inputs;
  }

  /** After the native call: the object that the call returns. */
  collect(): object {
    const collected: Record<string, unknown> = {};
    this.collected = collected;
    this.scalarNames.forEach((name, i) => {
      collected[name] = scratchScalars[i];
    });
    for (const result of this.results) collected[result.name] = collectedView(result);
    this.complete?.(collected, scratchScalars);
    return collected;
  }

  /** After `collect`: the numbers and the arrays, for `debug: 'finite'`. */
  numbers(): ResultNumbers {
    const { collected } = this;
    const floats = this.results.filter(({ view }) => !['Int32Array', 'Float64Array'].includes(classOf(view) as string));
    return {
      scalars: this.scalarNames.map((name) => [name, collected[name] as number]),
      matrices: floats.map(({ name, shape }) => ({ ...shape, name, array: collected[name] as View })),
    };
  }
}
