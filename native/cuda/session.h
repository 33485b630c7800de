// What the host asks of the driver: devices, memory, copies, errors, and sessions. A session is one thread's use of one
// device: a stream, and a page of host memory that results come back through. Each thread has one for each device that
// it used; close_sessions() ends them before the thread ends.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../status.h"

namespace sweet {
namespace cuda {

/** ok, or Code::device for what `operation` returned. An error that leaves the device unusable is told apart. */
Status status_of(cudaError_t error, const char* operation);

struct Session {
  cudaStream_t stream = nullptr;
  void* page = nullptr;  // pinned
};

constexpr size_t kResultBytes = 4 << 10;

/** How many devices there are; where there is none, `reason` says why. */
int device_count(const char** reason);

/** The device on which this thread's next calls work. */
Status use_device(int device);

/** The session of this thread on its device. */
Status open_session(Session** session);
void close_sessions();

/** Ends what copies keep for each other, wherever no copy is under way. */
void close_staging();

/** Device memory; a size of 0 has no memory. */
Status allocate(int64_t bytes, void** memory);
void release(void* memory);

/** Before anything that this thread starts on its device afterwards. */
Status set_zero(void* memory, int64_t bytes);

// Copies by way of pinned memory, done when they return. Any thread may call them; `device` is the memory's.
Status write(int device, void* memory, const void* host, int64_t bytes);
Status read(int device, const void* memory, void* host, int64_t bytes);

}  // namespace cuda
}  // namespace sweet
