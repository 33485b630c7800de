// The emulator's runtime between its two files: runtime.cpp has devices, errors, streams, events and launches,
// memory.cpp has memory, copies and memory of other processes.
#pragma once

#include <cuda_runtime.h>

#include <deque>
#include <functional>
#include <mutex>

struct CUstream_st {
  int device;
  bool blocking;  // in order with the default stream
  std::deque<std::function<void()>> work;
};

namespace emulator {

// One driver for all threads of the host.
inline std::recursive_mutex driver;
using Lock = std::lock_guard<std::recursive_mutex>;

inline thread_local int current_device = 0;

inline cudaError_t sticky_error = cudaSuccess;  // of a failed launch: every later call returns it

/** What a call of the runtime returns. */
cudaError_t finish_call(cudaError_t error);

CUstream_st& stream_of(cudaStream_t stream);
void enqueue(CUstream_st& stream, std::function<void()> work);
void drain(CUstream_st& stream);
void drain_all();

/** Allocations that were not freed. */
size_t live_allocations();

/** Memory of a device, or pinned memory; in whole pages, which another process can open. */
cudaError_t allocate(void** out, size_t bytes, int device, bool by_pages);

bool has_pools(int device);
/** The pool of the memory, if it is of one, no longer uses it. */
void return_to_pool(void* memory);
/** What pools do at a wait of the host. */
void trim_to_thresholds();

/** While it lives, memory of devices is accessible to the host. */
class DeviceAccess {
 public:
  DeviceAccess() { set_accessible(true); }
  ~DeviceAccess() { set_accessible(false); }

 private:
  static void set_accessible(bool accessible);
};

}  // namespace emulator
