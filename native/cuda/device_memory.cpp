#include "../device_memory.h"

#include <cuda.h>

#include <algorithm>
#include <cstring>
#include <mutex>

#include "cublaslt.h"
#include "memory_pool.h"
#include "stream.h"

namespace sweet {
namespace device {
namespace {

using namespace cuda;

/** Two pinned pages, used alternately: while the device copies one, the host fills or reads the other. */
struct Staging {
  int device;
  Stream halves[2];
};

// Bytes of a page. Not measured on a GPU: long enough that starting a copy costs little beside it, short enough that
// the first and the last page, which overlap with nothing, are a small part of a large array.
constexpr int64_t kStagingBytes = 4 << 20;

// Copies run on any thread, several at once. Idle pages are kept, since the driver maps each page that it pins.
std::mutex staging_lock;
std::vector<Staging> idle_staging;

Status acquire_staging(int device, Staging* staging) {
  {
    const std::lock_guard<std::mutex> lock(staging_lock);
    for (size_t i = 0; i < idle_staging.size(); i++) {
      if (idle_staging[i].device != device) continue;
      *staging = idle_staging[i];
      idle_staging.erase(idle_staging.begin() + static_cast<std::ptrdiff_t>(i));
      return {};
    }
  }
  staging->device = device;
  Status status = open_stream(kStagingBytes, &staging->halves[0]);
  if (!status.ok()) return status;
  status = open_stream(kStagingBytes, &staging->halves[1]);
  if (!status.ok()) close_stream(staging->halves[0]);
  return status;
}

/** Calls start(half, offset, bytes), then finish(half, offset, bytes), for each page; two pages are in flight. */
template <class Start, class Finish>
Status copy_pages(int device, int64_t bytes, Start start, Finish finish) {
  if (bytes == 0) return {};
  Staging staging;
  Status status = use(device);
  if (status.ok()) status = acquire_staging(device, &staging);
  if (!status.ok()) return status;
  for (const Stream& half : staging.halves) {
    if (status.ok()) status = wait_for_fence(half.handle);
  }

  const auto size_at = [&](int64_t at) { return static_cast<size_t>(std::min(kStagingBytes, bytes - at)); };
  const int64_t pages = (bytes + kStagingBytes - 1) / kStagingBytes;
  for (int64_t page = 0; page < pages + 2 && status.ok(); page++) {
    const Stream& half = staging.halves[page % 2];
    if (page >= 2) {
      const int64_t at = (page - 2) * kStagingBytes;
      status = wait_for(half);
      if (status.ok()) finish(half, at, size_at(at));
    }
    if (page < pages && status.ok()) {
      const int64_t at = page * kStagingBytes;
      status = status_of(start(half, at, size_at(at)), "cudaMemcpyAsync");
    }
  }
  for (const Stream& half : staging.halves) cudaStreamSynchronize(half.handle);  // no copy is left in flight
  const std::lock_guard<std::mutex> lock(staging_lock);
  idle_staging.push_back(staging);
  return status;
}

// Only the driver knows an allocation's size. Its function is looked up by name, so that nothing is linked with it.
Status address_range(CUdeviceptr address, Location* location) {
  using Function = CUresult (*)(CUdeviceptr*, size_t*, CUdeviceptr);
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result;
  cudaError_t error =
      cudaGetDriverEntryPointByVersion("cuMemGetAddressRange", &found, 3020, cudaEnableDefault, &result);
  if (error == cudaSuccess && !found) error = cudaErrorSymbolNotFound;
  if (error != cudaSuccess) return status_of(error, "cudaGetDriverEntryPointByVersion");
  CUdeviceptr begin = 0;
  size_t bytes = 0;
  // Driver and runtime number their errors alike.
  const CUresult answer = reinterpret_cast<Function>(found)(&begin, &bytes, address);
  location->begin = reinterpret_cast<const char*>(begin);
  location->bytes = static_cast<int64_t>(bytes);
  return status_of(static_cast<cudaError_t>(answer), "cuMemGetAddressRange");
}

std::string capability(int tens) { return std::to_string(tens / 10) + "." + std::to_string(tens % 10); }

std::string refusal(int device) {
  cudaDeviceProp properties{};
  const cudaError_t error = cudaGetDeviceProperties(&properties, device);
  cudaGetLastError();
  const std::string name = "device " + std::to_string(device);
  if (error != cudaSuccess) return name + " does not answer: " + cudaGetErrorString(error);
  const int found = 10 * properties.major + properties.minor;
  if (found >= SWEET_LEAST_CAPABILITY) return {};
  return name + " (" + properties.name + ") has compute capability " + capability(found) +
         ", and this build of sweet-rl-cuda needs " + capability(SWEET_LEAST_CAPABILITY) + " or newer";
}

}  // namespace

std::vector<std::string> refusals(std::string* reason) {
  int found = 0;
  const cudaError_t error = cudaGetDeviceCount(&found);
  cudaGetLastError();
  int driver = 0;
  cudaDriverGetVersion(&driver);
  std::vector<std::string> all;
  for (int device = 0; error == cudaSuccess && device < found; device++) all.push_back(refusal(device));
  if (!all.empty()) return all;
  if (driver == 0) {
    *reason = "no NVIDIA driver was found";
  } else if (error == cudaErrorInsufficientDriver) {
    *reason = "the NVIDIA driver is older than this build of sweet-rl-cuda needs";
  } else if (error == cudaSuccess || error == cudaErrorNoDevice) {
    *reason = "no CUDA device was found";
  } else {
    *reason = cudaGetErrorString(error);
  }
  return all;
}

Status use(int device) { return status_of(cudaSetDevice(device), "cudaSetDevice"); }

Status allocate(int64_t bytes, void** memory) {
  *memory = nullptr;
  return bytes == 0 ? Status{} : status_of(cudaMalloc(memory, static_cast<size_t>(bytes)), "cudaMalloc");
}

void release(void* memory) { cudaFree(memory); }

Status set_zero(void* memory, int64_t bytes) {
  Stream* stream = nullptr;
  if (const Status status = stream_of_thread(&stream); !status.ok()) return status;
  return status_of(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), stream->handle), "cudaMemsetAsync");
}

