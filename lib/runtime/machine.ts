// What the machine offers and what of it is used. All of this is for the whole process, worker threads included.
import { cudaOn, deviceRefusals } from '../addon/cuda.js';
import { errorOf } from '../addon/faults.js';
import { type Backend, cudaBackend, hostBackends, native, switchBackend, threadCount } from '../addon/native.js';
import { defaultPrecision } from '../args/precision.js';

export type { Backend };

/**
 * The backends that sweet-rl knows, best first; the first available one is active unless another was chosen. The last,
 * 'cuda', is never the active one: calls on device buffers use it, and no others do. 'wasm' is the active one where no native
 * addon was loaded, and then the only one; its `note` says why it is slower.
 *
 * @returns one entry each: whether it is available here, whether it is active, the reason where it is not available, and the
 *   `precision` of the backward pass of bfloat16 linear heads where a call gives none.
 * @example
 * backends().find((backend) => backend.active)?.name; // 'avx512'
 */
export function backends(): Backend[] {
  return [...hostBackends(native), cudaBackend()].map((each) => ({ ...each, precision: defaultPrecision(each.name) }));
}

/**
 * Makes a backend the active one. The environment variable SWEET_RL_BACKEND does the same at start.
 *
 * @param name one of the names that `backends()` lists.
 * @throws SweetError ERR_BACKEND, with the reason, where it is not available; RangeError for an unknown name.
 * @example
 * useBackend('portable'); // plain C++, on every processor
 */
export function useBackend(name: Backend['name']): void {
  switchBackend(native, name, 'name');
}

/**
 * Sets how many threads a large call may use, the calling one included. Results do not depend on it. The environment
 * variable SWEET_RL_THREADS does the same at start; without either it is the number of CPUs that the process may use: of its
 * affinity, or fewer where a quota (cgroups, a Windows job) allows fewer, rounded up. WebAssembly has one thread, whatever n.
 *
 * @param n an integer from 1 to 256.
 * @throws RangeError ERR_ARG_VALUE outside of that, TypeError ERR_ARG_TYPE for what is no number.
 * @example
 * setThreads(1); // leave the other processors to the model
 */
export function setThreads(n: number): void {
  native.setThreads(threadCount('n', n));
}

/**
 * How many threads a large call may use.
 *
 * @returns the number that `setThreads` or SWEET_RL_THREADS set, else the number of CPUs that the process may use.
 * @example
 * threads(); // 8
 */
export function threads(): number {
  return native.threads();
}

/**
 * The most working memory, in bytes, that one call on device buffers had at once, of all calls since this was last asked.
 * Arrays and results of the calls are not counted. A linear head has about `chunkBytes` of it, every other operation a
 * few numbers per row.
 *
 * @returns bytes; 0 where no call was made.
 * @throws SweetError ERR_BACKEND where CUDA cannot be used, with the reason.
 * @example
 * linearLogps({ hidden, weight, hiddenSize, labels, chunkBytes: 2 ** 28 });
 * peakWorkingMemory(); // 268 million or less, and some
 */
export function peakWorkingMemory(): number {
  return anyCuda().takePeakScratch();
}

/**
 * Returns to the driver the device memory that is kept for later calls. After a call, up to 1.25 GiB of its working memory
 * per device stay in a memory pool of sweet-rl, so that the next call need not allocate it again. This function waits until
 * all work on these devices has ended. DeviceBuffers, and memory that calls on other threads are using, are not affected.
 *
 * @returns how many bytes were freed, of all devices; 0 where nothing was kept or the devices do not support pools.
 * @throws SweetError ERR_BACKEND where CUDA cannot be used, with the reason; CudaError ERR_CUDA where a call of CUDA fails.
 * @see cudaMemPoolTrimTo.
 * @example
 * criticUpdate(batch); // DeviceBuffers
 * freeCachedMemory(); // before another library needs the memory
 */
export function freeCachedMemory(): number {
  const freed = anyCuda().freeCached();
  if (typeof freed !== 'number') throw errorOf(freed);
  return freed;
}

/** The addon, on a device that can be used. */
function anyCuda() {
  return cudaOn(deviceRefusals().indexOf(''));
}
