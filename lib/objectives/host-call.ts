// What the functions of sweet-rl/objectives share: arrays in host memory, the layout of a batch, the results of a call.

import { bytesOf, hostView, int32, type Mask, mask, onHost, plainView, typedArray } from '../args/arrays.js';
import { missing } from '../args/options.js';
import { divisor, integer, number } from '../args/scalars.js';
import type { ArrayOrTensor } from '../args/tensors.js';
import { expected, rangeError, typeError } from '../argument-errors.js';
import { groups } from '../data/candidates.js';

/** Real numbers: rewards, values, log-probs. All arithmetic is float64. */
export type Reals = Float32Array | Float64Array;

/** What a real result is that is no gradient. */
export type Float64s = Float64Array<ArrayBuffer>;

/** What an index or a count is. */
export type Int32s = Int32Array<ArrayBuffer>;

/** The class of a gradient: that of the array of which it is the gradient. */
export type SameClass<A extends Reals> = A extends Float32Array ? Float32Array<ArrayBuffer> : Float64s;

/** An optional input. */
export type Optional<A> = ArrayOrTensor<A> | undefined;

/** Buffers for results of float64, by name. */
export type OutOf<Name extends string> = { [name in Name]?: Float64Array | undefined } | undefined;

/** Elements in turns in trajectories; without `turnOffsets` every element is a turn. */
export interface LayoutOptions {
  /** [N]: a dropped element (0) is never read, takes no time step, and is 0 in every result. */
  mask?: Optional<Mask>;
  /** [T + 1], the elements of turn t are turnOffsets[t] ... turnOffsets[t + 1] - 1; by default every element is a turn. */
  turnOffsets?: Optional<Int32Array>;
  /** [K + 1], the turns of trajectory k, likewise. */
  trajectoryOffsets?: Optional<Int32Array>;
}

export const LAYOUT_OPTIONS = ['mask', 'turnOffsets', 'trajectoryOffsets'] as const;

export type Range = readonly [from: number, to: number];

const REALS = ['Float32Array', 'Float64Array'] as const;

export function reals(argument: string, value: unknown, length?: number): Reals {
  return hostView(argument, typedArray(argument, value, REALS, length));
}

export function optionalReals(argument: string, value: unknown, length: number): Reals | undefined {
  return value === undefined ? undefined : reals(argument, value, length);
}

export function integers(argument: string, value: unknown, length?: number): Int32Array {
  return hostView(argument, int32(argument, value, length));
}

export function fraction(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a number from 0 to 1', (x) => x >= 0 && x <= 1);
}

export function finite(argument: string, value: unknown, fallback: number): number {
  return number(argument, value, fallback, 'a finite number', Number.isFinite);
}

/** A number of agents, which has no default. */
export function countOf(argument: string, value: unknown): number {
  if (value === undefined) throw typeError('ERR_ARG_TYPE', expected('an integer >= 1', argument, value));
  return integer(argument, value, 1, 1, 2 ** 31 - 1);
}

/** The count over the whole batch where this call is a micro-batch of it; else that of this call. */
export function denominatorOf(value: unknown, counted: number): number {
  return divisor('denominator', value, counted);
}

/** The checked layout of `elements` elements. */
export class Layout {
  readonly mask: Uint8Array | undefined;
  private readonly givenTurns: readonly Range[] | undefined;
  private readonly turnsOfTrajectories: readonly Range[] | undefined;

  constructor(
    given: { readonly [name in keyof LayoutOptions]?: unknown },
    readonly elements: number,
  ) {
    this.mask = hostView('mask', mask(given.mask, elements));
    const { turnOffsets, trajectoryOffsets } = given;
    this.givenTurns = turnOffsets === undefined ? undefined : groups('turnOffsets', turnOffsets, elements);
    const turns = this.givenTurns?.length ?? elements;
    this.turnsOfTrajectories =
      trajectoryOffsets === undefined ? undefined : groups('trajectoryOffsets', trajectoryOffsets, turns);
  }

