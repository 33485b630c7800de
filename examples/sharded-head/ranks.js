// How ranks exchange arrays: on the processor by MPI, on devices by NCCL, for which MPI finds the ranks together.
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

export function processors() {
  const mpi = addon('mpi');
  const { rank, size } = mpi.init();
  return {
    rank,
    size,
    /** Where arrays are computed with. */
    place: (array) => array,
    host: (array) => array,
    /** The arrays of all ranks, one after the other. */
    allGather(own) {
      const all = new own.constructor(own.length * size);
      mpi.allGather(own, all);
      return all;
    },
    finalize: mpi.finalize,
    abort: mpi.abort,
  };
}

/** Every rank has a device of its own: device number `rank` of the machine, or what CUDA_VISIBLE_DEVICES shows it. */
export function devices() {
  const owners = new WeakMap(); // of the memory that a view looks at
  const { rank, size, allGather, finalize, abort } = processors();
  const nccl = addon('nccl');
  nccl.load([process.env.SWEET_RL_NCCL ?? 'libnccl.so.2']);
  const id = new Uint8Array(128);
  if (rank === 0) nccl.uniqueId(id);
  const device = process.env.CUDA_VISIBLE_DEVICES === undefined ? rank : 0;
  DeviceBuffer.from(id, { device }).dispose(); // from here on this thread is that device's, for NCCL as well
  nccl.init(size, allGather(id).slice(0, id.length), rank);
  return {
    rank,
    size,
    place: (array, dtype) => DeviceBuffer.from(array, { device, ...(dtype === 'bfloat16' && { dtype }) }),
    host: (buffer) => buffer.toArray(),
    allGather(own) {
      const all = DeviceBuffer.allocate(own.dtype, own.length * size, { device });
      nccl.allGather(own.ptr, all.ptr, own.byteLength);
      // What NCCL was given is on the default stream: whoever reads the view comes after it.
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
