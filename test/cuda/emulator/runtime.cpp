// Devices, errors, streams, events and launches of the CUDA runtime, linked instead of it. Streams do their work only
// when the host waits for it.
#include "runtime.h"

#include <cuda_runtime.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "control.h"
#include "cuda_emulator.h"
#include "scheduler.h"

/** One record of an event: a wait for it does not wait for a later record. */
struct Record {
  CUstream_st* stream;
  bool done;
};

struct CUevent_st {
  int device;
  std::shared_ptr<Record> last;
};

namespace emulator {

namespace {

constexpr int kMaxDevices = 2;
int devices = kMaxDevices;
struct Abilities {
  int capability;  // ten times the number
  bool pools;
};
Abilities abilities[kMaxDevices] = {{80, true}, {80, true}};

// -- errors

cudaError_t last_error = cudaSuccess;
int calls_until_failure = 0;
cudaError_t planned_failure = cudaSuccess;

// -- streams

CUstream_st default_streams[kMaxDevices] = {{0, true, {}}, {1, true, {}}};
size_t streams_and_events = 0;
std::vector<CUstream_st*> streams = {&default_streams[0], &default_streams[1]};

void step(CUstream_st& stream) {
  const std::function<void()> work = std::move(stream.work.front());
  stream.work.pop_front();
  if (sticky_error == cudaSuccess) work();
}

void wait_for(const std::shared_ptr<Record>& record) {
  if (!record) return;  // of an event that was not recorded
  while (!record->done && sticky_error == cudaSuccess && !record->stream->work.empty()) step(*record->stream);
}

bool legal(const dim3& grid, const dim3& threads) {
  const bool some = grid.x && grid.y && grid.z && threads.x && threads.y && threads.z;
  return some && grid.x <= 2147483647u && grid.y <= 65535 && grid.z <= 65535 && threads.z <= 64 &&
         uint64_t{threads.x} * threads.y * threads.z <= kMaxThreads;
}

}  // namespace

cudaError_t finish_call(cudaError_t error) {
  if (calls_until_failure > 0 && --calls_until_failure == 0 && error == cudaSuccess) error = planned_failure;
  if (devices == 0) error = cudaErrorInsufficientDriver;
  if (sticky_error != cudaSuccess) error = sticky_error;
  if (error != cudaSuccess && error != cudaErrorNotReady) last_error = error;
  return error;
}

CUstream_st& stream_of(cudaStream_t stream) {
  const bool is_default = stream == nullptr || stream == cudaStreamLegacy || stream == cudaStreamPerThread;
  return is_default ? default_streams[current_device] : *stream;
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

void enqueue(CUstream_st& stream, std::function<void()> work) {
  CUstream_st& default_stream = default_streams[stream.device];
  if (&stream == &default_stream) {
    for (CUstream_st* const other : streams) {
      if (other != &default_stream && other->device == stream.device && other->blocking) drain(*other);
    }
  } else if (stream.blocking) {
    drain(default_stream);
  }
  stream.work.push_back(std::move(work));
}

// -- control.h and cuda_emulator.h

void reset() {
  const Lock lock(driver);
  last_error = sticky_error = cudaSuccess;
  calls_until_failure = 0;
  clear_report();
}

void fail_call(int n, cudaError_t error) {
  const Lock lock(driver);
  calls_until_failure = n;
  planned_failure = error;
}

void set_devices(int count) { devices = count; }

void set_device(int device, int capability, bool pools) { abilities[device] = {capability, pools}; }

bool has_pools(int device) { return abilities[device].pools; }

size_t live_objects() {
  const Lock lock(driver);
  return live_allocations() + streams_and_events;
}

cudaError_t submit(const cudaLaunchConfig_t& config, bool arguments_ok, std::function<void()> thread) {
  const Lock lock(driver);
  const dim3 grid = config.gridDim, threads = config.blockDim;
  if (!legal(grid, threads) || config.dynamicSmemBytes > 0) return finish_call(cudaErrorInvalidConfiguration);
  if (stream_of(config.stream).device != current_device) return finish_call(cudaErrorInvalidResourceHandle);
  enqueue(stream_of(config.stream), [=] {
    const DeviceAccess access;
    if (!arguments_ok) record_violation("a kernel got a pointer that is no memory of its device");
    if (!arguments_ok || !run_grid(grid, threads, thread)) sticky_error = cudaErrorLaunchFailure;
  });
  return finish_call(cudaSuccess);
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
      {cudaErrorNotSupported, "cudaErrorNotSupported", "operation not supported"},
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
  return finish_call(cudaSuccess);
}

cudaError_t cudaDriverGetVersion(int* version) {
  *version = devices == 0 ? 0 : CUDART_VERSION;
  return cudaSuccess;
}

cudaError_t cudaGetDevice(int* device) {
  const Lock lock(driver);
  *device = current_device;
  return finish_call(cudaSuccess);
}

cudaError_t cudaSetDevice(int device) {
  const Lock lock(driver);
  if (device < 0 || device >= devices) return finish_call(cudaErrorInvalidDevice);
  current_device = device;
  return finish_call(cudaSuccess);
}

cudaError_t cudaGetDeviceProperties(cudaDeviceProp* properties, int device) {
  const Lock lock(driver);
  *properties = cudaDeviceProp{};
  strcpy(properties->name, "emulated");
  properties->major = abilities[device].capability / 10;
  properties->minor = abilities[device].capability % 10;
  return finish_call(cudaSuccess);
}

cudaError_t cudaDeviceGetAttribute(int* value, cudaDeviceAttr attribute, int device) {
  const Lock lock(driver);
  *value = has_pools(device);
  return finish_call(attribute == cudaDevAttrMemoryPoolsSupported ? cudaSuccess : cudaErrorInvalidValue);
}

// -- streams and events

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* stream, unsigned flags) {
  const Lock lock(driver);
  const cudaError_t error = finish_call(cudaSuccess);
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
  return finish_call(cudaSuccess);
}

cudaError_t cudaStreamSynchronize(cudaStream_t stream) {
  const Lock lock(driver);
  drain(stream_of(stream));
  trim_to_thresholds();
  return finish_call(cudaSuccess);
}

cudaError_t cudaDeviceSynchronize() {
  const Lock lock(driver);
  drain_all();
  trim_to_thresholds();
  return finish_call(cudaSuccess);
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  const Lock lock(driver);
  const cudaError_t error = finish_call(cudaSuccess);
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
  return finish_call(cudaSuccess);
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  const Lock lock(driver);
  CUstream_st& recorded = stream_of(stream);
  const cudaError_t error =
      finish_call(recorded.device == event->device ? cudaSuccess : cudaErrorInvalidResourceHandle);
  if (error != cudaSuccess) return error;
  const auto record = std::make_shared<Record>(Record{&recorded, false});
  event->last = record;
  enqueue(recorded, [record] { record->done = true; });
  return cudaSuccess;
}

cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  const Lock lock(driver);
  const cudaError_t error = finish_call(cudaSuccess);
  if (error == cudaSuccess) enqueue(stream_of(stream), [record = event->last] { wait_for(record); });
  return error;
}

cudaError_t cudaEventSynchronize(cudaEvent_t event) {
  const Lock lock(driver);
  wait_for(event->last);
  return finish_call(cudaSuccess);
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1;  // the emulator has no time
  return cudaSuccess;
}