  counts(i: number): boolean {
    return this.mask?.[i] !== 0;
  }

  /** How many of these elements count. */
  counted([from, to]: Range = [0, this.elements]): number {
    if (this.mask === undefined) return to - from;
    let count = 0;
    for (let i = from; i < to; i++) if (this.mask[i] !== 0) count++;
    return count;
  }

  /** The elements of turn t. */
  turn(t: number): Range {
    return this.givenTurns === undefined ? [t, t + 1] : (this.givenTurns[t] as Range);
  }

  /** The elements of each turn; `by` needs turnOffsets. */
  turns(by: string): readonly Range[] {
    if (this.givenTurns === undefined) throw missing('turnOffsets', 'Int32Array', by);
    return this.givenTurns;
  }

  /** The turns of each trajectory. */
  turnsOf(by: string): readonly Range[] {
    if (this.turnsOfTrajectories === undefined) throw missing('trajectoryOffsets', 'Int32Array', by);
    return this.turnsOfTrajectories;
  }

  /** The elements of each trajectory. */
  trajectories(by: string): readonly Range[] {
    const begin = (t: number) => (t === this.givenTurns?.length ? this.elements : this.turn(t)[0]);
    return this.turnsOf(by).map(([from, to]) => [begin(from), begin(to)]);
  }
}

const CLASSES = { Float32Array, Float64Array, Int32Array };
type ClassName = keyof typeof CLASSES;
type Result = Float32Array | Float64Array | Int32Array;

/** The results of a call: the caller's buffers in `out`, or fresh arrays. */
export class HostResults {
  private readonly out: Readonly<Record<string, unknown>>;
  private readonly results: { name: string; array: Result; view: Result }[] = [];

  /** @param given the checked options: the arrays among them are the inputs. */
  constructor(private readonly given: object) {
    this.out = ((given as { out?: object }).out ?? {}) as Record<string, unknown>;
  }

  float64(name: string, length: number): Float64Array {
    return this.add(name, 'Float64Array', length) as Float64Array;
  }

  int32(name: string, length: number): Int32Array {
    return this.add(name, 'Int32Array', length) as Int32Array;
  }

  /** Of the class and the length of an input. */
  sameAs(name: string, like: Reals): Reals {
    return this.add(name, like instanceof Float32Array ? 'Float32Array' : 'Float64Array', like.length) as Reals;
  }

  private add(name: string, className: ClassName, length: number): Result {
    const value = this.out[name];
    const array =
      value === undefined
        ? new CLASSES[className](length)
        : onHost(`out.${name}`, typedArray(`out.${name}`, value, [className], length));
    const view = plainView(array);
    this.results.push({ name, array, view });
    return view;
  }

  /** After the last check: throws where a result overlaps an input or another result, then fills the results with 0. */
  open(): void {
    for (const name in this.out) {
      if (this.out[name] === undefined || this.results.some((result) => result.name === name)) continue;
      throw typeError('ERR_UNKNOWN_OPTION', `Expected no out.${name} but received one: this call has no such result`);
    }
    const inputs = Object.entries(this.given).filter(([, value]) => ArrayBuffer.isView(value));
    const seen = inputs.map(([name, value]) => ({ name, ...bytesOf(value as Reals) }));
    for (const { name, array } of this.results) {
      if (this.out[name] === undefined) continue;
      const bytes = bytesOf(array);
      // Two SharedArrayBuffer objects of one memory cannot be told apart without native code.
      const other = seen.find((a) => a.buffer === bytes.buffer && a.from < bytes.to && bytes.from < a.to);
      if (other !== undefined) {
        const received = `one that overlaps ${other.name}`;
        throw rangeError('ERR_OVERLAP', `Expected memory of its own for out.${name} but received ${received}`);
      }
      seen.push({ name: `out.${name}`, ...bytes });
    }
    for (const { view } of this.results) view.fill(0);
  }

  /** The arrays of the result by their names. */
  collect<T>(): T {
    return Object.fromEntries(this.results.map(({ name, array }) => [name, array])) as T;
  }
}
