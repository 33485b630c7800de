// The caller's result buffers: each has exactly the class, length and place that a fresh one would have, and none lies over
// an input or another result.
import type { When } from './call.js';
import { checkOptions, float32, isOnDevice } from './checks.js';
import { freshOn } from './device.js';
import { rangeError, typeError } from './errors.js';
import type { Native } from './native.js';
import { nativeFor } from './place.js';

type View = ArrayBufferView & { length: number };
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
  if (view.length > SLOT_LENGTH || view.buffer !== room.buffer) return view;
  const copy = new Float32Array(view.length);
  for (let i = 0; i < view.length; i++) copy[i] = view[i] as number;
  return copy;
}

export class Out {
  private used = 0;
  private readonly given: Readonly<Record<string, unknown>>;
  private readonly taken: Taken[] = [];

  /** `input` tells where fresh results are to be. */
  constructor(
    out: unknown,
    known: ReadonlySet<string>,
    private readonly input: { length: number },
    private readonly when: When = 'now',
  ) {
    if (out !== undefined) checkOptions('out', out, known);
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
    if (!this.has(name)) return fresh();
    const view = checked(`out.${name}`, this.given[name]);
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
    const native = nativeFor(inputs, taken);
    for (let i = 0; i < taken.length; i++) {
      const [name, view] = taken[i] as Taken;
      for (let j = 0; j < inputs.length + i; j++) {
        const [otherName, other] = (j < inputs.length ? inputs[j] : taken[j - inputs.length]) as Named;
        if (other === undefined || !overlap(view, other)) continue;
        const allowed = inPlace !== undefined && name === `out.${inPlace[0]}` && otherName === inPlace[1];
        if (allowed && view === other) continue;
        if (allowed && view.byteOffset === other.byteOffset && view.byteLength === other.byteLength) continue;
        throw rangeError(
          'ERR_OVERLAP',
          `Expected memory of its own for ${name} but received one that overlaps ${otherName}`,
        );
      }
    }
    return native;
  }
}

function overlap(a: ArrayBufferView, b: ArrayBufferView): boolean {
  if (a === b) return a.byteLength > 0;
  return (
    a.buffer === b.buffer && a.byteOffset < b.byteOffset + b.byteLength && b.byteOffset < a.byteOffset + a.byteLength
  );
}
