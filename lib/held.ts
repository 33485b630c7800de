// The caller's arrays while a call runs later. Whatever becomes of them meanwhile, detached, transferred, resized, disposed or
// collected, the native code finds the memory that it was given.
import { types } from 'node:util';
import { classOf, isOnDevice, type OnSomeDevice } from './checks.js';
import { cudaOn } from './cuda.js';
import { typeError } from './errors.js';
import type { Native } from './native.js';
import type { Out, View } from './out.js';

const bufferOf = getter(Object.getPrototypeOf(Uint8Array.prototype), 'buffer') as (view: View) => ArrayBufferLike;
const isResizable = getter(ArrayBuffer.prototype, 'resizable') as (buffer: ArrayBuffer) => boolean;

/** What is behind a property, whatever a caller's object puts in front of it. */
function getter(prototype: object, name: string): (self: never) => unknown {
  const get = Object.getOwnPropertyDescriptor(prototype, name)?.get;
  return (self) => get?.call(self);
}

// The collector counts a pin's bytes once more and starts as if they had been allocated. So pins are used again while they
// are there; what nobody holds goes with the next collection.
const pins = new WeakMap<ArrayBuffer, WeakRef<ArrayBuffer>>();

function pinOf(buffer: ArrayBuffer, native: Native): ArrayBuffer | undefined {
  const earlier = pins.get(buffer)?.deref();
  if (earlier !== undefined && buffer.byteLength > 0) return earlier;
  const pin = native.pin(buffer);
  if (pin !== undefined) pins.set(buffer, new WeakRef(pin));
  return pin;
}

export class Held {
  /** Copies that stand for arrays whose memory may go away. */
  private readonly copies = new Map<View, View>();
  /** What keeps the memory of the others where it is. */
  private readonly pins = new Map<ArrayBufferLike, ArrayBufferLike>();
  private readonly onDevice: OnSomeDevice[] = [];
  private readonly results: readonly (readonly [name: string, view: View, length: number])[];

  constructor(
    private readonly native: Native,
    out: Out,
  ) {
    for (const view of out.arrays()) this.hold(view);
    this.results = out.buffers().map(([name, view]) => [name, view, view.length]);
  }

  private hold(view: View): void {
    if (isOnDevice(view)) {
      cudaOn(view.device).hold(view);
      this.onDevice.push(view);
      return;
    }
    const buffer = bufferOf(view);
    if (this.pins.has(buffer) || this.copies.has(view)) return;
    const pin = this.pinned(buffer);
    if (pin === undefined) this.copies.set(view, copyOf(view));
    else this.pins.set(buffer, pin);
  }

  private pinned(buffer: ArrayBufferLike): ArrayBufferLike | undefined {
    if (!types.isArrayBuffer(buffer)) return buffer; // shared memory cannot be taken away
    // A resizable buffer that shrinks loses its memory, whoever else uses that.
    return isResizable(buffer) ? undefined : pinOf(buffer, this.native);
  }

  /** The arguments as the native code gets them. */
  argsOf(args: readonly unknown[]): readonly unknown[] {
    return this.copies.size === 0 ? args : args.map((arg) => this.copies.get(arg as View) ?? arg);
  }

  /** After the call: the results into the caller's buffers, if these are what they were. */
  giveBack(): void {
    for (const [name, view, length] of this.results) {
      if (view.length === length) continue;
      if (isOnDevice(view)) {
        throw typeError('ERR_DISPOSED', `Expected a live DeviceBuffer for ${name} but it was disposed during the call`);
      }
      throw typeError('ERR_DETACHED', `Expected an attached buffer for ${name} but it was detached during the call`);
    }
    for (const [, view] of this.results) {
      const copy = this.copies.get(view);
      if (copy !== undefined) bytesOf(view).set(bytesOf(copy));
    }
  }

  letGo(): void {
    this.pins.clear();
    for (const buffer of this.onDevice) cudaOn(buffer.device).letGo(buffer);
  }
}

function bytesOf(view: View): Uint8Array {
  return new Uint8Array(bufferOf(view), view.byteOffset, view.byteLength);
}

function copyOf(view: View): View {
  const Class = globalThis[classOf(view) as 'Uint8Array'];
  return new Class(bytesOf(view).slice().buffer);
}
