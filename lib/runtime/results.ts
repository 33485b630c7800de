// The results of a call: the caller's buffers or fresh ones, listed in the order of the returned object. Each buffer of the
// caller must have the class, length and place of a fresh one, and must not overlap an input or another result.
import { type Addon, native } from '../addon/native.js';
import { bytesOf, classOf, float32, int32, isOnDevice, lengthOf, type NamedArray, typedArray } from '../args/arrays.js';
import { type DType, type FloatArray, newArray, sameDtype } from '../args/dtypes.js';
import type { Mode } from '../args/options.js';
import { freshOn, zerosOn } from '../device/device-buffer.js';
import { expected, rangeError, typeError } from '../errors.js';
import type { Matrix, ResultNumbers } from './assert-finite.js';
import { addonFor } from './placement.js';
import { smallMemory } from './slab.js';

export type View = ArrayBufferView & { length: number };

/** What `debug: 'finite'` says of a result that is not finite; a matrix where it has columns. */
type Shape = Omit<Matrix, 'name' | 'array'>;

const ROWS: Shape = { unit: 'row' };

interface Result {
  name: string;
  view: View;
  shape: Shape;
  isScratch: boolean;
}

type Given = readonly [name: string, view: View];

// V8 keeps typed arrays of up to 64 bytes in its own heap and moves them out when native code asks for their memory, which
// takes longer than the rest of a small call. So a call writes small results into scratch memory, and collect() copies them.
// All sync calls use the same one; an async call has its own, since other calls run meanwhile.
const SCRATCH_LENGTH = 16;
const SCRATCH_BUFFERS = 16;
const scratch = new Float32Array(SCRATCH_LENGTH * SCRATCH_BUFFERS);
const scratchViews: Float32Array[][] = Array.from({ length: SCRATCH_BUFFERS }, (_, i) =>
  Array.from({ length: SCRATCH_LENGTH + 1 }, (_, length) =>
    scratch.subarray(i * SCRATCH_LENGTH, i * SCRATCH_LENGTH + length),
  ),
);

const LOSSES = ['loss', 'preferenceLoss', 'nllLoss', 'accuracy'] as const;
const scratchLosses = new Float64Array(LOSSES.length);

// Of each array of a call: its memory, and the range of its bytes there, see `addresses` in addon/native.ts. Not the buffers,
// of which several can have the same memory.
let places = new Float64Array(3 * 64);
const [MEMORY, FROM, TO] = [0, 1, 2];
const at = (array: number, what: number): number => places[3 * array + what] as number;

const view = ([, array]: NamedArray) => array;

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

function copyOfScratch({ view, isScratch }: Result): View {
  if (!isScratch) return view;
  const length = lengthOf(view);
  const copy = view instanceof Int32Array ? new Int32Array(length) : new Float32Array(length);
  for (let i = 0; i < length; i++) copy[i] = (view as Float32Array | Int32Array)[i] as number;
  return copy;
}

export class Results {
  private readonly given: Readonly<Record<string, unknown>>;
  private readonly results: Result[] = [];
  private readonly ofCaller: Given[] = [];
  private inputs: readonly NamedArray[] = [];
  private losses: Float64Array | undefined;
  private scratchUsed = 0;

  /** `out` has known names only (checkOptions); fresh results are allocated where `like` is. */
  constructor(
    out: object | undefined,
    private readonly like: View,
    private readonly mode: Mode = 'sync',
  ) {
    this.given = (out ?? {}) as Record<string, unknown>;
  }

  /** Whether the caller gave this buffer. */
  has(name: string): boolean {
    return this.given[name] !== undefined;
  }

  float32(name: string, length: number, shape: Shape = ROWS): Float32Array {
    const value = this.given[name];
    if (value !== undefined) return this.take(name, float32(`out.${name}`, value, length), shape);
    if (length > SCRATCH_LENGTH || isOnDevice(this.like)) return this.add(name, freshFloat32(this.like, length), shape);
    if (this.mode === 'async') return this.add(name, new Float32Array(...smallMemory(4 * length), length), shape, true);
    return this.add(name, scratchViews[this.scratchUsed++]?.[length] as Float32Array, shape, true);
  }

  int32(name: string, length: number): Int32Array {
    const value = this.given[name];
    if (value !== undefined) return this.take(name, int32(`out.${name}`, value, length), ROWS);
    if (isOnDevice(this.like)) return this.add(name, freshOn(this.like.device, 'int32', length) as never, ROWS);
    if (length > SCRATCH_LENGTH) return this.add(name, new Int32Array(length), ROWS);
    if (this.mode === 'async') return this.add(name, new Int32Array(...smallMemory(4 * length), length), ROWS, true);
    const { buffer, byteOffset } = (scratchViews[this.scratchUsed++] as Float32Array[])[length] as Float32Array;
    return this.add(name, new Int32Array(buffer, byteOffset, length), ROWS, true);
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

  /** [4]: loss, preferenceLoss, nllLoss, accuracy. */
  lossScalars(): Float64Array {
    const { length } = LOSSES;
    this.losses = this.mode === 'async' ? new Float64Array(...smallMemory(8 * length), length) : scratchLosses;
    return this.losses;
  }

  /** The caller's buffers, with the shapes of those that were tensors. */
  get out(): object {
    return this.given;
  }

  /** Throws where the caller gave a buffer for a result that this call does not have. */
  refuse(name: string, why: string): void {
    if (this.has(name)) throw typeError('ERR_UNKNOWN_OPTION', `Expected no out.${name} but received one: ${why}`);
  }

  private add<T extends View>(name: string, view: T, shape: Shape, isScratch = false): T {
    this.results.push({ name, view, shape, isScratch });
    return view;
  }

  private take<T extends View>(name: string, view: T, shape: Shape): T {
    this.ofCaller.push([`out.${name}`, view]);
    return this.add(name, view, shape);
  }

  /**
   * Checks where inputs and results are; returns the addon that works there. inPlace: one result that may be exactly one
   * of the inputs.
   */
  place(inputs: readonly NamedArray[], inPlace?: { result: string; input: string }): Addon {
    const { ofCaller } = this;
    this.inputs = inputs;
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
    return this.ofCaller;
  }

  /** All arrays of the caller, inputs and results; the inputs once, so that a waiting call does not keep the list. */
  takeCallerArrays(): View[] {
    const { inputs } = this;
    this.inputs = [];
    return [...inputs, ...this.ofCaller].flatMap(([, view]) => view ?? []);
  }

  /** After the native call: the losses and the arrays, for `debug: 'finite'`. */
  numbers(): ResultNumbers {
    const { losses } = this;
    const floats = this.results.filter(({ view }) => !['Int32Array', 'Float64Array'].includes(classOf(view) as string));
    return {
      losses: losses ? LOSSES.map((name, i) => [name, losses[i] as number]) : [],
      matrices: floats.map(({ name, view, shape }) => ({ ...shape, name, array: view })),
    };
  }

  /** After the native call: the object that the call returns. */
  collect(): object {
    const { losses } = this;
    const object: Record<string, unknown> = {};
    if (losses !== undefined) {
      object.loss = losses[0];
      object.preferenceLoss = losses[1];
      object.nllLoss = losses[2];
      object.accuracy = losses[3];
    }
    for (const result of this.results) object[result.name] = copyOfScratch(result);
    return object;
  }
}
