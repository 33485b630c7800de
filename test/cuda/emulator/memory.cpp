// Memory of the emulated runtime. It has exactly the requested size, is NaN at first, and is inaccessible to the host
// (under AddressSanitizer). Another process can map it.
#include <cuda.h>
#include <cuda_runtime.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "cuda_emulator.h"
#include "runtime.h"
#include "scheduler.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace emulator {
namespace {

constexpr int kHost = -1;

/** The contents of a handle: a file of the process that shares its memory. */
struct Shared {
  char mark[8];
  pid_t process;
  int file;
  size_t bytes;
  uint64_t number;  // counts what this process has shared
};
constexpr char kMark[8] = "emulate";

struct Allocation {
  size_t bytes;
  int device;        // or kHost: pinned
  size_t pages = 0;  // bytes of whole pages, between two inaccessible ones, of cudaMalloc; else 0: of the heap
  Shared shared{};
  int opened = 0;  // of another process's memory: how often
};
std::map<uintptr_t, Allocation> allocations;

constexpr size_t kPage = 4096;

uintptr_t address_of(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

/** The allocation that contains these bytes, or null. */
const Allocation* find_allocation(const void* pointer, size_t bytes = 0) {
  auto at = allocations.upper_bound(address_of(pointer));
  if (at == allocations.begin()) return nullptr;
  --at;
  return address_of(pointer) + bytes <= at->first + at->second.bytes ? &at->second : nullptr;
}

bool is_device_memory(const void* pointer, size_t bytes) {
  const Allocation* const allocation = find_allocation(pointer, bytes);
  return allocation && allocation->device != kHost;
}

void poison([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_poison_memory_region(memory, bytes);
#endif
}

void unpoison([[maybe_unused]] void* memory, [[maybe_unused]] size_t bytes) {
#ifdef __SANITIZE_ADDRESS__
  __asan_unpoison_memory_region(memory, bytes);
#endif
}

/** Adds memory; the host cannot access that of a device from here on. */
void add_allocation(void* memory, const Allocation& allocation) {
  allocations[address_of(memory)] = allocation;
  if (allocation.device == kHost) return;
  if (listener) listener->allocated(memory, allocation.bytes);
  poison(memory, std::max(allocation.bytes, allocation.pages));
}

size_t round_to_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

/** Pages of a file, or anonymous ones where file is negative; null if the mapping fails. */
void* map_pages(size_t pages, int file) {
  char* const all = static_cast<char*>(mmap(nullptr, pages + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (all == MAP_FAILED) return nullptr;
  const int kind = MAP_FIXED | (file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
  if (mmap(all + kPage, pages, PROT_READ | PROT_WRITE, kind, file, 0) != MAP_FAILED) return all + kPage;
  munmap(all, pages + 2 * kPage);
  return nullptr;
}

void free_allocation(std::map<uintptr_t, Allocation>::iterator at) {
  void* const memory = reinterpret_cast<void*>(at->first);
  const Allocation allocation = at->second;
  if (listener && allocation.device != kHost) listener->freed(memory);
  unpoison(memory, std::max(allocation.bytes, allocation.pages));
  return_to_pool(memory);
  allocations.erase(at);
  if (allocation.pages == 0) return free(memory);
  if (allocation.shared.number > 0 && allocation.opened == 0) close(allocation.shared.file);
  munmap(static_cast<char*>(memory) - kPage, allocation.pages + 2 * kPage);
}

cudaError_t release(void* memory, bool pinned) {
  if (memory == nullptr) return cudaSuccess;
  const auto at = allocations.find(address_of(memory));
  if (at == allocations.end() || (at->second.device == kHost) != pinned) return cudaErrorInvalidValue;
  if (at->second.opened > 0) return cudaErrorInvalidValue;
  free_allocation(at);
  return cudaSuccess;
}

// -- memory that processes share

uint64_t shared_count = 0;

/** Moves the pages into a file that another process can open. */
cudaError_t move_to_file(uintptr_t address, Allocation& allocation) {
  void* const memory = reinterpret_cast<void*>(address);
  const int file = memfd_create("emulated device memory", MFD_CLOEXEC);
  if (file < 0) return cudaErrorNotSupported;
  const DeviceAccess access;
  const ssize_t written =
      ftruncate(file, static_cast<off_t>(allocation.pages)) == 0 ? pwrite(file, memory, allocation.bytes, 0) : -1;
  const int kind = MAP_SHARED | MAP_FIXED;
  if (written != static_cast<ssize_t>(allocation.bytes) ||
      mmap(memory, allocation.pages, PROT_READ | PROT_WRITE, kind, file, 0) == MAP_FAILED) {
    close(file);
    return cudaErrorNotSupported;
  }
  allocation.shared = {{}, getpid(), file, allocation.bytes, ++shared_count};
  memcpy(allocation.shared.mark, kMark, sizeof(kMark));
  return cudaSuccess;
}

cudaError_t open_file(const Shared& shared, void** out) {
  const std::string path = "/proc/" + std::to_string(shared.process) + "/fd/" + std::to_string(shared.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return cudaErrorMapBufferObjectFailed;
  const size_t pages = round_to_pages(shared.bytes);
  *out = map_pages(pages, file);
  close(file);
  if (!*out) return cudaErrorMapBufferObjectFailed;
  add_allocation(*out, {shared.bytes, current_device, pages, shared, 1});
  if (listener) listener->written(*out, shared.bytes);
  return cudaSuccess;
}

void copy(void* to, const void* from, size_t bytes) {
  const DeviceAccess access;
  memmove(to, from, bytes);
  if (listener) listener->written(to, bytes);
}

bool copy_fits(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return true;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return is_device_memory(to, bytes) == to_device && is_device_memory(from, bytes) == from_device;
}

}  // namespace

cudaError_t allocate(void** out, size_t bytes, int device, bool by_pages) {
  *out = nullptr;
  if (bytes == 0) return cudaSuccess;
  const size_t pages = by_pages ? round_to_pages(bytes) : 0;
  if (by_pages) {
    *out = map_pages(pages, -1);
  } else if (posix_memalign(out, 256, bytes) != 0) {
    *out = nullptr;
  }
  if (!*out) return cudaErrorMemoryAllocation;
  memset(*out, 0xff, bytes);  // a NaN in every storage type
  add_allocation(*out, {bytes, device, pages});
  return cudaSuccess;
}

void DeviceAccess::set_accessible([[maybe_unused]] bool accessible) {
#ifdef __SANITIZE_ADDRESS__
  for (const auto& [address, allocation] : allocations) {
    if (allocation.device == kHost) continue;
    void* const memory = reinterpret_cast<void*>(address);
    accessible ? unpoison(memory, allocation.bytes) : poison(memory, allocation.bytes);
  }
#endif
}

size_t live_allocations() { return allocations.size(); }

bool on_device(const void* pointer) {
  const Allocation* const allocation = find_allocation(pointer);
  return allocation && allocation->device == current_device;
}

}  // namespace emulator

using namespace emulator;

// -- the functions of the runtime

static cudaError_t allocate_if_ok(void** out, size_t bytes, int device, bool by_pages) {
  const Lock lock(driver);
  const cudaError_t error = finish_call(cudaSuccess);
  return error != cudaSuccess ? error : allocate(out, bytes, device, by_pages);
}

cudaError_t cudaMalloc(void** out, size_t bytes) { return allocate_if_ok(out, bytes, current_device, true); }
cudaError_t cudaMallocHost(void** out, size_t bytes) { return allocate_if_ok(out, bytes, kHost, false); }

cudaError_t cudaFree(void* memory) {
  const Lock lock(driver);
  drain_all();
  return finish_call(release(memory, false));
}

cudaError_t cudaFreeHost(void* memory) {
  const Lock lock(driver);
  drain_all();
  return finish_call(release(memory, true));
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  const Lock lock(driver);
  // Freed even after a failed launch, when no more work is done, so that only leaks count as live objects.
  if (sticky_error != cudaSuccess) return finish_call(release(memory, false));
  if (!has_pools(stream_of(stream).device)) return finish_call(cudaErrorNotSupported);
  enqueue(stream_of(stream), [=] { release(memory, false); });
  return finish_call(cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle) {
  const Lock lock(driver);
  if (!copy_fits(to, from, bytes, kind)) return finish_call(cudaErrorInvalidValue);
  CUstream_st& stream = stream_of(handle);
  if (kind == cudaMemcpyHostToDevice && !find_allocation(from, bytes)) {  // pageable memory is read at once
    const char* const first = static_cast<const char*>(from);
    enqueue(stream, [to, staged = std::vector<char>(first, first + bytes)] { copy(to, staged.data(), staged.size()); });
  } else {
    enqueue(stream, [=] { copy(to, from, bytes); });
    if (kind == cudaMemcpyDeviceToHost && !find_allocation(to, bytes)) drain(stream);
  }
  return finish_call(cudaSuccess);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Lock lock(driver);
  drain_all();
  const cudaError_t error = finish_call(copy_fits(to, from, bytes, kind) ? cudaSuccess : cudaErrorInvalidValue);
  if (error == cudaSuccess) copy(to, from, bytes);
  return error;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  const Lock lock(driver);
  if (bytes > 0 && !is_device_memory(memory, bytes)) return finish_call(cudaErrorInvalidValue);
  enqueue(stream_of(stream), [=] {
    const DeviceAccess access;
    memset(memory, value, bytes);
    if (listener) listener->written(memory, bytes);
  });
  return finish_call(cudaSuccess);
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) { return cudaMemsetAsync(memory, value, bytes, nullptr); }

// -- addresses, and memory of other processes

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const Lock lock(driver);
  *attributes = cudaPointerAttributes{};
  const cudaError_t error = finish_call(cudaSuccess);
  const Allocation* const allocation = find_allocation(pointer, 1);
  if (error != cudaSuccess || !allocation) return error;
  attributes->type = allocation->device == kHost ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  attributes->device = std::max(allocation->device, 0);
  return cudaSuccess;
}

static CUresult address_range(CUdeviceptr* begin, size_t* bytes, CUdeviceptr address) {
  const Lock lock(driver);
  const Allocation* const allocation = find_allocation(reinterpret_cast<void*>(address), 1);
  const cudaError_t error = finish_call(allocation ? cudaSuccess : cudaErrorInvalidValue);
  if (error != cudaSuccess) return static_cast<CUresult>(error);
  *begin = std::prev(allocations.upper_bound(address))->first;
  *bytes = allocation->bytes;
  return CUDA_SUCCESS;
}

cudaError_t cudaGetDriverEntryPointByVersion(const char* symbol, void** function, unsigned, unsigned long long,
                                             cudaDriverEntryPointQueryResult* result) {
  const Lock lock(driver);
  const bool known = strcmp(symbol, "cuMemGetAddressRange") == 0;
  *function = known ? reinterpret_cast<void*>(address_range) : nullptr;
  *result = known ? cudaDriverEntryPointSuccess : cudaDriverEntryPointSymbolNotFound;
  return finish_call(cudaSuccess);
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* memory) {
  const Lock lock(driver);
  *handle = cudaIpcMemHandle_t{};
  const auto at = allocations.find(address_of(memory));
  const bool can_share = at != allocations.end() && at->second.pages > 0 && at->second.opened == 0;
  cudaError_t error = finish_call(can_share ? cudaSuccess : cudaErrorInvalidValue);
  if (error == cudaSuccess && at->second.shared.number == 0) error = move_to_file(at->first, at->second);
  if (error == cudaSuccess) memcpy(handle, &at->second.shared, sizeof(Shared));
  return error;
}

static cudaError_t open_shared(void** out, const Shared& shared, unsigned flags) {
  if (flags != cudaIpcMemLazyEnablePeerAccess || memcmp(shared.mark, kMark, sizeof(kMark)) != 0) {
    return cudaErrorInvalidValue;
  }
  if (shared.process == getpid()) return cudaErrorDeviceUninitialized;
  for (auto& [address, allocation] : allocations) {
    if (allocation.opened == 0 || memcmp(&allocation.shared, &shared, sizeof(Shared)) != 0) continue;
    allocation.opened++;
    *out = reinterpret_cast<void*>(address);
    return cudaSuccess;
  }
  return open_file(shared, out);
}

cudaError_t cudaIpcOpenMemHandle(void** out, cudaIpcMemHandle_t handle, unsigned flags) {
  const Lock lock(driver);
  Shared shared;
  memcpy(&shared, &handle, sizeof(Shared));
  const cudaError_t error = finish_call(cudaSuccess);
  return error != cudaSuccess ? error : finish_call(open_shared(out, shared, flags));
}

cudaError_t cudaIpcCloseMemHandle(void* memory) {
  const Lock lock(driver);
  drain_all();
  const auto at = allocations.find(address_of(memory));
  if (at == allocations.end() || at->second.opened == 0) return finish_call(cudaErrorInvalidValue);
  if (at->second.opened > 1) {
    at->second.opened--;
  } else {
    free_allocation(at);
  }
  return finish_call(cudaSuccess);
}
