// The machine that the figures are of, and the most that it can do.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { backends } from 'sweet-rl';

const limits = createRequire(import.meta.url)('../build/bench/sweet_limits.node');

export function description() {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return {
    version,
    date: new Date().toISOString().slice(0, 10),
    processor: os.cpus()[0].model,
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    backends: backends().flatMap(({ name, available }) => (available ? [name] : [])),
  };
}

/** A limit as a contender: it takes its own time, natively, over the case's own memory, and what it did at best counts. */
const timed = (seconds) => Object.assign(() => Math.min(seconds(), seconds(), seconds()) * 1e3, { timesItself: true });

export const readLimit = (array, threads) => timed(() => limits.read(asFloat32(array), threads));
export const updateLimit = (array, threads) => timed(() => limits.update(asFloat32(array), threads));
export const copyLimit = (from, to, threads) => timed(() => limits.copy(asFloat32(from), asFloat32(to), threads));

/** The time that so many operations take at the rate of multiply-adds in registers, of bfloat16 pairs if they are quicker. */
export function multiplyAddLimit(operations, dtype, threads) {
  const pairs = dtype === 'bfloat16' ? limits.multiplyAddBf16 : () => 0;
  return timed(() => operations / Math.max(pairs(threads), limits.multiplyAdd(threads)));
}

function asFloat32(array) {
  return new Float32Array(array.buffer, array.byteOffset, Math.floor(array.byteLength / 4));
}
