// Where the arrays of a call are: all on the host, or all on one device. Gives the addon that works there.
import { type Cuda, cudaOn } from '../addon/cuda.js';
import { check } from '../addon/faults.js';
import { type Addon, native } from '../addon/native.js';
import { isOnDevice, type NamedArray } from '../args/arrays.js';
import { expected, rangeError, typeError } from '../errors.js';

/** The first input decides the place; an array elsewhere is an error. */
export function addonFor(inputs: readonly NamedArray[], results: readonly NamedArray[] = []): Addon {
  const [first, array] = inputs[0] as readonly [string, object];
  const device = isOnDevice(array) ? array.device : undefined;
  for (const named of inputs) checkPlace(named, first, device);
  for (const named of results) checkPlace(named, first, device);
  if (device === undefined) return native;
  const cuda = cudaOn(device);
  followStreams(cuda, [...inputs, ...results]);
  return cuda as unknown as Addon; // it lacks the operations without a device form, which are not called with it
}

/** The call starts after the work that the streams of its arrays were given so far. */
function followStreams(cuda: Cuda, arrays: readonly NamedArray[]): void {
  const streams = arrays.map(([, array]) => (isOnDevice(array) ? array.stream : undefined));
  for (const stream of new Set(streams)) {
    if (stream !== undefined) check(cuda.follow(stream));
  }
}

function checkPlace([name, array]: NamedArray, first: string, device: number | undefined): void {
  if (array === undefined || (device === undefined && ArrayBuffer.isView(array))) return;
  if (!isOnDevice(array)) throw typeError('ERR_DEVICE', expected(`a DeviceBuffer, as ${first} is one,`, name, array));
  if (device === undefined) throw typeError('ERR_DEVICE', expected(`a typed array, as ${first} is one,`, name, array));
  if (array.device !== device) {
    const rule = `memory of device ${device}, where ${first} is,`;
    throw rangeError('ERR_DEVICE', `Expected ${rule} for ${name} but received memory of device ${array.device}`);
  }
}
