// All-gather between ranks: on CPUs by MPI, on devices by NCCL, whose unique id is exchanged by MPI.
import { createRequire } from 'node:module';
import { DeviceBuffer } from 'sweet-rl';

const require = createRequire(import.meta.url);

function addon(name) {
  try {
    return require(`./build/Release/${name}.node`);
  } catch (cause) {
    throw new Error('Build the addons first, with MPI installed: npx cmake-js compile -d examples/sharded-head', {
      cause,
    });
  }
}

export function cpus() {
  const mpi = addon('mpi');
  const { rank, size } = mpi.init();
  return {
    rank,
    size,
    /** Copies an array to where it is used in computations. */
    place: (array) => array,
    host: (array) => array,
    /** The arrays of all ranks, concatenated. */
    allGather(local) {
      const all = new local.constructor(local.length * size);
      mpi.allGather(local, all);
      return all;
    },
    finalize: mpi.finalize,
    abort: mpi.abort,
  };
}

/** One device per rank: device `rank` of the machine, or the one that CUDA_VISIBLE_DEVICES selects. */
export function devices() {
  const owners = new WeakMap(); // keeps the memory of a view alive
  const { rank, size, allGather, finalize, abort } = cpus();
  const nccl = addon('nccl');
  nccl.load([process.env.SWEET_RL_NCCL ?? 'libnccl.so.2']);
  const id = new Uint8Array(128);
  if (rank === 0) nccl.uniqueId(id);
  const device = process.env.CUDA_VISIBLE_DEVICES === undefined ? rank : 0;
  DeviceBuffer.from(id, { device }).dispose(); // makes it the current device of this thread, for NCCL as well
  nccl.init(size, allGather(id).slice(0, id.length), rank);
  return {
    rank,
    size,
    place: (array, dtype) => DeviceBuffer.from(array, { device, ...(dtype === 'bfloat16' && { dtype }) }),
    host: (buffer) => buffer.toArray(),
    allGather(local) {
      const all = DeviceBuffer.allocate(local.dtype, local.length * size, { device });
      nccl.allGather(local.ptr, all.ptr, local.byteLength);
      // NCCL works on the default stream; calls with this view are ordered after it.
      const { ptr, byteLength, dtype } = all;
      const view = DeviceBuffer.view({ ptr, byteLength, dtype, device }, { stream: 0n });
      owners.set(view, all);
      return view;
    },
    finalize() {
      nccl.destroy();
      finalize();
    },
    abort,
  };
}
