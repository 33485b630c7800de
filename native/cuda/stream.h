// Streams and errors. Each thread has a stream for each device that it used, with a page of host memory that results
// come back through; device::end_thread() ends them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../status.h"

namespace sweet {
namespace cuda {

/** ok, or Code::device for what `operation` returned. An error that leaves the device unusable is told apart. */
Status status_of(cudaError_t error, const char* operation);

struct Stream {
  cudaStream_t handle = nullptr;
  void* page = nullptr;  // pinned
};

constexpr size_t kResultBytes = 4 << 10;  // of a thread's page

Status open_stream(size_t page_bytes, Stream* stream);
void close_stream(const Stream& stream);
Status wait_for(const Stream& stream);

/** This thread's stream on its device, until close_streams(). */
Status stream_of_thread(Stream** stream);
void close_streams();

// A device's gate opens when the work of all foreign streams is done that we were told to follow. One for all threads:
// a call may be told on one thread and run on another. Whatever reads or writes memory that may be foreign waits there.

/** The gate of this thread's device opens after what `foreign` was given so far. */
Status put_before_gate(cudaStream_t foreign);

/** What a stream of this thread's device is given next comes behind its gate. The host does not wait. */
Status wait_at_gate(cudaStream_t stream);

/** Of every device, once no thread uses them any more. */
void close_gates();

}  // namespace cuda
}  // namespace sweet
