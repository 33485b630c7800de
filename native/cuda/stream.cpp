#include "stream.h"

#include <mutex>
#include <vector>

#include "memory_pool.h"

namespace sweet {
namespace cuda {
namespace {

struct DeviceStream {
  int device;
  Stream stream;
};

thread_local std::vector<DeviceStream> thread_streams;

struct Fence {
  int device;
  cudaStream_t stream = nullptr;  // waits for one foreign stream after the other
  cudaEvent_t foreign_done = nullptr, passed = nullptr;
};

std::mutex fences_lock;
std::vector<Fence> fences;

Fence* fence_of(int device) {
  for (Fence& fence : fences) {
    if (fence.device == device) return &fence;
  }
  return nullptr;
}

void close_fence(const Fence& fence) {
  if (fence.passed) cudaEventDestroy(fence.passed);
  if (fence.foreign_done) cudaEventDestroy(fence.foreign_done);
  if (fence.stream) cudaStreamDestroy(fence.stream);
}

Status create_fence(int device, Fence** created) {
  Fence fence{device};
  const char* operation = "cudaStreamCreate";
  cudaError_t error = cudaStreamCreateWithFlags(&fence.stream, cudaStreamNonBlocking);
  for (cudaEvent_t* const event : {&fence.foreign_done, &fence.passed}) {
    if (error != cudaSuccess) break;
    operation = "cudaEventCreate";
    error = cudaEventCreateWithFlags(event, cudaEventDisableTiming);
  }
  if (error != cudaSuccess) {
    close_fence(fence);
    return status_of(error, operation);
  }
  fences.push_back(fence);
  *created = &fences.back();
  return {};
}

Status current_device(int* device) { return status_of(cudaGetDevice(device), "cudaGetDevice"); }

}  // namespace

Status status_of(cudaError_t error, const char* operation) {
  if (error == cudaSuccess) return {};
  cudaGetLastError();  // clears the error, unless it is sticky
  const bool sticky = cudaDeviceSynchronize() != cudaSuccess;
  Status status{Code::device, 0, static_cast<int64_t>(error)};
  status.device = {operation, cudaGetErrorName(error), cudaGetErrorString(error), sticky};
  return status;
}

Status open_stream(size_t page_bytes, Stream* stream) {
  cudaError_t error = cudaStreamCreateWithFlags(&stream->handle, cudaStreamNonBlocking);
  if (error != cudaSuccess) return status_of(error, "cudaStreamCreate");
  error = cudaMallocHost(&stream->page, page_bytes);
  if (error == cudaSuccess) return {};
  cudaStreamDestroy(stream->handle);
  return status_of(error, "cudaMallocHost");
}

void close_stream(const Stream& stream) {
  cudaStreamSynchronize(stream.handle);
  cudaFreeHost(stream.page);
  cudaStreamDestroy(stream.handle);
}

Status allocate_scratch(const Stream& stream, int64_t bytes, void** memory) {
  const size_t size = static_cast<size_t>(bytes);
  if (!stream.pool) return status_of(cudaMalloc(memory, size), "cudaMalloc");
  return status_of(cudaMallocFromPoolAsync(memory, size, stream.pool, stream.handle), "cudaMallocFromPoolAsync");
}

void free_scratch(const Stream& stream, void* memory) {
  if (stream.pool) {
    cudaFreeAsync(memory, stream.handle);
  } else {
    cudaStreamSynchronize(stream.handle);
    cudaFree(memory);
  }
}

Status wait_for(const Stream& stream) {
  return status_of(cudaStreamSynchronize(stream.handle), "cudaStreamSynchronize");
}

Status stream_of_thread(Stream** stream) {
  int device = 0;
  if (const Status status = current_device(&device); !status.ok()) return status;
  for (DeviceStream& each : thread_streams) {
    if (each.device != device) continue;
    *stream = &each.stream;
    return {};
  }
  Stream created;
  if (const Status status = pool_of(device, &created.pool); !status.ok()) return status;
  if (const Status status = open_stream(kResultBytes, &created); !status.ok()) return status;
  thread_streams.push_back({device, created});
  *stream = &thread_streams.back().stream;
  return {};
}

void close_streams() {
  for (const DeviceStream& each : thread_streams) {
    cudaSetDevice(each.device);
    close_stream(each.stream);
  }
  thread_streams.clear();
}

Status record_foreign_stream(cudaStream_t foreign) {
  int device = 0;
  if (const Status status = current_device(&device); !status.ok()) return status;
  const std::lock_guard<std::mutex> lock(fences_lock);
  Fence* fence = fence_of(device);
  if (!fence) {
    if (const Status status = create_fence(device, &fence); !status.ok()) return status;
  }
  Status status = status_of(cudaEventRecord(fence->foreign_done, foreign), "cudaEventRecord");
  if (!status.ok()) return status;
  status = status_of(cudaStreamWaitEvent(fence->stream, fence->foreign_done, 0), "cudaStreamWaitEvent");
  return status.ok() ? status_of(cudaEventRecord(fence->passed, fence->stream), "cudaEventRecord") : status;
}

Status wait_for_fence(cudaStream_t stream) {
  const std::lock_guard<std::mutex> lock(fences_lock);
  if (fences.empty()) return {};
  int device = 0;
  if (const Status status = current_device(&device); !status.ok()) return status;
  const Fence* const fence = fence_of(device);
  return fence ? status_of(cudaStreamWaitEvent(stream, fence->passed, 0), "cudaStreamWaitEvent") : Status{};
}

void close_fences() {
  const std::lock_guard<std::mutex> lock(fences_lock);
  for (const Fence& fence : fences) {
    cudaSetDevice(fence.device);
    close_fence(fence);
  }
  fences.clear();
}

}  // namespace cuda
}  // namespace sweet