Status follow(uint64_t stream) { return record_foreign_stream(reinterpret_cast<cudaStream_t>(stream)); }

Status locate(const void* address, Location* location) {
  *location = {};
  cudaPointerAttributes attributes{};
  const cudaError_t error = cudaPointerGetAttributes(&attributes, address);
  if (error != cudaSuccess) return status_of(error, "cudaPointerGetAttributes");
  if (attributes.type == cudaMemoryTypeUnregistered) return {};
  location->kind = attributes.type == cudaMemoryTypeDevice ? Kind::device : Kind::host;
  location->device = attributes.device;
  if (location->kind != Kind::device) return {};
  return address_range(reinterpret_cast<CUdeviceptr>(address), location);
}

Status share(const void* begin, unsigned char* handle) {
  cudaIpcMemHandle_t shared;
  const cudaError_t error = cudaIpcGetMemHandle(&shared, const_cast<void*>(begin));
  memcpy(handle, &shared, kHandleBytes);
  return status_of(error, "cudaIpcGetMemHandle");
}

Status open_shared(const unsigned char* handle, void** begin) {
  static_assert(sizeof(cudaIpcMemHandle_t) == kHandleBytes);
  cudaIpcMemHandle_t shared;
  memcpy(&shared, handle, kHandleBytes);
  *begin = nullptr;
  return status_of(cudaIpcOpenMemHandle(begin, shared, cudaIpcMemLazyEnablePeerAccess), "cudaIpcOpenMemHandle");
}

void close_shared(void* begin) { cudaIpcCloseMemHandle(begin); }

Status finish_thread(int* device) {
  const Status status = status_of(cudaGetDevice(device), "cudaGetDevice");
  if (!status.ok()) return status;
  Stream* stream = nullptr;
  const Status found = stream_of_thread(&stream);
  return found.ok() ? wait_for(*stream) : found;
}

void end_thread() {
  close_cublaslt();
  close_streams();
}

Status free_cached(int64_t* freed) { return trim_pools(freed); }

void end_process() {
  close_fences();
  empty_pools();
  const std::lock_guard<std::mutex> lock(staging_lock);
  for (const Staging& staging : idle_staging) {
    cudaSetDevice(staging.device);
    for (const Stream& half : staging.halves) close_stream(half);
  }
  idle_staging.clear();
}

Status write(int device, void* memory, const void* host, int64_t bytes) {
  const auto start = [&](const Stream& half, int64_t at, size_t count) {
    memcpy(half.page, static_cast<const char*>(host) + at, count);
    char* const to = static_cast<char*>(memory) + at;
    return cudaMemcpyAsync(to, half.page, count, cudaMemcpyHostToDevice, half.handle);
  };
  return copy_pages(device, bytes, start, [](const Stream&, int64_t, size_t) {});
}

Status read(int device, const void* memory, void* host, int64_t bytes) {
  const auto start = [&](const Stream& half, int64_t at, size_t count) {
    const char* const from = static_cast<const char*>(memory) + at;
    return cudaMemcpyAsync(half.page, from, count, cudaMemcpyDeviceToHost, half.handle);
  };
  const auto finish = [&](const Stream& half, int64_t at, size_t count) {
    memcpy(static_cast<char*>(host) + at, half.page, count);
  };
  return copy_pages(device, bytes, start, finish);
}

}  // namespace device
}  // namespace sweet
