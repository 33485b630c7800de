// Memory pools. Each device has one of this library, for scratch memory. The default pool of a device, which other
// libraries of the process may use, is neither changed nor used.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../status.h"

namespace sweet {
namespace cuda {

/** The pool of a device, until the process ends; null where the device does not support pools. */
Status pool_of(int device, cudaMemPool_t* pool);

/** Waits for the devices and returns the memory that the pools do not use to the driver; sets `freed` to its bytes. */
Status trim_pools(int64_t* freed);

/** The same without a wait for the devices, where other libraries may have work that does not end. */
void empty_pools();

}  // namespace cuda
}  // namespace sweet
