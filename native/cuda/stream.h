// Streams, fences and errors. Each thread has a stream for each device that it has used, with a page of pinned host
// memory for results; device::end_thread() closes them.
#pragma once

#include <cuda_runtime.h>

#include <cstdint>

#include "../status.h"

namespace sweet {
namespace cuda {

/** ok, or Code::device for the error that `operation` returned. */
Status status_of(cudaError_t error, const char* operation);

struct Stream {
  cudaStream_t handle = nullptr;
  void* page = nullptr;          // pinned
  cudaMemPool_t pool = nullptr;  // of scratch memory; null where the device does not support pools
};

constexpr size_t kResultBytes = 4 << 10;  // of a thread's page: one page of the host, of which a DeviceResult is 64 B

Status open_stream(size_t page_bytes, Stream* stream);
void close_stream(const Stream& stream);
Status wait_for(const Stream& stream);

/** Memory for the work of a stream of stream_of_thread(). */
Status allocate_scratch(const Stream& stream, int64_t bytes, void** memory);
/** After the work that the stream has so far; without a pool, the host waits for it. */
void free_scratch(const Stream& stream, void* memory);

/** This thread's stream on its device, until close_streams(). */
Status stream_of_thread(Stream** stream);
void close_streams();

// The fence of a device comes after the work that foreign streams (those of other libraries) had when they were
// recorded. One for all threads: a stream may be recorded on one thread and the operation run on another. Whatever
// reads or writes memory that may be foreign waits for the fence.

/** The fence of this thread's device comes after what `foreign` has been given so far. */
Status record_foreign_stream(cudaStream_t foreign);

/** What a stream of this thread's device is given next comes after the fence. The host does not wait. */
Status wait_for_fence(cudaStream_t stream);

/** Of every device, once no thread uses them any more. */
void close_fences();

}  // namespace cuda
}  // namespace sweet
