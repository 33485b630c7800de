// The caller's result buffers: each has exactly the class, length and place that a fresh one would have, and none lies over
// an input or another result.
import type { When } from './call.js';
import { type Bytes, bytesOf, float32, isOnDevice, lengthOf } from './checks.js';
import { freshOn } from './device.js';
import { rangeError, typeError } from './errors.js';
import type { Native } from './native.js';
import { nativeFor } from './place.js';

export type View = ArrayBufferView & { length: number };
type Named = readonly [name: string, view: View | undefined];
type Taken = readonly [name: string, view: View];

/** The buffers that results must not lie over. */
export type Inputs = readonly Named[];

// The engine keeps arrays of up to 64 bytes in its own heap and moves them out when native code asks for their memory, which
// costs more than all else in a small call. So native code writes small results here, and `own` makes copies. A call that
// runs later must not: by then another one has the same places.
const SLOT_LENGTH = 16;
const SLOTS = 16;
const room = new Float32Array(SLOT_LENGTH * SLOTS);
const scalars = new Float64Array(4);
const slots: Float32Array[][] = Array.from({ length: SLOTS }, (_, slot) =>
  Array.from({ length: SLOT_LENGTH + 1 }, (_, length) =>
    room.subarray(slot * SLOT_LENGTH, slot * SLOT_LENGTH + length),
  ),
);

/** A fresh result, where `like` is. */
export function freshFloat32(like: { length: number }, length: number): Float32Array {
  return isOnDevice(like) ? (freshOn(like.device, 'float32', length) as never) : new Float32Array(length);
}

/** A result once the native code has written it: the caller's own array. */
export function own(view: Float32Array): Float32Array {
  const length = lengthOf(view);
  if (length > SLOT_LENGTH || bytesOf(view).buffer !== room.buffer) return view;
  const copy = new Float32Array(length);
  for (let i = 0; i < length; i++) copy[i] = view[i] as number;
  return copy;
}

export class Out {
  private used = 0;
  private readonly given: Readonly<Record<string, unknown>>;
  private readonly taken: Taken[] = [];
  private inputs: Inputs = [];

  /** `out` has been read and holds known names; `input` tells where fresh results are to be. */
  constructor(
    out: object | undefined,
    private readonly input: { length: number },
    private readonly when: When = 'now',
  ) {
    this.given = (out ?? {}) as Record<string, unknown>;
  }

  /** Whether the caller brought this buffer. */
  has(name: string): boolean {
    return this.given[name] !== undefined;
  }

  float32(name: string, length: number): Float32Array {
    return this.take(
      name,
      (argument, value) => float32(argument, value, length),
      () =>
        length > SLOT_LENGTH || this.when === 'later' || isOnDevice(this.input)
          ? freshFloat32(this.input, length)
          : (slots[this.used++]?.[length] as Float32Array),
    );
  }

  /** Room for the losses, which the call that got it reads before another one writes there. */
  scalars(): Float64Array {
    return this.when === 'later' ? new Float64Array(scalars.length) : scalars;
  }

  /** The caller's buffer if `checked` lets it pass, else a fresh one. */
  take<T extends View>(name: string, checked: (argument: string, value: unknown) => T, fresh: () => T): T {
    const value = this.given[name];
    if (value === undefined) return fresh();
    const view = checked(`out.${name}`, value);
    this.taken.push([`out.${name}`, view]);
    return view;
  }

  /** A result that this call does not have must not be asked for. */
  refuse(name: string, why: string): void {
    if (this.has(name)) throw typeError('ERR_UNKNOWN_OPTION', `Expected no out.${name} but received one: ${why}`);
  }

  /** The native code for arrays that are where these are. `inPlace`: an input that one result may be, exactly. */
  settle(inputs: Inputs, inPlace?: readonly [out: string, input: string]): Native {
    const { taken } = this;
    this.inputs = inputs;
    const native = nativeFor(inputs, taken);
    if (taken.length === 0) return native;
    const named: readonly Named[] = [...inputs, ...taken];
    const places = named.map(([, view]) => view && bytesOf(view));
    for (let i = inputs.length; i < places.length; i++) {
      const { buffer, from, to } = places[i] as Bytes;
      for (let j = 0; j < i; j++) {
        const other = places[j];
        if (other?.buffer !== buffer || from >= other.to || other.from >= to) continue;
        const [[name], [otherName]] = [named[i], named[j]] as [Named, Named];
        const allowed = inPlace !== undefined && name === `out.${inPlace[0]}` && otherName === inPlace[1];
        if (allowed && other.from === from && other.to === to) continue;
        throw rangeError(
          'ERR_OVERLAP',
          `Expected memory of its own for ${name} but received one that overlaps ${otherName}`,
        );
      }
    }
    return native;
  }

  /** The caller's buffers for results. */
  buffers(): readonly Taken[] {
    return this.taken;
  }

  /** All of the caller's arrays. */
  arrays(): View[] {
    return [...this.inputs, ...this.taken].flatMap(([, view]) => view ?? []);
  }
}
