#include "stream.h"

#include <vector>

namespace sweet {
namespace cuda {
namespace {

struct Opened {
  int device;
  Stream stream;
};

thread_local std::vector<Opened> opened;

/** Freed memory stays in the device's pool for the next call instead of going back to the driver at every wait. */
Status keep_freed_memory(int device) {
  cudaMemPool_t pool;
  cudaError_t error = cudaDeviceGetDefaultMemPool(&pool, device);
  if (error != cudaSuccess) return status_of(error, "cudaDeviceGetDefaultMemPool");
  uint64_t most = UINT64_MAX;
  error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &most);
  return status_of(error, "cudaMemPoolSetAttribute");
}

}  // namespace

Status status_of(cudaError_t error, const char* operation) {
  if (error == cudaSuccess) return {};
  // Forgets the error, unless it is one that nothing can make forget.
  cudaGetLastError();
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

Status wait_for(const Stream& stream) {
  return status_of(cudaStreamSynchronize(stream.handle), "cudaStreamSynchronize");
}

Status stream_of_thread(Stream** stream) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return status_of(error, "cudaGetDevice");
  for (Opened& each : opened) {
    if (each.device != device) continue;
    *stream = &each.stream;
    return {};
  }
  if (const Status status = keep_freed_memory(device); !status.ok()) return status;
  Stream created;
  if (const Status status = open_stream(kResultBytes, &created); !status.ok()) return status;
  opened.push_back({device, created});
  *stream = &opened.back().stream;
  return {};
}

void close_streams() {
  for (const Opened& each : opened) {
    cudaSetDevice(each.device);
    close_stream(each.stream);
  }
  opened.clear();
}

}  // namespace cuda
}  // namespace sweet
