// Memory pools of the emulated runtime: each counts the bytes in use and the bytes that it keeps. Freed memory itself
// goes back to the host, so that a later access of it is found.
#include <cuda_runtime.h>

#include <algorithm>
#include <list>
#include <map>

#include "control.h"
#include "runtime.h"

struct CUmemPoolHandle_st {
  emulator::PoolReport state;
};

namespace emulator {
namespace {

std::list<CUmemPoolHandle_st> pools = {{{0, true, 0, 0, 0}}, {{1, true, 0, 0, 0}}};  // the default ones first

struct Part {
  cudaMemPool_t pool;
  size_t bytes;
};
std::map<void*, Part> parts;

void trim(PoolReport& pool, uint64_t kept) { pool.reserved = std::min(pool.reserved, std::max(pool.used, kept)); }

cudaError_t allocate_from(cudaMemPool_t pool, void** out, size_t bytes) {
  const cudaError_t error = allocate(out, bytes, pool->state.device, false);
  if (error != cudaSuccess) return error;
  parts[*out] = {pool, bytes};
  pool->state.used += bytes;
  pool->state.reserved = std::max(pool->state.reserved, pool->state.used);
  return cudaSuccess;
}

}  // namespace

void return_to_pool(void* memory) {
  const auto at = parts.find(memory);
  if (at == parts.end()) return;
  at->second.pool->state.used -= at->second.bytes;
  parts.erase(at);
}

void trim_to_thresholds() {
  for (CUmemPoolHandle_st& pool : pools) trim(pool.state, pool.state.threshold);
}

std::vector<PoolReport> pool_reports() {
  const Lock lock(driver);
  std::vector<PoolReport> reports;
  for (const CUmemPoolHandle_st& pool : pools) reports.push_back(pool.state);
  return reports;
}

}  // namespace emulator

using namespace emulator;

cudaError_t cudaMallocAsync(void** out, size_t bytes, cudaStream_t stream) {
  const Lock lock(driver);
  auto pool = pools.begin();
  std::advance(pool, stream_of(stream).device);
  return cudaMallocFromPoolAsync(out, bytes, &*pool, stream);
}

cudaError_t cudaMallocFromPoolAsync(void** out, size_t bytes, cudaMemPool_t pool, cudaStream_t) {
  const Lock lock(driver);
  const cudaError_t error = finish_call(has_pools(pool->state.device) ? cudaSuccess : cudaErrorNotSupported);
  return error != cudaSuccess ? error : allocate_from(pool, out, bytes);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int device) {
  const Lock lock(driver);
  const auto at =
      std::find_if(pools.begin(), pools.end(), [&](const auto& each) { return each.state.device == device; });
  *pool = &*at;
  return finish_call(has_pools(device) ? cudaSuccess : cudaErrorNotSupported);
}

cudaError_t cudaMemPoolCreate(cudaMemPool_t* pool, const cudaMemPoolProps* properties) {
  const Lock lock(driver);
  const int device = properties->location.id;
  const bool ok = properties->allocType == cudaMemAllocationTypePinned &&
                  properties->location.type == cudaMemLocationTypeDevice && device >= 0 && device < 2;
  const cudaError_t error = finish_call(!ok                 ? cudaErrorInvalidValue
                                        : has_pools(device) ? cudaSuccess
                                                            : cudaErrorNotSupported);
  if (error != cudaSuccess) return error;
  pools.push_back({{device, false, 0, 0, 0}});
  *pool = &pools.back();
  return cudaSuccess;
}

cudaError_t cudaMemPoolDestroy(cudaMemPool_t pool) {
  const Lock lock(driver);
  pools.remove_if([&](const CUmemPoolHandle_st& each) { return &each == pool; });
  return finish_call(cudaSuccess);
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  const Lock lock(driver);
  const cudaError_t error =
      finish_call(attribute == cudaMemPoolAttrReleaseThreshold ? cudaSuccess : cudaErrorInvalidValue);
  if (error == cudaSuccess) pool->state.threshold = *static_cast<const uint64_t*>(value);
  return error;
}

cudaError_t cudaMemPoolGetAttribute(cudaMemPool_t pool, cudaMemPoolAttr attribute, void* value) {
  const Lock lock(driver);
  const cudaError_t error =
      finish_call(attribute == cudaMemPoolAttrReservedMemCurrent ? cudaSuccess : cudaErrorInvalidValue);
  if (error == cudaSuccess) *static_cast<uint64_t*>(value) = pool->state.reserved;
  return error;
}

cudaError_t cudaMemPoolTrimTo(cudaMemPool_t pool, size_t kept) {
  const Lock lock(driver);
  const cudaError_t error = finish_call(cudaSuccess);
  if (error == cudaSuccess) trim(pool->state, kept);
  return error;
}
