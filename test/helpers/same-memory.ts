/** Pairs of buffers over the same memory, and over other memory. */
import { linkSync, rmSync } from 'node:fs';
import { MessageChannel, receiveMessageOnPort } from 'node:worker_threads';
import { openShm, unlinkShm } from 'sweet-rl/shm';

export type Pair = readonly [ArrayBufferLike, ArrayBufferLike];

/** The types of Node do not have it. */
type SharedMemory = new (options: object) => { buffer: SharedArrayBuffer; grow(pages: number): void };

function posted(buffer: SharedArrayBuffer): SharedArrayBuffer {
  const { port1, port2 } = new MessageChannel();
  port1.postMessage(buffer);
  const { message } = receiveMessageOnPort(port2) as { message: SharedArrayBuffer };
  port1.close();
  return message;
}

/** Two mappings of one shared memory, at different addresses; the second one by another name of it. */
function mappedTwice(bytes: number, alias: (name: string) => string): Pair {
  const name = `sweet-rl-overlap-${process.pid}`;
  const first = openShm(name, { create: true, byteLength: bytes });
  const other = alias(name);
  const second = openShm(other, { byteLength: bytes });
  for (const each of new Set([name, other])) unlinkShm(each);
  return [first.buffer, second.buffer];
}

/** Mappings of an old shared memory and of a new one of its name. */
function mappedAnew(): Pair {
  const name = `sweet-rl-overlap-${process.pid}`;
  const [first, second] = [0, 1].map(() => {
    const mapping = openShm(name, { create: true, byteLength: BYTES });
    unlinkShm(name);
    return mapping.buffer;
  });
  return [first!, second!];
}

function linked(name: string): string {
  const other = `${name}-link`;
  rmSync(`/dev/shm/${other}`, { force: true });
  linkSync(`/dev/shm/${name}`, `/dev/shm/${other}`);
  return other;
}

/** The size of the memory. */
export const BYTES = 65536;

/** Two objects over the same BYTES bytes. */
export const SAME_MEMORY: [string, () => Pair][] = [
  [
    'structuredClone of a SharedArrayBuffer',
    () => {
      const buffer = new SharedArrayBuffer(BYTES);
      return [buffer, structuredClone(buffer)];
    },
  ],
  [
    'a SharedArrayBuffer that was posted twice',
    () => {
      const buffer = new SharedArrayBuffer(BYTES);
      return [posted(buffer), posted(buffer)];
    },
  ],
  [
    'a shared WebAssembly.Memory before and after it grows',
    () => {
      const { Memory } = (globalThis as unknown as { WebAssembly: { Memory: SharedMemory } }).WebAssembly;
      const memory = new Memory({ initial: 1, maximum: 2, shared: true });
      const before = memory.buffer;
      memory.grow(1);
      return [before, memory.buffer];
    },
  ],
];

/** Two objects over different memory. */
export const OTHER_MEMORY: [string, () => Pair][] = [
  ['two SharedArrayBuffers', () => [new SharedArrayBuffer(BYTES), new SharedArrayBuffer(BYTES)]],
];

if (process.platform === 'linux') {
  SAME_MEMORY.push(['openShm of a name twice', () => mappedTwice(BYTES, (name) => name)]);
  SAME_MEMORY.push(['openShm of two names of a shared memory', () => mappedTwice(BYTES, linked)]);
  OTHER_MEMORY.push(['two shared memories, one after the other of one name', mappedAnew]);
}
