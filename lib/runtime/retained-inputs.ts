// The caller's arrays during an async call. Whatever happens to them meanwhile (detached, transferred, resized, disposed,
// collected), the native code works on memory that stays.
//
//   SharedArrayBuffer         never detached: used in place
//   mapping of sweet-rl/shm   kept by the native call: used in place
//   DeviceBuffer              kept by the native call: used in place
//   any other ArrayBuffer     copied; results are copied back. Inputs of up to native.copiedBytes: by the native code
//
// Memory of a released copy is used again while the collector leaves it: writing fresh memory takes much longer than the
// copy itself, since the system supplies it page by page (docs/guide/async.md has the figures).
import { native } from '../addon/native.js';
import { bytesIn, bytesOf, classOf, isArrayBuffer, isOnDevice, lengthOf, type NamedArray } from '../args/arrays.js';
import { typeError } from '../errors.js';
import type { Results, View } from './results.js';

const MIN_SPARE_BYTES = 65536;
const MAX_SPARES = 8;
const spares: WeakRef<ArrayBuffer>[] = [];

function allocate(byteLength: number): ArrayBuffer {
  const at = spares.findIndex((spare) => spare.deref()?.byteLength === byteLength);
  return (at < 0 ? undefined : spares.splice(at, 1)[0]?.deref()) ?? new ArrayBuffer(byteLength);
}

export class RetainedInputs {
  private readonly copies = new Map<View, View>();
  private readonly results: readonly (readonly [name: string, view: View, length: number])[];

  /** Of the arrays of a call. Undefined where the native code copies those that do not stay, as it does small inputs. */
  static of(results: Results): RetainedInputs | undefined {
    const inputs = results.takeInputs();
    const given = results.callerResults();
    return given.length > 0 || inputs.some(isLarge) ? new RetainedInputs(inputs.filter(isLarge), given) : undefined;
  }

  private constructor(inputs: readonly NamedArray[], results: readonly (readonly [name: string, view: View])[]) {
    this.results = results.map(([name, view]) => [name, view, lengthOf(view)]);
    for (const [, view] of [...inputs, ...results]) if (view !== undefined) this.retain(view);
  }

  private retain(view: View): void {
    if (isOnDevice(view) || this.copies.has(view)) return;
    const { buffer } = bytesOf(view);
    if (isArrayBuffer(buffer) && !native.isShm(buffer)) this.copies.set(view, copyOf(view));
  }

  /** The encoded arguments with the copies in place of the caller's arrays. */
  replaceIn(args: readonly unknown[]): readonly unknown[] {
    return this.copies.size === 0 ? args : args.map((arg) => this.copies.get(arg as View) ?? arg);
  }

  /** After the call: copies results into the caller's buffers; throws where one was detached or disposed meanwhile. */
  copyBack(): void {
    for (const [name, view, length] of this.results) {
      if (lengthOf(view) === length) continue;
      if (isOnDevice(view)) {
        throw typeError('ERR_DISPOSED', `Expected a live DeviceBuffer for ${name} but it was disposed during the call`);
      }
      const rule = `a buffer that is neither detached nor resized for ${name}`;
      throw typeError(
        'ERR_DETACHED',
        `Expected ${rule} but its length changed from ${length} to ${lengthOf(view)} during the call`,
      );
    }
    for (const [, view] of this.results) {
      const copy = this.copies.get(view);
      if (copy !== undefined) byteView(view).set(byteView(copy));
    }
  }

  release(): void {
    for (const { buffer, byteLength } of this.copies.values()) {
      if (byteLength >= MIN_SPARE_BYTES) spares.unshift(new WeakRef(buffer as ArrayBuffer));
    }
    spares.length = Math.min(spares.length, MAX_SPARES);
  }
}

const isLarge = ([, array]: NamedArray): boolean => array !== undefined && bytesIn(array) > native.copiedBytes;

function byteView(view: View): Uint8Array {
  const { buffer, from, to } = bytesOf(view);
  return new Uint8Array(buffer as ArrayBufferLike, from, to - from);
}

function copyOf(view: View): View {
  const Class = globalThis[classOf(view) as 'Uint8Array'];
  const bytes = byteView(view);
  const memory = allocate(bytes.length);
  new Uint8Array(memory).set(bytes);
  return new Class(memory);
}
