// Where the arrays of a call are, all on the host or all on one device, and the native code that works there.
import { isOnDevice, plainView } from './checks.js';
import { type Cuda, cudaOn } from './cuda.js';
import { check, expected, rangeError, typeError } from './errors.js';
import { type Native, native } from './native.js';

/** An array of a call by its argument's name. */
export type Named = readonly [name: string, array: { length: number } | undefined];

/** The first array decides the place; one that is elsewhere is an error. */
export function nativeFor(arrays: readonly Named[], more: readonly Named[] = []): Native {
  const [first, array] = arrays[0] as readonly [string, { length: number }];
  const device = isOnDevice(array) ? array.device : undefined;
  for (const named of arrays) checkPlace(named, first, device);
  for (const named of more) checkPlace(named, first, device);
  if (device === undefined) return native;
  const cuda = cudaOn(device);
  followStreams(cuda, [...arrays, ...more]);
  // The operations that run on devices have the same signatures there.
  return cuda as unknown as Native;
}

/** The call starts after what the arrays' own streams have been given so far. */
function followStreams(cuda: Cuda, arrays: readonly Named[]): void {
  const streams = arrays.map(([, array]) => (isOnDevice(array) ? array.stream : undefined));
  for (const stream of new Set(streams)) {
    if (stream !== undefined) check(cuda.follow(stream));
  }
}

/** An array of a call that runs on the host alone. */
export function onHost<A extends { length: number } | undefined>(argument: string, array: A): A {
  if (isOnDevice(array)) throw typeError('ERR_DEVICE', expected('an array in host memory', argument, array));
  return array;
}

/** Likewise, for loops in JavaScript: nothing of a subclass runs in them. */
export function hostView<A extends (ArrayBufferView & { length: number }) | undefined>(argument: string, array: A): A {
  const there = onHost(argument, array);
  return there && plainView(there);
}

function checkPlace([name, array]: Named, first: string, device: number | undefined): void {
  if (array === undefined || (device === undefined && ArrayBuffer.isView(array))) return;
  if (!isOnDevice(array)) throw typeError('ERR_DEVICE', expected(`a DeviceBuffer, as ${first} is one,`, name, array));
  if (device === undefined) throw typeError('ERR_DEVICE', expected(`a typed array, as ${first} is one,`, name, array));
  if (array.device !== device) {
    const rule = `memory of device ${device}, where ${first} is,`;
    throw rangeError('ERR_DEVICE', `Expected ${rule} for ${name} but received memory of device ${array.device}`);
  }
}
