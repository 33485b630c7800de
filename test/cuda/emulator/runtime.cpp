// The CUDA runtime's functions, linked instead of it. Streams put work off until the host waits for it. Memory has
// exactly the size that was asked for, starts as NaN, and is out of the host's reach (under AddressSanitizer). Another
// process can map it.
#include <cuda.h>
#include <cuda_runtime.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "control.h"
#include "cuda_emulator.h"
#include "scheduler.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

struct CUstream_st {
  int device;
  bool blocking;  // in order with the default stream
  std::deque<std::function<void()>> work;
};

/** One record of an event: who waits for it does not wait for a later one. */
struct Record {
  CUstream_st* stream;
  bool done;
};

struct CUevent_st {
  int device;
  std::shared_ptr<Record> last;
};

namespace emulator {

void forget_report();

namespace {

constexpr int kMostDevices = 2;
constexpr int kHost = -1;

// The driver is one for all threads of the host.
std::recursive_mutex driver;
using Lock = std::lock_guard<std::recursive_mutex>;

int devices = kMostDevices;
thread_local int current_device = 0;

// -- errors

cudaError_t last_error = cudaSuccess;
cudaError_t sticky_error = cudaSuccess;  // a launch went wrong: every later call returns it
int calls_until_failure = 0;
cudaError_t planned_failure = cudaSuccess;

cudaError_t answer(cudaError_t error) {
  if (calls_until_failure > 0 && --calls_until_failure == 0 && error == cudaSuccess) error = planned_failure;
  if (devices == 0) error = cudaErrorInsufficientDriver;
  if (sticky_error != cudaSuccess) error = sticky_error;
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

// -- memory

/** What stands in a handle: a file of the process that shares its memory. */
struct Shared {
  char mark[8];
  pid_t process;
  int file;
  size_t bytes;
  uint64_t number;  // of all that this process shared
};
constexpr char kMark[8] = "emulate";

struct Allocation {
  size_t bytes;
  int device;        // or kHost: pinned
  size_t pages = 0;  // of cudaMalloc: whole pages, so many bytes, between two that nobody may touch; else of the heap
  Shared shared{};
  int opened = 0;  // how often, if it is another process's
};
std::map<uintptr_t, Allocation> allocations;
size_t streams_and_events = 0;

constexpr size_t kPage = 4096;

uintptr_t address_of(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer); }

/** The allocation in which so many bytes lie, or null. */
const Allocation* holder(const void* pointer, size_t bytes = 0) {
  auto at = allocations.upper_bound(address_of(pointer));
  if (at == allocations.begin()) return nullptr;
  --at;
  return address_of(pointer) + bytes <= at->first + at->second.bytes ? &at->second : nullptr;
}

bool of_device(const void* pointer, size_t bytes) {
  const Allocation* const allocation = holder(pointer, bytes);
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

/** From here on it is memory of the device, out of the host's reach. */
void take_in(void* memory, const Allocation& allocation) {
  allocations[address_of(memory)] = allocation;
  if (allocation.device == kHost) return;
  if (listener) listener->allocated(memory, allocation.bytes);
  poison(memory, std::max(allocation.bytes, allocation.pages));
}

size_t whole_pages(size_t bytes) { return (bytes + kPage - 1) / kPage * kPage; }

/** Pages of a file, or of none: null if there are none to be had. */
void* map_pages(size_t pages, int file) {
  char* const all = static_cast<char*>(mmap(nullptr, pages + 2 * kPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  if (all == MAP_FAILED) return nullptr;
  const int kind = MAP_FIXED | (file < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED);
  if (mmap(all + kPage, pages, PROT_READ | PROT_WRITE, kind, file, 0) != MAP_FAILED) return all + kPage;
  munmap(all, pages + 2 * kPage);
  return nullptr;
}

cudaError_t allocate(void** out, size_t bytes, int device, bool by_pages) {
  *out = nullptr;
  if (bytes == 0) return cudaSuccess;
  const size_t pages = by_pages ? whole_pages(bytes) : 0;
  if (by_pages) {
    *out = map_pages(pages, -1);
  } else if (posix_memalign(out, 256, bytes) != 0) {
    *out = nullptr;
  }
  if (!*out) return cudaErrorMemoryAllocation;
  memset(*out, 0xff, bytes);  // a NaN in every storage type
  take_in(*out, {bytes, device, pages});
  return cudaSuccess;
}

void let_go(std::map<uintptr_t, Allocation>::iterator at) {
  void* const memory = reinterpret_cast<void*>(at->first);
  const Allocation allocation = at->second;
  if (listener && allocation.device != kHost) listener->freed(memory);
  unpoison(memory, std::max(allocation.bytes, allocation.pages));
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
  let_go(at);
  return cudaSuccess;
}

/** While the device works, its memory is within reach. */
class DeviceAtWork {
 public:
  DeviceAtWork() { set_reach(true); }
  ~DeviceAtWork() { set_reach(false); }

 private:
  void set_reach([[maybe_unused]] bool reach) {
#ifdef __SANITIZE_ADDRESS__
    for (const auto& [address, allocation] : allocations) {
      if (allocation.device == kHost) continue;
      void* const memory = reinterpret_cast<void*>(address);
      reach ? unpoison(memory, allocation.bytes) : poison(memory, allocation.bytes);
    }
#endif
  }
};

// -- memory that processes share

uint64_t shared_so_far = 0;

/** The same pages, but of a file that another process can open. */
cudaError_t move_to_file(uintptr_t address, Allocation& allocation) {
  void* const memory = reinterpret_cast<void*>(address);
  const int file = memfd_create("emulated device memory", MFD_CLOEXEC);
  if (file < 0) return cudaErrorNotSupported;
  const DeviceAtWork work;
  const ssize_t written =
      ftruncate(file, static_cast<off_t>(allocation.pages)) == 0 ? pwrite(file, memory, allocation.bytes, 0) : -1;
  const int kind = MAP_SHARED | MAP_FIXED;
  if (written != static_cast<ssize_t>(allocation.bytes) ||
      mmap(memory, allocation.pages, PROT_READ | PROT_WRITE, kind, file, 0) == MAP_FAILED) {
    close(file);
    return cudaErrorNotSupported;
  }
  allocation.shared = {{}, getpid(), file, allocation.bytes, ++shared_so_far};
  memcpy(allocation.shared.mark, kMark, sizeof(kMark));
  return cudaSuccess;
}

cudaError_t open_file(const Shared& shared, void** out) {
  const std::string path = "/proc/" + std::to_string(shared.process) + "/fd/" + std::to_string(shared.file);
  const int file = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (file < 0) return cudaErrorMapBufferObjectFailed;
  const size_t pages = whole_pages(shared.bytes);
  *out = map_pages(pages, file);
  close(file);
  if (!*out) return cudaErrorMapBufferObjectFailed;
  take_in(*out, {shared.bytes, current_device, pages, shared, 1});
  if (listener) listener->written(*out, shared.bytes);
  return cudaSuccess;
}

void copy(void* to, const void* from, size_t bytes) {
  const DeviceAtWork work;
  memmove(to, from, bytes);
  if (listener) listener->written(to, bytes);
}

bool copy_fits(const void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  if (kind == cudaMemcpyDefault) return true;
  const bool to_device = kind == cudaMemcpyHostToDevice || kind == cudaMemcpyDeviceToDevice;
  const bool from_device = kind == cudaMemcpyDeviceToHost || kind == cudaMemcpyDeviceToDevice;
  return of_device(to, bytes) == to_device && of_device(from, bytes) == from_device;
}

// -- streams

CUstream_st default_streams[kMostDevices] = {{0, true, {}}, {1, true, {}}};
std::vector<CUstream_st*> streams = {&default_streams[0], &default_streams[1]};

CUstream_st& stream_of(cudaStream_t stream) {
  const bool is_default = stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
  return is_default ? default_streams[current_device] : *stream;
}

void step(CUstream_st& stream) {
  const std::function<void()> work = std::move(stream.work.front());
  stream.work.pop_front();
  if (sticky_error == cudaSuccess) work();
}

void drain(CUstream_st& stream) {
  while (!stream.work.empty()) step(stream);
}

void drain_all() {
  for (;;) {
    std::vector<CUstream_st*> busy;
    std::copy_if(streams.begin(), streams.end(), std::back_inserter(busy), [](auto* s) { return !s->work.empty(); });
    if (busy.empty()) return;
    step(*busy[random_below(busy.size())]);
  }
}

void put(CUstream_st& stream, std::function<void()> work) {
  CUstream_st& ordinary = default_streams[stream.device];
  if (&stream == &ordinary) {
    for (CUstream_st* const other : streams) {
      if (other != &ordinary && other->device == stream.device && other->blocking) drain(*other);
    }
  } else if (stream.blocking) {
    drain(ordinary);
  }
  stream.work.push_back(std::move(work));
}

void wait_for(const std::shared_ptr<Record>& record) {
  if (!record) return;  // of an event that was not recorded
  while (!record->done && sticky_error == cudaSuccess && !record->stream->work.empty()) step(*record->stream);
}

bool legal(const dim3& grid, const dim3& threads) {
  const bool some = grid.x && grid.y && grid.z && threads.x && threads.y && threads.z;
  return some && grid.x <= 2147483647u && grid.y <= 65535 && grid.z <= 65535 && threads.z <= 64 &&
         uint64_t{threads.x} * threads.y * threads.z <= kMostThreads;
}

}  // namespace

// -- control.h and cuda_emulator.h

void reset() {
  const Lock lock(driver);
  last_error = sticky_error = cudaSuccess;
  calls_until_failure = 0;
  forget_report();
}

void fail_call(int n, cudaError_t error) {
  const Lock lock(driver);
  calls_until_failure = n;
  planned_failure = error;
}

void set_devices(int count) { devices = count; }

size_t live_objects() {
  const Lock lock(driver);
  return allocations.size() + streams_and_events;
}

bool on_device(const void* pointer) {
  const Allocation* const allocation = holder(pointer);
  return allocation && allocation->device == current_device;
}

cudaError_t submit(const cudaLaunchConfig_t& config, bool arguments_ok, std::function<void()> thread) {
  const Lock lock(driver);
  const dim3 grid = config.gridDim, threads = config.blockDim;
  if (!legal(grid, threads) || config.dynamicSmemBytes > 0) return answer(cudaErrorInvalidConfiguration);
  if (stream_of(config.stream).device != current_device) return answer(cudaErrorInvalidResourceHandle);
  put(stream_of(config.stream), [=] {
    const DeviceAtWork work;
    if (!arguments_ok) broke_a_rule("a kernel got a pointer that is no memory of its device");
    if (!arguments_ok || !run_grid(grid, threads, thread)) sticky_error = cudaErrorLaunchFailure;
  });
  return answer(cudaSuccess);
}

}  // namespace emulator

using namespace emulator;

// -- the runtime: errors and devices

cudaError_t cudaGetLastError() {
  const Lock lock(driver);
  const cudaError_t error = last_error;
  last_error = sticky_error;
  return error;
}

cudaError_t cudaPeekAtLastError() { return last_error; }

struct ErrorText {
  cudaError_t error;
  const char *name, *meaning;
};

static const ErrorText& text_of(cudaError_t error) {
  static const ErrorText texts[] = {
      {cudaSuccess, "cudaSuccess", "no error"},
      {cudaErrorInvalidValue, "cudaErrorInvalidValue", "invalid argument"},
      {cudaErrorMemoryAllocation, "cudaErrorMemoryAllocation", "out of memory"},
      {cudaErrorInvalidConfiguration, "cudaErrorInvalidConfiguration", "invalid configuration argument"},
      {cudaErrorInvalidResourceHandle, "cudaErrorInvalidResourceHandle", "invalid resource handle"},
      {cudaErrorDeviceUninitialized, "cudaErrorDeviceUninitialized", "invalid device context"},
      {cudaErrorMapBufferObjectFailed, "cudaErrorMapBufferObjectFailed", "mapping of buffer object failed"},
      {cudaErrorInvalidDevice, "cudaErrorInvalidDevice", "invalid device ordinal"},
      {cudaErrorInsufficientDriver, "cudaErrorInsufficientDriver",
       "CUDA driver version is insufficient for CUDA runtime version"},
      {cudaErrorLaunchFailure, "cudaErrorLaunchFailure", "unspecified launch failure"},
      {cudaErrorUnknown, "cudaErrorUnknown", "unknown error"},
  };
  for (const ErrorText& text : texts) {
    if (text.error == error) return text;
  }
  return std::end(texts)[-1];
}

const char* cudaGetErrorName(cudaError_t error) { return text_of(error).name; }
const char* cudaGetErrorString(cudaError_t error) { return text_of(error).meaning; }

cudaError_t cudaGetDeviceCount(int* count) {
  const Lock lock(driver);
  *count = devices;
  return answer(cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = devices == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  const Lock lock(driver);
  *device = current_device;
  return answer(cudaSuccess);
}

cudaError_t cudaSetDevice(int device) {
  const Lock lock(driver);
  if (device < 0 || device >= devices) return answer(cudaErrorInvalidDevice);
  current_device = device;
  return answer(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  const Lock lock(driver);
  *properties = cudaDeviceProp{};
  strcpy(properties->name, "emulated");
  return answer(cudaSuccess);
}

cudaError_t cudaDeviceGetDefaultMemPool(cudaMemPool_t* pool, int) {
  const Lock lock(driver);
  *pool = nullptr;
  return answer(cudaSuccess);
}

cudaError_t cudaMemPoolSetAttribute(cudaMemPool_t, cudaMemPoolAttr, void*) {
  const Lock lock(driver);
  return answer(cudaSuccess);
}

// -- memory

static cudaError_t allocate_if_ok(void** out, size_t bytes, int device, bool by_pages) {
  const Lock lock(driver);
  const cudaError_t error = answer(cudaSuccess);
  return error != cudaSuccess ? error : allocate(out, bytes, device, by_pages);
}

cudaError_t cudaMalloc(void** out, size_t bytes) { return allocate_if_ok(out, bytes, current_device, true); }
cudaError_t cudaMallocAsync(void** out, size_t bytes, cudaStream_t) {
  return allocate_if_ok(out, bytes, current_device, false);
}
cudaError_t cudaMallocHost(void** out, size_t bytes) { return allocate_if_ok(out, bytes, kHost, false); }

cudaError_t cudaFree(void* memory) {
  const Lock lock(driver);
  drain_all();
  return answer(release(memory, false));
}

cudaError_t cudaFreeHost(void* memory) {
  const Lock lock(driver);
  drain_all();
  return answer(release(memory, true));
}

cudaError_t cudaFreeAsync(void* memory, cudaStream_t stream) {
  const Lock lock(driver);
  // Freed even after a failed launch, when no more work is done: leaks are to be told apart from failures.
  if (sticky_error != cudaSuccess) return answer(release(memory, false));
  put(stream_of(stream), [=] { release(memory, false); });
  return answer(cudaSuccess);
}

cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, cudaMemcpyKind kind, cudaStream_t handle) {
  const Lock lock(driver);
  if (!copy_fits(to, from, bytes, kind)) return answer(cudaErrorInvalidValue);
  CUstream_st& stream = stream_of(handle);
  if (kind == cudaMemcpyHostToDevice && !holder(from, bytes)) {  // memory that is not pinned is read at once
    const char* const first = static_cast<const char*>(from);
    put(stream, [to, staged = std::vector<char>(first, first + bytes)] { copy(to, staged.data(), staged.size()); });
  } else {
    put(stream, [=] { copy(to, from, bytes); });
    if (kind == cudaMemcpyDeviceToHost && !holder(to, bytes)) drain(stream);
  }
  return answer(cudaSuccess);
}

cudaError_t cudaMemcpy(void* to, const void* from, size_t bytes, cudaMemcpyKind kind) {
  const Lock lock(driver);
  drain_all();
  const cudaError_t error = answer(copy_fits(to, from, bytes, kind) ? cudaSuccess : cudaErrorInvalidValue);
  if (error == cudaSuccess) copy(to, from, bytes);
  return error;
}

cudaError_t cudaMemsetAsync(void* memory, int value, size_t bytes, cudaStream_t stream) {
  const Lock lock(driver);
  if (bytes > 0 && !of_device(memory, bytes)) return answer(cudaErrorInvalidValue);
  put(stream_of(stream), [=] {
    const DeviceAtWork work;
    memset(memory, value, bytes);
    if (listener) listener->written(memory, bytes);
  });
  return answer(cudaSuccess);
}

cudaError_t cudaMemset(void* memory, int value, size_t bytes) { return cudaMemsetAsync(memory, value, bytes, nullptr); }

// -- where memory is, and other processes'

cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* pointer) {
  const Lock lock(driver);
  *attributes = cudaPointerAttributes{};
  const cudaError_t error = answer(cudaSuccess);
  const Allocation* const allocation = holder(pointer, 1);
  if (error != cudaSuccess || !allocation) return error;
  attributes->type = allocation->device == kHost ? cudaMemoryTypeHost : cudaMemoryTypeDevice;
  attributes->device = std::max(allocation->device, 0);
  return cudaSuccess;
}

static CUresult address_range(CUdeviceptr* begin, size_t* bytes, CUdeviceptr address) {
  const Lock lock(driver);
  const Allocation* const allocation = holder(reinterpret_cast<void*>(address), 1);
  const cudaError_t error = answer(allocation ? cudaSuccess : cudaErrorInvalidValue);
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
  return answer(cudaSuccess);
}

cudaError_t cudaIpcGetMemHandle(cudaIpcMemHandle_t* handle, void* memory) {
  const Lock lock(driver);
  *handle = cudaIpcMemHandle_t{};
  const auto at = allocations.find(address_of(memory));
  const bool can_share = at != allocations.end() && at->second.pages > 0 && at->second.opened == 0;
  cudaError_t error = answer(can_share ? cudaSuccess : cudaErrorInvalidValue);
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
  const cudaError_t error = answer(cudaSuccess);
  return error != cudaSuccess ? error : answer(open_shared(out, shared, flags));
}

cudaError_t cudaIpcCloseMemHandle(void* memory) {
  const Lock lock(driver);
  drain_all();
  const auto at = allocations.find(address_of(memory));
  if (at == allocations.end() || at->second.opened == 0) return answer(cudaErrorInvalidValue);
  if (at->second.opened > 1) {
    at->second.opened--;
  } else {
    let_go(at);
  }
  return answer(cudaSuccess);
}

// -- streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock(driver);
  const cudaError_t error = answer(cudaSuccess);
  if (error != cudaSuccess) return error;
  *stream = new CUstream_st{current_device, (flags & cudaStreamNonBlocking) == 0, {}};
  streams.push_back(*stream);
  streams_and_events++;
  return cudaSuccess;
}

cudaError_t cudaStreamCreate(cudaStream_t* stream) { return cudaStreamCreateWithFlags(stream, cudaStreamDefault); }

cudaError_t cudaStreamDestroy(cudaStream_t stream) {
  const Lock lock(driver);
  drain(*stream);
  streams.erase(std::find(streams.begin(), streams.end(), stream));
  streams_and_events--;
  delete stream;
  return answer(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(driver);
  drain(stream_of(stream));
  return answer(cudaSuccess);
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(driver);
  drain_all();
  return answer(cudaSuccess);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const Lock lock(driver);
  const cudaError_t error = answer(cudaSuccess);
  if (error != cudaSuccess) return error;
  *event = new CUevent_st{current_device, nullptr};
  streams_and_events++;
  return cudaSuccess;
}

cudaError_t cudaEventCreate(cudaEvent_t* event) { return cudaEventCreateWithFlags(event, cudaEventDefault); }

cudaError_t cudaEventDestroy(cudaEvent_t event) {
  const Lock lock(driver);
  streams_and_events--;
  delete event;
  return answer(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(driver);
  CUstream_st& recorded = stream_of(stream);
  const cudaError_t error = answer(recorded.device == event->device ? cudaSuccess : cudaErrorInvalidResourceHandle);
  if (error != cudaSuccess) return error;
  const auto record = std::make_shared<Record>(Record{&recorded, false});
  event->last = record;
  put(recorded, [record] { record->done = true; });
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(driver);
  const cudaError_t error = answer(cudaSuccess);
  if (error == cudaSuccess) put(stream_of(stream), [record = event->last] { wait_for(record); });
  return error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(driver);
  wait_for(event->last);
  return answer(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;  // there is no time here to be measured
  return cudaSuccess;
}
