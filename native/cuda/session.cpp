#include "session.h"

#include <algorithm>
#include <cstring>
#include <mutex>
#include <vector>

namespace sweet {
namespace cuda {
namespace {

struct Opened {
  int device;
  Session session;
};

thread_local std::vector<Opened> opened;

Status create(size_t page_bytes, Session* session) {
  cudaError_t error = cudaStreamCreateWithFlags(&session->stream, cudaStreamNonBlocking);
  if (error != cudaSuccess) return status_of(error, "cudaStreamCreate");
  error = cudaMallocHost(&session->page, page_bytes);
  if (error == cudaSuccess) return {};
  cudaStreamDestroy(session->stream);
  return status_of(error, "cudaMallocHost");
}

void destroy(const Session& session) {
  cudaStreamSynchronize(session.stream);
  cudaFreeHost(session.page);
  cudaStreamDestroy(session.stream);
}

/** Freed memory stays in the device's pool for the next call instead of going back to the driver at every wait. */
Status keep_freed_memory(int device) {
  cudaMemPool_t pool;
  cudaError_t error = cudaDeviceGetDefaultMemPool(&pool, device);
  if (error != cudaSuccess) return status_of(error, "cudaDeviceGetDefaultMemPool");
  uint64_t most = UINT64_MAX;
  error = cudaMemPoolSetAttribute(pool, cudaMemPoolAttrReleaseThreshold, &most);
  return status_of(error, "cudaMemPoolSetAttribute");
}

/** Two pages in turn: while the device copies one, the host copies the other. */
struct Staging {
  int device;
  Session halves[2];
};

constexpr int64_t kStagingBytes = 4 << 20;

// Copies run on any thread, several at once; pinned memory is too dear to be had anew for each.
std::mutex staging_lock;
std::vector<Staging> idle_staging;

Status take_staging(int device, Staging* staging) {
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
  Status status = create(kStagingBytes, &staging->halves[0]);
  if (!status.ok()) return status;
  status = create(kStagingBytes, &staging->halves[1]);
  if (!status.ok()) destroy(staging->halves[0]);
  return status;
}

Status wait_for(const Session& session) {
  return status_of(cudaStreamSynchronize(session.stream), "cudaStreamSynchronize");
}

/** Calls start(half, offset, bytes) and then finish(half, offset, bytes) for each page of so many bytes, two at a time.
 */
template <class Start, class Finish>
Status by_pages(int device, int64_t bytes, Start start, Finish finish) {
  if (bytes == 0) return {};
  Staging staging;
  Status status = use_device(device);
  if (status.ok()) status = take_staging(device, &staging);
  if (!status.ok()) return status;

  const auto size_at = [&](int64_t at) { return static_cast<size_t>(std::min(kStagingBytes, bytes - at)); };
  const int64_t pages = (bytes + kStagingBytes - 1) / kStagingBytes;
  for (int64_t page = 0; page < pages + 2 && status.ok(); page++) {
    const Session& half = staging.halves[page % 2];
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
  for (const Session& half : staging.halves) cudaStreamSynchronize(half.stream);  // nothing is left under way
  const std::lock_guard<std::mutex> lock(staging_lock);
  idle_staging.push_back(staging);
  return status;
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

int device_count(const char** reason) {
  *reason = nullptr;
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  cudaGetLastError();
  int driver = 0;
  cudaDriverGetVersion(&driver);
  if (error == cudaSuccess && count > 0) return count;
  if (driver == 0) {
    *reason = "no NVIDIA driver was found";
  } else if (error == cudaErrorInsufficientDriver) {
    *reason = "the NVIDIA driver is older than this build of sweet-rl-cuda needs";
  } else if (error == cudaSuccess || error == cudaErrorNoDevice) {
    *reason = "no CUDA device was found";
  } else {
    *reason = cudaGetErrorString(error);
  }
  return 0;
}

Status use_device(int device) { return status_of(cudaSetDevice(device), "cudaSetDevice"); }

Status open_session(Session** session) {
  int device = 0;
  if (const cudaError_t error = cudaGetDevice(&device); error != cudaSuccess) return status_of(error, "cudaGetDevice");
  for (Opened& each : opened) {
    if (each.device != device) continue;
    *session = &each.session;
    return {};
  }
  if (const Status status = keep_freed_memory(device); !status.ok()) return status;
  Session created;
  if (const Status status = create(kResultBytes, &created); !status.ok()) return status;
  opened.push_back({device, created});
  *session = &opened.back().session;
  return {};
}

void close_sessions() {
  for (const Opened& each : opened) {
    cudaSetDevice(each.device);
    destroy(each.session);
  }
  opened.clear();
}

Status allocate(int64_t bytes, void** memory) {
  *memory = nullptr;
  return bytes == 0 ? Status{} : status_of(cudaMalloc(memory, static_cast<size_t>(bytes)), "cudaMalloc");
}

void release(void* memory) { cudaFree(memory); }

Status set_zero(void* memory, int64_t bytes) {
  Session* session = nullptr;
  if (const Status status = open_session(&session); !status.ok()) return status;
  return status_of(cudaMemsetAsync(memory, 0, static_cast<size_t>(bytes), session->stream), "cudaMemsetAsync");
}

void close_staging() {
  const std::lock_guard<std::mutex> lock(staging_lock);
  for (const Staging& staging : idle_staging) {
    cudaSetDevice(staging.device);
    for (const Session& half : staging.halves) destroy(half);
  }
  idle_staging.clear();
}

Status write(int device, void* memory, const void* host, int64_t bytes) {
  const auto start = [&](const Session& half, int64_t at, size_t count) {
    memcpy(half.page, static_cast<const char*>(host) + at, count);
    char* const to = static_cast<char*>(memory) + at;
    return cudaMemcpyAsync(to, half.page, count, cudaMemcpyHostToDevice, half.stream);
  };
  return by_pages(device, bytes, start, [](const Session&, int64_t, size_t) {});
}

Status read(int device, const void* memory, void* host, int64_t bytes) {
  const auto start = [&](const Session& half, int64_t at, size_t count) {
    const char* const from = static_cast<const char*>(memory) + at;
    return cudaMemcpyAsync(half.page, from, count, cudaMemcpyDeviceToHost, half.stream);
  };
  const auto finish = [&](const Session& half, int64_t at, size_t count) {
    memcpy(static_cast<char*>(host) + at, half.page, count);
  };
  return by_pages(device, bytes, start, finish);
}

}  // namespace cuda
}  // namespace sweet
