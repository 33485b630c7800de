#include "memory_pool.h"

#include <map>
#include <mutex>

#include "stream.h"

namespace sweet {
namespace cuda {
namespace {

// Bytes that a pool keeps for the next call. What it has beyond them returns to the driver at the next wait, and the
// next call allocates it again. Enough for a linear head by default: chunkBytes (2^30), cuBLASLt's workspace (32 MiB),
// a few numbers per row. Not measured on a GPU.
constexpr uint64_t kKeptBytes = 5ull << 28;

std::mutex pools_lock;
std::map<int, cudaMemPool_t> pools;  // never destroyed: streams of any thread have them

Status create_pool(int device, cudaMemPool_t* pool) {
  int supported = 0;
  cudaError_t error = cudaDeviceGetAttribute(&supported, cudaDevAttrMemoryPoolsSupported, device);
  if (error != cudaSuccess) return status_of(error, "cudaDeviceGetAttribute");
  if (!supported) return {};
  cudaMemPoolProps properties{};
  properties.allocType = cudaMemAllocationTypePinned;
  properties.location.type = cudaMemLocationTypeDevice;
  properties.location.id = device;
  error = cudaMemPoolCreate(pool, &properties);
  if (error != cudaSuccess) return status_of(error, "cudaMemPoolCreate");
  uint64_t kept = kKeptBytes;
  error = cudaMemPoolSetAttribute(*pool, cudaMemPoolAttrReleaseThreshold, &kept);
  if (error == cudaSuccess) return {};
  cudaMemPoolDestroy(*pool);
  return status_of(error, "cudaMemPoolSetAttribute");
}

Status reserved_bytes(cudaMemPool_t pool, uint64_t* bytes) {
  return status_of(cudaMemPoolGetAttribute(pool, cudaMemPoolAttrReservedMemCurrent, bytes), "cudaMemPoolGetAttribute");
}

Status trim(int device, cudaMemPool_t pool, int64_t* freed) {
  uint64_t before = 0, after = 0;
  Status status = reserved_bytes(pool, &before);
  if (status.ok()) status = status_of(cudaSetDevice(device), "cudaSetDevice");
  // The pool cannot return memory whose end of use the host has not seen.
  if (status.ok()) status = status_of(cudaDeviceSynchronize(), "cudaDeviceSynchronize");
  if (status.ok()) status = status_of(cudaMemPoolTrimTo(pool, 0), "cudaMemPoolTrimTo");
  if (status.ok()) status = reserved_bytes(pool, &after);
  if (status.ok() && before > after) *freed += static_cast<int64_t>(before - after);
  return status;
}

}  // namespace

Status pool_of(int device, cudaMemPool_t* pool) {
  const std::lock_guard<std::mutex> lock(pools_lock);
  const auto known = pools.find(device);
  if (known != pools.end()) {
    *pool = known->second;
    return {};
  }
  *pool = nullptr;
  const Status status = create_pool(device, pool);
  if (status.ok()) pools[device] = *pool;
  return status;
}

Status trim_pools(int64_t* freed) {
  const std::lock_guard<std::mutex> lock(pools_lock);
  *freed = 0;
  Status status;
  for (const auto& [device, pool] : pools) {
    if (pool && status.ok()) status = trim(device, pool, freed);
  }
  return status;
}

void empty_pools() {
  const std::lock_guard<std::mutex> lock(pools_lock);
  for (const auto& [device, pool] : pools) {
    if (pool) cudaMemPoolTrimTo(pool, 0);
  }
}

}  // namespace cuda
}  // namespace sweet
