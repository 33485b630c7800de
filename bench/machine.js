// The machine that the benchmarks run on, and its roofline.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import os from 'node:os';
import { backends } from 'sweet-rl';

const native = createRequire(import.meta.url)('../build/bench/sweet_roofline.node');

export function description() {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
  return {
    version,
    date: new Date().toISOString().slice(0, 10),
    cpu: os.cpus()[0].model,
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    system: `${os.type()} ${os.release()} ${os.arch()}`,
    node: process.version,
    backends: backends().flatMap(({ name, available }) => (available ? [name] : [])),
  };
}

/** A roofline is a call like any other in a case, timed by itself: the best of three counts. */
const timed = (seconds) => Object.assign(() => Math.min(seconds(), seconds(), seconds()) * 1e3, { timesItself: true });

/** Reads the array once, at the bandwidth of streaming reads. */
export const readRoofline = (array, threads) => timed(() => native.read(asFloat32(array), threads));

/** The same read as a call that is timed like any other. */
export const readCall = (array, threads) => () => native.read(asFloat32(array), threads);

/** Reads and writes every element of the array once. */
export const updateRoofline = (array, threads) => timed(() => native.update(asFloat32(array), threads));

/** The time of so many floating-point operations at the peak rate: FMAs, or bfloat16 dot products if those are faster. */
export function computeRoofline(operations, dtype, threads) {
  const dotRate = dtype === 'bfloat16' ? native.bf16DotRate : () => 0;
  return timed(() => operations / Math.max(dotRate(threads), native.fmaRate(threads)));
}

function asFloat32(array) {
  return new Float32Array(array.buffer, array.byteOffset, Math.floor(array.byteLength / 4));
}
